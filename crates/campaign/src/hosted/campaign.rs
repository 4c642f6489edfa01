//! A host's campaign, checked, before anything runs.

use bitquake_bits::WordStore;
use bitquake_config::Identity;
use bitquake_engine::highest_bits;
use bitquake_fault::{Candidate, FaultPattern, FaultSpace, Faults, Name, Selector, SpaceTensor};
use bitquake_record::{Amount, DistanceRule, PointPlan, ProtectionRecord, Sampling, StorageRecord};
use bitquake_storage::Memory;

use super::config::HostedConfig;
use super::error::HostedError;
use super::identity::identity;
use super::tensor::{Digests, HostTensor, check_names};
use crate::error::CampaignError;
use crate::exposure::{Exposure, must_be_tried, probed, tensor_record, trial_key, weights};
use crate::tally::Tally;
use crate::trial::Trial;

/// A campaign whose network a host runs: the fault space of the host's words, and the faults of every trial.
pub struct Hosted {
    config: HostedConfig,
    exposure: Exposure,
    /// The bits that protections add, where a memory holds the words.
    check_bits: u64,
    identity: Identity,
}

/// The faults of one trial in the host's words.
#[derive(Clone, Debug)]
pub struct HostedTrial {
    /// The point.
    pub point: u32,
    /// The trial within the point.
    pub trial: u64,
    /// The bits that change in what is stored.
    pub pattern: FaultPattern,
    /// The same in the host's words, where a memory gave it those.
    pub(super) translated: Option<FaultPattern>,
    /// Faults that are present and change nothing, such as a bit stuck at what it holds.
    pub dormant: u64,
    /// What the protections of the memory did, if it has any.
    pub protection: Option<ProtectionRecord>,
    /// What the flips do to the words, for the record.
    pub(super) tally: Tally,
}

impl HostedTrial {
    /// The bits that change in the host's words. The host applies it before it runs the network, and again afterwards, which undoes it.
    #[must_use]
    pub fn seen(&self) -> &FaultPattern {
        self.translated.as_ref().unwrap_or(&self.pattern)
    }
}

/// Flips that outputs must show.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The tensor that they are in.
    pub tensor: String,
    /// The highest bit that may be hit, in every word of it or in some 65,536 of them.
    pub pattern: FaultPattern,
}

impl Hosted {
    /// Selects the fault space among the tensors and fixes the identity, in which everything stands that decides results.
    ///
    /// A campaign on a model file with tensors of these names, formats and shapes flips the same bits in its trials.
    ///
    /// # Errors
    /// [`HostedError`] for a configuration that cannot be run, tensors or digests that are none, or a selection that matches nothing.
    pub fn prepare(
        config: HostedConfig,
        tensors: Vec<HostTensor>,
        digests: Digests,
    ) -> Result<Self, HostedError> {
        Self::prepare_among(config, tensors, &[], digests)
    }

    /// The same of a host that has described some of its tensors alone, those that the selection chooses. `others` are the names of the
    /// rest, which patterns may mean.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_among(
        config: HostedConfig,
        tensors: Vec<HostTensor>,
        others: &[String],
        digests: Digests,
    ) -> Result<Self, HostedError> {
        let config = config.settled()?;
        config.check_memory(false)?;
        let digests = digests.checked()?;
        check_names(&tensors)?;
        let space = fault_space(&config, &tensors, others)?;
        Self::over(config, &tensors, &digests, space, 0)
    }

    /// The same of a host whose words are what a memory gives: trials hit what the memory holds, codes, their parts, and the check bits
    /// and copies of its protections. The configuration's `storage` is what the memory was made of.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare); and when there is no `storage`.
    pub fn prepare_stored(
        config: HostedConfig,
        memory: &Memory,
        digests: Digests,
    ) -> Result<Self, HostedError> {
        let config = config.settled()?;
        config.check_memory(true)?;
        let digests = digests.checked()?;
        let tensor = |(held, dims): (Candidate<'_>, Vec<u64>)| HostTensor {
            name: held.name.to_owned(),
            format: held.format,
            dims,
            by_name_only: held.by_name_only,
            also: Vec::new(),
        };
        let tensors: Vec<HostTensor> = memory.candidates().zip(memory.shapes()).map(tensor).collect();
        let space = weights(&config.fault, memory)?;
        Self::over(config, &tensors, &digests, space, memory.check_bits())
    }

    fn over(
        config: HostedConfig,
        tensors: &[HostTensor],
        digests: &Digests,
        space: FaultSpace,
        check_bits: u64,
    ) -> Result<Self, HostedError> {
        let points = config.fault.amounts().len();
        let identity = identity(&config, tensors, digests)?;
        let exposure = Exposure::of_space(&config.fault, points, space)?;
        let hosted = Self { config, exposure, check_bits, identity };
        hosted.check_points()?;
        Ok(hosted)
    }

    /// That every point can be drawn: told before the golden run.
    fn check_points(&self) -> Result<(), HostedError> {
        let points = self.config.fault.amounts();
        let mut tried = (0..).zip(&points).filter(|(_, amount)| must_be_tried(&self.config.fault, amount));
        tried.try_for_each(|(point, _)| self.draw(point, 0).map(drop))
    }

    /// The configuration, every default in its place.
    #[must_use]
    pub fn config(&self) -> &HostedConfig {
        &self.config
    }

    /// What may be hit.
    #[must_use]
    pub fn space(&self) -> &FaultSpace {
        &self.exposure.space
    }

    /// What makes this campaign this campaign.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The points, in order.
    #[must_use]
    pub fn points(&self) -> Vec<PointPlan> {
        let plan = |((point, amount), model)| PointPlan {
            expected_faults: self.exposure.expected(model),
            weight: self.exposure.weight(point, self.config.seed),
            sampling: if self.config.fault.is_even() { Sampling::Uniform } else { Sampling::Uneven },
            ..PointPlan::new(point, amount)
        };
        (0..).zip(self.amounts()).zip(&self.exposure.models).map(plan).collect()
    }

    /// What each point asks for.
    pub(super) fn amounts(&self) -> Vec<Amount> {
        self.exposure.amounts(&self.config.fault)
    }

    /// The faults of a trial before they meet the words: the same whenever and in whatever order they are drawn, and those of a
    /// campaign on a model file with the same tensors.
    ///
    /// # Errors
    /// [`CampaignError::Config`] when there is no such point; [`CampaignError::Draw`].
    pub fn draw(&self, point: u32, trial: u64) -> Result<Faults, HostedError> {
        self.exposure.check_point(point)?;
        Ok(self.exposure.draw(point, &trial_key(self.config.seed, trial))?)
    }

    /// The flips of a trial in the host's words, which must hold no faults.
    ///
    /// # Errors
    /// As [`draw`](Self::draw), and [`HostedError::Words`] when the words are not those that the host described.
    pub fn trial(&self, point: u32, trial: u64, words: &impl WordStore) -> Result<HostedTrial, HostedError> {
        let resolved = self.draw(point, trial)?.resolve(words)?;
        let told = resolved.pattern.explain(words)?;
        let mut tally = Tally::default();
        tally.add(&told, &told.total, resolved.dormant);
        let (pattern, dormant) = (resolved.pattern, resolved.dormant);
        Ok(HostedTrial { point, trial, pattern, translated: None, dormant, protection: None, tally })
    }

    /// The flips of a trial in a memory, what its protections leave of them, and what those come to in the host's words, `native`, which
    /// must be what the memory gave without faults.
    ///
    /// # Errors
    /// As [`trial`](Self::trial).
    pub fn stored_trial(
        &self,
        point: u32,
        trial: u64,
        memory: &Memory,
        native: &impl WordStore,
    ) -> Result<HostedTrial, HostedError> {
        let drawn = Trial::of(&self.draw(point, trial)?, memory, native)?;
        let tally = drawn.tally(memory, native)?;
        let Trial { stored: pattern, seen, dormant, protection } = drawn;
        Ok(HostedTrial { point, trial, pattern, translated: Some(seen), dormant, protection, tally })
    }

    /// A probe for every tensor of the fault space, in their order: see [`Proof`](super::Proof).
    ///
    /// # Errors
    /// Of an item: [`HostedError::Words`] for a tensor that is too large for bit addresses.
    pub fn probes(&self) -> impl Iterator<Item = Result<Probe, HostedError>> + '_ {
        self.space().tensors().iter().map(|tensor: &SpaceTensor| {
            Ok(Probe { tensor: tensor.name.clone(), pattern: highest_bits(tensor)? })
        })
    }

    /// The same for a memory, as flips of the host's words, `native`. They go past the protections, which would correct some; check bits
    /// and copies show in no output, so where nothing else may be hit, the words that they protect are flipped.
    ///
    /// # Errors
    /// As [`probes`](Self::probes).
    pub fn stored_probe(
        &self,
        number: usize,
        memory: &Memory,
        native: &impl WordStore,
    ) -> Result<Option<Probe>, HostedError> {
        let probed = probed(self.space(), memory)?;
        let Some(tensor) = probed.tensors().get(number) else { return Ok(None) };
        let pattern = memory.translate(&highest_bits(tensor)?, native).map_err(CampaignError::from)?;
        Ok(Some(Probe { tensor: tensor.name.clone(), pattern }))
    }

    /// When outputs count as failed, for models that are no classifiers.
    pub(super) fn distance(&self) -> Option<DistanceRule> {
        let outcome = self.config.outcome?;
        Some(DistanceRule { measure: outcome.distance, threshold: outcome.threshold })
    }

    pub(super) fn storage_record(&self) -> StorageRecord {
        let HostedConfig { host, storage, .. } = &self.config;
        StorageRecord {
            model: host.model.clone(),
            memory: storage.as_ref().map_or_else(|| "as the host holds it".into(), ToString::to_string),
            check_bits: self.check_bits,
            bits: self.space().bits(),
            tensors: self.space().tensors().iter().map(tensor_record).collect(),
        }
    }
}

/// The bits that `[fault]` selects of the tensors.
fn fault_space(
    config: &HostedConfig,
    tensors: &[HostTensor],
    others: &[String],
) -> Result<FaultSpace, HostedError> {
    let wrong = |reason| CampaignError::config("campaign", reason);
    let candidates = tensors.iter().map(HostTensor::candidate).collect::<Result<Vec<_>, _>>()?;
    if candidates.iter().all(|candidate| candidate.elements == 0) {
        return Err(HostedError::NoTensors);
    }
    let others = others.iter().map(|text| Name { text, by_name_only: false, also: &[] });
    let names: Vec<Name<'_>> = tensors.iter().map(HostTensor::selectable).chain(others).collect();
    let is_selected = Selector::new(config.fault.select())?.matches(&names)?;
    let bits = config.fault.bits().map_err(wrong)?;
    let selected = candidates.into_iter().zip(is_selected).filter(|(_, is_selected)| *is_selected);
    let space = FaultSpace::gather(selected.map(|(candidate, _)| (candidate, bits)))?;
    let dims = |name: &str| Some(tensors.iter().find(|tensor| tensor.name == name)?.dims.clone());
    let space = space.with_dims(dims)?;
    match config.fault.protected().map_err(wrong)? {
        Some(protected) => Ok(space.without(&protected)?),
        None => Ok(space),
    }
}
