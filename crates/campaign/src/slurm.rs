//! Campaigns on a Slurm cluster: a job array with one task a shard, and a job after it that joins their trials.
//!
//! [`Plan`] is what would be sent, as text; [`Queue`] sends it and asks what became of it; [`Submission`] is what
//! `submit.json` in the result directory remembers. All shards share that directory, so whatever a task had recorded when it
//! ended is there when its shard is sent again.

mod plan;
mod queue;
mod submission;

pub use plan::{Job, Plan, Resources};
pub use queue::{Queue, Queued};
pub use submission::{SUBMISSION_FILE, SentJob, Submission, TaskState};

use std::path::PathBuf;

/// Why a campaign cannot be sent to Slurm.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlurmError {
    /// A program of Slurm is missing.
    #[error(
        "cannot start `{program}`: {source}; submit from a machine of a Slurm cluster, or add --dry-run to see the scripts"
    )]
    Missing {
        /// The program.
        program: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A program of Slurm refused.
    #[error("`{program}` failed: {said}")]
    Refused {
        /// The program.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// No tasks.
    #[error("--tasks 0: give the number of tasks, which is the number of shards")]
    NoTasks,
    /// More tasks than Slurm lets a job array have.
    #[error("--tasks {tasks} is more than {most}, the most that a job array can have")]
    TooManyTasks {
        /// As many were asked for.
        tasks: u32,
        /// As many there can be.
        most: u32,
    },
    /// A path that Slurm cannot be given.
    #[error("{}: Slurm cannot be given a path with {what}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// What it contains.
        what: &'static str,
    },
    /// Tasks of another division into shards are in the queue still.
    #[error(
        "job {job} with {shards} shards is in the queue still: give --tasks {shards}, or `scancel {job}` first"
    )]
    OtherShards {
        /// The job.
        job: String,
        /// Its number of shards.
        shards: u32,
    },
}
