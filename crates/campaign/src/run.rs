//! Running the trials that are missing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bitquake_engine::Model;
use bitquake_record as record;
use bitquake_record::{Appender, ResultDir, TrialRecord};

use crate::campaign::Campaign;
use crate::error::CampaignError;
use crate::plan::{Depth, Plan};
use crate::pool::{self, Until};
use crate::shard::{RunNote, Shard, stop_text};
use crate::worker::Worker;

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
    /// What the run will take, before its first trial; not when it resumes.
    Plan(&'a Plan),
    /// The trials begin: so many are to do at most, so many were done before.
    Begin {
        /// Trials to run now; with a stopping rule, the most there can be.
        todo: u64,
        /// Trials of this shard found finished.
        done: u64,
    },
    /// A trial has been recorded.
    Trial(&'a TrialRecord),
    /// The stopping rule has looked at a point.
    Look(Look),
}

/// What a stopping rule saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// The point.
    pub point: u32,
    /// Its trials so far, in this shard.
    pub trials: u64,
    /// The mean of the metric so far.
    pub estimate: f64,
    /// Half the width of its interval.
    pub half_width: f64,
    /// Whether that is enough.
    pub is_met: bool,
}

/// How a run ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every trial of the shard is recorded, or the stopping rule is met at every point.
    Finished,
    /// It was asked to stop; running it again resumes.
    Stopped {
        /// Trials of the shard that are missing; with a stopping rule, at most so many.
        missing: u64,
    },
    /// `[run] stop` gave it no more time; running it again goes on.
    OutOfTime {
        /// Trials of the shard that are missing, at most.
        missing: u64,
    },
}

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
        if let Some(golden) = &before
            && self.rounds(dir, options.shard, golden)?.is_over()
        {
            observer(Event::Golden(golden));
            self.claim(dir, golden.clone())?;
            return Ok(End::Finished);
        }
        dir.create()?;
        let mut appender = Appender::open(dir, options.shard.index)?;
        let engine = self.engine(&model, options.shard, before.as_ref())?;
        let mut evaluators = self.evaluators(model, &engine)?;
        if let Some(codes) = self.codes() {
            codes.fit(&mut evaluators)?;
        }
        let (golden, mut file) = self.prove(&mut evaluators[0], &engine, dir, before)?;
        let splicer = self.splicer(&evaluators[0]);
        let worker = |evaluator| Worker::new(self, evaluator, &golden, splicer.as_ref());
        let workers = evaluators.into_iter().map(worker);
        let mut workers = workers.collect::<Result<Vec<_>, _>>()?;
        let measured = self.settle_images(&mut workers, &mut file, options.stop)?;
        let file = self.claim(dir, file)?;
        observer(Event::Golden(&file));
        let mut rounds = self.rounds(dir, options.shard, &file)?;
        let (done, mut ran) = (rounds.done(0), 0);
        if done == 0 {
            let depth = if self.is_piloted() { Depth::Pilot(measured) } else { Depth::Light };
            observer(Event::Plan(&self.plan_of(&mut workers, &file, options, depth)?));
        }
        let note = RunNote::now(options.shard, rounds.most(), done);
        note.write(dir)?;
        observer(Event::Begin { todo: rounds.most().saturating_sub(done), done });
        let until = Until { stop: options.stop, deadline: self.deadline() };
        while let Some(round) = rounds.next().filter(|_| !until.is_over()) {
            let mut values = rounds.values();
            let ended = pool::run(&mut workers, rounds.jobs(&round), until, Worker::run, |trial| {
                appender.append(trial).map_err(CampaignError::NotRecorded)?;
                values.add(options.shard, trial);
                ran += 1;
                observer(Event::Trial(trial));
                Ok(())
            });
            let values = values.into_values();
            ended?;
            match rounds.finish(&round, values)? {
                Some(look) => observer(Event::Look(look)),
                None => break,
            }
        }
        appender.sync().map_err(CampaignError::NotRecorded)?;
        Ok(match rounds.most().saturating_sub(rounds.done(ran)) {
            0 => {
                let settled = Some(stop_text(&self.config().run));
                RunNote { settled, ..note }.write(dir)?;
                End::Finished
            }
            missing if options.stop.load(Ordering::Relaxed) => End::Stopped { missing },
            missing => End::OutOfTime { missing },
        })
    }

    /// What a run would take, from a golden run and a short calibration; nothing is recorded. `model` is the one that
    /// [`prepare`](Self::prepare) gave.
    ///
    /// # Errors
    /// [`CampaignError`], as for [`run`](Self::run).
    pub fn plan(
        &self,
        model: Model,
        dir: &ResultDir,
        options: RunOptions<'_>,
    ) -> Result<(record::Golden, Plan), CampaignError> {
        let before = self.recorded(dir)?;
        let engine = self.engine(&model, options.shard, before.as_ref())?;
        let mut evaluators = self.evaluators(model, &engine)?;
        let (golden, mut file) = self.prove(&mut evaluators[0], &engine, dir, before)?;
        let splicer = self.splicer(&evaluators[0]);
        let worker = |evaluator| Worker::new(self, evaluator, &golden, splicer.as_ref());
        let mut workers = evaluators.into_iter().map(worker).collect::<Result<Vec<_>, _>>()?;
        let measured = self.settle_images(&mut workers, &mut file, options.stop)?;
        let plan = self.plan_of(&mut workers, &file, options, Depth::Pilot(measured))?;
        Ok((file, plan))
    }

    fn deadline(&self) -> Option<Instant> {
        let seconds = self.config().run.stop.as_ref()?.max_seconds?;
        Instant::now().checked_add(Duration::try_from_secs_f64(seconds).ok()?)
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
}
