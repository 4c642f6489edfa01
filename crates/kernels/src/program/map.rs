//! Changes of single values: normalizations with known statistics, sums, limits; and their gradients.

use super::vectorise::{Lanes, Sweep, lanes, lanes_mut, vectorised};
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
fn limited<const LIMITS: u8>(value: f32, [low, high]: [f32; 2]) -> f32 {
    match LIMITS {
        POSITIVE if value < 0.0 => 0.0,
        WITHIN if value < low => low,
        WITHIN if value > high => high,
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
    fn limited<const AFFINE: bool, const OTHER: bool>(self) {
        match self.limits {
            Limits::None => self.sweep::<AFFINE, OTHER, FREE>([0.0; 2]),
            Limits::Positive => self.sweep::<AFFINE, OTHER, POSITIVE>([0.0; 2]),
            Limits::Within(limits) => self.sweep::<AFFINE, OTHER, WITHIN>(limits),
        }
    }

    #[inline(always)]
    fn sweep<const AFFINE: bool, const OTHER: bool, const LIMITS: u8>(self, limits: [f32; 2]) {
        let none = Affine { centre: &[], inverse: &[], scale: &[], shift: &[] };
        let (affine, other) = (self.affine.unwrap_or(none), self.other.unwrap_or(self.x));
        match self.lay {
            Lay::Blocked { pixels } => {
                let size = pixels * LANES;
                let images = self.x.chunks_exact(size).zip(other.chunks_exact(size));
                for (block, ((x, other), y)) in images.zip(self.y.chunks_exact_mut(size)).enumerate() {
                    let [centre, inverse, scale, shift] = if AFFINE {
                        [affine.centre, affine.inverse, affine.scale, affine.shift]
                            .map(|list| lanes(list)[block])
                    } else {
                        [[0.0; LANES]; 4]
                    };
                    for ((x, other), y) in lanes(x).iter().zip(lanes(other)).zip(lanes_mut(y)) {
                        for lane in 0..LANES {
                            let mut value = x[lane];
                            if AFFINE {
                                value = ((value - centre[lane]) * inverse[lane]) * scale[lane] + shift[lane];
                            }
                            if OTHER {
                                value += other[lane];
                            }
                            y[lane] = limited::<LIMITS>(value, limits);
                        }
                    }
                }
            }
            Lay::Plain { pixels } => {
                let images = self.x.chunks_exact(pixels).zip(other.chunks_exact(pixels));
                for (channel, ((x, other), y)) in images.zip(self.y.chunks_exact_mut(pixels)).enumerate() {
                    let [centre, inverse, scale, shift] = if AFFINE {
                        [affine.centre, affine.inverse, affine.scale, affine.shift].map(|list| list[channel])
                    } else {
                        [0.0; 4]
                    };
                    for ((&x, &other), y) in x.iter().zip(other).zip(y) {
                        let mut value = x;
                        if AFFINE {
                            value = ((value - centre) * inverse) * scale + shift;
                        }
                        if OTHER {
                            value += other;
                        }
                        *y = limited::<LIMITS>(value, limits);
                    }
                }
            }
        }
    }
}

impl Sweep for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match (self.affine.is_some(), self.other.is_some()) {
            (false, false) => self.limited::<false, false>(),
            (false, true) => self.limited::<false, true>(),
            (true, false) => self.limited::<true, false>(),
            (true, true) => self.limited::<true, true>(),
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
    Both { x: &'a [f32], centre: &'a [f32], inverse: &'a [f32] },
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
    fn masked<const MORE: bool>(self) {
        match self.mask {
            Mask::Open => {
                let gate = self.dy;
                self.summed::<MORE, FREE>(gate, [0.0; 2]);
            }
            Mask::Positive(y) => self.summed::<MORE, POSITIVE>(y, [0.0; 2]),
            Mask::Within(x, limits) => self.summed::<MORE, WITHIN>(x, limits),
        }
    }

    #[inline(always)]
    fn summed<const MORE: bool, const MASK: u8>(self, gate: &[f32], limits: [f32; 2]) {
        match self.sums {
            Sums::Nothing => self.sweep::<MORE, MASK, 0>(gate, limits),
            Sums::Gradient => self.sweep::<MORE, MASK, 1>(gate, limits),
            Sums::Both { .. } => self.sweep::<MORE, MASK, 2>(gate, limits),
        }
    }

    #[inline(always)]
    fn sweep<const MORE: bool, const MASK: u8, const SUMS: usize>(self, gate: &[f32], limits: [f32; 2]) {
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
            let [centre, inverse] =
                if SUMS == 2 { [centre, inverse].map(|list| lanes(list)[block]) } else { [[0.0; LANES]; 2] };
            let pixels = Pixels {
                dy: lanes(&self.dy[part.clone()]),
                more: lanes(&more[part.clone()]),
                gate: lanes(&gate[part.clone()]),
                x: lanes(&x[part.clone()]),
                centre,
                inverse,
                limits,
            };
            let sums = match dz.as_deref_mut() {
                Some(dz) => pixels.pass::<MORE, MASK, SUMS, true>(lanes_mut(&mut dz[part])),
                None => pixels.pass::<MORE, MASK, SUMS, false>(&mut []),
            };
            for (list, sum) in sums.iter().enumerate().take(SUMS) {
                lanes_mut(self.totals)[list * count + block] = *sum;
            }
        }
    }
}

impl Sweep for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.more {
            None => self.masked::<false>(),
            Some(_) => self.masked::<true>(),
        }
    }
}

/// The pixels of one block of channels.
struct Pixels<'a> {
    dy: &'a [Lanes],
    more: &'a [Lanes],
    gate: &'a [Lanes],
    x: &'a [Lanes],
    centre: Lanes,
    inverse: Lanes,
    limits: [f32; 2],
}

impl Pixels<'_> {
    /// The sums of even and of odd pixels are taken apart, so that additions do not wait for each other.
    #[inline(always)]
    fn pass<const MORE: bool, const MASK: u8, const SUMS: usize, const WRITE: bool>(
        &self,
        dz: &mut [Lanes],
    ) -> [Lanes; 2] {
        let mut sums = [[[0.0; LANES]; 2]; 2];
        let pixels = self.dy.len();
        let (more, gate, x) = (&self.more[..pixels], &self.gate[..pixels], &self.x[..pixels]);
        let dz = if WRITE { &mut dz[..pixels] } else { dz };
        let mut one = |pixel: usize, sums: &mut [Lanes; 2]| {
            let mut gradient = self.dy[pixel];
            for lane in 0..LANES {
                if MORE {
                    gradient[lane] += more[pixel][lane];
                }
                let value = gate[pixel][lane];
                let is_closed = match MASK {
                    POSITIVE => value <= 0.0,
                    WITHIN => value < self.limits[0] || value > self.limits[1],
                    _ => false,
                };
                gradient[lane] = if is_closed { 0.0 } else { gradient[lane] };
            }
            if WRITE {
                dz[pixel] = gradient;
            }
            for lane in 0..LANES {
                if SUMS > 0 {
                    sums[0][lane] += gradient[lane];
                }
                if SUMS > 1 {
                    let standard = (x[pixel][lane] - self.centre[lane]) * self.inverse[lane];
                    sums[1][lane] += gradient[lane] * standard;
                }
            }
        };
        let pairs = pixels / 2;
        let [even, odd] = &mut sums;
        for pair in 0..pairs {
            one(2 * pair, even);
            one(2 * pair + 1, odd);
        }
        if pixels % 2 == 1 {
            one(pixels - 1, even);
        }
        for (even, odd) in even.iter_mut().zip(&*odd) {
            for lane in 0..LANES {
                even[lane] += odd[lane];
            }
        }
        *even
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
        assert!(self.dz.len() == self.x.len() && self.x.len() == self.dx.len(), "gradients have the values' shape");
        vectorised(isa, self);
    }
}

impl Sweep for Normal<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let size = self.pixels * LANES;
        let images = self.dz.chunks_exact(size).zip(self.x.chunks_exact(size));
        for (block, ((dz, x), dx)) in images.zip(self.dx.chunks_exact_mut(size)).enumerate() {
            let lists = [self.centre, self.inverse, self.scale, self.mean, self.along];
            let [centre, inverse, scale, mean, along] = lists.map(|list| lanes(list)[block]);
            for ((dz, x), dx) in lanes(dz).iter().zip(lanes(x)).zip(lanes_mut(dx)) {
                for lane in 0..LANES {
                    let standard = (x[lane] - centre[lane]) * inverse[lane];
                    dx[lane] = inverse[lane] * ((scale[lane] * dz[lane] - mean[lane]) - standard * along[lane]);
                }
            }
        }
    }
}
