//! Instructions of which little is computed anew: the rest is that of the plain pass.

use super::{Frame, limits};
use crate::program::fuse::Limit;
use crate::program::instruction::{Instruction, Item, Source};
use crate::program::map::{Affine, Lay, Map};
use crate::program::patched::Patched;
use crate::program::ripple::{Ripple, Way, squares};
use crate::program::run::{Runner, Shared};
use crate::program::tables::Numbers;
use crate::{LANES, TAME_IMAGE};

/// Planes that are worked in, kept from image to image.
#[derive(Debug, Default)]
pub(in crate::program::run) struct Planes {
    /// Of what is added, before and after.
    before: Vec<f32>,
    after: Vec<f32>,
    padded: Vec<f32>,
    /// Of a map's own operands.
    x: Vec<f32>,
    other: Vec<f32>,
}

/// What an instruction reads: a value, or a map of values.
struct Operand<'i> {
    x: Item,
    pixels: usize,
    /// Whether its channels lie one after the other.
    is_plain: bool,
    map: Option<Mapping<'i>>,
}

struct Mapping<'i> {
    norm: Option<Source>,
    other: Option<Item>,
    limit: &'i Limit,
}

/// Does an instruction for one image in the way of a ripple. Gives whether it is done: if not it has to be computed anew.
pub(in crate::program::run) fn saves(
    runner: &Runner<'_>,
    instruction: &Instruction,
    (ripple, way): (&Ripple, &Way),
    frame: &mut Frame<'_>,
    numbers: Patched<'_, Numbers>,
    planes: &mut Planes,
) -> bool {
    if let Way::Kept | Way::Anew = way {
        return matches!(way, Way::Kept);
    }
    let Some((operand, y)) = parts(runner, instruction) else { return false };
    let isa = runner.shared.isa;
    match way {
        Way::Kept | Way::Anew => {}
        Way::Weights => {
            for (index, weight) in ripple.weights.iter().enumerate() {
                let [written, read] = weight.channels;
                operand.plane(runner, frame, numbers, read, planes, true);
                if !is_tame(&planes.after) {
                    return false;
                }
                if index == 0 {
                    frame.take(y);
                }
                ripple.field.pad(&planes.after, &mut planes.padded);
                let (([], [y]), _) = frame.operands([], [Some(y)]);
                ripple.field.add_place(weight.place, weight.change, &planes.padded, written, y);
            }
        }
        Way::Channels => {
            frame.take(y);
            for &channel in &ripple.channels {
                operand.plane(runner, frame, numbers, channel, planes, true);
                let (([], [y]), _) = frame.operands([], [Some(y)]);
                let lanes = y[channel / LANES * operand.pixels * LANES..].chunks_exact_mut(LANES);
                lanes.zip(&planes.after).for_each(|(lanes, after)| lanes[channel % LANES] = *after);
            }
        }
        Way::Spread(spreads) => {
            for (index, (spread, &channel)) in spreads.iter().zip(&ripple.channels).enumerate() {
                operand.plane(runner, frame, numbers, channel, planes, true);
                operand.plane(runner, frame, numbers, channel, planes, false);
                if !is_tame(&planes.before) || !is_tame(&planes.after) {
                    return false;
                }
                if index == 0 {
                    frame.take(y);
                }
                let pairs = planes.after.iter_mut().zip(&planes.before);
                pairs.for_each(|(after, before)| *after -= before);
                spread.field().pad(&planes.after, &mut planes.padded);
                let (([], [y]), _) = frame.operands([], [Some(y)]);
                spread.add(isa, &planes.padded, y);
            }
        }
    }
    true
}

/// What an instruction reads and writes; none of one that is no convolution and no map.
fn parts<'i>(runner: &Runner<'_>, instruction: &'i Instruction) -> Option<(Operand<'i>, Item)> {
    let layers = &runner.shared.plan.layers;
    match instruction {
        Instruction::Convolution { layer, x, y } => {
            let convolution = &layers[*layer].convolution;
            let (pixels, is_plain) = (convolution.image_pixels(), convolution.is_first());
            Some((Operand { x: *x, pixels, is_plain, map: None }, *y))
        }
        Instruction::Mapped { pixels, x, norm, other, limit, y, .. }
        | Instruction::Map { pixels, x, norm, other, limit, y, .. } => {
            let map = Some(Mapping { norm: *norm, other: *other, limit });
            Some((Operand { x: *x, pixels: *pixels, is_plain: false, map }, *y))
        }
        _ => None,
    }
}

impl Operand<'_> {
    /// A channel of what is read: of this variant if `is_after`, else of the plain pass.
    fn plane(
        &self,
        runner: &Runner<'_>,
        frame: &mut Frame<'_>,
        numbers: Patched<'_, Numbers>,
        channel: usize,
        planes: &mut Planes,
        is_after: bool,
    ) {
        let Shared { isa, parameters, .. } = runner.shared;
        let Planes { before, after, x, other, .. } = planes;
        let plane = if is_after { after } else { before };
        let Some(map) = &self.map else {
            return self.take_channel(frame.one(self.x, is_after), channel, plane);
        };
        self.take_channel(frame.one(self.x, is_after), channel, x);
        if let Some(item) = map.other {
            self.take_channel(frame.one(item, is_after), channel, other);
        }
        plane.resize(self.pixels, 0.0);
        let statistics = map.norm.and_then(|norm| norm.statistics);
        let statistics = statistics.map_or(&[][..], |item| frame.one(item, is_after));
        let affine = map.norm.map(|norm| {
            let Affine { centre, inverse, scale, shift } = numbers[norm.table].affine(statistics);
            let [centre, inverse, scale, shift] =
                [centre, inverse, scale, shift].map(|list| &list[channel..=channel]);
            Affine { centre, inverse, scale, shift }
        });
        Map {
            lay: Lay::Plain { pixels: self.pixels },
            x,
            affine,
            other: map.other.map(|_| &other[..]),
            limits: limits(*map.limit, parameters),
            y: plane,
        }
        .compute(isa);
    }

    fn take_channel(&self, image: &[f32], channel: usize, plane: &mut Vec<f32>) {
        plane.clear();
        if self.is_plain {
            return plane.extend_from_slice(&image[channel * self.pixels..][..self.pixels]);
        }
        let of_block = self.pixels * LANES;
        let lanes = image[channel / LANES * of_block..][..of_block].chunks_exact(LANES);
        plane.extend(lanes.map(|lanes| lanes[channel % LANES]));
    }
}

/// Whether what is computed with a plane may be added to and taken off.
fn is_tame(plane: &[f32]) -> bool {
    squares(plane) <= TAME_IMAGE
}
