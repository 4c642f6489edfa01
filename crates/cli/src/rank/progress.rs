//! The progress of rankings.

use std::time::Duration;

use bitquake::attack::rank::RankEvent;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::counted;

/// Shows on a terminal what is being computed.
pub(crate) struct Progress {
    quiet: bool,
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed}  {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { quiet, bar }
    }

    pub(crate) fn event(&mut self, event: RankEvent) {
        match event {
            RankEvent::Begin { bits, images } => {
                self.say(&format!("ranking {}, by {}", counted(bits, "bit"), counted(images, "image")));
                self.bar.set_message("gradients");
            }
            RankEvent::Vector { number, trace } => {
                self.bar.set_message(format!(
                    "trace {trace:.4e} after {}",
                    counted(number.into(), "random vector")
                ));
            }
            RankEvent::Eigenpair { number, value, .. } => {
                self.bar.set_message(format!("eigenpair {number}: {value:.4e}"));
            }
            RankEvent::Ranked(kind) => self.bar.set_message(format!("ranked: {}", kind.name())),
        }
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
