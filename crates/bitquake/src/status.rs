//! How far a campaign is, over all of its shards, wherever they run.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bitquake_campaign::slurm::{Queue, Submission, TaskState};
use bitquake_campaign::{Config, RunConfig, RunNote, SamplingConfig, SavedConfig, stop_text};
use bitquake_record::{Amount, CAMPAIGN_FILE, Lines, RecordError, ResultDir, TrialRecord};
use serde::Serialize;

use crate::error::Error;

/// How far the campaign in one result directory is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The result directory.
    pub dir: PathBuf,
    /// The campaign's name.
    pub name: String,
    /// Trials that are recorded, of those that the configuration asks for.
    pub finished: u64,
    /// Trials that are not.
    pub missing: u64,
    /// Trials a second of all shards that run now; none when that is not known.
    pub rate: Option<f64>,
    /// Seconds until the last of the running shards is done, if they go on as they did; none when nothing runs.
    pub seconds_left: Option<f64>,
    /// Every shard.
    pub shards: Vec<ShardStatus>,
    /// Every point.
    pub points: Vec<PointStatus>,
}

/// How far one shard is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardStatus {
    /// The shard, from 0.
    pub shard: u32,
    /// Its trials that are recorded, whoever ran them.
    pub finished: u64,
    /// Its trials that are not; none when the number of shards is not known.
    pub missing: Option<u64>,
    /// Whether a run holds its file now; none where the file system has no locks.
    pub running: Option<bool>,
    /// The machine of its last run.
    pub host: Option<String>,
    /// The process of its last run, on that machine.
    pub pid: Option<u32>,
    /// Trials a second in its last run; none before the first trial.
    pub rate: Option<f64>,
    /// When its file was written to, in seconds since 1970.
    pub last_write: Option<f64>,
    /// What Slurm, or the task itself, says of it, if it was submitted.
    pub task: Option<TaskState>,
}

/// How far one point is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PointStatus {
    /// The point, from 0.
    pub point: u32,
    /// Its amount of faults.
    pub amount: Amount,
    /// Trials that are recorded, of those that the configuration asks for.
    pub finished: u64,
    /// Trials that are not.
    pub missing: u64,
}

/// Looks at a result directory without disturbing who writes to it. `queue` is asked for submitted tasks.
///
/// # Errors
/// [`RecordError`] when the directory holds neither results nor a submission, or cannot be read.
pub fn status(dir: &Path, queue: Queue) -> Result<Status, Error> {
    if dir.is_file() {
        return Err(
            RecordError::Invalid { path: dir.to_owned(), reason: "not a result directory".into() }.into()
        );
    }
    let results = ResultDir::at(dir);
    let submission = Submission::read(dir)?;
    let config = configuration(dir, submission.as_ref())?;
    let done = Done::read(dir, &config.run(), config.fault().amounts().len())?;
    let golden = results.golden()?;
    let amounts = match &golden {
        Some(golden) => golden.points.iter().map(|plan| plan.amount).collect(),
        None => config.fault().amounts(),
    };
    let points: Vec<PointStatus> =
        (0..).zip(amounts).map(|(point, amount)| done.point(point, amount)).collect();
    let shards = shards(&results, &done, submission.as_ref(), queue);
    let running = || shards.iter().filter(|shard| shard.running == Some(true));
    let (finished, missing) =
        (points.iter().map(|p| p.finished).sum(), points.iter().map(|p| p.missing).sum());
    Ok(Status {
        dir: dir.to_owned(),
        name: config.name().to_owned(),
        finished,
        missing,
        rate: running().filter_map(|shard| shard.rate).reduce(|a, b| a + b),
        seconds_left: running().filter_map(ShardStatus::seconds_left).reduce(f64::max),
        points,
        shards,
    })
}

/// The shards of so many that have trials left to run, of a campaign that need not have begun.
///
/// # Errors
/// [`RecordError`] when records cannot be read.
pub(crate) fn unfinished(dir: &Path, config: &Config, count: u32) -> Result<Vec<u32>, Error> {
    let done = Done::read(dir, &config.run, config.fault.amounts().len())?;
    Ok((0..count)
        .zip(done.shards(count))
        .filter(|(_, (_, missing))| *missing > 0)
        .map(|(index, _)| index)
        .collect())
}

impl ShardStatus {
    fn seconds_left(&self) -> Option<f64> {
        Some(self.missing? as f64 / self.rate?)
    }
}

/// The campaign's own configuration, or, before it began, the one that was submitted.
fn configuration(dir: &Path, submission: Option<&Submission>) -> Result<SavedConfig, Error> {
    let own = dir.join(CAMPAIGN_FILE);
    let file = match submission {
        _ if own.is_file() => own,
        Some(_) => Submission::campaign_file(dir),
        None => {
            let reason = "not a result directory: it has no campaign.toml".into();
            return Err(RecordError::Invalid { path: dir.to_owned(), reason }.into());
        }
    };
    Ok(SavedConfig::read(&file)?)
}

/// Which trials are recorded, one bit each.
struct Done {
    /// Trials of a point, at most.
    trials: u64,
    /// The shards of which the stopping rule wants no more trials, and how many shards they said there are.
    settled: Vec<(u32, u32)>,
    points: Vec<Vec<u64>>,
    /// Records in each file, by shard.
    files: Vec<(u32, u64)>,
}

impl Done {
    fn read(dir: &Path, run: &RunConfig, points: usize) -> Result<Self, RecordError> {
        let results = ResultDir::at(dir);
        let trials = match run.sampling {
            SamplingConfig::Exhaustive => results.golden()?.map_or(0, |golden| golden.storage.bits),
            _ => run.most_trials(),
        };
        let words = usize::try_from(trials.div_ceil(64)).unwrap_or(usize::MAX);
        let mut done =
            Self { trials, settled: Vec::new(), points: vec![vec![0; words]; points], files: Vec::new() };
        for (shard, path) in results.trial_files()? {
            let mut lines = Lines::<TrialRecord>::open(&path)?;
            let mut records = 0;
            while let Some((trial, _)) = lines.next_record()? {
                done.add(trial.point, trial.trial);
                records += 1;
            }
            done.files.push((shard, records));
            let note = RunNote::read(&results, shard).filter(|_| run.stop.is_some());
            if let Some(note) = note.filter(|note| note.settled == Some(stop_text(run))) {
                done.settled.push((shard, note.shards));
            }
        }
        Ok(done)
    }

    fn add(&mut self, point: u32, trial: u64) {
        let words = self.points.get_mut(point as usize).filter(|_| trial < self.trials);
        if let Some(word) = words.and_then(|words| words.get_mut((trial / 64) as usize)) {
            *word |= 1 << (trial % 64);
        }
    }

    fn point(&self, point: u32, amount: Amount) -> PointStatus {
        let words = self.points.get(point as usize);
        let finished = words.map_or(0, |words| words.iter().map(|word| u64::from(word.count_ones())).sum());
        let is_settled = self.settled.first().is_some_and(|(_, of)| self.settled.len() == *of as usize);
        let missing = if is_settled { 0 } else { self.trials.saturating_sub(finished) };
        PointStatus { point, amount, finished, missing }
    }

    /// Finished and missing trials of each of so many shards.
    fn shards(&self, count: u32) -> Vec<(u64, u64)> {
        let mut shards = vec![(0, 0); count as usize];
        for trial in 0..self.trials {
            let has = |words: &&Vec<u64>| words[(trial / 64) as usize] >> (trial % 64) & 1 == 1;
            let finished = self.points.iter().filter(has).count() as u64;
            let shard = &mut shards[(trial % u64::from(count)) as usize];
            *shard = (shard.0 + finished, shard.1 + self.points.len() as u64 - finished);
        }
        for (index, _) in self.settled.iter().filter(|(_, of)| *of == count) {
            if let Some(shard) = shards.get_mut(*index as usize) {
                shard.1 = 0;
            }
        }
        shards
    }
}

/// The shards of the last run, or of the submission if none has begun, and any others that left a file.
fn shards(dir: &ResultDir, done: &Done, submission: Option<&Submission>, queue: Queue) -> Vec<ShardStatus> {
    let noted = |&(shard, _): &(u32, u64)| RunNote::read(dir, shard);
    let latest = done.files.iter().filter_map(noted).max_by(|a, b| a.began.total_cmp(&b.began));
    let is_whole = || matches!(done.files[..], [(0, _)]);
    let count = latest.map(|note| note.shards).or(submission.map(|submission| submission.shards));
    let count = count.or_else(|| is_whole().then_some(1));
    let known = count.map_or_else(Vec::new, |count| done.shards(count));
    let others = done.files.iter().map(|(shard, _)| *shard).filter(|shard| *shard as usize >= known.len());
    let indices = (0..known.len() as u32).chain(others);
    let tasks = submission.map(|submission| submission.states(dir.path(), queue));
    let of = |index: u32| {
        let task = tasks.as_ref().and_then(|tasks| tasks.get(&index).cloned());
        ShardStatus { task, ..look(dir, done, index, known.get(index as usize)) }
    };
    indices.map(of).collect()
}

/// What the files tell of one shard.
fn look(dir: &ResultDir, done: &Done, index: u32, known: Option<&(u64, u64)>) -> ShardStatus {
    let records = done.files.iter().find(|(file, _)| *file == index).map_or(0, |(_, records)| *records);
    let (finished, missing) = known.map_or((records, None), |known| (known.0, Some(known.1)));
    let path = dir.path().join(bitquake_record::shard_file(index));
    let last_write = fs::metadata(&path).and_then(|file| file.modified()).ok().and_then(since_1970);
    let note = RunNote::read(dir, index);
    let rate = note
        .as_ref()
        .zip(last_write)
        .and_then(|(note, last)| rate_of(finished.saturating_sub(note.finished), last - note.began));
    ShardStatus {
        shard: index,
        finished,
        missing,
        running: is_locked(&path),
        host: note.as_ref().map(|note| note.host.clone()),
        pid: note.map(|note| note.pid),
        rate,
        last_write,
        task: None,
    }
}

/// Trials a second; none for so short a time that the clock of the file system, which ticks every few milliseconds, tells nothing of it.
fn rate_of(trials: u64, seconds: f64) -> Option<f64> {
    const LEAST: f64 = 0.02;
    (trials > 0 && seconds >= LEAST).then(|| trials as f64 / seconds)
}

/// Whether a run writes to a shard's file; none where that cannot be told.
fn is_locked(path: &Path) -> Option<bool> {
    let Ok(file) = File::open(path) else { return Some(false) };
    match file.try_lock_shared() {
        Ok(()) => Some(false),
        Err(TryLockError::WouldBlock) => Some(true),
        Err(TryLockError::Error(_)) => None,
    }
}

fn since_1970(time: SystemTime) -> Option<f64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_trials_and_time() {
        assert_eq!(rate_of(20, 4.0), Some(5.0));
        assert_eq!(rate_of(20, 0.02), Some(1000.0));
        for (trials, seconds) in [(0, 4.0), (20, 2.3e-5), (20, 0.0), (20, -1.0)] {
            assert_eq!(rate_of(trials, seconds), None, "{trials} in {seconds} s");
        }
    }
}
