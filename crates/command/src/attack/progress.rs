//! The progress of an attack.

use std::time::Duration;

use bitquake::attack::{EndRecord, Event, Goal, StepRecord, TrialRecord};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{counted, grouped};

/// Shows trial, flips and accuracy so far on a terminal; and a line for every trial.
pub(crate) struct Progress {
    quiet: bool,
    bar: ProgressBar,
    trials: u64,
    flips: u64,
    accuracy: Option<f64>,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed}  {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { quiet, bar, trials: 0, flips: 0, accuracy: None }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Begin { bits, done, trials, goal } => self.begin(*bits, *done, *trials, *goal),
            Event::Trial(record, flips) => self.trial(record, *flips),
            Event::Step(record) => self.step(record),
            Event::End(record) => self.end(record),
        }
    }

    fn begin(&mut self, bits: u64, done: u64, trials: u64, goal: Goal) {
        self.trials = trials;
        let goal = match goal {
            Goal::Accuracy(share) => format!("accuracy at or below {:.2} %", 100.0 * share),
            Goal::Success(share) => format!("success at or above {:.2} %", 100.0 * share),
        };
        self.say(&format!("{} may be flipped; goal: {goal}", counted(bits, "bit")));
        if done > 0 {
            self.say(&format!("resuming: {done} of {} are over", counted(trials, "trial")));
        }
    }

    fn trial(&mut self, record: &TrialRecord, flips: u64) {
        (self.flips, self.accuracy) = (flips, Some(record.sample.accuracy()));
        if flips > 0 {
            self.say(&format!("resuming trial {} after {}", record.trial, counted(flips, "flip")));
        }
    }

    fn step(&mut self, record: &StepRecord) {
        self.flips = record.flip_count;
        self.accuracy = record.full.or(record.sample).map(|found| found.accuracy()).or(self.accuracy);
        let accuracy =
            self.accuracy.map_or_else(String::new, |share| format!(", accuracy {:.2} %", 100.0 * share));
        let loss = record.loss.map_or_else(String::new, |loss| format!(", loss {loss:.3}"));
        let trial = record.trial + 1;
        self.bar.set_message(format!(
            "trial {trial} of {}: {} flips{loss}{accuracy}",
            self.trials,
            grouped(self.flips)
        ));
    }

    fn end(&self, record: &EndRecord) {
        let EndRecord { trial, reason, flip_count, full, .. } = record;
        let accuracy = 100.0 * full.accuracy();
        self.say(&format!(
            "trial {trial}: {}, accuracy {accuracy:.2} %; {}",
            counted(*flip_count, "flip"),
            reason.told()
        ));
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| anstream::eprintln!("{text}"));
        }
    }

    pub(crate) fn close(&self) {
        self.bar.finish_and_clear();
    }
}
