//! When perturbed passes are made, and at which rate (SPEC 2.4, 6; 2.10, 18).

use serde::{Deserialize, Serialize};

use super::config::CurriculumRule;

/// The losses of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepLosses {
    /// The clean loss; `None` where the step had no clean pass.
    pub clean: Option<f64>,
    /// The perturbed loss, the mean over the population; `None` where it was 0.
    pub perturbed: Option<f64>,
}

/// How far above T the clean loss may be.
const MARGIN: f64 = 1.15;
/// The share of a running mean that a batch keeps.
const KEPT: f64 = 0.9;
/// Steps in which the rate grows.
const STAGES: u64 = 20;

/// Decides from batch to batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curriculum {
    rule: CurriculumRule,
    start_loss: f64,
    state: CurriculumState,
}

/// What the next decision hangs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CurriculumState {
    /// Whether the next batch has perturbed passes.
    pub(crate) is_on: bool,
    /// Running means, of `hysteresis` alone; none before the first batch.
    clean: Option<f64>,
    perturbed: Option<f64>,
}

impl Curriculum {
    pub(crate) fn new(rule: CurriculumRule, start_loss: f64) -> Self {
        let is_on = rule == CurriculumRule::Always;
        Self { rule, start_loss, state: CurriculumState { is_on, ..CurriculumState::default() } }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.state.is_on
    }

    pub(crate) fn state(&self) -> CurriculumState {
        self.state
    }

    pub(crate) fn restore(&mut self, state: CurriculumState) {
        self.state = state;
    }

    /// Chooses for the next batch. A loss that is not a number turns perturbed passes off.
    pub(crate) fn decide(&mut self, losses: StepLosses) {
        let StepLosses { clean, perturbed } = losses;
        // Without a clean pass the perturbed loss is all there is.
        let l = clean.or(perturbed).unwrap_or(f64::NAN);
        let l_perturbed = perturbed.unwrap_or(0.0);
        let limit = self.start_loss;
        self.state.is_on = match self.rule {
            CurriculumRule::Average | CurriculumRule::Step => {
                l < MARGIN * limit && f64::midpoint(l, l_perturbed) <= limit
            }
            CurriculumRule::Adversarial => l <= limit && l_perturbed <= limit,
            CurriculumRule::Simple => l <= limit,
            CurriculumRule::Always => true,
            CurriculumRule::Hysteresis => self.with_hysteresis(l, perturbed),
        };
    }

    /// Both losses as running means. While nothing is perturbed the mean of the perturbed loss moves to the clean one, from
    /// which it is not far when weights have changed long enough.
    fn with_hysteresis(&mut self, l: f64, perturbed: Option<f64>) -> bool {
        if l.is_nan() || perturbed.is_some_and(f64::is_nan) {
            return false;
        }
        let clean = self.state.clean.map_or(l, |mean| KEPT * mean + (1.0 - KEPT) * l);
        let news = perturbed.unwrap_or(clean);
        let mean = self.state.perturbed.map_or(news, |mean| KEPT * mean + (1.0 - KEPT) * news);
        (self.state.clean, self.state.perturbed) = (Some(clean), Some(mean));
        let limit = if self.state.is_on { MARGIN * self.start_loss } else { self.start_loss };
        f64::midpoint(clean, mean) <= limit
    }

    /// The share of the full rate in an epoch, counted from 0, of `epochs`; 1 but for `step`. `start` is the first epoch of
    /// this run.
    pub(crate) fn share(&self, start: u64, epoch: u64, epochs: u64) -> f64 {
        if self.rule != CurriculumRule::Step {
            return 1.0;
        }
        let length = epochs / 2 / STAGES;
        let stage = epoch.saturating_sub(start).checked_div(length).unwrap_or(STAGES).min(STAGES - 1);
        (stage + 1) as f64 / STAGES as f64
    }
}

#[cfg(test)]
mod tests {
    use bitquake_testing::assert_cases;

    use super::*;

    fn next(rule: CurriculumRule, losses: (f64, f64)) -> bool {
        let mut curriculum = Curriculum::new(rule, 1.75);
        let perturbed = (losses.1 > 0.0).then_some(losses.1);
        curriculum.decide(StepLosses { clean: Some(losses.0), perturbed });
        curriculum.is_on()
    }

    #[test]
    fn decisions_are_those_of_the_specification() {
        let rows = [
            ("too high", (2.30, 0.0), false),
            ("first perturbed batch", (2.00, 0.0), true),
            ("the mean is too high", (1.9, 2.5), false),
            ("still", (1.2, 2.5), false),
            ("low enough", (0.9, 2.5), true),
            ("one loss alone can be too high", (0.3, 3.3), false),
        ];
        assert_cases(rows, |losses| next(CurriculumRule::Average, losses));
    }

    #[test]
    fn the_other_rules() {
        let rows = [
            ("adversarial: both low", (CurriculumRule::Adversarial, (1.7, 1.7)), true),
            ("adversarial: perturbed high", (CurriculumRule::Adversarial, (0.1, 1.8)), false),
            ("adversarial: clean high", (CurriculumRule::Adversarial, (1.8, 0.1)), false),
            ("simple looks at the clean loss", (CurriculumRule::Simple, (1.75, 9.0)), true),
            ("simple: above", (CurriculumRule::Simple, (1.76, 0.0)), false),
            ("step decides as average", (CurriculumRule::Step, (0.9, 2.5)), true),
            ("always", (CurriculumRule::Always, (9.0, 9.0)), true),
            ("not a number", (CurriculumRule::Average, (f64::NAN, 0.0)), false),
            ("not a number, adversarial", (CurriculumRule::Adversarial, (f64::NAN, 0.0)), false),
            ("not a number, hysteresis", (CurriculumRule::Hysteresis, (f64::NAN, 0.0)), false),
        ];
        assert_cases(rows, |(rule, losses)| next(rule, losses));
    }

    #[test]
    fn all_but_always_start_off() {
        use CurriculumRule::{Adversarial, Always, Average, Hysteresis, Simple, Step};
        let on: Vec<bool> = [Average, Adversarial, Simple, Step, Hysteresis, Always]
            .map(|rule| Curriculum::new(rule, 1.75).is_on())
            .into();
        assert_eq!(on, [false, false, false, false, false, true]);
    }

    /// SPEC 2.4: 250 epochs at p = 1 %.
    #[test]
    fn the_rate_grows_in_twenty_steps() {
        let curriculum = Curriculum::new(CurriculumRule::Step, 1.75);
        let rows = [
            (0, 0.0005),
            (5, 0.0005),
            (6, 0.001),
            (12, 0.0015),
            (60, 0.0055),
            (113, 0.0095),
            (114, 0.01),
            (249, 0.01),
        ];
        for (epoch, wanted) in rows {
            let rate = 0.01 * curriculum.share(0, epoch, 250);
            assert!((rate - wanted).abs() < 1e-12, "epoch {epoch}: {rate}");
        }
        assert_eq!(curriculum.share(100, 105, 250), 0.05, "counted from where a fine-tuned model starts");
        assert_eq!(curriculum.share(0, 0, 30), 1.0, "too few epochs for steps: the full rate");
        assert_eq!(Curriculum::new(CurriculumRule::Average, 1.75).share(0, 0, 250), 1.0);
    }

    /// SPEC 2.10, 18: after a clean batch `l~` counts as 0, so the published rule turns itself on and off from batch to batch
    /// for as long as the losses are like these. With hysteresis it is turned on once.
    #[test]
    fn hysteresis_does_not_toggle() {
        let changes = |rule| {
            let mut curriculum = Curriculum::new(rule, 1.75);
            let mut before = false;
            let mut changes = 0;
            for _ in 0..200 {
                let perturbed = curriculum.is_on().then_some(2.5);
                curriculum.decide(StepLosses { clean: Some(1.2), perturbed });
                changes += u32::from(curriculum.is_on() != before);
                before = curriculum.is_on();
            }
            changes
        };
        assert_eq!(changes(CurriculumRule::Average), 200);
        assert_eq!(changes(CurriculumRule::Hysteresis), 1);
    }

    #[test]
    fn hysteresis_turns_off_when_the_losses_stay_high() {
        let mut curriculum = Curriculum::new(CurriculumRule::Hysteresis, 1.75);
        curriculum.decide(StepLosses { clean: Some(1.0), perturbed: None });
        assert!(curriculum.is_on());
        curriculum.decide(StepLosses { clean: Some(1.0), perturbed: Some(9.0) });
        assert!(curriculum.is_on(), "one bad batch");
        (0..20).for_each(|_| curriculum.decide(StepLosses { clean: Some(1.5), perturbed: Some(9.0) }));
        assert!(!curriculum.is_on());
        (0..60).for_each(|_| curriculum.decide(StepLosses { clean: Some(1.0), perturbed: None }));
        assert!(curriculum.is_on());
    }
}
