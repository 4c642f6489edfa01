//! Shards that ran in several directories, or in one, made one result directory with one file of trials.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bitquake_campaign::RunNote;
use bitquake_config::identity_difference;
use bitquake_record::{
    CAMPAIGN_FILE, Golden, Lines, RecordError, ResultDir, TrialRecord, lock_shard, shard_file,
};
use serde::Serialize;

use crate::error::Error;
use crate::sorted::{Key, Sorter};

/// Why results cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// No directory was given.
    #[error("name the result directories to merge")]
    Nothing,
    /// Not of one campaign.
    #[error("{}: results of another campaign than {}; {difference}", other.display(), first.display())]
    OtherCampaign {
        /// The directory to compare with.
        first: PathBuf,
        /// The one that does not belong to it.
        other: PathBuf,
        /// What differs.
        difference: String,
    },
    /// Of one campaign, but computed by another engine.
    #[error("{}: its trials ran in {its}, those of {} in {engine}: they cannot be joined", other.display(), first.display())]
    OtherEngine {
        /// The directory to compare with.
        first: PathBuf,
        /// Its engine.
        engine: String,
        /// The one that does not belong to it.
        other: PathBuf,
        /// The engine of that.
        its: String,
    },
    /// Of one campaign, but with other outputs without faults.
    #[error("{}: its golden run has other outputs than that of {} (engine or processor differ): their trials cannot be joined", other.display(), first.display())]
    OtherGolden {
        /// The directory to compare with.
        first: PathBuf,
        /// The one that does not belong to it.
        other: PathBuf,
    },
    /// Of one campaign, whose pilots settled on other numbers of images.
    #[error("{}: its trials of point {point} run on other numbers of images than those of {} (images = \"auto\"): they cannot be joined", other.display(), first.display())]
    OtherImages {
        /// The directory to compare with.
        first: PathBuf,
        /// The one that does not belong to it.
        other: PathBuf,
        /// The point.
        point: u32,
    },
    /// A trial has two records that do not agree.
    #[error("{}: its record of point {point}, trial {trial} differs from that in {} in more than its time: their trials cannot be joined", other.display(), first.display())]
    Disagree {
        /// The file with the record to compare with.
        first: PathBuf,
        /// The file whose record is another, or the same file.
        other: PathBuf,
        /// The point.
        point: u32,
        /// The trial.
        trial: u64,
    },
}

/// What was joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// Directories read.
    pub dirs: u64,
    /// Trials in the joined directory.
    pub trials: u64,
    /// Records of trials that were there already, and agreed.
    pub duplicates: u64,
}

/// Joins the trials of result directories into `out`, sorted by point and trial, in one file. What `out` holds before belongs
/// to them; it may be one of them, and then its shards become one file in place.
///
/// Killed at any moment, no record is lost, and merging again completes it. Memory does not grow with the trials.
///
/// # Errors
/// [`MergeError`] when the directories do not belong together, and [`RecordError::Locked`] when a run still writes to `out`.
/// Then `out` holds what it held.
pub fn merge(dirs: &[PathBuf], out: &ResultDir) -> Result<Merged, Error> {
    let mut sources = dirs.to_vec();
    if out.golden()?.is_some() && !dirs.iter().any(|dir| is_same_dir(dir, out.path())) {
        sources.push(out.path().to_owned());
    }
    let (campaign, golden) = common(&sources)?;
    let target = Target::lock(out)?;
    let mut merged = Merged { dirs: sources.len() as u64, trials: 0, duplicates: 0 };
    let joined = join(&sources, out, &mut merged)?;
    let there = out.write_golden(&campaign, &golden)?;
    compare((out.path(), &there), (&sources[0], &golden))?;
    target.replace(joined)?;
    Ok(merged)
}

/// The result directory that is written, all of whose shards are locked, so that nobody writes to a file that is about to be replaced. Dropped
/// before that, it takes away the file and the folder that it made.
struct Target<'a> {
    out: &'a ResultDir,
    locked: Vec<(u32, File)>,
    made_folder: bool,
    /// The file that the trials will be in is there only because it had to be locked.
    made_file: bool,
}

impl<'a> Target<'a> {
    fn lock(out: &'a ResultDir) -> Result<Self, RecordError> {
        let made_folder = !out.path().exists();
        out.create()?;
        let found: BTreeSet<u32> = out.trial_files()?.into_iter().map(|(shard, _)| shard).collect();
        let mut target = Self { out, locked: Vec::new(), made_folder, made_file: !found.contains(&0) };
        for shard in found.into_iter().chain(target.made_file.then_some(0)) {
            target.locked.push((shard, lock_shard(out, shard)?));
        }
        Ok(target)
    }

    fn file(&self) -> PathBuf {
        self.out.path().join(shard_file(0))
    }

    /// Puts the joined trials in the place of all shards.
    fn replace(mut self, joined: tempfile::NamedTempFile) -> Result<(), RecordError> {
        let path = self.file();
        joined.persist(&path).map_err(|error| io(&path, "write")(error.error))?;
        (self.made_folder, self.made_file) = (false, false);
        sync_dir(self.out.path());
        remove_joined(self.out, std::mem::take(&mut self.locked))
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        // Nothing that counts is lost if these fail. A file with trials is of a run that began and ended since the look around.
        let mut locked = self.locked.iter().filter(|(shard, _)| *shard == 0);
        if self.made_file && locked.any(|(_, file)| file.metadata().is_ok_and(|file| file.len() == 0)) {
            _ = fs::remove_file(self.file());
        }
        if self.made_folder {
            _ = fs::remove_dir(self.out.path());
        }
    }
}

/// The configuration of the first directory, and the golden run that all have.
fn common(dirs: &[PathBuf]) -> Result<(String, Golden), Error> {
    let first = dirs.first().ok_or(MergeError::Nothing)?;
    let golden = golden(first)?;
    for dir in &dirs[1..] {
        compare((dir, &self::golden(dir)?), (first, &golden))?;
    }
    let path = first.join(CAMPAIGN_FILE);
    Ok((fs::read_to_string(&path).map_err(io(&path, "read"))?, golden))
}

fn golden(dir: &Path) -> Result<Golden, RecordError> {
    let missing = || RecordError::Invalid {
        path: dir.to_owned(),
        reason: "not a result directory: it has no golden.json".into(),
    };
    ResultDir::at(dir).golden()?.ok_or_else(missing)
}

fn compare((other, its): (&Path, &Golden), (first, golden): (&Path, &Golden)) -> Result<(), MergeError> {
    let (first, other) = (first.to_owned(), other.to_owned());
    if its.campaign != golden.campaign {
        let difference = identity_difference(&its.identity, &golden.identity);
        return Err(MergeError::OtherCampaign { first, other, difference });
    }
    if its.engine.name != golden.engine.name {
        let (engine, its) = (golden.engine.name.clone(), its.engine.name.clone());
        return Err(MergeError::OtherEngine { first, engine, other, its });
    }
    if its.outputs != golden.outputs {
        return Err(MergeError::OtherGolden { first, other });
    }
    let points = golden.points.iter().zip(&its.points);
    match points.into_iter().find(|(one, another)| one.images != another.images) {
        Some((plan, _)) => Err(MergeError::OtherImages { first, other, point: plan.point }),
        None => Ok(()),
    }
}

/// All trials, each once, in a file that has no name yet.
fn join(dirs: &[PathBuf], out: &ResultDir, merged: &mut Merged) -> Result<tempfile::NamedTempFile, Error> {
    let failed = |source| RecordError::Io { path: out.path().to_owned(), action: "write the trials", source };
    let mut sorter = Sorter::new(out.path());
    let mut files = Vec::new();
    for dir in dirs {
        for (_, path) in ResultDir::at(dir).trial_files()? {
            let mut lines = Lines::<TrialRecord>::open(&path)?;
            while let Some((trial, line)) = lines.next_record()? {
                sorter.push((trial.point, trial.trial, files.len() as u32), line).map_err(failed)?;
            }
            files.push(path);
        }
    }
    let file = temporary(out.path()).map_err(failed)?;
    let mut unique = Unique { out: BufWriter::new(file), files: &files, last: None, merged };
    sorter.finish(|key, line| unique.put(key, line)).map_err(|error| match error {
        JoinError::Io(source) => Error::from(failed(source)),
        JoinError::Merge(error) => error.into(),
    })?;
    let file = unique.out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    Ok(file)
}

fn temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".bitquake-").tempfile_in(folder)
}

/// Lines in order, each trial once.
struct Unique<'a> {
    out: BufWriter<tempfile::NamedTempFile>,
    files: &'a [PathBuf],
    last: Option<(Key, Vec<u8>)>,
    merged: &'a mut Merged,
}

enum JoinError {
    Io(std::io::Error),
    Merge(MergeError),
}

impl From<std::io::Error> for JoinError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl Unique<'_> {
    fn put(&mut self, key: Key, line: &[u8]) -> Result<(), JoinError> {
        let (point, trial, from) = key;
        let same = |last: &&(Key, Vec<u8>)| (last.0.0, last.0.1) == (point, trial);
        if let Some(((.., before), last)) = self.last.as_ref().filter(same) {
            if !agree(last, line) {
                let [first, other] = [*before, from].map(|file| self.files[file as usize].clone());
                return Err(JoinError::Merge(MergeError::Disagree { first, other, point, trial }));
            }
            self.merged.duplicates += 1;
            return Ok(());
        }
        self.out.write_all(line)?;
        self.merged.trials += 1;
        self.last = Some((key, line.to_vec()));
        Ok(())
    }
}

/// Whether two records tell the same but for their time.
fn agree(a: &[u8], b: &[u8]) -> bool {
    let read = |line| serde_json::from_slice::<TrialRecord>(line).map(|trial| trial.timeless());
    a == b || matches!((read(a), read(b)), (Ok(a), Ok(b)) if a == b)
}

/// Removes the files of shards whose trials are in the first file now. One that began meanwhile stays: it was not locked.
fn remove_joined(out: &ResultDir, locked: Vec<(u32, File)>) -> Result<(), RecordError> {
    for (shard, _lock) in locked {
        let _ = fs::remove_file(RunNote::path(out, shard)); // only for people
        if shard != 0 {
            let path = out.path().join(shard_file(shard));
            fs::remove_file(&path).map_err(io(&path, "remove"))?;
        }
    }
    Ok(())
}

/// Makes a renamed file survive a crash of the system before the files it replaces are gone.
fn sync_dir(dir: &Path) {
    if let Ok(folder) = File::open(dir) {
        let _ = folder.sync_all(); // not every file system can
    }
}

fn is_same_dir(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Io { path, action, source }
}
