//! Rules that give which faults occur, with what probability.

pub(crate) mod burst;
mod condition;
mod elements;
mod hits;
pub(crate) mod plan;
mod sampler;
mod table;
mod value;

use bitquake_sample::{PartKey, Rate, Scratch, StreamKey};

pub use burst::{Amount, Burst, Neighbours};
pub use condition::Conditioned;
pub use elements::{ElementSite, Elements};
pub use hits::{FaultyRegion, Hits};
pub use sampler::Sampler;
pub use table::{MODELS, ModelKey, ModelRow};
pub use value::Value;
pub(crate) use value::{WordValue, bits_of_words, saturate, set};

pub use crate::draw_error::DrawError;
use crate::effect::Effect;
use crate::faults::Faults;
use crate::memory::{DramFault, MapFaults};
use crate::shape::ShapeFaults;
use crate::space::{FaultSpace, SpaceTensor};
use plan::{Drawn, Group, Part, Plan};

/// A rule that gives which faults occur.
///
/// Each model draws from streams of the trial's key, so that its faults depend on nothing but the key and, tensor by tensor, on
/// the space.
///
/// ```
/// use bitquake_bits::{BitSelection, Format};
/// use bitquake_fault::{Candidate, Effect, FaultModel, FaultSpace, Hits, Selector};
/// use bitquake_sample::StreamKey;
/// let w = Candidate { name: "w", format: Format::U8, elements: 100, by_name_only: false };
/// let space = FaultSpace::select([w], &Selector::all(), BitSelection::All)?;
/// let model = FaultModel::StuckAt { value: false, at: Hits::Count(3) };
/// let faults = model.draw(&space, &StreamKey { seed: 1, point: 0, trial: 0 })?;
/// assert_eq!(faults.tensors()[0].addresses(Effect::Set0).len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum FaultModel {
    /// Bits are replaced by their complements.
    BitFlip(Hits),
    /// Bits are replaced by their complements, with a probability that depends on what they hold. Nested in both rates; with
    /// equal rates, exactly the flips of `BitFlip(Hits::Rate(..))`.
    Asymmetric {
        /// The probability that a stored 0 becomes 1.
        to_one: Rate,
        /// The probability that a stored 1 becomes 0.
        to_zero: Rate,
    },
    /// Bits always read one value. The same bits are hit as by a bit flip of the same key.
    StuckAt {
        /// What they read.
        value: bool,
        /// Which bits.
        at: Hits,
    },
    /// Words are set to a value.
    SetValue {
        /// To what.
        value: Value,
        /// Which words.
        at: Elements,
    },
    /// Runs of neighbouring bits are hit.
    Burst(Burst),
    /// The faulty cells of a memory array, laid over the tensors.
    Map(MapFaults),
    /// Rows, columns, banks or devices of a DRAM fail.
    Dram(DramFault),
    /// Words that form a shape fail together: a channel, a row, a pattern that was measured.
    Shape(ShapeFaults),
    /// Several models in one trial, none of them a mixture. The first part draws what it would draw alone, every other part from
    /// streams that belong to its place in the list: adding a part at the end changes no other. Where parts hit the same bit,
    /// effects combine ([`Effect::combine`]).
    Mixture(Vec<FaultModel>),
}

impl FaultModel {
    /// Draws the faults of one trial. For many draws, prepare them once with a [`sampler`](Self::sampler).
    ///
    /// # Errors
    /// [`DrawError`] when there is not enough to hit, or something named is outside the space.
    pub fn draw(&self, space: &FaultSpace, key: &StreamKey) -> Result<Faults, DrawError> {
        self.sampler(space)?.draw(&PartKey::from(*key))
    }

    /// The models that are not mixtures, each with its plan.
    fn plans<'a>(&'a self, space: &'a FaultSpace) -> Result<Vec<Prepared<'a>>, DrawError> {
        let Self::Mixture(parts) = self else {
            return Ok(vec![Prepared { model: self, plan: self.plan(space)?, place: 0 }]);
        };
        let plan = |(place, part): (usize, &'a Self)| match part {
            Self::Mixture(_) => Err(DrawError::NestedMixture { part: place }),
            part => Ok(Prepared { model: part, plan: part.plan(space)?, place }),
        };
        parts.iter().enumerate().map(plan).collect()
    }

    fn plan<'a>(&'a self, space: &'a FaultSpace) -> Result<Plan<'a>, DrawError> {
        match self {
            Self::BitFlip(hits) => hits.plan(space, Effect::Flip),
            Self::Asymmetric { to_one, to_zero } => Ok(asymmetric(space, *to_one, *to_zero)),
            Self::StuckAt { value, at } => at.plan(space, Effect::stuck_at(*value)),
            Self::SetValue { value, at } => value.plan(at, space),
            Self::Burst(burst) => burst.plan(space),
            Self::Map(map) => map.plan(space),
            Self::Dram(dram) => dram.plan(space),
            Self::Shape(shape) => shape.plan(space),
            Self::Mixture(_) => Err(DrawError::NestedMixture { part: 0 }),
        }
    }
}

/// One model that is not a mixture, ready to be drawn with any key.
struct Prepared<'a> {
    model: &'a FaultModel,
    plan: Plan<'a>,
    /// Its place in a mixture.
    place: usize,
}

impl<'a> Prepared<'a> {
    /// Its key: the first part of a mixture draws what it would draw alone.
    fn key(&self, key: &PartKey) -> PartKey {
        match self.place {
            0 => key.clone(),
            place => key.part(format!("part {place}")),
        }
    }

    fn groups(&self) -> &[Group<'a>] {
        match &self.plan {
            Plan::Trials(groups) => groups,
            Plan::Certain(_) | Plan::Cells(_) => &[],
        }
    }

    /// An ordinary draw.
    fn draw(&self, key: &PartKey, part: &mut Part<'a>) -> Result<(), DrawError> {
        match &self.plan {
            Plan::Certain(draw) | Plan::Cells(draw) => draw(key, part),
            Plan::Trials(groups) => {
                let mut scratch = Scratch::default();
                groups.iter().for_each(|group| (group.place)(key, group.draw(key, &mut scratch), part));
                Ok(())
            }
        }
    }
}

/// The sites of the lower rate, drawn from the same stream, flip whatever they hold; the other sites of the higher rate flip in
/// its direction alone.
fn asymmetric(space: &FaultSpace, to_one: Rate, to_zero: Rate) -> Plan<'_> {
    let (rate, lower, one_way) =
        if to_one >= to_zero { (to_one, to_zero, Effect::Rise) } else { (to_zero, to_one, Effect::Fall) };
    let group = |(place, tensor)| {
        let tensor: &SpaceTensor = tensor;
        let add = move |_: &PartKey, drawn: Drawn, part: &mut Part<'_>| {
            part.add_rising(place, one_way, tensor.addresses(without(drawn.hits, &drawn.lower)));
            part.add_rising(place, Effect::Flip, tensor.addresses(drawn.lower));
        };
        let group = Group::new(|key| key.tensor(&tensor.name), tensor.bits(), rate, add);
        Group { lower: Some(lower), ..group }
    };
    Plan::Trials(space.tensors().iter().enumerate().map(group).collect())
}

/// Of a rising list, what is not in another.
fn without(mut all: Vec<u64>, some: &[u64]) -> Vec<u64> {
    let mut rest = some.iter().peekable();
    all.retain(|site| {
        while rest.next_if(|other| *other < site).is_some() {}
        rest.peek() != Some(&site)
    });
    all
}

#[cfg(test)]
mod tests;
