//! The worst trial of each point, and how to make its model again.

use std::path::Path;

use serde::Serialize;

use crate::command::replay;
use crate::number::{NONE, amount, grouped, percent};
use crate::view::{Exposed, View};

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
    /// None where there is no faulty model to write.
    pub(crate) command: Option<String>,
    /// The worst of all points.
    pub(crate) is_worst: bool,
}

/// What the commands of the rows do.
pub(crate) fn replay_text(view: &View<'_>) -> &'static str {
    match view.exposed {
        _ if view.is_hosted => {
            "Its network was run by a host, which draws the same flips again from the point and the trial."
        }
        Exposed::Memory => "Its command writes the faulty model of exactly that trial.",
        Exposed::Both => {
            "Its command writes the faulty model of exactly that trial, whose faults in activations or inputs are part of no model."
        }
        Exposed::Values => {
            "Its faults are in activations or inputs, so there is no faulty model to write; running the campaign again draws the same."
        }
    }
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
            sdc: trial.failures().map_or(NONE.into(), grouped),
            pattern: trial.pattern.clone(),
            command: (view.exposed != Exposed::Values && !view.is_hosted)
                .then(|| replay(dir, trial.point, trial.trial)),
            is_worst: worst == Some((trial.point, trial.trial)),
        })
        .collect()
}
