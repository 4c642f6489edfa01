//! What faults may hit, and which models draw them.

use std::borrow::Cow;

use bitquake_bits::{BitSelection, Format};
use bitquake_config::{FaultConfig, Persistence, Target};
use bitquake_data::Dataset;
use bitquake_engine::{Activation, Model, activations};
use bitquake_fault::{
    Candidate, DrawError, Elements, FaultModel, FaultSpace, Faults, Hits, Selector, SiteRange, SpaceTensor,
};
use bitquake_record::{Amount, SpaceTensorRecord};
use bitquake_sample::{PartKey, StreamKey};
use bitquake_storage::Memory;

use crate::activation_codes::CodeChoice;
use crate::error::CampaignError;

/// Part of the fault space with its models, one for each point.
pub(crate) struct Exposure {
    pub(crate) target: Target,
    pub(crate) persistence: Persistence,
    pub(crate) space: FaultSpace,
    pub(crate) models: Vec<FaultModel>,
    /// Trials are drawn given that they have a fault.
    pub(crate) is_conditioned: bool,
}

impl Exposure {
    /// What a `[fault]` section exposes. `points` is how many points the campaign has; a section with one amount has it at
    /// all of them.
    pub(crate) fn new(
        config: &FaultConfig,
        points: usize,
        memory: &Memory,
        model: &Model,
        data: &Dataset,
        codes: Option<&CodeChoice>,
    ) -> Result<Self, CampaignError> {
        let target = config.target();
        let space = match target {
            Target::Weights => weights(config, memory)?,
            Target::Activations | Target::Inputs => values(config, target, model, data, codes)?,
        };
        Self::of_space(config, points, space)
    }

    /// The same of a space that is known.
    pub(crate) fn of_space(
        config: &FaultConfig,
        points: usize,
        space: FaultSpace,
    ) -> Result<Self, CampaignError> {
        let wrong = |reason| CampaignError::config("campaign", reason);
        let amounts = config.amounts();
        let amount = |point: usize| if amounts.len() == 1 { amounts[0] } else { amounts[point] };
        let models = (0..points).map(|point| config.model(amount(point)));
        let models = models.collect::<Result<_, _>>().map_err(wrong)?;
        Ok(Self {
            target: config.target(),
            persistence: config.persistence(),
            space,
            models,
            is_conditioned: config.at_least.is_some(),
        })
    }
}

/// The key of a trial. All points of a campaign differ in nothing but their amount, so they share a stream and are nested.
pub(crate) fn trial_key(seed: u64, trial: u64) -> PartKey {
    StreamKey { seed, point: 0, trial }.into()
}

/// Whether drawing a point can fail, so that one draw must tell before anything runs. Ordinary rates can always be drawn.
pub(crate) fn must_be_tried(config: &FaultConfig, amount: &Amount) -> bool {
    config.at_least.is_some() || !matches!(amount, Amount::Rate(_))
}

/// What records tell of a tensor.
pub(crate) fn tensor_record(tensor: &SpaceTensor) -> SpaceTensorRecord {
    SpaceTensorRecord {
        tensor: tensor.name.clone(),
        format: tensor.format.name(),
        elements: tensor.elements,
        bits: tensor.bits(),
        shape: tensor.dims.clone(),
    }
}

impl Exposure {
    /// The faults of a trial over the whole space, by the key of the trial or of a part of it.
    pub(crate) fn draw(&self, point: u32, key: &PartKey) -> Result<Faults, DrawError> {
        let sampler = self.models[point as usize].sampler(&self.space)?;
        if self.is_conditioned { Ok(sampler.draw_at_least_one(key)?.faults) } else { sampler.draw(key) }
    }

    /// That there is such a point.
    pub(crate) fn check_point(&self, point: u32) -> Result<(), CampaignError> {
        let points = self.models.len();
        if (point as usize) < points {
            return Ok(());
        }
        let last = points - 1;
        Err(CampaignError::config("campaign", format!("there is no point {point}; points are 0 to {last}")))
    }

    /// With `at_least`, the probability that a trial has a fault: the same for every trial of a point.
    pub(crate) fn weight(&self, point: u32, seed: u64) -> Option<f64> {
        let model = self.models.get(point as usize).filter(|_| self.is_conditioned)?;
        let drawn = model.draw_at_least_one(&self.space, &StreamKey { seed, point: 0, trial: 0 });
        drawn.ok().map(|drawn| drawn.weight) // whether it can be drawn was checked before
    }

    /// What a point asks for, as records tell it: a list of sites or regions does not say how many bits those are.
    pub(crate) fn amount(&self, point: usize, listed: Amount) -> Amount {
        let (FaultModel::BitFlip(hits) | FaultModel::StuckAt { at: hits, .. }) = &self.models[point] else {
            return listed;
        };
        // Sites outside of the space are refused by the first draw.
        let bits = |sites: &SiteRange| sites.bits_in(&self.space).unwrap_or(0);
        match hits {
            Hits::Sites(sites) => Amount::Count(sites.iter().map(bits).sum()),
            Hits::Regions(regions) => {
                let expected =
                    regions.iter().map(|region| region.rate.fraction() * bits(&region.sites) as f64);
                Amount::Rate(expected.sum::<f64>() / self.space.bits().max(1) as f64)
            }
            _ => listed,
        }
    }

    /// The amounts of all points.
    pub(crate) fn amounts(&self, config: &FaultConfig) -> Vec<Amount> {
        config.amounts().into_iter().enumerate().map(|(point, listed)| self.amount(point, listed)).collect()
    }

    /// Bits expected to change in one draw, where that does not hang on what they hold or on how bursts overlap.
    pub(crate) fn expected(&self, model: &FaultModel) -> Option<f64> {
        match model {
            _ if self.is_conditioned => None,
            FaultModel::BitFlip(Hits::Rate(rate)) => Some(rate.fraction() * self.space.bits() as f64),
            FaultModel::BitFlip(Hits::Count(count)) => Some(*count as f64),
            FaultModel::BitFlip(Hits::OneBit(Elements::Share(share))) => {
                let elements = self.space.tensors().iter().map(|tensor| tensor.elements).sum();
                Some(Elements::share_of(*share, elements) as f64)
            }
            _ => None,
        }
    }

    /// How often a trial on so many images has what is drawn: once in the memory; of values every image has its own faults, or the
    /// same as all others, and the bits count that change in each.
    pub(crate) fn times(&self, images: usize) -> u64 {
        match self.target {
            Target::Weights => 1,
            Target::Activations | Target::Inputs => images as u64,
        }
    }
}

/// What probes flip: the fault space; where that is check bits and copies alone, which no network sees, the words that they protect.
pub(crate) fn probed<'a>(
    space: &'a FaultSpace,
    memory: &Memory,
) -> Result<Cow<'a, FaultSpace>, CampaignError> {
    let owners = space.tensors().iter().map(|tensor| memory.protected_by(&tensor.name));
    let Some(mut owners) = owners.collect::<Option<Vec<_>>>() else { return Ok(Cow::Borrowed(space)) };
    owners.dedup_by(|a, b| a.name == b.name);
    let all = owners.into_iter().map(|owner| (owner, BitSelection::All));
    Ok(Cow::Owned(FaultSpace::gather(all)?))
}

/// The bits of the memory that a section selects.
pub(crate) fn weights(config: &FaultConfig, memory: &Memory) -> Result<FaultSpace, CampaignError> {
    let wrong = |reason| CampaignError::config("campaign", reason);
    let space = memory.fault_space(config.select(), config.bits().map_err(wrong)?)?;
    match config.protected().map_err(wrong)? {
        Some(protected) => Ok(memory.spare(&space, &protected)?),
        None => Ok(space),
    }
}

/// The bits of activations or of the input that a section selects.
fn values(
    config: &FaultConfig,
    target: Target,
    model: &Model,
    data: &Dataset,
    codes: Option<&CodeChoice>,
) -> Result<FaultSpace, CampaignError> {
    let wrong = |reason| CampaignError::config("campaign", reason);
    let all = activations(model, data)?;
    let is_meant = |activation: &&Activation| match target {
        Target::Inputs => activation.op_type.is_none(),
        _ => activation.op_type.as_ref().is_some_and(|op| config.takes_operator(op)),
    };
    let meant: Vec<&Activation> = all.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let mut ops: Vec<&str> = all.iter().filter_map(|activation| activation.op_type.as_deref()).collect();
        ops.sort_unstable();
        ops.dedup();
        let wanted = config.ops.as_deref().unwrap_or_default().join(", ");
        let known = ops.join(", ");
        return Err(wrong(format!(
            "[fault] ops: no float32 value for each image comes out of {wanted}; the model has values of {known}"
        )));
    }
    fn candidate<'a>(activation: &'a Activation, codes: Option<&CodeChoice>) -> Candidate<'a> {
        Candidate {
            name: &activation.value.name,
            format: codes.map_or(Format::F32, |codes| codes.format(&activation.value.name)),
            elements: activation.value.elements() as u64,
            by_name_only: false,
        }
    }
    let selector =
        Selector::new(config.select()).map_err(|error| wrong(format!("[fault] select: {error}")))?;
    let bits: BitSelection = config.bits().map_err(wrong)?;
    let candidates: Vec<Candidate<'_>> = meant.iter().map(|meant| candidate(meant, codes)).collect();
    let space = FaultSpace::select(candidates, &selector, bits)?;
    let dims = |name: &str| {
        let found = meant.iter().find(|activation| activation.value.name == name);
        found.map(|activation| activation.value.dims.clone())
    };
    let space = space.with_dims(dims)?;
    match config.protected().map_err(wrong)? {
        Some(protected) => Ok(space.without(&protected)?),
        None => Ok(space),
    }
}
