//! The progress bar of a training.

use std::time::Duration;

use bitquake::grad::Executor;
use bitquake::train::{Begin, EpochRecord, Event, Losses, Score, StepEvent};
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{counted, grouped};

/// Shows the epoch, loss and error so far, images a second and the time left, on a terminal; and a line for every epoch.
pub(crate) struct Progress {
    quiet: bool,
    bar: ProgressBar,
    epochs: u64,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::no_length() };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { quiet, bar, epochs: 0 }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Begin(begin) => self.begin(begin),
            Event::Step(step) => self.step(step),
            Event::Epoch(epoch) => self.say(&epoch_line(epoch, self.epochs)),
        }
    }

    fn begin(&mut self, begin: &Begin) {
        let &Begin { weights, images, steps, done, epoch, epochs, ref executor } = begin;
        self.epochs = epochs;
        let template = "{bar:24} {pos}/{len} steps  {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_length(steps);
        self.bar.set_position(done);
        self.bar.reset_eta();
        self.say(&format!(
            "{}, {}, {} in each epoch",
            counted(weights, "trained number"),
            counted(epochs, "epoch"),
            counted(images, "image")
        ));
        if let Executor::Burn { because } = executor {
            self.say(&format!("computed with burn: {because}"));
        }
        if done > 0 {
            self.say(&format!(
                "resuming: {} of {} steps are done, in epoch {}",
                grouped(done),
                grouped(steps),
                epoch + 1
            ));
        }
    }

    fn step(&self, step: &StepEvent) {
        self.bar.set_position(step.step);
        let of = |score: &Score| format!("loss {:.3}, error {:.2} %", score.loss(), 100.0 * score.error());
        let perturbed = match step.perturbed.images {
            0 => String::new(),
            _ => format!("; with faults {}", of(&step.perturbed)),
        };
        let rate = step.images_per_second;
        let epoch = step.epoch + 1;
        self.bar.set_message(format!("epoch {epoch}: {}{perturbed}  {rate:.0} images/s", of(&step.clean)));
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

/// `epoch 3/10: loss 0.412, error 14.20 %; validation 13.90 %, with faults 15.21 % (best so far); 812 images/s`
fn epoch_line(record: &EpochRecord, epochs: u64) -> String {
    let error = |losses: &Losses| format!("{:.2} %", 100.0 * losses.error);
    let mut parts = Vec::new();
    if let Some(losses) = record.clean.as_ref().or(record.perturbed.as_ref()) {
        let loss = losses.loss.map_or("not finite".into(), |loss| format!("{loss:.3}"));
        parts.push(format!("loss {loss}, error {}", error(losses)));
    }
    if let Some(losses) = &record.validation {
        let perturbed =
            record.validation_perturbed.as_ref().map(|losses| format!(", with faults {}", error(losses)));
        let averaged =
            record.validation_averaged.as_ref().map(|losses| format!(", averaged {}", error(losses)));
        let best = if record.is_best { " (best so far)" } else { "" };
        let more = perturbed.unwrap_or_default() + &averaged.unwrap_or_default();
        parts.push(format!("validation {}{more}{best}", error(losses)));
    }
    parts.push(format!("{:.0} images/s", record.images_per_second));
    format!("epoch {}/{epochs}: {}", record.epoch + 1, parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_an_epoch() {
        let losses = |error| Some(Losses { images: 100, loss: Some(0.5), error });
        let mut record = EpochRecord {
            epoch: 2,
            step: 30,
            rate: 0.05,
            clean: losses(0.25),
            perturbed: None,
            validation: losses(0.125),
            validation_perturbed: losses(0.5),
            validation_averaged: None,
            is_best: true,
            images_per_second: 812.4,
            time: 0.0,
        };
        assert_eq!(
            epoch_line(&record, 10),
            "epoch 3/10: loss 0.500, error 25.00 %; validation 12.50 %, with faults 50.00 % (best so far); 812 images/s"
        );
        record.validation = None;
        assert_eq!(epoch_line(&record, 10), "epoch 3/10: loss 0.500, error 25.00 %; 812 images/s");
    }
}
