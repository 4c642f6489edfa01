//! The progress bar of a campaign.

use std::fmt::Write;
use std::time::Duration;

use bitquake::campaign::Event;
use bitquake::record::{Amount, Golden};
use bitquake::stats::Running;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Shows the current point, its accuracy so far, trials a second and the time left; on a terminal only.
pub(crate) struct Progress {
    quiet: bool,
    bar: ProgressBar,
    point: Option<u32>,
    accuracy: Running,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::no_length() };
        bar.set_message("golden run and self-checks");
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { quiet, bar, point: None, accuracy: Running::default() }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Golden(golden) => self.golden(golden),
            Event::Begin { todo, done } => {
                let template = "{bar:24} {pos}/{len} trials  {speed}  {eta} left  {msg}";
                if let Ok(style) = ProgressStyle::with_template(template) {
                    let speed = |state: &ProgressState, out: &mut dyn Write| {
                        // Writing to a string cannot fail.
                        let _ = write!(out, "{:.1}/s", state.per_sec());
                    };
                    self.bar.set_style(style.with_key("speed", speed));
                }
                self.bar.set_length(todo + done);
                self.bar.set_position(*done);
                self.bar.reset_eta();
                if *done > 0 {
                    self.say(&format!("resuming: {done} of {} trials are done", todo + done));
                }
            }
            Event::Trial(trial) => {
                if self.point != Some(trial.point) {
                    self.point = Some(trial.point);
                    self.accuracy = Running::default();
                }
                self.accuracy.push(trial.accuracy());
                let mean = self.accuracy.mean().unwrap_or(0.0);
                let label = amount(trial.amount());
                self.bar.set_message(format!("{label}: accuracy {:.2} % so far", 100.0 * mean));
                self.bar.inc(1);
            }
            Event::Look(look) => {
                let (estimate, half) = (100.0 * look.estimate, 100.0 * look.half_width);
                let so_far = if look.is_met { "enough after" } else { "so far after" };
                self.bar.set_message(format!(
                    "point {}: {estimate:.2} ± {half:.2} %, {so_far} {} trials",
                    look.point, look.trials
                ));
            }
        }
    }

    fn golden(&self, golden: &Golden) {
        self.say(&format!(
            "golden accuracy {:.2} % on {} images; self-checks passed; fault space {} bits",
            100.0 * golden.metrics.accuracy(),
            golden.metrics.images,
            golden.storage.bits,
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

fn amount(amount: Amount) -> String {
    format!("{} {amount}", amount.kind())
}
