//! Changes of single values: normalizations with known statistics, sums, limits; and their gradients.

use super::vectorise::{Lanes, Sweep, Wide, lanes, lanes_mut, vectorised};
use crate::{Isa, LANES};

/// How an image lies in memory, as far as single values are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lay {
    /// Blocks of 16 channels, with this many pixels each.
    Blocked { pixels: usize },
    /// One channel after the other, with this many pixels each.
    Plain { pixels: usize },
}

/// What each channel is changed by: `((x - centre) * inverse) * scale + shift`. Lists of channels, padded to whole blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine<'a> {
    pub(super) centre: &'a [f32],
    pub(super) inverse: &'a [f32],
    pub(super) scale: &'a [f32],
    pub(super) shift: &'a [f32],
}

/// The limits that values are kept within; NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limits {
    None,
    /// At least 0.
    Positive,
    /// Between two numbers.
    Within([f32; 2]),
}

const FREE: u8 = 0;
const POSITIVE: u8 = 1;
const WITHIN: u8 = 2;

#[inline(always)]
fn limited<W: Wide, const LIMITS: u8>(value: W, [low, high]: [W; 2]) -> W {
    match LIMITS {
        POSITIVE => value.if_below(low, low, value),
        WITHIN => {
            let raised = value.if_below(low, low, value);
            high.if_below(raised, high, raised)
        }
        _ => value,
    }
}

/// `y = limits(affine(x) + other)`.
pub(super) struct Map<'a> {
    pub(super) lay: Lay,
    pub(super) x: &'a [f32],
    pub(super) affine: Option<Affine<'a>>,
    pub(super) other: Option<&'a [f32]>,
    pub(super) limits: Limits,
    pub(super) y: &'a mut [f32],
}

impl Map<'_> {
    pub(super) fn compute(self, isa: Isa) {
        assert_eq!(self.x.len(), self.y.len(), "a map keeps the shape");
        assert!(self.other.is_none_or(|other| other.len() == self.x.len()), "a sum of values of one shape");
        vectorised(isa, self);
    }

    #[inline(always)]
    fn limited<W: Wide, const AFFINE: bool, const OTHER: bool>(self) {
        match self.limits {
            Limits::None => self.sweep::<W, AFFINE, OTHER, FREE>([0.0; 2]),
            Limits::Positive => self.sweep::<W, AFFINE, OTHER, POSITIVE>([0.0; 2]),
            Limits::Within(limits) => self.sweep::<W, AFFINE, OTHER, WITHIN>(limits),
        }
    }

    #[inline(always)]
    fn sweep<W: Wide, const AFFINE: bool, const OTHER: bool, const LIMITS: u8>(self, limits: [f32; 2]) {
        let none = Affine { centre: &[], inverse: &[], scale: &[], shift: &[] };
        let (affine, other) = (self.affine.unwrap_or(none), self.other.unwrap_or(self.x));
        let Affine { centre, inverse, scale, shift } = affine;
        match self.lay {
            Lay::Blocked { pixels } => {
                let size = pixels * LANES;
                let images = self.x.chunks_exact(size).zip(other.chunks_exact(size));
                for (block, ((x, other), y)) in images.zip(self.y.chunks_exact_mut(size)).enumerate() {
                    let read =
                        |list: &[f32]| if AFFINE { W::load(&lanes(list)[block]) } else { W::splat(0.0) };
                    let lists = [read(centre), read(inverse), read(scale), read(shift)];
                    let line = Line { lists, limits: [W::splat(limits[0]), W::splat(limits[1])] };
                    line.run::<AFFINE, OTHER, LIMITS>(lanes(x), lanes(other), lanes_mut(y));
                }
            }
            Lay::Plain { pixels } => {
                let images = self.x.chunks_exact(pixels).zip(other.chunks_exact(pixels));
                for (channel, ((x, other), y)) in images.zip(self.y.chunks_exact_mut(pixels)).enumerate() {
                    let read = |list: &[f32]| W::splat(if AFFINE { list[channel] } else { 0.0 });
                    let lists = [read(centre), read(inverse), read(scale), read(shift)];
                    let line = Line { lists, limits: [W::splat(limits[0]), W::splat(limits[1])] };
                    let ((x, x_rest), (other, other_rest)) = (x.as_chunks(), other.as_chunks());
                    let (y, y_rest) = y.as_chunks_mut();
                    line.run::<AFFINE, OTHER, LIMITS>(x, other, y);
                    let fill = |rest: &[f32]| {
                        let mut lanes = [0.0; LANES];
                        lanes[..rest.len()].copy_from_slice(rest);
                        lanes
                    };
                    let mut last = [0.0; LANES];
                    let (x, other) = (fill(x_rest), fill(other_rest));
                    line.run::<AFFINE, OTHER, LIMITS>(&[x], &[other], std::slice::from_mut(&mut last));
                    y_rest.copy_from_slice(&last[..y_rest.len()]);
                }
            }
        }
    }
}

/// The numbers of sixteen channels, or sixteen times those of one.
struct Line<W> {
    /// Centre, inverse, scale, shift.
    lists: [W; 4],
    limits: [W; 2],
}

impl<W: Wide> Line<W> {
    #[inline(always)]
    fn run<const AFFINE: bool, const OTHER: bool, const LIMITS: u8>(
        &self,
        x: &[Lanes],
        other: &[Lanes],
        y: &mut [Lanes],
    ) {
        let [centre, inverse, scale, shift] = self.lists;
        for ((x, other), y) in x.iter().zip(other).zip(y) {
            let mut value = W::load(x);
            if AFFINE {
                value = value.sub(centre).mul(inverse).mul(scale).add(shift);
            }
            if OTHER {
                value = value.add(W::load(other));
            }
            limited::<W, LIMITS>(value, self.limits).store(y);
        }
    }
}

impl Sweep for Map<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        match (self.affine.is_some(), self.other.is_some()) {
            (false, false) => self.limited::<W, false, false>(),
            (false, true) => self.limited::<W, false, true>(),
            (true, false) => self.limited::<W, true, false>(),
            (true, true) => self.limited::<W, true, true>(),
        }
    }
}

/// Where a gradient passes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mask<'a> {
    /// Everywhere.
    Open,
    /// Where this value is not 0 or below: the result of a ReLU.
    Positive(&'a [f32]),
    /// Where this value is within the limits: what was limited.
    Within(&'a [f32], [f32; 2]),
}

/// What is summed over the pixels of each channel while a gradient passes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sums<'a> {
    Nothing,
    /// The gradient.
    Gradient,
    /// The gradient, and the gradient times `(x - centre) * inverse`.
    Both {
        x: &'a [f32],
        centre: &'a [f32],
        inverse: &'a [f32],
    },
}

/// A gradient on its way back through a map, of a blocked image: `dz = mask(dy + more)`, and its sums over the pixels.
pub(super) struct Back<'a> {
    pub(super) pixels: usize,
    pub(super) dy: &'a [f32],
    pub(super) more: Option<&'a [f32]>,
    pub(super) mask: Mask<'a>,
    pub(super) sums: Sums<'a>,
    /// The masked gradient, where it is wanted.
    pub(super) dz: Option<&'a mut [f32]>,
    /// Sums of the gradient, then sums of the gradient times the standardized value; each a list of channels.
    pub(super) totals: &'a mut [f32],
}

impl Back<'_> {
    pub(super) fn compute(self, isa: Isa) {
        vectorised(isa, self);
    }

    #[inline(always)]
    fn masked<W: Wide, const MORE: bool>(self) {
        match self.mask {
            Mask::Open => {
                let gate = self.dy;
                self.summed::<W, MORE, FREE>(gate, [0.0; 2]);
            }
            Mask::Positive(y) => self.summed::<W, MORE, POSITIVE>(y, [0.0; 2]),
            Mask::Within(x, limits) => self.summed::<W, MORE, WITHIN>(x, limits),
        }
    }

    #[inline(always)]
    fn summed<W: Wide, const MORE: bool, const MASK: u8>(self, gate: &[f32], limits: [f32; 2]) {
        match self.sums {
            Sums::Nothing => self.sweep::<W, MORE, MASK, 0>(gate, limits),
            Sums::Gradient => self.sweep::<W, MORE, MASK, 1>(gate, limits),
            Sums::Both { .. } => self.sweep::<W, MORE, MASK, 2>(gate, limits),
        }
    }

    #[inline(always)]
    fn sweep<W: Wide, const MORE: bool, const MASK: u8, const SUMS: usize>(
        self,
        gate: &[f32],
        limits: [f32; 2],
    ) {
        let size = self.pixels * LANES;
        let count = self.dy.len() / size;
        let more = self.more.unwrap_or(self.dy);
        let (x, centre, inverse) = match self.sums {
            Sums::Both { x, centre, inverse } => (x, centre, inverse),
            _ => (self.dy, &[][..], &[][..]),
        };
        let mut dz = self.dz;
        for block in 0..count {
            let part = block * size..(block + 1) * size;
            let read = |list: &[f32]| if SUMS == 2 { W::load(&lanes(list)[block]) } else { W::splat(0.0) };
            let pixels = Pixels {
                dy: lanes(&self.dy[part.clone()]),
                more: lanes(&more[part.clone()]),
                gate: lanes(&gate[part.clone()]),
                x: lanes(&x[part.clone()]),
                centre: read(centre),
                inverse: read(inverse),
                limits: limits.map(W::splat),
            };
            let sums = match dz.as_deref_mut() {
                Some(dz) => pixels.pass::<MORE, MASK, SUMS, true>(lanes_mut(&mut dz[part])),
                None => pixels.pass::<MORE, MASK, SUMS, false>(&mut []),
            };
            for (list, sum) in sums.into_iter().enumerate().take(SUMS) {
                sum.store(&mut lanes_mut(self.totals)[list * count + block]);
            }
        }
    }
}

impl Sweep for Back<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        match self.more {
            None => self.masked::<W, false>(),
            Some(_) => self.masked::<W, true>(),
        }
    }
}

/// The pixels of one block of channels.
struct Pixels<'a, W> {
    dy: &'a [Lanes],
    more: &'a [Lanes],
    gate: &'a [Lanes],
    x: &'a [Lanes],
    centre: W,
    inverse: W,
    limits: [W; 2],
}

impl<W: Wide> Pixels<'_, W> {
    /// The sums of even and of odd pixels are taken apart, so that additions do not wait for each other.
    #[inline(always)]
    fn pass<const MORE: bool, const MASK: u8, const SUMS: usize, const WRITE: bool>(
        &self,
        dz: &mut [Lanes],
    ) -> [W; 2] {
        let count = self.dy.len();
        let (mut even, mut odd) = ([W::splat(0.0); 2], [W::splat(0.0); 2]);
        for pair in 0..count / 2 {
            self.pixel::<MORE, MASK, SUMS, WRITE>(2 * pair, &mut even, dz);
            self.pixel::<MORE, MASK, SUMS, WRITE>(2 * pair + 1, &mut odd, dz);
        }
        if count % 2 == 1 {
            self.pixel::<MORE, MASK, SUMS, WRITE>(count - 1, &mut even, dz);
        }
        [even[0].add(odd[0]), even[1].add(odd[1])]
    }

    #[inline(always)]
    fn pixel<const MORE: bool, const MASK: u8, const SUMS: usize, const WRITE: bool>(
        &self,
        pixel: usize,
        sums: &mut [W; 2],
        dz: &mut [Lanes],
    ) {
        let (none, [low, high]) = (W::splat(0.0), self.limits);
        let mut gradient = W::load(&self.dy[pixel]);
        if MORE {
            gradient = gradient.add(W::load(&self.more[pixel]));
        }
        if MASK != FREE {
            let value = W::load(&self.gate[pixel]);
            gradient = match MASK {
                POSITIVE => value.if_at_most(none, none, gradient),
                _ => value.if_below(low, none, high.if_below(value, none, gradient)),
            };
        }
        if WRITE {
            gradient.store(&mut dz[pixel]);
        }
        if SUMS > 0 {
            sums[0] = sums[0].add(gradient);
        }
        if SUMS > 1 {
            let standard = W::load(&self.x[pixel]).sub(self.centre).mul(self.inverse);
            sums[1] = sums[1].add(gradient.mul(standard));
        }
    }
}

/// The gradient of what a normalization was applied to, of a blocked image:
/// `dx = inverse * (scale * dz - mean - (x - centre) * inverse * along)` (Ioffe and Szegedy, "Batch normalization" (2015), section 3, its
/// terms gathered), where `mean` and `along` are the means of `scale * dz` and of `scale * dz * (x - centre) * inverse` over what was
/// normalized together.
pub(super) struct Normal<'a> {
    pub(super) pixels: usize,
    pub(super) dz: &'a [f32],
    pub(super) x: &'a [f32],
    pub(super) centre: &'a [f32],
    pub(super) inverse: &'a [f32],
    pub(super) scale: &'a [f32],
    pub(super) mean: &'a [f32],
    pub(super) along: &'a [f32],
    pub(super) dx: &'a mut [f32],
}

impl Normal<'_> {
    pub(super) fn compute(self, isa: Isa) {
        assert!(
            self.dz.len() == self.x.len() && self.x.len() == self.dx.len(),
            "gradients have the values' shape"
        );
        vectorised(isa, self);
    }
}

impl Sweep for Normal<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        let size = self.pixels * LANES;
        let images = self.dz.chunks_exact(size).zip(self.x.chunks_exact(size));
        for (block, ((dz, x), dx)) in images.zip(self.dx.chunks_exact_mut(size)).enumerate() {
            let lists = [self.centre, self.inverse, self.scale, self.mean, self.along];
            let [centre, inverse, scale, mean, along] = lists.map(|list| W::load(&lanes(list)[block]));
            for ((dz, x), dx) in lanes(dz).iter().zip(lanes(x)).zip(lanes_mut(dx)) {
                let standard = W::load(x).sub(centre).mul(inverse);
                let slope = scale.mul(W::load(dz)).sub(mean).sub(standard.mul(along));
                inverse.mul(slope).store(dx);
            }
        }
    }
}
