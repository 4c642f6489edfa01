//! Bit errors in the stored codes, and what the network then sees.

use bitquake_bits::BitSelection;
use bitquake_config::FaultConfig;
use bitquake_fault::{Effect, FaultModel, FaultPattern, FaultSpace, Faults, Hits, SpaceTensor};
use bitquake_sample::{PartKey, Rate};
use bitquake_storage::Memory;

use super::config::BitErrorConfig;
use super::error::MethodError;
use super::quantization::quantize_error;
use super::room::Room;
use super::weights::{Levels, Stored, Weights};

/// What may be hit, and what hits it.
#[derive(Clone, Debug)]
pub(crate) struct BitErrors {
    pub(crate) space: FaultSpace,
    /// At the full rate; `None` for an attack.
    model: Option<FaultModel>,
    /// The rate, where it is one that may grow.
    rate: Option<Rate>,
    /// The share of the full rate in this epoch.
    pub(crate) share: f64,
}

impl BitErrors {
    pub(crate) fn new(config: &BitErrorConfig, stored: &Stored) -> Result<Self, MethodError> {
        let (model, space) = match &config.fault {
            Some(fault) => (Some(only_model(fault)?), space_of_table(fault, stored)?),
            None => {
                // The table was checked: the rate is a probability.
                let model = config.rate.map(Rate::clamped).map(flips_at);
                (model, space(config.select.as_deref(), config.bits.as_deref(), stored)?)
            }
        };
        if let Some(model) = &model {
            model.sampler(&space)?; // what is wrong with model and space is found before the first step
        }
        Ok(Self { space, model, rate: config.rate.map(Rate::clamped), share: 1.0 })
    }

    /// Whether random faults are drawn.
    pub(crate) fn is_random(&self) -> bool {
        self.model.is_some()
    }

    /// The levels under the faults of a key.
    pub(crate) fn levels(
        &self,
        stored: &Stored,
        weights: &Weights,
        key: &PartKey,
        share: Share,
        room: &mut Room,
    ) -> Result<Levels, MethodError> {
        let mut tensors = room.take_levels().tensors;
        tensors.resize_with(weights.tensors.len(), Vec::new);
        let of_tensors = weights.tensors.iter().zip(&mut tensors);
        of_tensors.for_each(|(tensor, levels)| levels.resize(tensor.values.len(), 0.0));
        let mut out: Vec<&mut [f32]> = tensors.iter_mut().map(Vec::as_mut_slice).collect();
        let flips = self.put_levels(stored, weights, key, share, room, &mut out)?;
        Ok(Levels { tensors, flips })
    }

    /// The same, put into slices, one a tensor and as long; returns how many stored bits differ.
    pub(crate) fn put_levels(
        &self,
        stored: &Stored,
        weights: &Weights,
        key: &PartKey,
        share: Share,
        room: &mut Room,
        out: &mut [&mut [f32]],
    ) -> Result<u64, MethodError> {
        let Some(model) = &self.model else {
            return Err(MethodError::Call("bit errors of an attack are searched, not drawn: call `attack`"));
        };
        let reduced = self.rate.filter(|_| share == Share::OfEpoch && self.share < 1.0);
        let reduced = reduced.map(|rate| flips_at(rate.scaled(self.share)));
        let model = reduced.as_ref().unwrap_or(model);
        if let FaultModel::BitFlip(Hits::Rate(rate)) = *model
            && is_flipped_in_place(&self.space, &stored.memory)
        {
            return self.put_levels_at_rate(rate, stored, weights, key, room, out);
        }
        let pattern = pattern(model.sampler(&self.space)?.draw(key)?, stored, weights)?;
        let levels = levels_under(stored, weights, &pattern)?;
        out.iter_mut().zip(&levels.tensors).for_each(|(out, levels)| out.copy_from_slice(levels));
        Ok(levels.flips)
    }

    /// The same of flips at one rate, tensor by tensor and without a list of them: what the pattern would lead to.
    fn put_levels_at_rate(
        &self,
        rate: Rate,
        stored: &Stored,
        weights: &Weights,
        key: &PartKey,
        room: &mut Room,
        out: &mut [&mut [f32]],
    ) -> Result<u64, MethodError> {
        let mut flips = 0;
        let clean = weights.tensors.iter().zip(&stored.levels.tensors);
        for ((tensor, clean), out) in clean.zip(out) {
            let is_hit = self.space.tensors().iter().any(|other| other.name == tensor.name);
            match stored.memory.coded(&tensor.name).filter(|_| is_hit) {
                Some(coded) => {
                    let stream = key.tensor(&tensor.name);
                    flips += coded
                        .levels_at_rate(&stream, rate, &mut room.scratch, out)
                        .map_err(|source| quantize_error(tensor, source))?;
                }
                None => out.copy_from_slice(clean),
            }
        }
        Ok(flips)
    }
}

/// Which share of the full rate is drawn at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// That of the epoch, which the curriculum says.
    OfEpoch,
    /// All of it.
    Full,
}

/// Whether flips at one rate can be drawn right into the codes: all bits of the codes of whole tensors may be hit, and nothing
/// corrects them.
fn is_flipped_in_place(space: &FaultSpace, memory: &Memory) -> bool {
    let is_whole = |tensor: &SpaceTensor| {
        memory.coded(&tensor.name).is_some_and(|coded| {
            let words = coded.words();
            let is_same = words.format() == tensor.format && words.elements() == tensor.elements;
            is_same && tensor.mask == tensor.format.mask()
        })
    };
    !memory.is_protected() && space.tensors().iter().all(is_whole)
}

/// The model of a table with one amount.
fn only_model(fault: &FaultConfig) -> Result<FaultModel, MethodError> {
    let amounts = fault.amounts();
    // The table was checked: there is one.
    let amount = amounts.first().ok_or(MethodError::Call("a table of faults without an amount"))?;
    fault.model(*amount).map_err(MethodError::Fault)
}

fn space_of_table(fault: &FaultConfig, stored: &Stored) -> Result<FaultSpace, MethodError> {
    let space = space(fault.select.as_deref(), fault.bits.as_deref(), stored)?;
    match fault.protected().map_err(MethodError::Fault)? {
        Some(protected) => Ok(stored.memory.spare(&space, &protected)?),
        None => Ok(space),
    }
}

/// The selected bits of the selected tensors.
fn space(select: Option<&[String]>, bits: Option<&str>, stored: &Stored) -> Result<FaultSpace, MethodError> {
    let bits: BitSelection = bits.unwrap_or("all").parse().map_err(MethodError::Bits)?;
    let everything = ["*".to_owned()];
    Ok(stored.memory.fault_space(select.unwrap_or(&everything), bits)?)
}

/// The dimensions of a weight tensor; parts have none.
fn flips_at(rate: Rate) -> FaultModel {
    FaultModel::BitFlip(Hits::Rate(rate))
}

/// The bits that change. The stored words are looked at only where a fault depends on them.
fn pattern(faults: Faults, stored: &Stored, weights: &Weights) -> Result<FaultPattern, MethodError> {
    let others = Effect::ALL.into_iter().filter(|effect| *effect != Effect::Flip);
    let depends = others
        .into_iter()
        .any(|effect| faults.tensors().iter().any(|tensor| !tensor.addresses(effect).is_empty()));
    if depends {
        return Ok(faults.resolve(&stored.memory.view(weights))?.pattern);
    }
    // Cannot fail: there are only flips.
    faults.into_flips().map_err(|_| MethodError::Call("a fault that is no flip"))
}

/// What the network sees of a pattern over the memory, after the protections: codes that were hit are decoded once and never
/// quantized again (SPEC 2.10, 5).
pub(crate) fn levels_under(
    stored: &Stored,
    weights: &Weights,
    raw: &FaultPattern,
) -> Result<Levels, MethodError> {
    let memory = &stored.memory;
    let resolved = memory.is_protected().then(|| memory.protect(raw, weights)).transpose()?;
    let seen = resolved.as_ref().map_or(raw, |resolved| &resolved.pattern);
    let mut hit = memory.levels_under(seen, weights)?;
    let tensors = weights.tensors.iter().zip(&stored.levels.tensors).map(|(tensor, clean)| {
        let place = hit.iter().position(|(name, _)| *name == tensor.name);
        place.map_or_else(|| clean.clone(), |place| hit.swap_remove(place).1)
    });
    Ok(Levels { tensors: tensors.collect(), flips: seen.flips() })
}
