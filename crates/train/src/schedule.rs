//! Schedules: the learning rate of each step.
//!
//! Rates change from batch to batch, not from epoch to epoch (SPEC 2.4). Time is counted in epochs, as a fraction: step 30 of 20
//! steps an epoch is at 1.5.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// The shape of a schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Times `factor` at each milestone.
    #[default]
    MultiStep,
    /// Half a cosine, down to `last` times the rate.
    Cosine,
    /// Times `factor` every epoch, evenly over its steps.
    Exponential,
    /// Always the same.
    Constant,
}

/// `[schedule]`. A field that the kind has no use for is an error of [`check`](Self::check).
///
/// ```
/// use bitquake_train::{ScheduleConfig, Timeline};
/// let schedule = ScheduleConfig::default();
/// let time = Timeline { first_epoch: 0, epochs: 100, steps_per_epoch: 10 };
/// assert_eq!(schedule.factor(399, time), 1.0);
/// assert_eq!(schedule.factor(400, time), 0.1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// The shape; `multi-step` by default.
    pub kind: ScheduleKind,
    /// `multi-step`: when, as shares of the epochs; [0.4, 0.6, 0.8] by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub milestones: Option<Vec<f64>>,
    /// `multi-step`: the factor at each milestone, 0.1 by default. `exponential`: the factor of an epoch, 0.97 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// `cosine`: the share of the rate that it ends at; 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<f64>,
    /// Epochs, or a part of one, in which the rate rises evenly from 0 to what the schedule says; 0 by default.
    pub warm_up: f64,
}

/// How long a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The epoch that the training begins with: 0, or where a longer run is continued.
    pub first_epoch: u64,
    /// All epochs, those before `first_epoch` among them.
    pub epochs: u64,
    /// Batches in an epoch.
    pub steps_per_epoch: u64,
}

impl Timeline {
    /// The step at which an epoch begins, counted from the first of this training.
    #[must_use]
    pub fn first_step_of(&self, epoch: u64) -> u64 {
        epoch.saturating_sub(self.first_epoch) * self.steps_per_epoch
    }

    /// The steps of this training.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.first_step_of(self.epochs)
    }
}

const MILESTONES: [f64; 3] = [0.4, 0.6, 0.8];

impl ScheduleConfig {
    /// What the learning rate is multiplied with in a step of the training, counted from 0.
    #[must_use]
    pub fn factor(&self, step: u64, time: Timeline) -> f64 {
        let all = time.epochs * time.steps_per_epoch;
        let at = time.first_epoch * time.steps_per_epoch + step;
        self.warming(step, time) * self.shape(at, all, time.steps_per_epoch)
    }

    fn shape(&self, step: u64, all: u64, per_epoch: u64) -> f64 {
        match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::MultiStep => {
                let is_past = |share: &&f64| step as f64 >= **share * all as f64;
                let passed = self.milestones().iter().filter(is_past).count();
                (0..passed).fold(1.0, |product, _| product * self.factor_or_default())
            }
            ScheduleKind::Cosine => {
                let last = self.last.unwrap_or(0.0);
                last + (1.0 - last) * 0.5 * (1.0 + libm::cos(PI * step as f64 / all.max(1) as f64))
            }
            ScheduleKind::Exponential => {
                libm::pow(self.factor_or_default(), step as f64 / per_epoch.max(1) as f64)
            }
        }
    }

    /// Even steps from just above 0 to 1 at the end of the warm-up.
    fn warming(&self, step: u64, time: Timeline) -> f64 {
        let steps = self.warm_up * time.steps_per_epoch as f64;
        if (step as f64) < steps { ((step + 1) as f64 / steps).min(1.0) } else { 1.0 }
    }

    fn milestones(&self) -> &[f64] {
        self.milestones.as_deref().unwrap_or(&MILESTONES)
    }

    fn factor_or_default(&self) -> f64 {
        self.factor.unwrap_or(if self.kind == ScheduleKind::Exponential { 0.97 } else { 0.1 })
    }

    /// Puts every default that the kind has a use for in its place.
    pub(crate) fn fill_defaults(&mut self) {
        match self.kind {
            ScheduleKind::MultiStep => {
                self.milestones = Some(self.milestones().to_vec());
                self.factor = Some(self.factor_or_default());
            }
            ScheduleKind::Exponential => self.factor = Some(self.factor_or_default()),
            ScheduleKind::Cosine => self.last = Some(self.last.unwrap_or(0.0)),
            ScheduleKind::Constant => {}
        }
    }

    /// That the numbers make sense, and that each field is of use.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self) -> Result<(), String> {
        use ScheduleKind::{Cosine, Exponential, MultiStep};
        let of = |kinds: &[ScheduleKind]| kinds.contains(&self.kind);
        for (field, is_given, is_used) in [
            ("milestones", self.milestones.is_some(), of(&[MultiStep])),
            ("factor", self.factor.is_some(), of(&[MultiStep, Exponential])),
            ("last", self.last.is_some(), of(&[Cosine])),
        ] {
            if is_given && !is_used {
                return Err(format!("{field} has no meaning for this kind of schedule"));
            }
        }
        let is_share = |share: &f64| (0.0..=1.0).contains(share);
        if let Some(share) = self.milestones().iter().find(|share| !is_share(share)) {
            return Err(format!("milestone {share} is not a share of the epochs, from 0 to 1"));
        }
        let factor = self.factor_or_default();
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(format!("factor {factor} is not a number above 0"));
        }
        if let Some(last) = self.last.filter(|last| !is_share(last)) {
            return Err(format!("last {last} is not from 0 to 1"));
        }
        if self.warm_up >= 0.0 && self.warm_up.is_finite() {
            Ok(())
        } else {
            Err(format!("warm_up {} is not a number of epochs", self.warm_up))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Timeline = Timeline { first_epoch: 0, epochs: 10, steps_per_epoch: 4 };

    fn schedule(text: &str) -> ScheduleConfig {
        let schedule: ScheduleConfig = toml::from_str(text).unwrap();
        schedule.check().unwrap();
        schedule
    }

    #[test]
    fn factors_at_the_edges() {
        let longer = Timeline { first_epoch: 10, epochs: 14, ..TIME };
        let uneven = Timeline { epochs: 3, steps_per_epoch: 3, first_epoch: 0 };
        for (text, time, step, wanted) in [
            ("", TIME, 0, 1.0),
            ("", TIME, 15, 1.0),
            ("", TIME, 16, 0.1),
            ("", TIME, 24, 0.01),
            ("", TIME, 32, 0.001),
            ("", TIME, 39, 0.001),
            // 2/5 of nine steps is 3.6: from step 4 on.
            ("", uneven, 3, 1.0),
            ("", uneven, 4, 0.1),
            ("milestones = [0.5]\nfactor = 0.2", TIME, 19, 1.0),
            ("milestones = [0.5]\nfactor = 0.2", TIME, 20, 0.2),
            // Fourteen epochs, of which ten are over: past 5.6 and 8.4, before 11.2.
            ("", longer, 0, 0.01),
            ("", longer, 4, 0.01),
            ("", longer, 5, 0.001),
            ("kind = 'cosine'", TIME, 0, 1.0),
            ("kind = 'cosine'", TIME, 20, 0.5),
            ("kind = 'cosine'", TIME, 40, 0.0),
            ("kind = 'cosine'\nlast = 0.2", TIME, 20, 0.6),
            ("kind = 'exponential'\nfactor = 0.5", TIME, 8, 0.25),
            ("kind = 'exponential'\nfactor = 0.25", TIME, 2, 0.5),
            ("kind = 'constant'", TIME, 39, 1.0),
            ("kind = 'constant'\nwarm_up = 1.0", TIME, 0, 0.25),
            ("kind = 'constant'\nwarm_up = 1.0", TIME, 3, 1.0),
            ("kind = 'constant'\nwarm_up = 0.6", TIME, 2, 1.0),
            ("kind = 'cosine'\nwarm_up = 10", TIME, 19, 0.5 * 0.5 * (1.0 + (PI * 19.0 / 40.0).cos())),
        ] {
            let found = schedule(text).factor(step, time);
            assert!((found - wanted).abs() < 1e-12, "{text}, step {step}: {found}, not {wanted}");
        }
    }

    #[test]
    fn wrong_fields_are_told() {
        for (text, wanted) in [
            ("kind = 'cosine'\nmilestones = [0.1]", "milestones has no meaning"),
            ("kind = 'cosine'\nfactor = 0.1", "factor has no meaning"),
            ("last = 0.1", "last has no meaning"),
            ("milestones = [1.5]", "milestone 1.5"),
            ("factor = 0.0", "factor 0 is not"),
            ("kind = 'cosine'\nlast = 2.0", "last 2"),
            ("warm_up = -1", "warm_up -1"),
        ] {
            let error = toml::from_str::<ScheduleConfig>(text).unwrap().check().unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_kind() {
        for (text, wanted) in [
            ("", "kind = 'multi-step'\nmilestones = [0.4, 0.6, 0.8]\nfactor = 0.1"),
            ("kind = 'cosine'", "kind = 'cosine'\nlast = 0.0"),
            ("kind = 'exponential'", "kind = 'exponential'\nfactor = 0.97"),
            ("kind = 'constant'", "kind = 'constant'\nwarm_up = 0.0"),
        ] {
            let mut config = schedule(text);
            config.fill_defaults();
            assert_eq!(config, schedule(wanted), "{text}");
        }
    }
}
