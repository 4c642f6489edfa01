//! Which engine computes the network.

use std::time::Instant;

use bitquake_config::Target;
use bitquake_engine::{Model, Native, Runtime, Threads};
use bitquake_record as record;

use crate::campaign::Campaign;
use crate::error::CampaignError;
use crate::run_config::{EngineConfig, ImagesConfig, ImagesRule};
use crate::shard::Shard;
use crate::worker::{Job, Worker};

/// What computes the network of a campaign: the same for the golden run and all trials.
#[derive(Clone, Debug)]
pub(crate) enum Chosen {
    /// ONNX Runtime.
    OnnxRuntime,
    /// The project's own kernels.
    Native(Box<Native>),
}

/// How golden records name the project's own kernels.
const NATIVE: &str = "native";
/// Trials that each engine runs to be timed, at least, of the first and the last point, and how often; the least time counts.
const TRIALS: u64 = 2;
const ROUNDS: usize = 3;
/// The most images of such a trial, and those where a pilot is yet to choose.
const MOST_IMAGES: u64 = 256;
const FEW_IMAGES: u64 = 16;

impl Campaign {
    /// The engine: as the golden run before had it; else as the configuration says, or as a few trials show.
    ///
    /// # Errors
    /// [`CampaignError`] when the engine that is asked for cannot run the campaign, and for `auto` with several shards.
    pub(crate) fn engine(
        &self,
        model: &Model,
        shard: Shard,
        before: Option<&record::Golden>,
    ) -> Result<Chosen, CampaignError> {
        match self.config().run.engine {
            EngineConfig::OnnxRuntime => Ok(Chosen::OnnxRuntime),
            EngineConfig::Native => self.native(model),
            EngineConfig::Auto if shard.count > 1 => Err(CampaignError::config(
                "campaign",
                "[run] engine = \"auto\" chooses by the clock, and shards might choose differently: say \"onnxruntime\" or \"native\"",
            )),
            EngineConfig::Auto => match before {
                Some(golden) if golden.engine.name == NATIVE => self.native(model),
                Some(_) => Ok(Chosen::OnnxRuntime),
                None => self.faster(model),
            },
        }
    }

    /// The project's own kernels, if they can run the campaign.
    fn native(&self, model: &Model) -> Result<Chosen, CampaignError> {
        let wrong =
            |reason: &str| CampaignError::config("campaign", format!("[run] engine = \"native\": {reason}"));
        if self.codes().is_some() {
            return Err(wrong("activations that are stored as codes need engine = \"onnxruntime\""));
        }
        if self.values().is_some_and(|(_, exposure)| exposure.target != Target::Inputs) {
            return Err(wrong(
                "faults in activations need engine = \"onnxruntime\"; those in weights and inputs do not",
            ));
        }
        let native = Native::new(model, self.data().image_shape())?;
        for tensor in self.weights().iter().flat_map(|exposure| exposure.space.tensors()) {
            native.check_tensor(model, self.memory().owner(&tensor.name))?;
        }
        Ok(Chosen::Native(Box::new(native)))
    }

    /// The engine that runs trials of the pilot in less time; ONNX Runtime where the own kernels cannot run the campaign.
    fn faster(&self, model: &Model) -> Result<Chosen, CampaignError> {
        let Ok(native) = self.native(model) else { return Ok(Chosen::OnnxRuntime) };
        let seconds = [&Chosen::OnnxRuntime, &native].map(|engine| self.seconds(model, engine));
        let [runtime, own] = seconds;
        Ok(if own? < runtime? { native } else { Chosen::OnnxRuntime })
    }

    /// The seconds that trials take on one evaluator, without its set-up.
    fn seconds(&self, model: &Model, engine: &Chosen) -> Result<f64, CampaignError> {
        let mut evaluators = self.some_evaluators(model.clone(), engine, 1, Threads::Caller)?;
        let Some(mut evaluator) = evaluators.pop() else { return Ok(f64::INFINITY) };
        let golden = evaluator.golden(self.reuse_bytes())?;
        let splicer = self.splicer(&evaluator);
        let mut worker = Worker::new(self, evaluator, &golden, splicer.as_ref())?;
        let last = self.config().fault.amounts().len().saturating_sub(1) as u32;
        let mut points = vec![0, last];
        points.dedup();
        let images = self.images_to_time();
        let mut least = f64::INFINITY;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let mut trials = 0;
            for &point in &points {
                let count = TRIALS.max(self.group(point, images) as u64);
                let job = |place| Job { point, trial: self.pilot_trial(place), images, stratum: None };
                trials += worker.run((0..count).map(job).collect())?.len();
            }
            least = least.min(start.elapsed().as_secs_f64() / trials.max(1) as f64);
        }
        Ok(least)
    }

    /// Images of the trials that are timed: those of the campaign's trials, or so many that their number does not matter.
    fn images_to_time(&self) -> Option<u64> {
        let wanted = match self.config().run.images {
            ImagesConfig::Number(images) => images.min(MOST_IMAGES),
            ImagesConfig::Named(ImagesRule::All) => MOST_IMAGES,
            ImagesConfig::Named(ImagesRule::Auto) => FEW_IMAGES,
        };
        Some(wanted).filter(|&images| images < self.data().len() as u64)
    }
}

impl Chosen {
    /// What golden records tell of it.
    pub(crate) fn record(&self, batch: u64, links: u64) -> Result<record::Engine, CampaignError> {
        let disabled = bitquake_engine::DISABLED_OPTIMISERS;
        Ok(match self {
            Chosen::Native(native) => record::Engine {
                name: NATIVE.into(),
                version: env!("CARGO_PKG_VERSION").into(),
                settings: format!("kernels for {}, 3x3 in tiles, nothing folded", native.instructions()),
                batch,
            },
            Chosen::OnnxRuntime => record::Engine {
                name: "ONNX Runtime".into(),
                version: Runtime::load()?.version(),
                settings: match links {
                    1 => format!("all optimisations but {disabled}"),
                    _ => format!("{links} links; all optimisations but {disabled}"),
                },
                batch,
            },
        })
    }
}
