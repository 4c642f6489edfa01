//! The progress bar of a campaign.

use std::fmt::Write;
use std::time::Duration;

use bitquake::campaign::{Event, Look, Plan, Shard, StopConfig};
use bitquake::record::{Amount, Counts, Golden, TrialRecord};
use bitquake::stats::Running;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::output::{counted, grouped};
use crate::plan::{percent, shown};

/// Shows the current point, its accuracy so far, trials a second and the time left; on a terminal only. With a stopping rule,
/// how wide the interval is and how wide it may be, and the time until it is narrow enough.
pub(crate) struct Progress {
    quiet: bool,
    bar: ProgressBar,
    asked: Option<Asked>,
    /// What each point is called.
    points: Vec<String>,
    /// Trials that the plan expects of each point; of points that were looked at, what their width tells.
    expected: Vec<u64>,
    point: Option<u32>,
    accuracy: Running,
    golden: Counts,
}

/// The widths that a stopping rule asks for, of this shard.
struct Asked {
    metric: String,
    half_width: Option<f64>,
    relative: Option<f64>,
    max_trials: u64,
}

impl Asked {
    fn new(stop: &StopConfig, shard: Shard) -> Option<Self> {
        stop.half_width.or(stop.relative)?;
        // Shards of equal size together are narrower than each by the root of their number.
        let wider = f64::from(shard.count).sqrt();
        let count = u64::from(shard.count);
        Some(Self {
            metric: stop.metric.clone(),
            half_width: stop.half_width.map(|width| width * wider),
            relative: stop.relative.map(|width| width * wider),
            max_trials: stop.max_trials.div_ceil(count),
        })
    }

    /// The half width at which a point ends.
    fn width(&self, estimate: f64) -> f64 {
        let relative = self.relative.map(|relative| relative * estimate.abs());
        self.half_width.into_iter().chain(relative).fold(f64::INFINITY, f64::min)
    }

    /// Trials that a point will have had in the end: widths fall as the root of their number.
    fn trials(&self, look: &Look) -> u64 {
        if look.is_met {
            return look.trials;
        }
        let ratio = look.half_width / self.width(look.estimate);
        let needed = (look.trials as f64 * ratio * ratio).max(look.trials as f64 + 1.0);
        // A ratio of no estimate is infinite, and so is one over zero.
        if needed.is_finite() { (needed.round() as u64).min(self.max_trials) } else { self.max_trials }
    }
}

impl Progress {
    pub(crate) fn new(quiet: bool, stop: Option<&StopConfig>, shard: Shard) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::no_length() };
        bar.set_message("golden run and self-checks");
        bar.enable_steady_tick(Duration::from_millis(200));
        let asked = stop.and_then(|stop| Asked::new(stop, shard));
        let (points, expected) = (Vec::new(), Vec::new());
        Self {
            quiet,
            bar,
            asked,
            points,
            expected,
            point: None,
            accuracy: Running::default(),
            golden: Counts::default(),
        }
    }

    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Golden(golden) => self.golden(golden),
            Event::Plan(plan) => self.plan(plan),
            Event::Begin { todo, done } => self.begin(*todo, *done),
            Event::Trial(trial) => self.trial(trial),
            Event::Look(look) => self.look(look),
        }
    }

    fn golden(&mut self, golden: &Golden) {
        self.golden = golden.metrics.clone();
        self.points = golden.points.iter().map(|point| amount(point.amount)).collect();
        let score = match golden.distance {
            None => format!("golden accuracy {:.2} % on", 100.0 * golden.metrics.accuracy()),
            Some(_) => "golden run on".into(),
        };
        self.say(&format!(
            "{score} {}; self-checks passed; fault space {}",
            counted(golden.metrics.images, "image"),
            counted(golden.storage.bits, "bit"),
        ));
    }

    fn plan(&mut self, plan: &Plan) {
        self.expected = plan.points.iter().map(|point| point.trials.unwrap_or(0)).collect();
        self.say(&shown(plan));
    }

    fn begin(&mut self, todo: u64, done: u64) {
        let template = "{bar:24} {pos}/{len} trials  {speed}  {eta} left  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            let speed = |state: &ProgressState, out: &mut dyn Write| {
                // Writing to a string cannot fail.
                let _ = write!(out, "{:.1}/s", state.per_sec());
            };
            self.bar.set_style(style.with_key("speed", speed));
        }
        self.expected.resize(self.points.len(), 0);
        self.bar.set_length(todo + done);
        if self.asked.is_some() {
            // What the rule allows at most says nothing of how long it will take.
            self.set_length(done);
        }
        self.bar.set_position(done);
        self.bar.reset_eta();
        if done > 0 {
            let of = if self.asked.is_some() { "at most " } else { "" };
            self.say(&format!("resuming: {} of {of}{} done", grouped(done), counted(todo + done, "trial")));
        }
    }

    fn trial(&mut self, trial: &TrialRecord) {
        self.bar.inc(1);
        if self.asked.is_some() {
            return;
        }
        if self.point != Some(trial.point) {
            self.point = Some(trial.point);
            self.accuracy = Running::default();
        }
        let score = if trial.distance.is_some() { "within the threshold" } else { "accuracy" };
        trial.score(&self.golden).into_iter().for_each(|score| self.accuracy.push(score));
        let mean = self.accuracy.mean().unwrap_or(0.0);
        let label = amount(trial.amount());
        self.bar.set_message(format!("{label}: {score} {:.2} % so far", 100.0 * mean));
    }

    fn look(&mut self, look: &Look) {
        let Some(asked) = &self.asked else { return };
        let place = look.point as usize;
        let label = self.points.get(place).map_or("", String::as_str);
        let (estimate, half) = (percent(look.estimate), percent(look.half_width));
        let so_far = if look.is_met { "enough" } else { "so far" };
        let wanted = percent(asked.width(look.estimate));
        let trials = counted(look.trials, "trial");
        let text =
            format!("{label}: {} {estimate} ± {half} {so_far}, asked ± {wanted}, {trials}", asked.metric);
        let expected = asked.trials(look);
        if let Some(place) = self.expected.get_mut(place) {
            *place = expected;
        }
        if look.is_met {
            self.say(&text);
        }
        self.bar.set_message(text);
        self.set_length(0);
    }

    /// The length of the bar: the trials that are expected now, and no fewer than there are.
    fn set_length(&self, least: u64) {
        let expected = self.expected.iter().sum::<u64>();
        self.bar.set_length(expected.max(least).max(self.bar.position()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trials_left_follow_from_the_width() {
        let asked =
            |half_width, relative| Asked { metric: "err".into(), half_width, relative, max_trials: 10_000 };
        let look =
            |trials, estimate, half_width, is_met| Look { point: 0, trials, estimate, half_width, is_met };
        for (asked, look, wanted) in [
            (asked(Some(0.01), None), look(100, 0.2, 0.04, false), 1600),
            (asked(Some(0.01), None), look(100, 0.2, 0.01, true), 100),
            (asked(Some(0.01), None), look(100, 0.2, 0.5, false), 10_000),
            (asked(None, Some(0.1)), look(100, 0.2, 0.04, false), 400),
            (asked(Some(0.01), Some(0.1)), look(100, 0.05, 0.02, false), 1600),
            (asked(None, Some(0.1)), look(100, 0.0, 0.04, false), 10_000),
        ] {
            assert_eq!(asked.trials(&look), wanted);
        }
    }
}
