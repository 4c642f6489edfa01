//! The progress of rankings.

use std::time::{Duration, Instant};

use bitquake::attack::rank::RankEvent;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::counted;

/// Shows on a terminal what is being computed.
pub(crate) struct Progress {
    quiet: bool,
    bar: ProgressBar,
    began: Instant,
    /// Products and draws since then.
    products: u32,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed}  {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { quiet, bar, began: Instant::now(), products: 0 }
    }

    pub(crate) fn event(&mut self, event: RankEvent) {
        match event {
            RankEvent::Begin { bits, images } => {
                self.say(&format!("ranking {}, by {}", counted(bits, "bit"), counted(images, "image")));
                self.bar.set_message("gradients");
            }
            RankEvent::Resumed { products } => {
                self.say(&format!("going on after {}", counted(products.into(), "product")));
            }
            RankEvent::Vector { number, most, trace } => {
                self.product(&format!("trace {trace:.4e} after {number} of at most {most} random vectors"));
            }
            RankEvent::Draw { number, of } => {
                self.product(&format!("{number} of {of} draws of labels"));
            }
            RankEvent::Iteration { number, iteration, most, value } => {
                self.product(&format!(
                    "eigenpair {number}: {value:.4e} after {iteration} of at most {most} iterations"
                ));
            }
            RankEvent::Eigenpair { number, value, .. } => {
                self.product(&format!("eigenpair {number}: {value:.4e}"));
            }
            RankEvent::Ranked(kind) => self.bar.set_message(format!("ranked: {}", kind.name())),
        }
    }

    /// Shows what a product came to, and how long one takes.
    fn product(&mut self, message: &str) {
        self.products += 1;
        let seconds = self.began.elapsed().as_secs_f64() / f64::from(self.products);
        self.bar.set_message(format!("{message}, {seconds:.2} s each"));
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
