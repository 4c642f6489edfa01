//! How far a few changed weights of a convolution reach, step by step.
//!
//! They change as many channels of its result as they are for. Normalizations, sums and limits keep them apart, and to the next convolution they
//! add what they gain, in all channels. So these two convolutions need not be computed anew: the result of each is that of the plain pass, and
//! what is added to it. From there on everything is another.
//!
//! What is added is rounded by itself, and where numbers are huge they would not cancel out: so weights beyond those that tiles of a convolution
//! are [made for](crate::Convolution) are never added, nor are images (see [`Way`]).

use super::instruction::{Instruction, Item, Task};
use super::order::{Order, parameters_of};
use super::plan::Plan;
use super::spread::{Field, Spread};
use crate::{LANES, TAME_WEIGHTS};

/// The most weights that are added one by one.
const MOST_WEIGHTS: usize = 8;
/// Channels are added one by one if they are no more than one of so many.
const SHARE: usize = 4;

/// What is done in a step.
#[derive(Debug)]
pub(super) enum Way {
    /// Nothing: its result is that of the plain pass.
    Kept,
    /// It is computed anew.
    Anew,
    /// The changed weights are added to the result of the plain pass, unless the image is not tame.
    Weights,
    /// Only the changed channels of a map are computed.
    Channels,
    /// What each of the changed channels adds; unless one is not tame.
    Spread(Vec<Spread>),
}

/// A weight that is another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shift {
    /// Of the result, and of the image.
    pub(super) channels: [usize; 2],
    pub(super) place: usize,
    pub(super) change: f32,
}

/// The steps after a change of weights, from the convolution on that has them.
#[derive(Debug)]
pub(super) struct Ripple {
    /// The step of the convolution.
    start: usize,
    ways: Vec<Way>,
    pub(super) field: Field,
    pub(super) weights: Vec<Shift>,
    /// Channels that are others, of its result and of what maps make of it.
    pub(super) channels: Vec<usize>,
    /// Of each item whether it is that of the plain pass.
    pub(super) is_kept: Vec<bool>,
    /// The plain pass is needed up to this step.
    pub(super) end: usize,
}

/// A step of a plan.
#[derive(Clone, Copy)]
enum Step<'p> {
    Image(&'p Instruction),
    Batch(&'p Task),
}

/// What is known of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Kept,
    /// All but the changed channels are.
    Channels,
    Other,
}

impl Ripple {
    /// The ripple of a parameter that becomes another; none if nothing would be saved, or too much lost to rounding.
    pub(super) fn new(
        plan: &Plan,
        order: &Order,
        parameters: &[Vec<f32>],
        (parameter, becomes): (usize, &[f32]),
    ) -> Option<Ripple> {
        let start = order.readers[parameter];
        let (layer, y) = only_convolution(plan, start, parameter)?;
        let convolution = &plan.layers[layer].convolution;
        if !convolution.is_dense() || !is_tame(&parameters[parameter]) || !is_tame(becomes) {
            return None;
        }
        let field = Field::of(convolution);
        let weights = shifts(&parameters[parameter], becomes, convolution.channels()[0], field.places())?;
        let mut channels: Vec<usize> = weights.iter().map(|weight| weight.channels[0]).collect();
        channels.sort_unstable();
        channels.dedup();
        let mut states = vec![State::Kept; plan.items.len()];
        states[y] = State::Channels;
        let mut ripple = Ripple {
            start,
            ways: vec![Way::Weights],
            field,
            weights,
            channels,
            is_kept: Vec::new(),
            end: start + 1,
        };
        for (number, step) in steps(plan).enumerate().skip(start + 1) {
            let way = match step {
                Step::Image(instruction) => ripple.way(plan, parameters, instruction, &mut states),
                Step::Batch(task) => {
                    task.items()[1].into_iter().for_each(|item| states[item] = State::Other);
                    Way::Anew
                }
            };
            if !matches!(way, Way::Anew) {
                ripple.end = number + 1;
            }
            ripple.ways.push(way);
        }
        ripple.is_kept = states.iter().map(|state| *state == State::Kept).collect();
        Some(ripple)
    }

    /// How a step is done, and what its items are after it.
    fn way(
        &self,
        plan: &Plan,
        parameters: &[Vec<f32>],
        instruction: &Instruction,
        states: &mut [State],
    ) -> Way {
        let mut read = State::Kept;
        instruction.items(|item, is_written| {
            if !is_written {
                read = read.max(states[item]);
            }
        });
        let (way, state) = match (read, instruction) {
            (State::Kept, _) => (Way::Kept, State::Kept),
            // The statistics of an image are read too, and are others where any channel is.
            (State::Channels, Instruction::Map { is_plain: false, .. }) => (Way::Channels, State::Channels),
            (State::Channels, Instruction::Convolution { layer, .. } | Instruction::Mapped { layer, .. }) => {
                let spread = self.spread(plan, parameters, *layer);
                (spread.map_or(Way::Anew, Way::Spread), State::Other)
            }
            _ => (Way::Anew, State::Other),
        };
        instruction.items(|item, is_written| {
            if is_written {
                states[item] = state;
            }
        });
        way
    }

    /// What the changed channels add to a convolution, if that is less work and its weights are tame.
    fn spread(&self, plan: &Plan, parameters: &[Vec<f32>], layer: usize) -> Option<Vec<Spread>> {
        let planned = &plan.layers[layer];
        let convolution = &planned.convolution;
        let weights = &parameters[planned.weight];
        let is_worth = convolution.is_dense()
            && !convolution.is_first()
            && self.channels.len() * SHARE <= convolution.channels()[0]
            && is_tame(weights);
        is_worth.then(|| {
            self.channels.iter().map(|&channel| Spread::new(convolution, weights, channel)).collect()
        })
    }

    /// How a step is done.
    pub(super) fn at(&self, step: usize) -> &Way {
        step.checked_sub(self.start).map_or(&Way::Anew, |place| &self.ways[place])
    }
}

/// The steps of a plan, in order.
fn steps(plan: &Plan) -> impl Iterator<Item = Step<'_>> {
    plan.stages.iter().flat_map(|stage| {
        stage.instructions.iter().map(Step::Image).chain(stage.tasks.iter().map(Step::Batch))
    })
}

/// The convolution whose weights a parameter is, and its result; none if it is anything else, in the first step that reads it or in a later one.
fn only_convolution(plan: &Plan, first: usize, parameter: usize) -> Option<(usize, Item)> {
    let reads = |step: Step<'_>| {
        let of_parameters = match step {
            Step::Image(instruction) => parameters_of(instruction, plan),
            Step::Batch(Task::Linear { layer, .. }) => {
                let linear = &plan.linears[*layer];
                vec![Some(linear.weight), linear.bias]
            }
            Step::Batch(_) => Vec::new(),
        };
        of_parameters.iter().filter(|read| **read == Some(parameter)).count()
    };
    let Step::Image(&Instruction::Convolution { layer, y, .. } | &Instruction::Mapped { layer, y, .. }) =
        steps(plan).nth(first)?
    else {
        return None;
    };
    let is_read_once = steps(plan).skip(first).map(reads).sum::<usize>() == 1;
    (plan.layers[layer].weight == parameter && is_read_once).then_some((layer, y))
}

/// The weights that differ; none if they are too many.
fn shifts(before: &[f32], after: &[f32], read: usize, places: usize) -> Option<Vec<Shift>> {
    let pairs = before.iter().zip(after).enumerate();
    let changed = pairs.filter(|(_, (before, after))| before.to_bits() != after.to_bits());
    let shift = |(element, (before, after)): (usize, (&f32, &f32))| Shift {
        channels: [element / places / read, element / places % read],
        place: element % places,
        change: after - before,
    };
    let shifts: Vec<Shift> = changed.map(shift).take(MOST_WEIGHTS + 1).collect();
    (1..=MOST_WEIGHTS).contains(&shifts.len()).then_some(shifts)
}

/// Whether what is computed with the weights may be added to and taken off.
fn is_tame(weights: &[f32]) -> bool {
    squares(weights) <= TAME_WEIGHTS
}

/// The sum of the squares.
pub(super) fn squares(of: &[f32]) -> f32 {
    let (lanes, rest) = of.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for values in lanes {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value * value);
    }
    sums.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>()
}
