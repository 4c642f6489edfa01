//! What the benches of campaigns share: running a campaign in a folder of its own, and what its records say.

#![allow(dead_code, reason = "each bench uses its part")]

pub mod resnet;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bitquake_campaign::{Campaign, Config, Event, Look, RunOptions, Shard, read_config};
use bitquake_record::{Golden, METRICS, Metric, ResultDir, TrialRecord};
use bitquake_stats::Moments;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Every evaluation from the start to the end, of all images.
pub const NAIVE: [&str; 2] =
    ["run.images=all", "run.reuse={ prefix = false, reconvergence = false, splice = false }"];

/// The shipped campaign file on all 10,000 test images.
pub fn fashion(settings: &[&str]) -> Outcome<Config> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/campaign-full.toml");
    configure(example, settings)
}

/// A campaign file with settings, and with those of the command line: `key=value`.
pub fn configure(file: PathBuf, settings: &[&str]) -> Outcome<Config> {
    let asked = std::env::args().skip(1).filter(|argument| argument.contains('='));
    let settings: Vec<String> = settings.iter().map(ToString::to_string).chain(asked).collect();
    Ok(read_config(&[file], &settings)?)
}

/// A finished campaign.
pub struct Ran {
    pub dir: ResultDir,
    pub golden: Golden,
    pub trials: u64,
    /// The last look of its rule.
    pub look: Option<Look>,
    /// From reading the model to the last record.
    pub seconds: f64,
    /// Of which before the first trial.
    pub set_up: f64,
    _folder: tempfile::TempDir,
}

/// Runs a campaign in a new folder.
pub fn run(config: Config) -> Outcome<Ran> {
    let folder = tempfile::tempdir()?;
    let dir = ResultDir::at(folder.path());
    let stop = AtomicBool::new(false);
    let options = RunOptions { shard: Shard::default(), stop: &stop };
    let (mut look, mut trials, mut set_up) = (None, 0, 0.0);
    let start = Instant::now();
    let (campaign, model) = Campaign::prepare(config)?;
    campaign.run(model, &dir, options, |event| match event {
        Event::Begin { .. } => set_up = start.elapsed().as_secs_f64(),
        Event::Look(seen) => look = Some(seen),
        Event::Trial(_) => trials += 1,
        Event::Golden(_) => {}
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let golden = dir.golden()?.ok_or("a campaign without a golden run")?;
    Ok(Ran { dir, golden, trials, look, seconds, set_up, _folder: folder })
}

impl Ran {
    /// The moments of a metric over the trials.
    pub fn moments(&self, metric: &str) -> Outcome<Moments> {
        let metric = metric_named(metric)?;
        let mut moments = Moments::new();
        for trial in self.dir.trials()? {
            if let Some(value) = metric.of(&trial, &self.golden.metrics) {
                moments.push(value)?;
            }
        }
        Ok(moments)
    }

    /// Seconds of a trial, the set-up left out.
    pub fn seconds_a_trial(&self) -> f64 {
        (self.seconds - self.set_up) / self.trials.max(1) as f64
    }

    pub fn records(&self) -> Outcome<Vec<TrialRecord>> {
        Ok(self.dir.trials()?.iter().map(TrialRecord::timeless).collect())
    }
}

pub fn metric_named(name: &str) -> Outcome<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name).ok_or_else(|| format!("no metric `{name}`").into())
}

/// Whether a name was given on the command line, or none at all.
pub fn is_asked(name: &str) -> bool {
    let mut names =
        std::env::args().skip(1).filter(|name| !name.starts_with('-') && !name.contains('=')).peekable();
    names.peek().is_none() || names.any(|asked| asked == name)
}
