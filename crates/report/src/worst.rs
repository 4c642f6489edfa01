//! The worst trial of each point, and how to make its model again.

use std::path::Path;

use serde::Serialize;

use crate::command::replay;
use crate::number::{amount, grouped, percent};
use crate::view::View;

/// One trial.
#[derive(Debug, Serialize)]
pub(crate) struct WorstRow {
    pub(crate) amount: String,
    pub(crate) trial: String,
    pub(crate) accuracy: String,
    pub(crate) faults: String,
    pub(crate) became_nan: String,
    pub(crate) became_inf: String,
    pub(crate) sdc: String,
    pub(crate) pattern: String,
    pub(crate) command: String,
    /// The worst of all points.
    pub(crate) is_worst: bool,
}

pub(crate) fn worst_rows(view: &View<'_>, dir: &Path) -> Vec<WorstRow> {
    let worst = view.worst_of_all().map(|(_, trial)| (trial.point, trial.trial));
    let trials = view.points.iter().filter_map(|point| Some((point, view.worst(point)?)));
    trials
        .map(|(point, trial)| WorstRow {
            amount: amount(point.amount),
            trial: grouped(trial.trial),
            accuracy: format!("{} %", percent(view.told_score(trial), 2)),
            faults: grouped(trial.faults),
            became_nan: grouped(trial.became_nan),
            became_inf: grouped(trial.became_inf),
            sdc: grouped(trial.failures()),
            pattern: trial.pattern.clone(),
            command: replay(dir, trial.point, trial.trial),
            is_worst: worst == Some((trial.point, trial.trial)),
        })
        .collect()
}
