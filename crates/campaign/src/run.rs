//! Running the trials that are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use bitquake_engine::{
    EngineError, Evaluator, Golden, Model, Outcome, Runtime, SelfCheckError, Threads, self_check,
};
use bitquake_fault::{Explanation, FaultPattern, FlipCounts};
use bitquake_record as record;
use bitquake_record::{Amount, Appender, ResultDir, TrialRecord};
use sha2::{Digest, Sha256};

use crate::campaign::{Campaign, Trial, pattern_digest};
use crate::error::CampaignError;
use crate::identity::hex;
use crate::shard::{RunNote, Shard};

/// Models up to this size get one evaluator a thread, larger ones one evaluator with all threads.
///
/// One evaluator a thread leaves no core waiting for another and was the faster way for every small network measured; but
/// each holds a copy of the model.
const MODEL_BYTES_A_THREAD: usize = 32 << 20;

/// How to run, beyond what the campaign file says.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions<'a> {
    /// Which trials.
    pub shard: Shard,
    /// Raised from outside to stop: the running trials are finished and recorded.
    pub stop: &'a AtomicBool,
}

/// What happens while a campaign runs.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The golden run is done and the self-checks passed.
    Golden(&'a record::Golden),
    /// The trials begin: so many are to do, so many were done before.
    Begin {
        /// Trials to run now.
        todo: u64,
        /// Trials of this shard found finished.
        done: u64,
    },
    /// A trial has been recorded.
    Trial(&'a TrialRecord),
}

/// How a run ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every trial of the shard is recorded.
    Finished,
    /// It was asked to stop; running it again resumes.
    Stopped {
        /// Trials of the shard that are missing.
        missing: u64,
    },
}

type Job = (u32, u64);

impl Campaign {
    /// Runs the trials of the shard that have no record in `dir` yet, and records each as it finishes. `model` is the one that
    /// [`prepare`](Self::prepare) gave.
    ///
    /// Records do not depend on the number of threads, on the order of trials, or on how often the run was stopped.
    ///
    /// # Errors
    /// [`CampaignError`]; trials recorded before stay recorded.
    pub fn run(
        &self,
        model: Model,
        dir: &ResultDir,
        options: RunOptions<'_>,
        mut observer: impl FnMut(Event<'_>),
    ) -> Result<End, CampaignError> {
        let before = self.recorded(dir)?;
        let jobs = self.missing(dir, options.shard)?;
        if let Some(golden) = before.as_ref().filter(|_| jobs.is_empty()) {
            observer(Event::Golden(golden));
            self.claim(dir, golden.clone())?;
            return Ok(End::Finished);
        }
        dir.create()?;
        let mut appender = Appender::open(dir, options.shard.index)?;
        let mut evaluators = self.evaluators(model)?;
        let (golden, file) = self.prove(&mut evaluators[0], dir, before)?;
        let file = self.claim(dir, file)?;
        observer(Event::Golden(&file));
        let total = self.jobs(options.shard).len();
        RunNote::now(options.shard, total as u64, (total - jobs.len()) as u64).write(dir)?;
        observer(Event::Begin { todo: jobs.len() as u64, done: (total - jobs.len()) as u64 });
        let done = self.run_jobs(&jobs, &mut evaluators, &golden, options.stop, |trial| {
            appender.append(trial).map_err(CampaignError::NotRecorded)?;
            observer(Event::Trial(trial));
            Ok(())
        })?;
        appender.sync().map_err(CampaignError::NotRecorded)?;
        match jobs.len() - done {
            0 => Ok(End::Finished),
            missing => Ok(End::Stopped { missing: missing as u64 }),
        }
    }

    /// The golden run in `dir`, which must be of this campaign.
    fn recorded(&self, dir: &ResultDir) -> Result<Option<record::Golden>, CampaignError> {
        let golden = dir.golden()?;
        golden.iter().try_for_each(|golden| self.check_same(golden, dir))?;
        Ok(golden)
    }

    /// That a golden run found in `dir` is of this campaign.
    ///
    /// # Errors
    /// [`CampaignError::OtherCampaign`] tells what differs.
    pub fn check_same(&self, golden: &record::Golden, dir: &ResultDir) -> Result<(), CampaignError> {
        if golden.campaign == self.identity().id() {
            return Ok(());
        }
        let difference = self.identity().difference(&golden.identity);
        Err(CampaignError::OtherCampaign { dir: dir.path().to_owned(), difference })
    }

    /// All trials of a shard, point after point.
    fn jobs(&self, shard: Shard) -> Vec<Job> {
        let (index, count) = (u64::from(shard.index), u64::from(shard.count));
        let trials: Vec<u64> = (0..self.config().run.trials).filter(|trial| trial % count == index).collect();
        let points = 0..self.config().fault.amounts().len() as u32;
        points.flat_map(|point| trials.iter().map(move |&trial| (point, trial))).collect()
    }

    fn missing(&self, dir: &ResultDir, shard: Shard) -> Result<Vec<Job>, CampaignError> {
        let done: BTreeSet<Job> = dir.trials()?.iter().map(|trial| (trial.point, trial.trial)).collect();
        Ok(self.jobs(shard).into_iter().filter(|job| !done.contains(job)).collect())
    }

    fn threads(&self) -> usize {
        match self.config().run.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads as usize,
        }
    }

    /// As many evaluators as trials shall run at a time.
    fn evaluators(&self, model: Model) -> Result<Vec<Evaluator<'_>>, CampaignError> {
        let bytes = model.image().size();
        let (count, threads) = if bytes <= MODEL_BYTES_A_THREAD {
            (self.threads(), Threads::Caller)
        } else {
            (1, Threads::Engine(self.threads()))
        };
        let one = |model| Evaluator::new(model, self.data(), self.config().run.batch, threads);
        // The last takes the model itself: one copy of a large one is enough.
        Ok(std::iter::repeat_n(model, count).map(one).collect::<Result<_, EngineError>>()?)
    }

    /// The golden run, the self-checks, and that a golden run recorded before is reproduced.
    fn prove(
        &self,
        evaluator: &mut Evaluator<'_>,
        dir: &ResultDir,
        before: Option<record::Golden>,
    ) -> Result<(Golden, record::Golden), CampaignError> {
        let start = Instant::now();
        let golden = evaluator.golden()?;
        let seconds = start.elapsed().as_secs_f64();
        let seen = |pattern: FaultPattern, model: &Model| {
            // Past the protections, which would correct some probes.
            let translated = self.memory().translate(&pattern, model.image());
            translated.map_err(|error| SelfCheckError::Probe { reason: error.to_string() })
        };
        self_check(evaluator, &golden, self.space(), self.config().run.batch as usize, seen)?;
        let outputs = output_digest(&golden);
        if before.as_ref().is_some_and(|before| before.outputs != outputs) {
            return Err(CampaignError::GoldenDiffers { dir: dir.path().to_owned() });
        }
        let batch = evaluator.batch();
        let file = before.map_or_else(|| self.golden_record(&golden, outputs, batch, seconds), Ok)?;
        Ok((golden, file))
    }

    fn golden_record(
        &self,
        golden: &Golden,
        outputs: String,
        batch: u64,
        seconds: f64,
    ) -> Result<record::Golden, CampaignError> {
        let mut counts = Outcome::default();
        golden.predictions.iter().for_each(|image| counts.add(image, image));
        Ok(record::Golden {
            schema: record::SCHEMA,
            bitquake: env!("CARGO_PKG_VERSION").into(),
            name: self.config().name.clone(),
            campaign: self.identity().id(),
            identity: self.identity().parts().clone(),
            engine: record::Engine {
                name: "ONNX Runtime".into(),
                version: Runtime::load()?.version(),
                settings: format!("all optimisations but {}", bitquake_engine::DISABLED_OPTIMISERS),
                batch,
            },
            machine: record::Machine {
                cpu: cpu_name(),
                threads: self.threads() as u64,
                system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            },
            storage: self.storage_record(),
            points: self.points(),
            metrics: record::Counts {
                images: counts.images,
                classes: (golden.outputs.len() / golden.predictions.len().max(1)) as u64,
                correct: counts.correct,
                top5_correct: counts.top5_correct,
                nonfinite: counts.nonfinite,
                loss: counts.loss(),
            },
            outputs,
            seconds,
        })
    }

    /// Runs jobs until all are done, `stop` is raised or something fails; returns how many were recorded. Trials that run
    /// when it stops are finished and recorded.
    fn run_jobs(
        &self,
        jobs: &[Job],
        evaluators: &mut [Evaluator<'_>],
        golden: &Golden,
        stop: &AtomicBool,
        mut recorded: impl FnMut(&TrialRecord) -> Result<(), CampaignError>,
    ) -> Result<usize, CampaignError> {
        let queue = Mutex::new(jobs.iter());
        let abandon = AtomicBool::new(false);
        let next = || {
            let go_on = !stop.load(Ordering::Relaxed) && !abandon.load(Ordering::Relaxed);
            go_on.then(|| queue.lock().ok()?.next().copied()).flatten()
        };
        let (results, inbox): (Sender<Result<TrialRecord, CampaignError>>, Receiver<_>) = channel();
        std::thread::scope(|scope| {
            for evaluator in evaluators {
                let (results, next) = (results.clone(), &next);
                scope.spawn(move || {
                    while let Some((point, trial)) = next() {
                        let record = self.run_trial(evaluator, golden, point, trial);
                        if results.send(record).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(results);
            let mut done = 0;
            let mut failure = None;
            for result in inbox {
                // After a failure the trials still running are recorded if that is possible.
                match result.and_then(|trial| recorded(&trial)) {
                    Ok(()) => done += 1,
                    Err(error) => {
                        abandon.store(true, Ordering::Relaxed);
                        failure.get_or_insert(error);
                    }
                }
            }
            failure.map_or(Ok(done), Err)
        })
    }

    fn run_trial(
        &self,
        evaluator: &mut Evaluator<'_>,
        golden: &Golden,
        point: u32,
        trial: u64,
    ) -> Result<TrialRecord, CampaignError> {
        let start = Instant::now();
        let native = evaluator.model().image();
        let faults = self.trial(point, trial, native)?;
        let told = faults.stored.explain(&self.memory().view(native)).map_err(EngineError::from)?;
        let seen = faults.seen.explain(native).map_err(EngineError::from)?.total;
        let outcome = evaluator.trial(&faults.seen, golden)?;
        Ok(self.record((point, trial), &faults, (told, seen), &outcome, start.elapsed().as_secs_f64()))
    }

    fn record(
        &self,
        (point, trial): Job,
        faults: &Trial,
        (told, seen): (Explanation, FlipCounts),
        outcome: &Outcome,
        seconds: f64,
    ) -> TrialRecord {
        let amount = self.config().fault.amounts()[point as usize];
        let of_kind = |kind| (amount.kind() == kind).then(|| amount.value());
        let by_bit: BTreeMap<u32, u64> = told
            .total
            .by_bit
            .iter()
            .enumerate()
            .filter(|(_, n)| **n > 0)
            .map(|(bit, n)| (bit as u32, *n))
            .collect();
        TrialRecord {
            point,
            trial,
            rate: of_kind("rate"),
            count: if let Amount::Count(count) = amount { Some(count) } else { None },
            fraction: of_kind("fraction"),
            voltage: of_kind("voltage"),
            faults: told.total.flips,
            dormant: faults.dormant,
            protection: faults.protection,
            images: outcome.images,
            correct: outcome.correct,
            top5_correct: outcome.top5_correct,
            golden_mismatch: outcome.golden_mismatch,
            nonfinite: outcome.nonfinite,
            err_union: outcome.err_union,
            due: outcome.due,
            loss: outcome.loss(),
            seconds,
            to_one: told.total.to_one,
            became_nan: seen.became_nan,
            became_inf: seen.became_inf,
            by_bit,
            by_tensor: told.tensors.into_iter().map(|tensor| (tensor.tensor, tensor.counts.flips)).collect(),
            pattern: pattern_digest(&faults.stored),
        }
    }
}

fn output_digest(golden: &Golden) -> String {
    let mut hash = Sha256::new();
    golden.outputs.iter().for_each(|output| hash.update(output.to_bits().to_le_bytes()));
    hex(&hash.finalize())
}

fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    name.and_then(|rest| rest.split_once(':')).map_or("unknown".into(), |(_, name)| name.trim().into())
}
