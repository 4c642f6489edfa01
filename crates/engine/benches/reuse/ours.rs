//! The same tasks with this engine: one evaluator a thread, as in campaigns.

use std::sync::Arc;

use bitquake_bits::BitSelection;
use bitquake_data::Dataset;
use bitquake_engine::{
    ChainPlan, CutRequest, EngineError, Evaluator, Exposure, GoldenRun, Model, RowFaults, RowValues, Stop,
    Threads, Value, activations,
};
use bitquake_fault::{Candidate, FaultPattern, FaultSpace, Hits, Selector};
use bitquake_sample::{Rate, StreamKey};
use bitquake_tensors::Role;
use bitquake_testing::SplitMix64;

use crate::{Failure, ms};

const BATCH: u64 = 16;
/// Trials of each thread in one measurement of weight upsets, and of upsets for all images.
const TRIALS: u64 = 6;

/// Bit errors a bit in trials with many.
const RATE: f64 = 1e-5;

/// Evaluators of one plan, and their golden run.
struct Team<'d> {
    evaluators: Vec<Evaluator<'d>>,
    golden: GoldenRun,
}

impl<'d> Team<'d> {
    fn new(ours: &Ours<'d>, plan: ChainPlan) -> Result<Self, Failure> {
        let plan = Arc::new(plan);
        let one =
            |_| Evaluator::chained(ours.model.clone(), Arc::clone(&plan), ours.data, BATCH, Threads::Caller);
        let mut evaluators = (0..ours.threads).map(one).collect::<Result<Vec<_>, _>>()?;
        let golden = evaluators[0].golden(usize::MAX)?;
        Ok(Self { evaluators, golden })
    }

    /// The same work on each thread, by its number.
    fn work(
        &mut self,
        work: impl Fn(&mut Evaluator<'d>, &GoldenRun, u64) -> Result<(), EngineError> + Sync,
    ) -> Result<f64, Failure> {
        let (golden, work) = (&self.golden, &work);
        ms(|| {
            std::thread::scope(|scope| {
                let evaluators = self.evaluators.iter_mut().zip(0..);
                let running: Vec<_> = evaluators
                    .map(|(evaluator, lane)| scope.spawn(move || work(evaluator, golden, lane)))
                    .collect();
                let ended = running.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked"));
                ended.collect::<Result<Vec<_>, _>>()?.into_iter().collect::<Result<(), _>>()?;
                Ok(())
            })
        })
    }
}

/// What is run, with the evaluators that each kind of trial has.
pub(crate) struct Ours<'d> {
    model: &'d Model,
    data: &'d Dataset,
    threads: usize,
    space: FaultSpace,
    values: Vec<Value>,
    errors: Option<Team<'d>>,
    upsets: Option<Team<'d>>,
    weights: Option<Team<'d>>,
}

impl<'d> Ours<'d> {
    pub(crate) fn new(model: &'d Model, data: &'d Dataset, threads: usize) -> Result<Self, Failure> {
        let values = activations(model, data)?.into_iter().filter(|value| value.op_type.is_some());
        let values = values.map(|activation| activation.value).collect();
        let space = space(model)?;
        Ok(Self { model, data, threads, space, values, errors: None, upsets: None, weights: None })
    }

    /// A bit-error trial on all images; one trial a thread at a time.
    pub(crate) fn bit_errors(&mut self, round: u64) -> Result<f64, Failure> {
        let mut team = match self.errors.take() {
            Some(team) => team,
            None => Team::new(self, self.plan_for_weights(RATE * self.space.bits() as f64)?)?,
        };
        let hits = Hits::Rate(Rate::new(RATE)?);
        let time = self.weight_trials(&mut team, &hits, round, 1);
        self.errors = Some(team);
        time
    }

    /// An upset in a weight, all images.
    pub(crate) fn weight_upset(&mut self, round: u64) -> Result<f64, Failure> {
        let mut team = match self.weights.take() {
            Some(team) => team,
            None => Team::new(self, self.plan_for_weights(1.0)?)?,
        };
        let time = self.weight_trials(&mut team, &Hits::Count(1), round, TRIALS);
        self.weights = Some(team);
        time
    }

    /// An upset for each image, each its own; the images are parted among threads.
    pub(crate) fn upset_each(&mut self, round: u64) -> Result<f64, Failure> {
        let mut team = self.upset_team()?;
        let sites = self.sites(round, self.data.len());
        let faults = Upsets::new(sites, team.evaluators[0].plan());
        let part = self.data.len().div_ceil(self.threads);
        let time = team.work(|evaluator, golden, lane| {
            let first = lane as usize * part;
            let images: Vec<u32> = (first as u32..(first + part).min(faults.sites.len()) as u32).collect();
            evaluator.judge(&images, &FaultPattern::empty(), &Shifted(&faults, first), golden)?;
            Ok(())
        });
        self.upsets = Some(team);
        time
    }

    /// One upset for all images; one trial a thread at a time.
    pub(crate) fn upset_all(&mut self, round: u64) -> Result<f64, Failure> {
        let mut team = self.upset_team()?;
        let count = self.threads as u64 * TRIALS;
        let sites = self.sites(1000 + round, count as usize);
        let plan = team.evaluators[0].plan();
        let trials: Vec<Upsets> =
            sites.into_iter().map(|site| Upsets::new(vec![site; self.data.len()], plan)).collect();
        let images: Vec<u32> = (0..self.data.len() as u32).collect();
        let time = team.work(|evaluator, golden, lane| {
            for trial in trials.iter().skip(lane as usize).step_by(self.threads) {
                evaluator.judge(&images, &FaultPattern::empty(), trial, golden)?;
            }
            Ok(())
        });
        self.upsets = Some(team);
        Ok(time? / count as f64)
    }

    fn weight_trials(
        &self,
        team: &mut Team<'d>,
        hits: &Hits,
        round: u64,
        trials: u64,
    ) -> Result<f64, Failure> {
        let count = self.threads as u64 * trials;
        let key = |trial| StreamKey { seed: 1, point: 0, trial: round * count + trial };
        let patterns: Result<Vec<_>, _> =
            (0..count).map(|trial| hits.flips(&self.space, &key(trial))).collect();
        let patterns = patterns?;
        let time = team.work(|evaluator, golden, lane| {
            for pattern in patterns.iter().skip(lane as usize).step_by(self.threads) {
                evaluator.trial(pattern, golden)?;
            }
            Ok(())
        })?;
        Ok(time / count as f64)
    }

    fn upset_team(&mut self) -> Result<Team<'d>, Failure> {
        if let Some(team) = self.upsets.take() {
            return Ok(team);
        }
        let values = self.values.iter().map(|value| value.name.clone()).collect();
        let request = CutRequest { links: 1, values, ..CutRequest::default() };
        Team::new(self, ChainPlan::new(self.model, self.data, &request)?)
    }

    fn plan_for_weights(&self, faults: f64) -> Result<ChainPlan, Failure> {
        let bits = self.space.bits() as f64;
        let share = |tensor: &bitquake_fault::SpaceTensor| (tensor.name.clone(), tensor.bits() as f64 / bits);
        let tensors = self.space.tensors().iter().map(share).collect();
        let exposure = Exposure { tensors, faults: vec![faults] };
        let request = CutRequest { links: 1, exposure, ..CutRequest::default() };
        Ok(ChainPlan::new(self.model, self.data, &request)?)
    }

    /// Random bits of random elements of all node outputs.
    fn sites(&self, seed: u64, count: usize) -> Vec<Site> {
        let mut random = SplitMix64::new(seed);
        let total: usize = self.values.iter().map(Value::elements).sum();
        let mut site = || {
            let mut at = random.below(total as u64) as usize;
            for value in &self.values {
                if at < value.elements() {
                    return Site { value: value.name.clone(), element: at, mask: 1 << random.below(32) };
                }
                at -= value.elements();
            }
            panic!("the element is below the total")
        };
        (0..count).map(|_| site()).collect()
    }
}

/// A bit of an element of a value.
#[derive(Clone)]
struct Site {
    value: String,
    element: usize,
    mask: u32,
}

/// One flipped bit in each row.
struct Upsets {
    sites: Vec<Site>,
    stops: Vec<Stop>,
}

impl Upsets {
    fn new(sites: Vec<Site>, plan: &ChainPlan) -> Self {
        let stop = |site: &Site| Stop {
            boundary: plan.boundary_of(&site.value).expect("the plan has every value"),
            looks_back: false,
        };
        Self { stops: sites.iter().map(stop).collect(), sites }
    }
}

impl RowFaults for Upsets {
    fn stops(&self, row: usize) -> &[Stop] {
        &self.stops[row..=row]
    }

    fn apply(&self, row: usize, _boundary: usize, values: &mut RowValues<'_>) -> Result<(), EngineError> {
        let site = &self.sites[row];
        let value = values.element_mut(&site.value, site.element).expect("alive at its boundary");
        *value = f32::from_bits(value.to_bits() ^ site.mask);
        Ok(())
    }
}

/// The same rows from one on.
struct Shifted<'u>(&'u Upsets, usize);

impl RowFaults for Shifted<'_> {
    fn stops(&self, row: usize) -> &[Stop] {
        self.0.stops(self.1 + row)
    }

    fn apply(&self, row: usize, boundary: usize, values: &mut RowValues<'_>) -> Result<(), EngineError> {
        self.0.apply(self.1 + row, boundary, values)
    }
}

fn space(model: &Model) -> Result<FaultSpace, Failure> {
    let candidates = model.tensors().iter().filter_map(|tensor| {
        Some(Candidate {
            name: &tensor.name,
            format: tensor.dtype.format()?,
            elements: tensor.elements(),
            by_name_only: tensor.role == Role::Attribute,
        })
    });
    Ok(FaultSpace::select(candidates, &Selector::all(), BitSelection::All)?)
}
