//! What was sent, and what became of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitquake_record::{RecordError, write_atomically};
use serde::{Deserialize, Serialize};

use super::queue::{Queue, Queued};

/// What a result directory keeps of its submission.
pub const SUBMISSION_FILE: &str = "submit.json";
const SCHEMA: u32 = 1;

/// `submit.json`: the jobs of a campaign, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Version of this file.
    pub schema: u32,
    /// How many shards the campaign is divided into.
    pub shards: u32,
    /// What was sent.
    pub jobs: Vec<SentJob>,
}

/// A job array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentJob {
    /// Its number.
    pub array: String,
    /// Its tasks: shards.
    pub shards: Vec<u32>,
    /// The number of the job that joins the trials after it.
    pub merge: Option<String>,
    /// When it was sent, in seconds since 1970.
    pub sent: u64,
}

/// What became of the last task that was sent for a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskState {
    /// The number of the job array.
    pub job: String,
    /// While it is in the queue, Slurm's word for it, such as `pending` or `running`. Then `finished`, `stopped` (it can be
    /// resumed), `failed` or `lost` (it ended without a word: killed, or its node failed). `unknown` where Slurm cannot be asked
    /// and the task has not told how it ended.
    pub state: String,
    /// How it ended: the exit code of `bitquake run`.
    pub exit: Option<i32>,
}

impl TaskState {
    /// Whether the shard must be sent again to be finished.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        ["failed", "lost", "stopped"].contains(&self.state.as_str())
    }
}

impl Submission {
    /// An empty one.
    #[must_use]
    pub fn new(shards: u32) -> Self {
        Self { schema: SCHEMA, shards, jobs: Vec::new() }
    }

    /// The folder for scripts, logs and exit codes.
    #[must_use]
    pub fn folder(dir: &Path) -> PathBuf {
        dir.join("slurm")
    }

    /// The campaign as it was submitted, which is the one that tasks run whatever happens to the original.
    #[must_use]
    pub fn campaign_file(dir: &Path) -> PathBuf {
        Self::folder(dir).join("campaign.toml")
    }

    /// The submission of a result directory, if it was submitted.
    ///
    /// # Errors
    /// [`RecordError`] when the file cannot be read or is of a newer schema.
    pub fn read(dir: &Path) -> Result<Option<Self>, RecordError> {
        let path = dir.join(SUBMISSION_FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RecordError::Io { path, action: "read", source }),
            Ok(text) => text,
        };
        match serde_json::from_str::<Self>(&text) {
            Ok(there) if there.schema > SCHEMA => Err(RecordError::Newer { path, found: there.schema }),
            Ok(there) => Ok(Some(there)),
            Err(error) => Err(RecordError::Invalid { path, reason: error.to_string() }),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn write(&self, dir: &Path) -> Result<(), RecordError> {
        let path = dir.join(SUBMISSION_FILE);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| RecordError::Invalid { path: path.clone(), reason: error.to_string() })?;
        write_atomically(&path, (text + "\n").as_bytes())
    }

    /// Its tasks that have not ended: the job, the shard and the state.
    #[must_use]
    pub fn live<'a>(&'a self, queued: &'a Queued) -> Vec<(&'a str, u32, &'a str)> {
        let is_ours = |job: &str| self.jobs.iter().any(|sent| sent.array == job);
        let tasks = queued.iter().filter(|((job, _), _)| is_ours(job));
        tasks.map(|((job, shard), state)| (job.as_str(), *shard, state.as_str())).collect()
    }

    /// What became of each shard's last task.
    #[must_use]
    pub fn states(&self, dir: &Path, queue: Queue) -> BTreeMap<u32, TaskState> {
        let queued = queue.tasks().ok();
        let last = self.jobs.iter().flat_map(|job| job.shards.iter().map(|&shard| (shard, &job.array)));
        let last: BTreeMap<u32, &String> = last.collect();
        last.into_iter().map(|(shard, job)| (shard, state(dir, job, shard, queued.as_ref()))).collect()
    }
}

fn state(dir: &Path, job: &str, shard: u32, queued: Option<&Queued>) -> TaskState {
    let in_queue = queued.and_then(|queued| queued.get(&(job.to_owned(), shard)));
    let exit = exit_code(dir, job, shard);
    let state = match (in_queue, exit) {
        (Some(state), _) => state.as_str(),
        (None, Some(0)) => "finished",
        (None, Some(4)) => "stopped",
        (None, Some(_)) => "failed",
        (None, None) if queued.is_some() => "lost",
        (None, None) => "unknown",
    };
    TaskState { job: job.to_owned(), state: state.to_owned(), exit: exit.filter(|_| in_queue.is_none()) }
}

/// How the task of a job ended, as its script wrote it down.
fn exit_code(dir: &Path, job: &str, shard: u32) -> Option<i32> {
    let text = std::fs::read_to_string(Submission::folder(dir).join(format!("exit-{shard}"))).ok()?;
    let (whose, code) = text.trim().split_once(' ')?;
    (whose == job).then(|| code.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(array: &str, shards: &[u32]) -> SentJob {
        SentJob { array: array.into(), shards: shards.into(), merge: None, sent: 1 }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(Submission::read(temp.path()).unwrap(), None);
        let submission = Submission { jobs: vec![sent("7", &[0, 1])], ..Submission::new(2) };
        submission.write(temp.path()).unwrap();
        assert_eq!(Submission::read(temp.path()).unwrap(), Some(submission));
        std::fs::write(temp.path().join(SUBMISSION_FILE), r#"{"schema":9,"shards":1,"jobs":[]}"#).unwrap();
        assert!(matches!(Submission::read(temp.path()), Err(RecordError::Newer { found: 9, .. })));
        std::fs::write(temp.path().join(SUBMISSION_FILE), "{}").unwrap();
        assert!(matches!(Submission::read(temp.path()), Err(RecordError::Invalid { .. })));
    }

    #[test]
    fn what_became_of_a_task() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(Submission::folder(temp.path())).unwrap();
        let end = |text: &str| std::fs::write(Submission::folder(temp.path()).join("exit-3"), text).unwrap();
        let running = Queued::from([(("7".to_owned(), 3), "running".to_owned())]);
        let others = Queued::from([(("6".to_owned(), 3), "running".to_owned())]);
        let seen = |queued: Option<&Queued>| {
            let state = state(temp.path(), "7", 3, queued);
            (state.state, state.exit)
        };
        assert_eq!(seen(Some(&others)), ("lost".into(), None));
        assert_eq!(seen(None), ("unknown".into(), None));
        end("6 0"); // of another job
        assert_eq!(seen(Some(&others)), ("lost".into(), None));
        for (text, wanted) in
            [("7 0\n", ("finished", 0)), ("7 4", ("stopped", 4)), ("7 137", ("failed", 137))]
        {
            end(text);
            assert_eq!(seen(Some(&others)), (wanted.0.into(), Some(wanted.1)));
        }
        assert_eq!(seen(Some(&running)), ("running".into(), None), "what the queue says goes first");
    }

    #[test]
    fn only_its_own_tasks_are_live() {
        let queued: Queued =
            [("7", 0), ("8", 1), ("9", 0)].map(|(job, task)| ((job.into(), task), "pending".into())).into();
        let submission = Submission { jobs: vec![sent("7", &[0, 1]), sent("8", &[1])], ..Submission::new(2) };
        assert_eq!(submission.live(&queued), [("7", 0, "pending"), ("8", 1, "pending")]);
    }
}
