//! A result directory: reading it, and adding to it without ever losing a finished trial.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::Hasher;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::SCHEMA;
use crate::error::RecordError;
use crate::finished::FinishedSet;
use crate::golden::Golden;
use crate::lines::{for_each_line, whole_bytes};
use crate::sorted::{HELD, Sorter};
use crate::trial::TrialRecord;

/// The resolved configuration.
pub const CAMPAIGN_FILE: &str = "campaign.toml";
/// The golden run.
pub const GOLDEN_FILE: &str = "golden.json";
/// Records reach the disk at least this often.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How long a shard's file may be locked before that means another run: who only looks holds it for a moment, and so does a
/// process that is being killed.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// The file of one shard's trials.
#[must_use]
pub fn shard_file(shard: u32) -> String {
    format!("trials-{shard}.jsonl")
}

/// A result directory.
#[derive(Clone, Debug)]
pub struct ResultDir {
    path: PathBuf,
}

/// Everything in a result directory that is not rebuilt from the rest.
#[derive(Clone, Debug)]
pub struct Results {
    /// The golden run.
    pub golden: Golden,
    /// The resolved configuration, as written.
    pub campaign: String,
    /// The finished trials of all shards, sorted by point and trial.
    pub trials: Vec<TrialRecord>,
}

impl ResultDir {
    /// The directory at a path, which need not exist yet.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory, with its parents.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn create(&self) -> Result<(), RecordError> {
        fs::create_dir_all(&self.path).map_err(RecordError::io(&self.path, "create the directory"))
    }

    /// The golden run, if it has been written.
    ///
    /// # Errors
    /// [`RecordError`] when the file is there and cannot be read, or is of a newer schema.
    pub fn golden(&self) -> Result<Option<Golden>, RecordError> {
        let path = self.path.join(GOLDEN_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = read(&path)?;
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| RecordError::invalid(&path, error))?;
        let found = value.get("schema").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        if found > SCHEMA {
            return Err(RecordError::Newer { path, found });
        }
        serde_json::from_value(value).map(Some).map_err(|error| RecordError::invalid(&path, error))
    }

    /// Writes the resolved configuration and the golden run, and returns the golden run that stands there then.
    ///
    /// The first golden run stays: shards that begin at the same moment in one directory each bring their own, with another
    /// time and perhaps another machine, and their trials must all have been compared with the same one. If the one that
    /// stands there is of another campaign, or has other outputs, nothing is written; the caller must compare.
    ///
    /// # Errors
    /// [`RecordError::Io`]; [`RecordError::Invalid`] when there are trials without a golden run, which could be of anything, or another
    /// configuration without one, which may be somebody's own file.
    pub fn write_golden(&self, campaign: &str, golden: &Golden) -> Result<Golden, RecordError> {
        let path = self.path.join(GOLDEN_FILE);
        // One after the other, where the file system knows locks; elsewhere the file that must not be there yet decides.
        let turn = File::open(&self.path).and_then(|folder| folder.lock().map(|()| folder));
        let there = self.golden()?;
        if there.is_none() {
            self.refuse_foreign_campaign(campaign)?;
        }
        if there.as_ref().is_none_or(|there| is_same_run(there, golden)) {
            write_atomically(&self.path.join(CAMPAIGN_FILE), campaign.as_bytes())?;
        }
        if let Some(there) = there {
            return Ok(there);
        }
        self.refuse_trials_of_unknown_origin()?;
        let text =
            serde_json::to_string_pretty(golden).map_err(|error| RecordError::invalid(&self.path, error))?;
        let is_first = write_new(&path, (text + "\n").as_bytes())?;
        drop(turn);
        if is_first { Ok(golden.clone()) } else { Ok(self.golden()?.unwrap_or_else(|| golden.clone())) }
    }

    fn refuse_foreign_campaign(&self, campaign: &str) -> Result<(), RecordError> {
        let path = self.path.join(CAMPAIGN_FILE);
        if !path.exists() || read(&path)? == campaign {
            return Ok(());
        }
        let reason = "is another configuration, and there is no golden.json beside it: it would be replaced. Give a folder of its own, or remove it";
        Err(RecordError::invalid(&path, reason))
    }

    fn refuse_trials_of_unknown_origin(&self) -> Result<(), RecordError> {
        for (_, path) in self.trial_files()? {
            if fs::metadata(&path).is_ok_and(|file| file.len() > 0) && !self.path.join(GOLDEN_FILE).exists() {
                let reason = "holds trials, but there is no golden.json that tells of which campaign";
                return Err(RecordError::invalid(&path, reason));
            }
        }
        Ok(())
    }

    /// The finished trials of all shards, sorted by point and trial; a torn last line is passed over.
    ///
    /// All are held in memory: for large campaigns use [`for_each_trial`](Self::for_each_trial).
    ///
    /// # Errors
    /// As for [`for_each_trial`](Self::for_each_trial).
    pub fn trials(&self) -> Result<Vec<TrialRecord>, RecordError> {
        let mut trials = Vec::new();
        self.for_each_trial(|trial| {
            trials.push(trial);
            Ok(())
        })?;
        trials.sort_by_key(|trial| (trial.point, trial.trial));
        Ok(trials)
    }

    /// Calls `each` with every finished trial of all shards, once, in the order of the files; a torn last line is passed over.
    /// Memory stays flat: one line, and one bit for each trial.
    ///
    /// # Errors
    /// [`RecordError`] when a file cannot be read, holds a line that is no trial or one that cannot be of this golden run, or two
    /// records of one trial disagree (that is told at the end); what `each` returns.
    pub fn for_each_trial(
        &self,
        mut each: impl FnMut(TrialRecord) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let (mut finished, mut repeated) = (FinishedSet::default(), FinishedSet::default());
        let golden = self.golden()?;
        for (_, path) in self.trial_files()? {
            for_each_line(&path, |trial: TrialRecord| {
                let wrong = golden.as_ref().and_then(|golden| trial.contradiction(golden));
                if let Some(wrong) = wrong {
                    let reason = format!("point {}, trial {}: {wrong}", trial.point, trial.trial);
                    return Err(RecordError::invalid(&path, reason));
                }
                if finished.insert(trial.point, trial.trial) {
                    each(trial)
                } else {
                    repeated.insert(trial.point, trial.trial);
                    Ok(())
                }
            })?;
        }
        if repeated.is_empty() { Ok(()) } else { self.check_equal(&repeated) }
    }

    /// The same in the order of points and trials. Large campaigns are sorted in unnamed files in the directory, or where it cannot
    /// be written in that for temporary files.
    ///
    /// # Errors
    /// As for [`for_each_trial`](Self::for_each_trial), and [`RecordError::Io`] when there is no room for sorting.
    pub fn for_each_in_order(
        &self,
        each: impl FnMut(TrialRecord) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let mut sorter = Sorter::new(&self.path, HELD);
        self.for_each_trial(|trial| sorter.push(trial))?;
        sorter.finish(each)
    }

    /// That all records of these trials tell the same but for their time.
    fn check_equal(&self, repeated: &FinishedSet) -> Result<(), RecordError> {
        // Digests in place of records keep a result directory that was copied into itself small.
        let mut digests: BTreeMap<(u32, u64), u64> = BTreeMap::new();
        for (_, path) in self.trial_files()? {
            for_each_line(&path, |trial: TrialRecord| {
                let (point, number) = (trial.point, trial.trial);
                if !repeated.contains(point, number) {
                    return Ok(());
                }
                let digest = digest(&trial.timeless())?;
                if *digests.entry((point, number)).or_insert(digest) == digest {
                    return Ok(());
                }
                let reason = format!("two different records of point {point}, trial {number}");
                Err(RecordError::invalid(&self.path, reason))
            })?;
        }
        Ok(())
    }

    /// Which trials are finished, in all shards. Records are only looked at as far as that needs.
    ///
    /// # Errors
    /// [`RecordError`] when a file cannot be read or holds a line without point and trial.
    pub fn finished(&self) -> Result<FinishedSet, RecordError> {
        let mut finished = FinishedSet::default();
        for (_, path) in self.trial_files()? {
            for_each_line(&path, |key: Key| {
                finished.insert(key.point, key.trial);
                Ok(())
            })?;
        }
        Ok(finished)
    }

    /// The record of one trial, if it is finished.
    ///
    /// # Errors
    /// As for [`for_each_trial`](Self::for_each_trial).
    pub fn trial(&self, point: u32, trial: u64) -> Result<Option<TrialRecord>, RecordError> {
        let mut found = None;
        self.for_each_trial(|record| {
            if (record.point, record.trial) == (point, trial) {
                found = Some(record);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The golden run, which must be there.
    ///
    /// # Errors
    /// [`RecordError`] when there is none, or it cannot be read.
    pub fn require_golden(&self) -> Result<Golden, RecordError> {
        let missing = || RecordError::invalid(&self.path, "not a result directory: it has no golden.json");
        self.golden()?.ok_or_else(missing)
    }

    /// The resolved configuration, as written.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn campaign(&self) -> Result<String, RecordError> {
        read(&self.path.join(CAMPAIGN_FILE))
    }

    /// All results.
    ///
    /// # Errors
    /// [`RecordError`] when there are none, or they cannot be read.
    pub fn read(&self) -> Result<Results, RecordError> {
        Ok(Results { golden: self.require_golden()?, campaign: self.campaign()?, trials: self.trials()? })
    }

    /// The files of trials with their shards' numbers, in the order of these. A directory that is not there has none.
    ///
    /// # Errors
    /// [`RecordError::Io`] when it cannot be listed.
    pub fn trial_files(&self) -> Result<Vec<(u32, PathBuf)>, RecordError> {
        let list = RecordError::io(&self.path, "list the directory");
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(list)?,
        };
        let shard_of = |name: &str| name.strip_prefix("trials-")?.strip_suffix(".jsonl")?.parse::<u32>().ok();
        let mut files: Vec<(u32, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| Some((shard_of(entry.file_name().to_str()?)?, entry.path())))
            .collect();
        files.sort_unstable();
        Ok(files)
    }
}

/// What says which trial a line is of.
#[derive(Deserialize)]
struct Key {
    point: u32,
    trial: u64,
}

/// A digest of all that a record says, the same for the same record within one process.
fn digest(trial: &TrialRecord) -> Result<u64, RecordError> {
    let text = serde_json::to_vec(trial).map_err(|error| RecordError::invalid(Path::new("trials"), error))?;
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&text);
    Ok(hasher.finish())
}

/// Whether trials may be compared with either of two golden runs.
fn is_same_run(a: &Golden, b: &Golden) -> bool {
    (&a.campaign, &a.outputs) == (&b.campaign, &b.outputs)
}

/// Opens the file of a shard for adding to it, and takes its lock, which ends with the file.
///
/// # Errors
/// [`RecordError::Locked`] when another run writes it.
pub fn lock_shard(dir: &ResultDir, shard: u32) -> Result<File, RecordError> {
    let path = dir.path.join(shard_file(shard));
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(RecordError::io(&path, "open for writing"))?;
        match file.try_lock() {
            // A file system without locks: better to run than to refuse.
            Ok(()) | Err(TryLockError::Error(_)) if is_at(&file, &path) => return Ok(file),
            // Merging put another file in its place between the two calls.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(RecordError::Locked { path });
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Whether an open file is the one that a path names now.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |data: &fs::Metadata| (data.dev(), data.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(open), Ok(named)) if place(&open) == place(&named))
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// Adds trials to the file of one shard.
#[derive(Debug)]
pub struct Appender {
    file: File,
    path: PathBuf,
    synced: Instant,
    /// Bytes that are whole lines; anything beyond is torn.
    whole: u64,
}

impl Appender {
    /// Opens the file of a shard, takes its lock and cuts off a torn last line. Only the end of the file is read.
    ///
    /// # Errors
    /// [`RecordError::Locked`] when another run writes it; [`RecordError::Line`] when more than the last line is torn. What
    /// stands before is not looked at: [`ResultDir::finished`] and [`ResultDir::for_each_trial`] do.
    pub fn open(dir: &ResultDir, shard: u32) -> Result<Self, RecordError> {
        let path = dir.path.join(shard_file(shard));
        let mut file = lock_shard(dir, shard)?;
        let whole = whole_bytes::<TrialRecord>(&mut file, &path)?;
        file.set_len(whole).map_err(RecordError::io(&path, "cut off a torn line"))?;
        Ok(Self { file, path, synced: Instant::now(), whole })
    }

    /// Adds one trial. On an error nothing of it stays in the file.
    ///
    /// # Errors
    /// [`RecordError::Io`], on a full disk for example.
    pub fn append(&mut self, trial: &TrialRecord) -> Result<(), RecordError> {
        let mut line =
            serde_json::to_string(trial).map_err(|error| RecordError::invalid(&self.path, error))?;
        line.push('\n');
        if let Err(source) = self.file.write_all(line.as_bytes()) {
            // If even this fails, the next reader passes over the torn line.
            let _ = self.file.set_len(self.whole);
            return Err(RecordError::io(&self.path, "write a trial")(source));
        }
        self.whole += line.len() as u64;
        if self.synced.elapsed() >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    /// Makes sure that every trial added is on the disk.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn sync(&mut self) -> Result<(), RecordError> {
        self.synced = Instant::now();
        self.file.sync_data().map_err(RecordError::io(&self.path, "write to the disk"))?;
        self.file.seek(SeekFrom::End(0)).map_err(RecordError::io(&self.path, "seek"))?;
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, RecordError> {
    fs::read_to_string(path).map_err(RecordError::io(path, "read"))
}

/// Writes a whole file or nothing: a temporary file in the same folder is filled, synced and renamed.
///
/// # Errors
/// [`RecordError::Io`]; then the old file, if any, is as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(RecordError::io(path, "write"))?;
    file.commit()
}

/// A file that appears under its name when it is whole; dropped before, nothing of it stays.
#[derive(Debug)]
pub struct AtomicFile {
    file: BufWriter<tempfile::NamedTempFile>,
    path: PathBuf,
}

impl AtomicFile {
    /// A temporary file in the folder of `path`.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        // What a link leads to is replaced, not the link.
        let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file =
            builder.prefix(".bitquake-").tempfile_in(folder).map_err(RecordError::io(path, "write"))?;
        Ok(Self { file: BufWriter::new(file), path: path.to_owned() })
    }

    /// Syncs the file and gives it its name.
    ///
    /// # Errors
    /// [`RecordError::Io`]; then the old file, if any, is as it was.
    pub fn commit(self) -> Result<(), RecordError> {
        let Self { file, path } = self;
        let finish = || {
            let file = file.into_inner()?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        finish().map_err(RecordError::io(&path, "write"))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// As [`write_atomically`], but a file that is there stays; returns whether there was none.
fn write_new(path: &Path, bytes: &[u8]) -> Result<bool, RecordError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(RecordError::io(path, "write"))?;
    let AtomicFile { file, path } = file;
    let finish = || {
        let file = file.into_inner()?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.error),
        }
    };
    finish().map_err(RecordError::io(&path, "write"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::tests::record;

    fn dir() -> (tempfile::TempDir, ResultDir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = ResultDir::at(temp.path().join("a/b"));
        dir.create().unwrap();
        (temp, dir)
    }

    #[test]
    fn appends_and_reads_in_order_over_shards() {
        let (_temp, dir) = dir();
        let mut one = Appender::open(&dir, 1).unwrap();
        one.append(&record(0, 1, 90)).unwrap();
        one.append(&record(0, 0, 91)).unwrap();
        one.sync().unwrap();
        Appender::open(&dir, 0).unwrap().append(&record(1, 0, 50)).unwrap();
        let keys: Vec<_> = dir.trials().unwrap().iter().map(|t| (t.point, t.trial)).collect();
        assert_eq!(keys, [(0, 0), (0, 1), (1, 0)]);
    }

    #[test]
    fn a_torn_last_line_is_cut_off_and_written_again() {
        let (_temp, dir) = dir();
        let path = dir.path().join(shard_file(0));
        let whole = serde_json::to_string(&record(0, 0, 90)).unwrap() + "\n";
        for cut in 0..whole.len() {
            fs::write(&path, format!("{whole}{}", &whole[..cut])).unwrap();
            assert_eq!(dir.trials().unwrap().len(), 1, "cut at {cut}");
            let mut appender = Appender::open(&dir, 0).unwrap();
            appender.append(&record(0, 1, 80)).unwrap();
            drop(appender);
            assert_eq!(dir.trials().unwrap().len(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn garbage_in_the_middle_is_an_error_with_its_line() {
        let (_temp, dir) = dir();
        let whole = serde_json::to_string(&record(0, 0, 90)).unwrap();
        fs::write(dir.path().join(shard_file(0)), format!("{whole}\n{{}}\n{whole}\n")).unwrap();
        assert!(matches!(dir.trials(), Err(RecordError::Line { line: 2, .. })));
        assert!(matches!(dir.finished(), Err(RecordError::Line { line: 2, .. })));
        // Who adds only looks at the end, where one line may be torn, but not two.
        assert!(Appender::open(&dir, 0).is_ok());
        for torn in ["{}\n", "{}\n{\"po"] {
            fs::write(dir.path().join(shard_file(0)), format!("{whole}\n{whole}\n{{}}\n{torn}")).unwrap();
            assert!(matches!(Appender::open(&dir, 0), Err(RecordError::Line { line: 3, .. })), "{torn}");
            assert!(matches!(dir.trials(), Err(RecordError::Line { line: 3, .. })), "{torn}");
        }
    }

    #[test]
    fn a_last_line_of_zeros_is_cut_off() {
        let (_temp, dir) = dir();
        let path = dir.path().join(shard_file(0));
        let whole = serde_json::to_string(&record(0, 0, 90)).unwrap() + "\n";
        let zeros = "\0".repeat(200_000);
        for torn in [zeros.clone(), zeros.clone() + "\n", format!("{zeros}\n{{\"point"), "\n".into()] {
            for before in [String::new(), whole.clone(), whole.repeat(1000)] {
                fs::write(&path, before.clone() + &torn).unwrap();
                assert_eq!(dir.trials().unwrap().len(), usize::from(!before.is_empty()));
                drop(Appender::open(&dir, 0).unwrap());
                assert_eq!(fs::read_to_string(&path).unwrap(), before);
            }
        }
    }

    #[test]
    fn what_is_finished() {
        let (_temp, dir) = dir();
        assert!(dir.finished().unwrap().is_empty() && dir.trial(0, 0).unwrap().is_none());
        let mut appender = Appender::open(&dir, 0).unwrap();
        for (point, trial) in [(0, 2), (1, 0), (0, 0)] {
            appender.append(&record(point, trial, 90 + trial)).unwrap();
        }
        assert_eq!(dir.finished().unwrap().iter().collect::<Vec<_>>(), [(0, 0), (0, 2), (1, 0)]);
        assert_eq!(dir.trial(0, 2).unwrap(), Some(record(0, 2, 92)));
        assert_eq!(dir.trial(0, 1).unwrap(), None);
    }

    #[test]
    fn two_runs_never_write_one_shard() {
        let (_temp, dir) = dir();
        let first = Appender::open(&dir, 0).unwrap();
        assert!(matches!(Appender::open(&dir, 0), Err(RecordError::Locked { .. })));
        drop(first);
        assert!(Appender::open(&dir, 0).is_ok());
    }

    #[test]
    fn shards_that_disagree_are_refused() {
        let (_temp, dir) = dir();
        Appender::open(&dir, 0).unwrap().append(&record(0, 0, 90)).unwrap();
        Appender::open(&dir, 1).unwrap().append(&TrialRecord { seconds: 9.0, ..record(0, 0, 90) }).unwrap();
        assert_eq!(dir.trials().unwrap().len(), 1);
        Appender::open(&dir, 1).unwrap().append(&record(0, 0, 91)).unwrap();
        assert!(dir.trials().unwrap_err().to_string().contains("point 0, trial 0"));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let (_temp, dir) = dir();
        fs::write(dir.path().join(GOLDEN_FILE), r#"{"schema": 99}"#).unwrap();
        assert!(matches!(dir.golden(), Err(RecordError::Newer { found: 99, .. })));
        fs::write(dir.path().join(GOLDEN_FILE), r#"{"schema": 1}"#).unwrap();
        assert!(matches!(dir.golden(), Err(RecordError::Invalid { .. })));
    }

    fn golden(outputs: &str, seconds: f64) -> Golden {
        let engine =
            crate::Engine { name: String::new(), version: String::new(), settings: String::new(), batch: 1 };
        let machine = crate::Machine { cpu: String::new(), threads: 1, system: String::new() };
        let metrics =
            crate::Counts { images: 1, classes: 1, correct: 1, top5_correct: 1, ..crate::Counts::default() };
        serde_json::from_value(serde_json::json!({
            "schema": SCHEMA, "bitquake": "", "name": "", "campaign": "id", "identity": {}, "engine": engine,
            "machine": machine, "storage": { "model": "", "bits": 1, "tensors": [] }, "points": [],
            "metrics": metrics, "outputs": outputs, "seconds": seconds,
        }))
        .unwrap()
    }

    #[test]
    fn somebodys_campaign_file_is_not_replaced() {
        let (_temp, dir) = dir();
        let path = dir.path().join(CAMPAIGN_FILE);
        fs::write(&path, "mine").unwrap();
        let said = dir.write_golden("other", &golden("a", 1.0)).unwrap_err().to_string();
        assert!(said.contains("it would be replaced"), "{said}");
        assert!(fs::read_to_string(&path).unwrap() == "mine" && dir.golden().unwrap().is_none());
        // What a run left that was killed before it wrote its golden run.
        dir.write_golden("mine", &golden("a", 1.0)).unwrap();
    }

    #[test]
    fn trials_that_cannot_be_of_the_golden_run_are_told() {
        let (_temp, dir) = dir();
        let plan = crate::PointPlan::new(0, crate::Amount::Rate(1e-5));
        dir.write_golden("", &Golden { points: vec![plan], ..golden("a", 1.0) }).unwrap();
        let of = |rate: Option<f64>, count: Option<u64>| TrialRecord { rate, count, ..record(0, 0, 90) };
        let path = dir.path().join(shard_file(0));
        let said = |trial: TrialRecord| {
            fs::write(&path, serde_json::to_string(&trial).unwrap() + "\n").unwrap();
            dir.trials().map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(said(of(Some(1e-5), None)), Ok(()));
        for other in [of(Some(1e-4), None), of(None, Some(1))] {
            let said = said(other).unwrap_err();
            assert!(said.contains("point 0, trial 0: is not of rate 0.00001, as golden.json says"), "{said}");
        }
        let impossible = TrialRecord { correct: 1000, ..of(Some(1e-5), None) };
        let said = said(impossible).unwrap_err();
        assert!(said.contains("correct is 1000 of 100 images"), "{said}");
    }

    #[test]
    fn the_first_golden_run_stays_whoever_comes_at_the_same_moment() {
        let (_temp, dir) = dir();
        let write = |second: u32| dir.write_golden("same", &golden("a", second.into())).unwrap();
        let all: Vec<Golden> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8).map(|second| scope.spawn(move || write(second))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let there = dir.golden().unwrap().unwrap();
        assert!(all.iter().all(|golden| *golden == there), "all go on with the one that stands there");
        // One with other outputs gets the one that is there, and must not touch anything.
        assert_eq!(dir.write_golden("other", &golden("b", 1.0)).unwrap(), there);
        assert_eq!(fs::read_to_string(dir.path().join(CAMPAIGN_FILE)).unwrap(), "same");
        dir.write_golden("more trials", &there).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(CAMPAIGN_FILE)).unwrap(), "more trials");
    }

    #[test]
    fn trials_of_unknown_origin_are_not_given_one() {
        let (_temp, dir) = dir();
        Appender::open(&dir, 1).unwrap();
        dir.write_golden("", &golden("a", 1.0)).expect("an empty file is of nothing");
        Appender::open(&dir, 1).unwrap().append(&record(0, 0, 90)).unwrap();
        fs::remove_file(dir.path().join(GOLDEN_FILE)).unwrap();
        let error = dir.write_golden("", &golden("a", 1.0)).unwrap_err();
        assert!(error.to_string().contains("there is no golden.json"), "{error}");
        assert!(dir.golden().unwrap().is_none());
    }

    #[test]
    fn a_shard_whose_file_was_replaced_is_not_written_to_any_more() {
        let (_temp, dir) = dir();
        let path = dir.path().join(shard_file(0));
        let old = lock_shard(&dir, 0).unwrap();
        fs::write(dir.path().join("new"), "").unwrap();
        fs::rename(dir.path().join("new"), &path).unwrap();
        let new = lock_shard(&dir, 0).expect("the lock of the old file does not count");
        assert!(is_at(&new, &path) && !is_at(&old, &path));
    }

    #[test]
    fn a_moment_of_looking_does_not_stop_a_run() {
        let (_temp, dir) = dir();
        let looking = lock_shard(&dir, 0).unwrap();
        std::thread::scope(|scope| {
            let run = scope.spawn(|| Appender::open(&dir, 0).map(drop));
            std::thread::sleep(Duration::from_millis(60));
            drop(looking);
            run.join().unwrap().unwrap();
        });
    }

    #[test]
    fn whole_files_or_nothing() {
        let (temp, dir) = dir();
        let path = dir.path().join("x");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_atomically(&temp.path().join("missing/x"), b"").is_err());
    }

    #[test]
    fn files_are_listed_by_the_number_of_their_shard() {
        let temp = tempfile::tempdir().unwrap();
        assert!(ResultDir::at(temp.path().join("missing")).trial_files().unwrap().is_empty());
        for name in ["trials-10.jsonl", "trials-2.jsonl", "trials-x.jsonl", "golden.json", "trials-1.json"] {
            fs::write(temp.path().join(name), "").unwrap();
        }
        let shards: Vec<u32> =
            ResultDir::at(temp.path()).trial_files().unwrap().into_iter().map(|(shard, _)| shard).collect();
        assert_eq!(shards, [2, 10]);
    }
}
