//! What faults may hit, and which models draw them.

use bitquake_bits::{BitSelection, Format};
use bitquake_config::{FaultConfig, Persistence, Target};
use bitquake_data::Dataset;
use bitquake_engine::{Activation, Model, activations};
use bitquake_fault::{Candidate, FaultModel, FaultSpace, Selector};
use bitquake_storage::Memory;

use crate::activation_codes::CodeChoice;
use crate::error::CampaignError;

/// Part of the fault space with its models, one for each point.
pub(crate) struct Exposure {
    pub(crate) target: Target,
    pub(crate) persistence: Persistence,
    pub(crate) space: FaultSpace,
    pub(crate) models: Vec<FaultModel>,
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
        let wrong = |reason| CampaignError::config("campaign", reason);
        let target = config.target();
        let space = match target {
            Target::Weights => weights(config, memory)?.with_dims(|name| dims_of(model, memory, name))?,
            Target::Activations | Target::Inputs => values(config, target, model, data, codes)?,
        };
        let amounts = config.amounts();
        let amount = |point: usize| if amounts.len() == 1 { amounts[0] } else { amounts[point] };
        let models = (0..points).map(|point| config.model(amount(point)));
        let models = models.collect::<Result<_, _>>().map_err(wrong)?;
        Ok(Self { target, persistence: config.persistence(), space, models })
    }
}

impl Exposure {
    /// How often a trial on so many images has what is drawn: once in the memory; of values every image has its own faults, or the
    /// same as all others, and the bits count that change in each.
    pub(crate) fn times(&self, images: usize) -> u64 {
        match self.target {
            Target::Weights => 1,
            Target::Activations | Target::Inputs => images as u64,
        }
    }
}

/// The shape of a stored tensor; none for parts of it that have another, such as scales.
fn dims_of(model: &Model, memory: &Memory, name: &str) -> Option<Vec<u64>> {
    let tensor = model.tensors().iter().find(|tensor| tensor.name == name)?;
    let held = memory.candidates().find(|candidate| candidate.name == name)?;
    (held.elements == tensor.elements()).then(|| tensor.shape.clone())
}

/// The bits of the memory that a section selects.
fn weights(config: &FaultConfig, memory: &Memory) -> Result<FaultSpace, CampaignError> {
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
