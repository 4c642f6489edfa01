//! Sending a campaign to a Slurm cluster, and sending again what did not finish.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bitquake_campaign::slurm::{Job, Plan, Queue, Resources, SentJob, SlurmError, Submission};
use bitquake_campaign::{Campaign, Config, resolved_toml};
use bitquake_record::{RecordError, ResultDir, write_atomically};
use serde::Serialize;

use crate::error::Error;
use crate::status::unfinished;

/// How a campaign is divided and what each part may use.
#[derive(Clone, Debug)]
pub struct SubmitOptions {
    /// Tasks of the job array, which is the number of shards.
    pub tasks: u32,
    /// What each task asks for.
    pub resources: Resources,
    /// The executable that tasks start, by an absolute path that the nodes know too.
    pub program: PathBuf,
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The result directory, absolute.
    pub dir: PathBuf,
    /// Shards with trials to run that are in the queue already, or run.
    pub waiting: Vec<u32>,
    /// The scripts; none when every shard is finished or waiting.
    pub plan: Option<Plan>,
    campaign: String,
    submission: Submission,
    /// Tasks of earlier jobs, which the join must wait for too.
    live: Vec<String>,
}

/// Slurm's own bound of `MaxArraySize` (slurm.conf(5)) is 4,000,001, and numbers of tasks stay below it.
const MOST_TASKS: u32 = 4_000_001;

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// The number of the job array.
    pub array: String,
    /// The number of the job that joins the trials.
    pub merge: String,
    /// The shards sent.
    pub shards: Vec<u32>,
}

/// Reads the model and the data once, as every task will, and finds which shards have trials to run and are not in the queue.
/// `queue` is none when Slurm is not to be asked; then no shard is taken to be in the queue.
///
/// # Errors
/// [`Error`] for anything that would make every task fail, and [`SlurmError`] for what cannot be sent.
pub fn prepare(config: Config, options: &SubmitOptions, queue: Option<Queue>) -> Result<Prepared, Error> {
    match options.tasks {
        0 => return Err(SlurmError::NoTasks.into()),
        tasks if tasks > MOST_TASKS => {
            return Err(SlurmError::TooManyTasks { tasks, most: MOST_TASKS }.into());
        }
        _ => {}
    }
    let dir = config.output.dir.clone().unwrap_or_else(|| "results".into());
    let results = ResultDir::at(&dir);
    let campaign = resolved_toml(&config)?;
    let name = config.name.clone();
    let todo = unfinished(&dir, &config, options.tasks)?;
    let (checked, _) = Campaign::prepare(config)?;
    if let Some(golden) = results.golden()? {
        checked.check_same(&golden, &results)?;
    }
    let mut submission = Submission::read(&dir)?.unwrap_or_else(|| Submission::new(options.tasks));
    let (waiting, live) = in_queue(&submission, options.tasks, queue)?;
    submission.shards = options.tasks;
    let (waiting, send): (Vec<u32>, Vec<u32>) = todo.into_iter().partition(|shard| waiting.contains(shard));
    let plan = (!send.is_empty())
        .then(|| Plan::new(&name, &options.program, &dir, options.tasks, &send, &options.resources));
    Ok(Prepared { dir, waiting, plan: plan.transpose()?, campaign, submission, live })
}

/// The shards in the queue, and the names of their tasks.
fn in_queue(
    submission: &Submission,
    tasks: u32,
    queue: Option<Queue>,
) -> Result<(Vec<u32>, Vec<String>), SlurmError> {
    let Some(queue) = queue.filter(|_| !submission.jobs.is_empty()) else {
        return Ok(Default::default());
    };
    let queued = queue.tasks()?;
    let live = submission.live(&queued);
    if let Some((job, ..)) = live.first().filter(|_| submission.shards != tasks) {
        return Err(SlurmError::OtherShards { job: (*job).to_owned(), shards: submission.shards });
    }
    Ok(live.iter().map(|(job, shard, _)| (*shard, format!("{job}_{shard}"))).unzip())
}

impl Prepared {
    /// Writes the scripts, sends them and remembers the numbers of their jobs in `submit.json`; none when there is no plan.
    ///
    /// # Errors
    /// [`SlurmError`] when Slurm refuses, [`RecordError`] when a file cannot be written.
    pub fn send(mut self, queue: Queue) -> Result<Option<Sent>, Error> {
        let Some(plan) = self.plan.take() else { return Ok(None) };
        let folder = Submission::folder(&self.dir);
        fs::create_dir_all(&folder).map_err(|source| RecordError::Io {
            path: folder.clone(),
            action: "create the directory",
            source,
        })?;
        write_atomically(&Submission::campaign_file(&self.dir), self.campaign.as_bytes())?;
        let array = queue.send(&script(&folder, &plan.array)?, &plan.array.arguments)?;
        self.remember(SentJob { array: array.clone(), shards: plan.sent.clone(), merge: None, sent: now() })?;
        let before =
            self.live.iter().fold(format!("--dependency=afterok:{array}"), |all, task| all + ":" + task);
        let mut arguments = plan.merge.arguments.clone();
        arguments.push(before);
        let merge = queue.send(&script(&folder, &plan.merge)?, &arguments)?;
        if let Some(last) = self.submission.jobs.last_mut() {
            last.merge = Some(merge.clone());
        }
        self.submission.write(&self.dir)?;
        Ok(Some(Sent { array, merge, shards: plan.sent }))
    }

    fn remember(&mut self, job: SentJob) -> Result<(), RecordError> {
        self.submission.jobs.push(job);
        self.submission.write(&self.dir)
    }
}

fn script(folder: &Path, job: &Job) -> Result<PathBuf, RecordError> {
    let path = folder.join(job.file);
    write_atomically(&path, job.script.as_bytes())?;
    Ok(path)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
