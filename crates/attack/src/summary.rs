//! How many flips it took, over all trials.

use bitquake_stats::{Interval, StatsError, mean_estimate};
use serde::Serialize;

use crate::config::Goal;
use crate::record::{AttackRecords, EndReason, EndRecord, TrialLines};

/// What an attack came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How flips were chosen.
    pub attack: &'static str,
    /// What counts as reached.
    pub goal: GoalRecord,
    /// Accuracy of the network without flips, over all trials' images.
    pub clean_accuracy: f64,
    /// Flips until the goal was reached.
    pub flips: FlipsToTarget,
    /// The same counted in bits that differ from the clean ones.
    pub distance: FlipsToTarget,
    /// The trials, in order.
    pub trials: Vec<TrialSummary>,
}

/// A goal in files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "metric", content = "bound", rename_all = "lowercase")]
pub enum GoalRecord {
    /// Accuracy at or below this share.
    Accuracy(f64),
    /// Success at or above this share.
    Success(f64),
}

/// A number of flips over trials, some of which may not have reached their goal.
///
/// Trials that ended before count with the flips they had made: they would have needed more, so the mean is then a lower bound, and has
/// no interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FlipsToTarget {
    /// Trials that reached the goal.
    pub reached: u64,
    /// Trials.
    pub trials: u64,
    /// The mean; of all trials that reached the goal, or a lower bound ([`is_at_least`](Self::is_at_least)).
    pub mean: f64,
    /// Student's t interval of the mean; none with one trial, and where some have not reached the goal.
    pub interval: Option<Interval>,
    /// The smallest number.
    pub min: u64,
    /// The largest number.
    pub max: u64,
}

impl FlipsToTarget {
    /// From (number, whether the goal was reached) of each trial; `None` without trials.
    ///
    /// ```
    /// use bitquake_attack::FlipsToTarget;
    /// let flips = FlipsToTarget::of(&[(10, true), (14, true)], 0.95)?.unwrap();
    /// assert!(!flips.is_at_least() && flips.mean == 12.0 && flips.interval.is_some());
    /// let flips = FlipsToTarget::of(&[(10, true), (1000, false)], 0.95)?.unwrap();
    /// assert!(flips.is_at_least() && flips.mean == 505.0 && flips.interval.is_none());
    /// # Ok::<(), bitquake_stats::StatsError>(())
    /// ```
    ///
    /// # Errors
    /// [`StatsError`] for a confidence that is none.
    pub fn of(trials: &[(u64, bool)], confidence: f64) -> Result<Option<Self>, StatsError> {
        let values: Vec<f64> = trials.iter().map(|&(flips, _)| flips as f64).collect();
        let Some(estimate) = mean_estimate(&values, confidence)? else { return Ok(None) };
        let reached = trials.iter().filter(|(_, is_reached)| *is_reached).count() as u64;
        let numbers = || trials.iter().map(|&(flips, _)| flips);
        Ok(Some(Self {
            reached,
            trials: trials.len() as u64,
            mean: estimate.value,
            interval: estimate.interval.filter(|_| reached == trials.len() as u64),
            min: numbers().min().unwrap_or_default(),
            max: numbers().max().unwrap_or_default(),
        }))
    }

    /// Whether the mean is a lower bound, because some trials ended before they reached the goal.
    #[must_use]
    pub fn is_at_least(&self) -> bool {
        self.reached < self.trials
    }
}

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrialSummary {
    /// The trial, from 0.
    pub trial: u64,
    /// Why it ended.
    pub reason: EndReason,
    /// Flips that were made.
    pub flip_count: u64,
    /// Bits that differ from the clean ones.
    pub distance: u64,
    /// Accuracy without flips, on all images that are not attacked.
    pub clean_accuracy: f64,
    /// Accuracy at the end, on the same images.
    pub accuracy: f64,
    /// Its interval.
    pub interval: Interval,
    /// The share of exposed images that get the class that the attacker wants; none of untargeted attacks.
    pub success: Option<f64>,
}

impl Summary {
    /// Of the trials that are over; `None` if none is.
    ///
    /// # Errors
    /// [`StatsError`] for a confidence that is none.
    pub(crate) fn of(
        records: &AttackRecords,
        attack: &'static str,
        goal: Goal,
        confidence: f64,
    ) -> Result<Option<Self>, StatsError> {
        let over: Vec<(&TrialLines, EndRecord)> =
            records.trials.iter().filter_map(|trial| Some((trial, trial.end?))).collect();
        let counted = |count: &dyn Fn(&EndRecord) -> u64| -> Vec<(u64, bool)> {
            over.iter().map(|(_, end)| (count(end), end.reason == EndReason::Target)).collect()
        };
        let flips = FlipsToTarget::of(&counted(&|end| end.flip_count), confidence)?;
        let distance = FlipsToTarget::of(&counted(&|end| end.distance), confidence)?;
        let (Some(flips), Some(distance)) = (flips, distance) else { return Ok(None) };
        let trials = over.iter().map(|(lines, end)| TrialSummary::of(lines, end, confidence));
        let trials = trials.collect::<Result<Vec<_>, _>>()?;
        let clean = trials.iter().map(|trial| trial.clean_accuracy).sum::<f64>() / trials.len() as f64;
        let goal = match goal {
            Goal::Accuracy(share) => GoalRecord::Accuracy(share),
            Goal::Success(share) => GoalRecord::Success(share),
        };
        Ok(Some(Self { attack, goal, clean_accuracy: clean, flips, distance, trials }))
    }
}

impl TrialSummary {
    fn of(lines: &TrialLines, end: &EndRecord, confidence: f64) -> Result<Self, StatsError> {
        Ok(Self {
            trial: end.trial,
            reason: end.reason,
            flip_count: end.flip_count,
            distance: end.distance,
            clean_accuracy: lines.begin.full.accuracy(),
            accuracy: end.full.accuracy(),
            interval: end.full.interval(confidence)?,
            success: end.full.success(),
        })
    }
}
