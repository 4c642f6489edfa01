//! Running the trials that are missing, one by one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bitquake_record as record;
use bitquake_record::{Appender, METRICS, Metric, ResultDir, TrialRecord};

use super::campaign::{Hosted, HostedTrial};
use super::error::HostedError;
use super::golden::{HostGolden, check_seconds};
use super::proof::Proved;
use super::result::{Came, HostResult};
use crate::campaign::pattern_digest;
use crate::config::default_metric;
use crate::error::CampaignError;
use crate::rounds::{Cursor, Found, Round, Rounds, Terms};
use crate::run::{End, Look};
use crate::run_config::RunConfig;
use crate::set_up::machine;
use crate::shard::{RunNote, Shard, stop_text};
use crate::trial_record::{faults_record, only_flip, with_outcome};
use crate::worker::Job;

/// A run of a host's campaign in a result directory, which no other run writes to meanwhile. Dropped at any moment, or killed, it loses no
/// finished trial; opening the directory again goes on.
pub struct HostedRun {
    dir: ResultDir,
    appender: Appender,
    amounts: Vec<record::Amount>,
    config: RunConfig,
    golden: HostGolden,
    file: record::Golden,
    rounds: Rounds,
    round: Option<Round>,
    cursor: Cursor,
    pending: Option<Job>,
    /// What the trials of the round found, for the rule.
    values: BTreeMap<u64, Found>,
    looks: Vec<Look>,
    is_over: bool,
    /// Trials recorded since it was opened.
    ran: u64,
    note: RunNote,
    deadline: Option<Instant>,
}

impl Hosted {
    /// Begins the campaign in a directory, or goes on with it there.
    ///
    /// # Errors
    /// [`CampaignError::OtherCampaign`] when the directory holds results of another campaign, with what differs,
    /// [`CampaignError::GoldenDiffers`] when the golden run was another there, [`RecordError`](bitquake_record::RecordError) when another run
    /// writes to it; [`HostedError::StopMetric`].
    pub fn open(&self, dir: &ResultDir, proved: Proved) -> Result<HostedRun, HostedError> {
        let golden = proved.golden;
        let config = self.config().run.as_run();
        let metric = looked_at(&config, golden.is_classifier().unwrap_or(true));
        check_metric(&config, metric, &golden)?;
        let file = self.golden_record(&golden);
        if let Some(there) = dir.golden()? {
            self.check_same(&there, &file, dir)?;
        }
        dir.create()?;
        let shard = Shard::default();
        let appender = Appender::open(dir, shard.index)?;
        let there = dir.write_golden(&self.config().to_toml()?, &file)?;
        self.check_same(&there, &file, dir)?;
        let terms = Terms {
            seed: self.config().seed,
            run: &config,
            most_trials: config.most_trials(),
            metric,
            strata: None,
            group: &|_| 1,
        };
        let rounds = Rounds::new(&terms, dir, shard, &there)?;
        let note = RunNote::now(shard, rounds.most(), rounds.done(0));
        note.write(dir)?;
        let seconds = config.stop.as_ref().and_then(|stop| stop.max_seconds);
        let left = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let mut run = HostedRun {
            dir: dir.clone(),
            appender,
            amounts: self.amounts(),
            config,
            golden,
            file: there,
            rounds,
            round: None,
            cursor: Cursor::default(),
            pending: None,
            values: BTreeMap::new(),
            looks: Vec::new(),
            is_over: false,
            ran: 0,
            note,
            deadline: left.and_then(|left| Instant::now().checked_add(left)),
        };
        run.advance()?;
        Ok(run)
    }

    fn check_same(
        &self,
        there: &record::Golden,
        here: &record::Golden,
        dir: &ResultDir,
    ) -> Result<(), CampaignError> {
        let path = || dir.path().to_owned();
        if there.campaign != here.campaign {
            let difference = self.identity().difference(&there.identity);
            return Err(CampaignError::OtherCampaign { dir: path(), difference });
        }
        match there.outputs == here.outputs {
            true => Ok(()),
            false => Err(CampaignError::GoldenDiffers { dir: path() }),
        }
    }

    fn golden_record(&self, golden: &HostGolden) -> record::Golden {
        let host = &self.config().host;
        let mut machine = machine(host.threads);
        if !host.machine.is_empty() {
            machine.cpu.clone_from(&host.machine);
        }
        record::Golden {
            schema: record::SCHEMA,
            bitquake: env!("CARGO_PKG_VERSION").into(),
            name: self.config().name.clone(),
            campaign: self.identity().id(),
            identity: self.identity().parts().clone(),
            engine: record::Engine {
                name: host.engine.clone(),
                version: host.version.clone(),
                settings: host.settings.clone(),
                batch: host.batch,
            },
            machine,
            storage: self.storage_record(),
            points: self.points(),
            distance: self.distance(),
            metrics: golden.counts(),
            outputs: golden.digest(),
            seconds: golden.seconds,
            ..record::Golden::default()
        }
    }
}

/// The metric that a rule looks at.
fn looked_at(config: &RunConfig, has_classes: bool) -> &'static Metric {
    let name = config.stop.as_ref().map_or(default_metric(has_classes), |stop| stop.metric.as_str());
    // Names were checked with the configuration.
    METRICS.iter().find(|metric| metric.name == name).unwrap_or(&METRICS[0])
}

/// That the host tells what a rule looks at.
fn check_metric(config: &RunConfig, metric: &'static Metric, golden: &HostGolden) -> Result<(), HostedError> {
    let Some(told) = golden.told() else { return Ok(()) };
    if config.stop.as_ref().is_none_or(crate::StopConfig::is_time_alone) {
        return Ok(());
    }
    let (record, counts) = (told.record(TrialRecord::default()), told.golden_counts());
    let has = |metric: &&Metric| metric.is_share && metric.of(&record, &counts).is_some();
    if has(&metric) {
        return Ok(());
    }
    let told: Vec<&str> = METRICS.iter().filter(has).map(|metric| metric.name).collect();
    let told = if told.is_empty() { "nothing that has bounds".into() } else { told.join(", ") };
    Err(HostedError::StopMetric { metric: metric.name, told })
}

impl HostedRun {
    /// The point and the trial to run next: the same until it is recorded. None when nothing is left, or when the time of `[run] stop`
    /// is over.
    #[must_use]
    pub fn next_trial(&self) -> Option<(u32, u64)> {
        let pending = self.pending.filter(|_| !self.is_out_of_time());
        pending.map(|job| (job.point, job.trial))
    }

    fn is_out_of_time(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Finds the next trial; between rounds the rule looks.
    fn advance(&mut self) -> Result<(), HostedError> {
        while self.pending.is_none() && !self.is_over {
            let Some(round) = self.round.take().or_else(|| self.rounds.next()) else {
                self.is_over = true;
                return Ok(());
            };
            self.pending = self.rounds.next_job(&round, &mut self.cursor);
            if self.pending.is_some() {
                self.round = Some(round);
                return Ok(());
            }
            self.cursor = Cursor::default();
            let values = std::mem::take(&mut self.values);
            match self.rounds.finish(&round, values)? {
                Some(look) => self.looks.push(look),
                None => self.is_over = true,
            }
        }
        Ok(())
    }

    /// Records a trial, the one that [`next_trial`](Self::next_trial) gave, and what came out. It took so many seconds. Returns what was recorded.
    ///
    /// # Errors
    /// [`HostedError::OtherTrial`], [`HostedError::Kind`], [`HostedError::Seconds`], and [`CampaignError::NotRecorded`], on a full disk for
    /// example: then nothing was recorded, and the trial is still to be run.
    pub fn record(
        &mut self,
        trial: HostedTrial,
        result: HostResult,
        seconds: f64,
    ) -> Result<TrialRecord, HostedError> {
        check_seconds(seconds)?;
        self.golden.check_kind(&result)?;
        let (given, wanted) = ((trial.point, trial.trial), self.pending.map(|job| (job.point, job.trial)));
        if wanted != Some(given) {
            return Err(HostedError::OtherTrial { wanted, given });
        }
        let record = TrialRecord { seconds, ..self.trial_record(trial, &result) };
        self.appender.append(&record).map_err(CampaignError::NotRecorded)?;
        self.pending = None;
        self.ran += 1;
        self.values.extend(self.rounds.found(&record));
        self.advance()?;
        Ok(record)
    }

    fn trial_record(&self, trial: HostedTrial, result: &HostResult) -> TrialRecord {
        let HostedTrial { point, trial, pattern, dormant, protection, tally, .. } = trial;
        let record = TrialRecord {
            protection,
            pattern: pattern_digest(&pattern),
            site: only_flip(&pattern, dormant),
            ..faults_record(point, trial, self.amounts[point as usize], tally)
        };
        match &result.0 {
            Came::Judged { outcome, .. } => {
                with_outcome(record, outcome, self.golden.is_classifier().unwrap_or(true))
            }
            Came::Told(told) => told.record(record),
        }
    }

    /// The golden run that stands in the directory.
    #[must_use]
    pub fn golden(&self) -> &record::Golden {
        &self.file
    }

    /// Trials that are recorded, those of earlier runs included, as far as this campaign asks for them.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.rounds.done(self.ran)
    }

    /// Trials that the campaign has, those that are recorded included; with a stopping rule, the most that there can be.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.rounds.most()
    }

    /// What the stopping rule saw in this run since this was last asked.
    pub fn take_looks(&mut self) -> Vec<Look> {
        std::mem::take(&mut self.looks)
    }

    /// Ends the run: every record is on the disk. How it ended tells whether opening the directory again goes on.
    ///
    /// # Errors
    /// [`CampaignError::NotRecorded`]; [`RecordError`](bitquake_record::RecordError).
    pub fn finish(mut self) -> Result<End, HostedError> {
        self.appender.sync().map_err(CampaignError::NotRecorded)?;
        Ok(match self.rounds.most().saturating_sub(self.done()) {
            0 => {
                let settled = Some(stop_text(&self.config));
                RunNote { settled, ..self.note }.write(&self.dir)?;
                End::Finished
            }
            missing if self.is_out_of_time() => End::OutOfTime { missing },
            missing => End::Stopped { missing },
        })
    }
}
