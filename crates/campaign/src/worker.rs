//! Evaluating trials.

use std::cell::RefCell;
use std::time::Instant;

use bitquake_config::hex;
use bitquake_engine::{
    Evaluator, GoldenRun, NoFaults, Outcome, SpliceMemory, SplicedFaults, SplicedRows, Splicer,
};
use bitquake_fault::{FaultPattern, Sampler};
use bitquake_record::{Amount, CleanRecord, TrialRecord};
use bitquake_sample::{PartKey, subset_of};
use sha2::{Digest, Sha256};

use crate::campaign::{Campaign, pattern_digest};
use crate::error::CampaignError;
use crate::tally::Tally;
use crate::trial::Trial;
use crate::trial_record::{faults_record, only_flip, with_outcome};
use crate::value_faults::ValueFaults;

/// One trial to run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) point: u32,
    pub(crate) trial: u64,
    /// How many images; none for all.
    pub(crate) images: Option<u64>,
    /// With importance sampling, the stratum and the weight.
    pub(crate) stratum: Option<(u32, f64)>,
}

/// An evaluator with what it needs to run trials of a campaign.
pub(crate) struct Worker<'c> {
    pub(crate) campaign: &'c Campaign,
    pub(crate) evaluator: Evaluator<'c>,
    pub(crate) golden: &'c GoldenRun,
    /// What each point asks for.
    amounts: Vec<Amount>,
    /// Of each point, for faults in values.
    samplers: Vec<Sampler<'c>>,
    splicer: Option<&'c Splicer>,
    memory: Option<RefCell<SpliceMemory>>,
}

/// A trial whose faults are to be spliced.
struct Spliced {
    /// Its place in the group.
    place: usize,
    trial: Trial,
    tally: Tally,
    faults: SplicedFaults,
}

impl<'c> Worker<'c> {
    pub(crate) fn new(
        campaign: &'c Campaign,
        evaluator: Evaluator<'c>,
        golden: &'c GoldenRun,
        splicer: Option<&'c Splicer>,
    ) -> Result<Self, CampaignError> {
        let samplers = match campaign.values() {
            None => Vec::new(),
            Some((_, exposure)) => {
                let sampler = |model| bitquake_fault::FaultModel::sampler(model, &exposure.space);
                exposure.models.iter().map(sampler).collect::<Result<_, _>>()?
            }
        };
        let memory = splicer.map(|splicer| SpliceMemory::new(splicer, evaluator.model())).transpose()?;
        let (amounts, memory) = (campaign.amounts(), memory.map(RefCell::new));
        Ok(Self { campaign, evaluator, golden, amounts, samplers, splicer, memory })
    }

    /// Runs a group of trials: together, each with its own faulty weights spliced into its rows, where that can be done.
    pub(crate) fn run(&mut self, jobs: Vec<Job>) -> Result<Vec<TrialRecord>, CampaignError> {
        let Some(splicer) = self.splicer.filter(|_| jobs.len() > 1) else {
            return jobs.into_iter().map(|job| self.trial(job)).collect();
        };
        let start = Instant::now();
        let mut together = Vec::with_capacity(jobs.len());
        let mut alone = Vec::new();
        for (place, &job) in jobs.iter().enumerate() {
            let Some((trial, tally)) = self.stored(job)? else { continue };
            match splicer.faults(&trial.seen)? {
                Some(faults) => together.push(Spliced { place, trial, tally, faults }),
                None => alone.push(place),
            }
        }
        let mut records: Vec<(usize, TrialRecord)> = match self.spliced(splicer, &jobs, together)? {
            Some(records) => records,
            None => {
                alone = (0..jobs.len()).collect();
                Vec::new()
            }
        };
        let seconds = start.elapsed().as_secs_f64() / records.len().max(1) as f64;
        records.iter_mut().for_each(|(_, record)| record.seconds = seconds);
        for place in alone {
            records.push((place, self.trial(jobs[place])?));
        }
        records.sort_unstable_by_key(|(place, _)| *place);
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    /// Runs trials together; none if the engine fails, for then it must be seen whose faults it cannot stand.
    fn spliced(
        &mut self,
        splicer: &Splicer,
        jobs: &[Job],
        trials: Vec<Spliced>,
    ) -> Result<Option<Vec<(usize, TrialRecord)>>, CampaignError> {
        let (mut images, mut groups, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (group, trial) in trials.iter().enumerate() {
            let own = self.campaign.images_of(jobs[trial.place]);
            groups.extend(std::iter::repeat_n(group, own.len()));
            rows.extend(std::iter::repeat_n(&trial.faults, own.len()));
            images.extend(own);
        }
        let Some(memory) = &self.memory else { return Ok(None) };
        let rows = SplicedRows { splicer, rows, memory };
        let none = FaultPattern::empty();
        let ran = self.evaluator.judge_groups(&images, &groups, trials.len(), &none, &rows, self.golden);
        let outcomes = match ran {
            Ok(outcomes) => outcomes,
            Err(error) if error.is_refusal() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let records =
            trials.into_iter().zip(outcomes).map(|(Spliced { place, trial, tally, .. }, outcome)| {
                let (pattern, site) = (digest(Some(&trial), None), only_flip(&trial.stored, trial.dormant));
                (
                    place,
                    TrialRecord { pattern, site, ..self.record(jobs[place], Some(trial), tally, &outcome) },
                )
            });
        Ok(Some(records.collect()))
    }

    /// Runs one trial.
    pub(crate) fn trial(&mut self, job: Job) -> Result<TrialRecord, CampaignError> {
        let start = Instant::now();
        let images = self.campaign.images_of(job);
        let stored = self.stored(job)?;
        let values = self.values(job, &images)?;
        let pattern = stored.as_ref().map_or_else(FaultPattern::empty, |(trial, _)| trial.seen.clone());
        let outcome = match &values {
            None => self.evaluator.judge(&images, &pattern, &NoFaults, self.golden)?,
            Some((faults, _)) => self.evaluator.judge(&images, &pattern, faults, self.golden)?,
        };
        let mut tally = stored.as_ref().map(|(_, tally)| tally.clone()).unwrap_or_default();
        let digest =
            digest(stored.as_ref().map(|(trial, _)| trial), values.as_ref().map(|(_, digest)| digest));
        // Where memory and values are hit, the harm cannot be put down to one bit.
        let site = match (&stored, &values) {
            (Some((trial, _)), None) => only_flip(&trial.stored, trial.dormant),
            (None, Some((faults, _))) => faults.site().cloned(),
            _ => None,
        };
        if let Some((faults, _)) = values {
            tally.merge(&faults.into_tally());
        }
        let record = self.record(job, stored.map(|(trial, _)| trial), tally, &outcome);
        Ok(TrialRecord { pattern: digest, site, seconds: start.elapsed().as_secs_f64(), ..record })
    }

    /// What happens to the memory, if that is exposed.
    fn stored(&self, job: Job) -> Result<Option<(Trial, Tally)>, CampaignError> {
        if self.campaign.weights().is_none() {
            return Ok(None);
        }
        let native = self.evaluator.model().image();
        let trial =
            self.campaign.trial_in(job.point, job.trial, job.stratum.map(|(stratum, _)| stratum), native)?;
        let tally = trial.tally(self.campaign.memory(), native)?;
        Ok(Some((trial, tally)))
    }

    /// What happens to activations or inputs, if those are exposed.
    fn values(&self, job: Job, images: &[u32]) -> Result<Option<(ValueFaults<'c>, [u8; 32])>, CampaignError> {
        let Some((place, exposure)) = self.campaign.values() else { return Ok(None) };
        let key: PartKey = self.campaign.key(place, job.trial);
        let sampler = &self.samplers[job.point as usize];
        let codes = self.campaign.codes();
        ValueFaults::draw(exposure, sampler, &key, images, self.evaluator.plan(), codes).map(Some)
    }

    fn record(&self, job: Job, stored: Option<Trial>, tally: Tally, outcome: &Outcome) -> TrialRecord {
        let amount = self.amounts[job.point as usize];
        let is_classifier = self.campaign.distance().is_none();
        let record = with_outcome(faults_record(job.point, job.trial, amount, tally), outcome, is_classifier);
        let clean = &outcome.clean;
        TrialRecord {
            protection: stored.as_ref().and_then(|trial| trial.protection),
            clean: job.images.map(|_| CleanRecord {
                correct: clean.correct,
                top5_correct: clean.top5_correct,
                nonfinite: clean.nonfinite,
                loss: clean.loss(),
            }),
            stratum: job.stratum.map(|(stratum, _)| stratum),
            weight: job.stratum.map(|(_, weight)| weight),
            ..record
        }
    }
}

impl Campaign {
    /// The images of a trial, ascending: all, or a random subset of its own.
    pub(crate) fn images_of(&self, job: Job) -> Vec<u32> {
        let all = self.data().len() as u64;
        match job.images.filter(|&images| images < all) {
            None => (0..all as u32).collect(),
            Some(images) => {
                let stream = self.key(0, job.trial).part("images").whole();
                // There are as many: fewer than all are asked for.
                let subset = subset_of(&stream, all, images).unwrap_or_default();
                subset.into_iter().map(|image| image as u32).collect()
            }
        }
    }
}

/// Tells a trial's faults from others: those of the memory as [`pattern_digest`] does, those of values by what was drawn.
fn digest(stored: Option<&Trial>, values: Option<&[u8; 32]>) -> String {
    match (stored, values) {
        (Some(trial), None) => pattern_digest(&trial.stored),
        (None, Some(values)) => hex(&values[..8]),
        (stored, values) => {
            let mut hash = Sha256::new();
            hash.update(stored.map(|trial| pattern_digest(&trial.stored)).unwrap_or_default());
            hash.update(values.copied().unwrap_or_default());
            hex(&hash.finalize()[..8])
        }
    }
}
