//! Tangents of changes of single values, and of their gradients.

use super::map::{Affine, Mask};
use super::vectorise::{Sweep, Wide, lanes, lanes_mut, vectorised};
use crate::{Isa, LANES};

/// The tangent of a map, of a blocked image: `y = mask(moved * inverse * scale + affine(x) + other)`. An affine's numbers are lists of channels.
pub(super) struct Tangent<'a> {
    pub(super) pixels: usize,
    /// The tangent of what a norm is applied to; of its affine, the inverse and the scale count.
    pub(super) moved: Option<(&'a [f32], Affine<'a>)>,
    /// What the norm is applied to, and the tangents of the norm's numbers.
    pub(super) x: Option<(&'a [f32], Affine<'a>)>,
    pub(super) other: Option<&'a [f32]>,
    pub(super) mask: Mask<'a>,
    pub(super) y: &'a mut [f32],
}

const OPEN: u8 = 0;
const POSITIVE: u8 = 1;
const WITHIN: u8 = 2;

impl Tangent<'_> {
    pub(super) fn compute(self, isa: Isa) {
        vectorised(isa, self);
    }

    #[inline(always)]
    fn with_moved<W: Wide, const MOVED: bool>(self) {
        match (self.x.is_some(), self.other.is_some()) {
            (false, false) => self.masked::<W, MOVED, false, false>(),
            (false, true) => self.masked::<W, MOVED, false, true>(),
            (true, false) => self.masked::<W, MOVED, true, false>(),
            (true, true) => self.masked::<W, MOVED, true, true>(),
        }
    }

    #[inline(always)]
    fn masked<W: Wide, const MOVED: bool, const X: bool, const OTHER: bool>(self) {
        match self.mask {
            Mask::Open => self.sweep::<W, MOVED, X, OTHER, OPEN>(&[], [0.0; 2]),
            Mask::Positive(y) => self.sweep::<W, MOVED, X, OTHER, POSITIVE>(y, [0.0; 2]),
            Mask::Within(x, limits) => self.sweep::<W, MOVED, X, OTHER, WITHIN>(x, limits),
        }
    }

    #[inline(always)]
    fn sweep<W: Wide, const MOVED: bool, const X: bool, const OTHER: bool, const MASK: u8>(
        self,
        gate: &[f32],
        limits: [f32; 2],
    ) {
        let none = Affine { centre: &[], inverse: &[], scale: &[], shift: &[] };
        let size = self.pixels * LANES;
        let ((moved, slope), (x, affine)) =
            (self.moved.unwrap_or((&[], none)), self.x.unwrap_or((&[], none)));
        let (zero, limits) = (W::splat(0.0), limits.map(W::splat));
        for (block, y) in self.y.chunks_exact_mut(size).enumerate() {
            let of_block = |floats, is_there: bool| {
                if is_there { &lanes(floats)[block * self.pixels..][..self.pixels] } else { &[] }
            };
            let (moved, x) = (of_block(moved, MOVED), of_block(x, X));
            let (other, gate) = (of_block(self.other.unwrap_or(&[]), OTHER), of_block(gate, MASK != OPEN));
            let read =
                |list: &[f32], is_there: bool| if is_there { W::load(&lanes(list)[block]) } else { zero };
            let factor = read(slope.inverse, MOVED).mul(read(slope.scale, MOVED));
            let (centre, inverse) = (read(affine.centre, X), read(affine.inverse, X));
            let (scale, shift) = (read(affine.scale, X), read(affine.shift, X));
            for (pixel, y) in lanes_mut(y).iter_mut().enumerate() {
                let mut sum = if MOVED { W::load(&moved[pixel]).mul(factor) } else { zero };
                if X {
                    sum = sum.add(W::load(&x[pixel]).sub(centre).mul(inverse).mul(scale).add(shift));
                }
                if OTHER {
                    sum = sum.add(W::load(&other[pixel]));
                }
                if MASK != OPEN {
                    let value = W::load(&gate[pixel]);
                    let [low, high] = limits;
                    sum = match MASK {
                        POSITIVE => value.if_at_most(zero, zero, sum),
                        _ => value.if_below(low, zero, high.if_below(value, zero, sum)),
                    };
                }
                sum.store(y);
            }
        }
    }
}

impl Sweep for Tangent<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        if self.moved.is_some() {
            self.with_moved::<W, true>();
        } else {
            self.with_moved::<W, false>();
        }
    }
}

/// The tangent of what [`Normal`](super::map::Normal) gives, of a blocked image: with its `dx`, and `z` for the standardized value,
/// `y = inverse * (scale * dz' + scale' * dz - mean' - z * along' - z' * along - square * dx)`, where `'` marks tangents and `square` is the
/// mean of `z * x'`, so that the tangent of the inverse is `-inverse^2 * square`.
pub(super) struct NormalTangent<'a> {
    pub(super) pixels: usize,
    pub(super) dz: [&'a [f32]; 2],
    pub(super) x: &'a [f32],
    pub(super) centre: &'a [f32],
    pub(super) inverse: &'a [f32],
    pub(super) scale: [&'a [f32]; 2],
    /// The tangents of the means that `Normal` takes off.
    pub(super) mean: &'a [f32],
    pub(super) along: &'a [f32],
    /// The tangent of the standardized value, if it moves.
    pub(super) standard: Option<StandardMotion<'a>>,
    pub(super) y: &'a mut [f32],
}

/// How a standardized value moves, and what that meets.
#[derive(Clone, Copy)]
pub(super) struct StandardMotion<'a> {
    pub(super) tangent: &'a [f32],
    pub(super) square: &'a [f32],
    /// What `Normal` takes off along the standardized value.
    pub(super) along: &'a [f32],
    pub(super) dx: &'a [f32],
}

impl NormalTangent<'_> {
    pub(super) fn compute(self, isa: Isa) {
        vectorised(isa, self);
    }

    #[inline(always)]
    fn sweep<W: Wide, const MOVES: bool>(self) {
        let none = StandardMotion { tangent: &[], square: &[], along: &[], dx: &[] };
        let motion = self.standard.unwrap_or(none);
        let size = self.pixels * LANES;
        for (block, y) in self.y.chunks_exact_mut(size).enumerate() {
            let of_block = |floats| &lanes(floats)[block * self.pixels..][..self.pixels];
            let moving = |floats| if MOVES { of_block(floats) } else { &[] };
            let (x, dz) = (of_block(self.x), self.dz.map(of_block));
            let (tangent, dx) = (moving(motion.tangent), moving(motion.dx));
            let read = |list: &[f32]| W::load(&lanes(list)[block]);
            let read_moving = |list: &[f32]| if MOVES { read(list) } else { W::splat(0.0) };
            let [centre, inverse, mean, along] = [self.centre, self.inverse, self.mean, self.along].map(read);
            let scale = self.scale.map(read);
            let (square, along_before) = (read_moving(motion.square), read_moving(motion.along));
            for (pixel, y) in lanes_mut(y).iter_mut().enumerate() {
                let standard = W::load(&x[pixel]).sub(centre).mul(inverse);
                let [slope, moved] = dz.map(|dz| W::load(&dz[pixel]));
                let mut sum = scale[0].mul(moved).add(scale[1].mul(slope));
                sum = sum.sub(mean).sub(standard.mul(along));
                if MOVES {
                    sum = sum.sub(W::load(&tangent[pixel]).mul(along_before));
                    sum = sum.sub(W::load(&dx[pixel]).mul(square));
                }
                inverse.mul(sum).store(y);
            }
        }
    }
}

impl Sweep for NormalTangent<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        if self.standard.is_some() {
            self.sweep::<W, true>();
        } else {
            self.sweep::<W, false>();
        }
    }
}

/// Sums of an image's gradients over pixels, as [`slopes_of_groups`](super::moments::slopes_of_groups) takes them, and how they move.
#[derive(Clone, Copy)]
pub(super) struct GroupSums<'a> {
    pub(super) totals: &'a [f32],
    pub(super) moved: &'a [f32],
    /// Sums of anything, then of the gradient times the tangent of the standardized value; empty if that does not move.
    pub(super) crossed: &'a [f32],
    /// The scale, and its tangent.
    pub(super) scale: [&'a [f32]; 2],
}

impl GroupSums<'_> {
    /// The tangents of the means that [`slopes_of_groups`](super::moments::slopes_of_groups) gives.
    pub(super) fn slopes(&self, channels: usize, groups: usize, pixels: usize, slopes: &mut [f32]) {
        let half = slopes.len() / 2;
        let size = channels / groups;
        for (list, slopes) in slopes.chunks_exact_mut(half).enumerate() {
            let of_channel = |channel: usize| {
                let place = list * half + channel;
                let crossed = if list == 1 { self.crossed.get(place) } else { None };
                let moved = f64::from(self.moved[place]) + crossed.map_or(0.0, |&crossed| f64::from(crossed));
                let [scale, of_scale] = self.scale.map(|scale| f64::from(scale[channel]));
                scale * moved + of_scale * f64::from(self.totals[place])
            };
            for group in 0..groups {
                let part = group * size..(group + 1) * size;
                let sum: f64 = part.clone().map(of_channel).sum();
                slopes[part].fill((sum / (size * pixels) as f64) as f32);
            }
        }
    }
}
