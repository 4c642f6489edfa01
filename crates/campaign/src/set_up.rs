//! What is done before the first trial: evaluators, the golden run, and the proof that faults will be seen.

use std::sync::Arc;
use std::time::Instant;

use bitquake_config::{Target, hex};
use bitquake_engine::{
    ChainPlan, CutRequest, DistanceJudge, Evaluator, Exposure as Hits, Golden, GoldenRun, Measure, Model,
    SelfCheckError, Splicer, Threads, check_reuse, check_values, flip_highest, self_check,
};
use bitquake_fault::{FaultPattern, SpaceTensor};
use bitquake_record as record;
use bitquake_record::{DistanceMeasure, ResultDir};
use bitquake_storage::Memory;
use sha2::{Digest, Sha256};

use crate::activation_codes::{ActivationCodes, ValueCodes};
use crate::campaign::Campaign;
use crate::engine::Chosen;
use crate::error::CampaignError;
use crate::exposure::{Exposure, probed};
use crate::run_config::{ImagesConfig, ImagesRule};
use crate::trial_record::golden_counts;

/// Models up to this size get one evaluator a thread, larger ones one evaluator with all threads.
///
/// One evaluator a thread leaves no core waiting for another and was the faster way for every small network measured; but
/// each holds a copy of the model.
const MODEL_BYTES_A_THREAD: usize = 32 << 20;
/// Trials with more images build a session of their faulty model: that is cheaper then.
pub(crate) const MOST_IMAGES: u64 = 32;
/// Likewise trials with more faults.
const MOST_FAULTS: f64 = 8.0;
/// Rows of trials that are run together.
const ROWS: u64 = 256;
/// Faults to expect where nothing is known: so many that no part of the network is spared.
const MANY: f64 = 1e6;

impl Campaign {
    fn threads(&self) -> usize {
        match self.config().run.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads as usize,
        }
    }

    /// As many evaluators as trials shall run at a time.
    pub(crate) fn evaluators(
        &self,
        model: Model,
        engine: &Chosen,
    ) -> Result<Vec<Evaluator<'_>>, CampaignError> {
        let (count, threads) = if model.image().size() <= MODEL_BYTES_A_THREAD {
            (self.threads(), Threads::Caller)
        } else {
            (1, Threads::Engine(self.threads()))
        };
        self.some_evaluators(model, engine, count, threads)
    }

    /// Evaluators with so many threads each.
    pub(crate) fn some_evaluators(
        &self,
        model: Model,
        engine: &Chosen,
        count: usize,
        threads: Threads,
    ) -> Result<Vec<Evaluator<'_>>, CampaignError> {
        let plan = match engine {
            Chosen::OnnxRuntime => Some(Arc::new(self.chain_plan(&model)?)),
            Chosen::Native(_) => None,
        };
        let (batch, lets_go) = (self.config().run.batch, self.config().run.reuse.reconvergence);
        let one = |model| -> Result<Evaluator<'_>, CampaignError> {
            let evaluator = match (engine, &plan) {
                (Chosen::Native(native), _) => {
                    Evaluator::native(model, (**native).clone(), self.data(), threads)?
                }
                (Chosen::OnnxRuntime, Some(plan)) => {
                    Evaluator::chained(model, Arc::clone(plan), self.data(), batch, threads)?
                }
                (Chosen::OnnxRuntime, None) => Evaluator::new(model, self.data(), batch, threads)?,
            };
            let evaluator = evaluator.letting_go(lets_go);
            Ok(match self.distance() {
                Some(rule) => evaluator.judged_by(Arc::new(distance_judge(rule))),
                None => evaluator,
            })
        };
        // The last takes the model itself: one copy of a large one is enough.
        std::iter::repeat_n(model, count).map(one).collect()
    }

    /// Where the model is cut: at the values that faults hit, and where starting in the middle pays.
    fn chain_plan(&self, model: &Model) -> Result<ChainPlan, CampaignError> {
        let mut values =
            self.values().map(|(_, exposure)| names(exposure, self.memory())).unwrap_or_default();
        values.extend(self.codes().into_iter().flat_map(ActivationCodes::names));
        let reuse = self.config().run.reuse.prefix;
        if values.is_empty() && !reuse {
            return Ok(ChainPlan::whole(model, self.data().image_shape()));
        }
        let exposure = self.weights().filter(|_| reuse).map(|exposure| self.hits(exposure));
        let points = 0..self.config().fault.amounts().len();
        let around = match self.weights() {
            Some(weights) if points.into_iter().any(|point| self.splices(point)) => {
                names(weights, self.memory())
            }
            _ => Vec::new(),
        };
        let request = CutRequest { links: 1, exposure: exposure.unwrap_or_default(), values, around };
        match ChainPlan::new(model, self.data(), &request) {
            Err(error) if request.values.is_empty() && error.is_refusal() => {
                // A graph that cannot be cut is run in one piece: slower, and the same results.
                Ok(ChainPlan::whole(model, self.data().image_shape()))
            }
            plan => Ok(plan?),
        }
    }

    /// Whether the trials of a point are run together, each with faulty weights of its own in its rows: few images and few
    /// faults, in weights alone.
    fn splices(&self, point: usize) -> bool {
        let run = &self.config().run;
        let images = match run.images {
            ImagesConfig::Number(images) => images.min(self.data().len() as u64),
            ImagesConfig::Named(ImagesRule::All) => self.data().len() as u64,
            ImagesConfig::Named(ImagesRule::Auto) => 1,
        };
        let Some(exposure) = self.weights().filter(|_| self.values().is_none()) else { return false };
        let faults = exposure.expected(&exposure.models[point]);
        // With at_least = 1 there is one fault, and seldom more.
        let faults =
            faults.map(|faults| if self.config().fault.at_least.is_some() { faults + 1.0 } else { faults });
        // What is spliced in is computed from float weights, not stored as codes.
        self.codes().is_none()
            && run.reuse.splice
            && run.reuse.prefix
            && images <= MOST_IMAGES
            && faults.is_some_and(|faults| faults <= MOST_FAULTS)
    }

    /// What splices, if trials of any point are run together.
    pub(crate) fn splicer(&self, evaluator: &Evaluator<'_>) -> Option<Splicer> {
        if evaluator.as_native().is_some() {
            return None;
        }
        let splices = (0..self.config().fault.amounts().len()).any(|point| self.splices(point));
        splices.then(|| Splicer::new(evaluator.model(), evaluator.plan()))
    }

    /// How many trials of a point go to a worker at once.
    pub(crate) fn group(&self, point: u32, images: Option<u64>) -> usize {
        let images = images.unwrap_or(self.data().len() as u64).max(1);
        if images <= MOST_IMAGES && self.splices(point as usize) {
            (ROWS / images).max(1) as usize
        } else {
            1
        }
    }

    /// Which stored tensors are hit, and how often.
    fn hits(&self, exposure: &Exposure) -> Hits {
        let all = exposure.space.bits().max(1) as f64;
        let tensor =
            |tensor: &SpaceTensor| (self.memory().owner(&tensor.name).to_owned(), tensor.bits() as f64 / all);
        let expected = |model| exposure.expected(model).unwrap_or(MANY);
        Hits {
            tensors: exposure.space.tensors().iter().map(tensor).collect(),
            faults: exposure.models.iter().map(expected).collect(),
        }
    }

    /// The golden run, the self-checks, and that a golden run recorded before is reproduced.
    pub(crate) fn prove(
        &self,
        evaluator: &mut Evaluator<'_>,
        engine: &Chosen,
        dir: &ResultDir,
        before: Option<record::Golden>,
    ) -> Result<(GoldenRun, record::Golden), CampaignError> {
        let start = Instant::now();
        let golden = evaluator.golden(self.reuse_bytes())?;
        let seconds = start.elapsed().as_secs_f64();
        self.check(evaluator, &golden)?;
        let outputs = output_digest(&golden.golden);
        if before.as_ref().is_some_and(|before| before.outputs != outputs) {
            return Err(CampaignError::GoldenDiffers { dir: dir.path().to_owned() });
        }
        let engine = || engine.record(evaluator.batch(), evaluator.plan().links() as u64);
        let file =
            before.map_or_else(|| Ok(self.golden_record(&golden.golden, outputs, engine()?, seconds)), Ok);
        file.map(|file: record::Golden| (golden, file))
    }

    /// The bytes that golden values may take.
    pub(crate) fn reuse_bytes(&self) -> usize {
        (self.config().run.reuse.memory_mb << 20) as usize
    }

    /// The codes of a value that is stored so.
    fn coded(&self, value: &str) -> Option<&ValueCodes> {
        self.codes()?.of(value)
    }

    fn check(&self, evaluator: &mut Evaluator<'_>, golden: &GoldenRun) -> Result<(), CampaignError> {
        let probe_images = self.config().run.batch as usize;
        if let Some(exposure) = self.weights() {
            let seen = |pattern: FaultPattern, model: &Model| {
                // Past the protections, which would correct some probes.
                let translated = self.memory().translate(&pattern, model.image());
                translated.map_err(|error| SelfCheckError::Probe { reason: error.to_string() })
            };
            let probed = probed(&exposure.space, self.memory())?;
            self_check(evaluator, golden, &probed, probe_images, seen)?;
        }
        if let Some((_, exposure)) = self.values() {
            let change = |tensor: &SpaceTensor, row: &mut [f32]| match self.coded(&tensor.name) {
                Some(codes) => codes.probe(tensor, row),
                None => flip_highest(tensor, row),
            };
            check_values(evaluator, golden, &exposure.space, probe_images, &change)?;
        }
        let all = self.config().run.images == ImagesConfig::Named(ImagesRule::All);
        if evaluator.plan().links() > 1 || !all {
            check_reuse(evaluator, golden, probe_images)?;
        }
        Ok(())
    }

    fn golden_record(
        &self,
        golden: &Golden,
        outputs: String,
        engine: record::Engine,
        seconds: f64,
    ) -> record::Golden {
        record::Golden {
            schema: record::SCHEMA,
            bitquake: env!("CARGO_PKG_VERSION").into(),
            name: self.config().name.clone(),
            campaign: self.identity().id(),
            identity: self.identity().parts().clone(),
            engine,
            machine: machine(self.threads() as u64),
            storage: self.storage_record(),
            points: self.points(),
            activations: self.codes().map(ActivationCodes::records).unwrap_or_default(),
            strata: self.strata().map(|strata| strata.records.clone()).unwrap_or_default(),
            distance: self.distance(),
            metrics: golden_counts(&golden.clean(), golden.width()),
            outputs,
            seconds,
            ..record::Golden::default()
        }
    }
}

/// The tensors or values of an exposure; parts of a tensor, such as its scales, count as the tensor.
fn names(exposure: &Exposure, memory: &Memory) -> Vec<String> {
    let name = |tensor: &SpaceTensor| match exposure.target {
        Target::Weights => memory.owner(&tensor.name).to_owned(),
        _ => tensor.name.clone(),
    };
    exposure.space.tensors().iter().map(name).collect()
}

pub(crate) fn distance_judge(rule: record::DistanceRule) -> DistanceJudge {
    let measure = match rule.measure {
        DistanceMeasure::MaxAbs => Measure::MaxAbs,
        DistanceMeasure::RelL2 => Measure::RelL2,
        DistanceMeasure::Cosine => Measure::Cosine,
    };
    DistanceJudge { measure, threshold: rule.threshold }
}

/// SHA-256 over all golden outputs, bit for bit.
pub(crate) fn output_digest(golden: &Golden) -> String {
    let mut hash = Sha256::new();
    golden.outputs.iter().for_each(|output| hash.update(output.to_bits().to_le_bytes()));
    hex(&hash.finalize())
}

/// This machine, of which so many threads are used.
pub(crate) fn machine(threads: u64) -> record::Machine {
    record::Machine {
        cpu: cpu_name(),
        threads,
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

fn cpu_name() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    name.and_then(|rest| rest.split_once(':')).map_or("unknown".into(), |(_, name)| name.trim().into())
}
