//! A campaign, read and checked, before anything runs.

use bitquake_bits::WordStore;
use bitquake_config::{Identity, Target, hex};
use bitquake_data::{Dataset, load, load_images};
use bitquake_engine::{EngineError, Model};
use bitquake_fault::{Candidate, FaultModel, FaultPattern, FaultSpace, Faults, TensorFlips};
use bitquake_record::{Amount, DistanceRule, PointPlan, Sampling, StorageRecord};
use bitquake_sample::{PartKey, StreamKey};
use bitquake_storage::Memory;
use bitquake_tensors::{Dtype, TensorFile, TensorInfo};
use sha2::{Digest, Sha256};

use crate::activation_codes::{ActivationCodes, CodeChoice};
use crate::config::Config;
use crate::error::CampaignError;
use crate::exposure::{Exposure, must_be_tried, tensor_record, trial_key};
use crate::identity::identity;
use crate::run_config::SamplingConfig;
use crate::strata::Strata;
use crate::trial::Trial;

/// A campaign with its data, its memory and its fault space. Its model is apart, so that a large one need not be held twice.
pub struct Campaign {
    config: Config,
    data: Dataset,
    memory: Memory,
    /// What `[fault]` exposes, and what `[fault.also]` does.
    exposures: Vec<Exposure>,
    /// The activations and inputs that are stored as codes, if any are.
    codes: Option<ActivationCodes>,
    /// The parts of the fault space that importance sampling draws from.
    strata: Option<Strata>,
    identity: Identity,
}

impl Campaign {
    /// Reads the model and the data, quantizes what is to be stored as codes, selects the fault space and fixes the identity.
    /// The model, which is for [`run`](Self::run), computes with the decoded codes.
    ///
    /// # Errors
    /// [`CampaignError`] for a file that is bad or missing, or a selection that matches nothing.
    pub fn prepare(config: Config) -> Result<(Self, Model), CampaignError> {
        let file = TensorFile::open(&config.model.path)?;
        config.model.check(&file)?;
        let identity = identity(&config, file.content_hash_parts())?;
        let mut model = Model::new(file)?;
        let key = StreamKey { seed: config.seed, point: 0, trial: 0 };
        let memory = Memory::new(&config.storage, model.tensors(), model.image(), key)?;
        memory.write_levels(model.image_mut())?;
        let load = if config.outcome.is_some() { load_images } else { load };
        let data = load(&config.data, std::path::Path::new(""))?;
        model.check_shape(data.image_shape())?;
        let points = config.fault.amounts().len();
        let sections = [Some(&config.fault), config.fault.also.as_deref()].into_iter().flatten();
        let choice = CodeChoice::new(&config.activations, &model, &data)?;
        let exposures = sections
            .map(|section| Exposure::new(section, points, &memory, &model, &data, choice.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut codes = choice.map(|choice| choice.settled(&exposures)).transpose()?;
        let data = match &mut codes {
            Some(codes) => codes.store_images(data)?,
            None => data,
        };
        let is_weighted = config.run.sampling == SamplingConfig::Importance;
        let strata = is_weighted.then(|| Strata::new(&exposures[0].space));
        let campaign = Self { config, data, memory, exposures, codes, strata, identity };
        campaign.check_counts()?;
        Ok((campaign, model))
    }

    /// That every point can be drawn: sites that do not exist, counts beyond the space and conditions that cannot be met are
    /// told before the golden run. Ordinary rates can always be drawn.
    fn check_counts(&self) -> Result<(), CampaignError> {
        let points = self.config.fault.amounts();
        let mut checked = (0..).zip(&points).filter(|(_, amount)| must_be_tried(&self.config.fault, amount));
        checked.try_for_each(|(point, _)| self.draw_once(point))
    }

    fn draw_once(&self, point: u32) -> Result<(), CampaignError> {
        for (place, exposure) in self.exposures.iter().enumerate() {
            match exposure.target {
                Target::Weights => drop(self.draw(point, 0, None)?),
                _ => drop(exposure.draw(point, &self.key(place, 0))?),
            }
        }
        Ok(())
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The images.
    #[must_use]
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// What may be hit by `[fault]`.
    #[must_use]
    pub fn space(&self) -> &FaultSpace {
        &self.exposures[0].space
    }

    /// Whether faults may hit what is stored, and whether they may hit activations or inputs.
    #[must_use]
    pub fn exposes(&self) -> (bool, bool) {
        (self.weights().is_some(), self.values().is_some())
    }

    /// What is exposed of the memory, if anything is.
    pub(crate) fn weights(&self) -> Option<&Exposure> {
        self.exposures.iter().find(|exposure| exposure.target == Target::Weights)
    }

    /// What is exposed of activations or inputs, if anything is, and its place among the exposures.
    pub(crate) fn values(&self) -> Option<(usize, &Exposure)> {
        self.exposures.iter().enumerate().find(|(_, exposure)| exposure.target != Target::Weights)
    }

    /// The activations and inputs that are stored as codes, if any are.
    pub(crate) fn codes(&self) -> Option<&ActivationCodes> {
        self.codes.as_ref()
    }

    /// The key of a trial's faults in what is exposed.
    pub(crate) fn key(&self, exposure: usize, trial: u64) -> PartKey {
        let key = trial_key(self.config.seed, trial);
        if exposure == 0 { key } else { key.part("also") }
    }

    /// When outputs count as failed, for models that are no classifiers.
    pub(crate) fn distance(&self) -> Option<DistanceRule> {
        self.config
            .outcome
            .map(|outcome| DistanceRule { measure: outcome.distance, threshold: outcome.threshold })
    }

    /// The most trials that a point may get.
    pub(crate) fn most_trials(&self) -> u64 {
        match self.config.run.sampling {
            SamplingConfig::Exhaustive => self.space().bits(),
            _ => self.config.run.most_trials(),
        }
    }

    /// What makes this campaign this campaign.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the memory holds.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The points, in order.
    #[must_use]
    pub fn points(&self) -> Vec<PointPlan> {
        let plan = |((point, amount), model)| PointPlan {
            expected_faults: self.expected_faults(&self.exposures[0], model),
            weight: self.weights().and_then(|exposure| exposure.weight(point, self.config.seed)),
            sampling: match self.config.run.sampling {
                SamplingConfig::Uniform if self.config.fault.is_even() => Sampling::Uniform,
                SamplingConfig::Uniform => Sampling::Uneven,
                SamplingConfig::Importance => Sampling::Stratified,
                SamplingConfig::Exhaustive => Sampling::Exhaustive,
            },
            ..PointPlan::new(point, amount)
        };
        (0..).zip(self.amounts()).zip(&self.exposures[0].models).map(plan).collect()
    }

    /// What each point asks for.
    pub(crate) fn amounts(&self) -> Vec<Amount> {
        self.exposures[0].amounts(&self.config.fault)
    }

    /// Bits expected to change, where that does not hang on what they hold or on how bursts overlap.
    fn expected_faults(&self, exposure: &Exposure, model: &FaultModel) -> Option<f64> {
        let times = exposure.times(self.data.len());
        exposure.expected(model).map(|expected| expected * times as f64)
    }

    /// The faults of one trial in what is stored: the same whenever, wherever and in whatever order it is drawn. `native` is the model that
    /// [`prepare`](Self::prepare) gave, or the file of it with [`Memory::write_levels`] applied.
    ///
    /// # Errors
    /// [`CampaignError::Config`] when there is no such point.
    pub fn trial(&self, point: u32, trial: u64, native: &impl WordStore) -> Result<Trial, CampaignError> {
        self.trial_in(point, trial, None, native)
    }

    /// The same for a trial that was drawn from a stratum, whose number its record tells.
    ///
    /// # Errors
    /// [`CampaignError::Config`] when there is no such point or stratum.
    pub fn trial_in(
        &self,
        point: u32,
        trial: u64,
        stratum: Option<u32>,
        native: &impl WordStore,
    ) -> Result<Trial, CampaignError> {
        Trial::of(&self.draw(point, trial, stratum)?, &self.memory, native)
    }

    /// The faults of a trial in what is stored.
    fn draw(&self, point: u32, trial: u64, stratum: Option<u32>) -> Result<Faults, CampaignError> {
        self.exposures[0].check_point(point)?;
        let stored = self.exposures.iter().position(|exposure| exposure.target == Target::Weights);
        let stored = stored.map(|place| (place, &self.exposures[place]));
        let Some((place, exposure)) = stored else { return Ok(Faults::empty()) };
        let key = self.key(place, trial);
        match (self.config.run.sampling, stratum) {
            (SamplingConfig::Exhaustive, _) => self.one_site(&exposure.space, trial),
            (SamplingConfig::Importance, Some(stratum)) => {
                let part = self.strata.as_ref().and_then(|strata| strata.spaces.get(stratum as usize));
                let part = part.ok_or_else(|| {
                    CampaignError::config("campaign", format!("there is no stratum {stratum}"))
                })?;
                Ok(exposure.models[point as usize].sampler(part)?.draw(&key)?)
            }
            _ => Ok(exposure.draw(point, &key)?),
        }
    }

    /// The flip of the bit whose number a trial has.
    fn one_site(&self, space: &FaultSpace, trial: u64) -> Result<Faults, CampaignError> {
        let (tensor, address) = space.site(trial).ok_or_else(|| {
            let bits = space.bits();
            CampaignError::config("campaign", format!("trial {trial}: the fault space has {bits} bits"))
        })?;
        let flips = TensorFlips {
            tensor: tensor.name.clone(),
            format: tensor.format,
            elements: tensor.elements,
            addresses: vec![address],
        };
        Ok(FaultPattern::new(vec![flips]).map_err(EngineError::from)?.into())
    }

    /// The parts of the fault space, with importance sampling.
    pub(crate) fn strata(&self) -> Option<&Strata> {
        self.strata.as_ref()
    }

    /// What the memory holds, for people.
    fn memory_line(&self) -> String {
        let weights = self.config.storage.to_string();
        match &self.codes {
            Some(codes) => format!("{weights}; activations {}", codes.describe()),
            None => weights,
        }
    }

    pub(crate) fn storage_record(&self) -> StorageRecord {
        let name = self.config.model.path.file_name().map(|name| name.to_string_lossy().into_owned());
        StorageRecord {
            model: name.unwrap_or_default(),
            memory: self.memory_line(),
            check_bits: self.memory.check_bits(),
            bits: self.exposures.iter().map(|exposure| exposure.space.bits()).sum(),
            tensors: self
                .exposures
                .iter()
                .flat_map(|exposure| exposure.space.tensors())
                .map(tensor_record)
                .collect(),
        }
    }
}

/// The tensors of a file that may belong to a fault space: those with a format of the table.
pub fn candidates(tensors: &[TensorInfo]) -> impl Iterator<Item = Candidate<'_>> {
    tensors.iter().filter_map(candidate)
}

fn candidate(tensor: &TensorInfo) -> Option<Candidate<'_>> {
    match tensor.dtype {
        Dtype::Known(format) => Some(Candidate {
            name: &tensor.name,
            format,
            elements: tensor.elements(),
            by_name_only: !tensor.role.is_reached_by_globs(),
        }),
        Dtype::Other(_) => None,
    }
}

/// The first 16 hex digits of a SHA-256 over a pattern: tensors, formats, sizes and bit addresses.
#[must_use]
pub fn pattern_digest(pattern: &FaultPattern) -> String {
    let mut hash = Sha256::new();
    for flips in pattern.tensors() {
        hash.update((flips.tensor.len() as u64).to_le_bytes());
        hash.update(flips.tensor.as_bytes());
        hash.update(flips.format.name());
        hash.update(flips.elements.to_le_bytes());
        hash.update((flips.addresses.len() as u64).to_le_bytes());
        for address in &flips.addresses {
            hash.update(address.to_le_bytes());
        }
    }
    hex(&hash.finalize()[..8])
}
