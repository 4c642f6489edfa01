//! A map that is computed where a convolution reads it.

use crate::program::map::{Affine, Lay, Limits, Map};
use crate::{Isa, LANES, Pixels};

/// The blocked image `limits(affine(x) + other)`: written straight between the pads of a convolution, it needs no memory of its own.
pub(super) struct Mapped<'a> {
    pub(super) isa: Isa,
    /// Pixels of a block.
    pub(super) pixels: usize,
    pub(super) x: &'a [f32],
    pub(super) affine: Option<Affine<'a>>,
    pub(super) other: Option<&'a [f32]>,
    pub(super) limits: Limits,
}

impl<'a> Mapped<'a> {
    /// Computes neighbouring pixels of a block, from a float of the image on.
    fn run(&self, block: usize, first: usize, y: &mut [f32]) {
        let of_block = |list: &'a [f32]| &list[block * LANES..][..LANES];
        let affine = self.affine.map(|Affine { centre, inverse, scale, shift }| Affine {
            centre: of_block(centre),
            inverse: of_block(inverse),
            scale: of_block(scale),
            shift: of_block(shift),
        });
        let place = first..first + y.len();
        Map {
            lay: Lay::Blocked { pixels: y.len() / LANES },
            x: &self.x[place.clone()],
            affine,
            other: self.other.map(|other| &other[place]),
            limits: self.limits,
            y,
        }
        .compute(self.isa);
    }
}

impl Pixels for Mapped<'_> {
    fn write(&self, block: usize, first: usize, step: usize, to: &mut [f32]) {
        let start = (block * self.pixels + first) * LANES;
        if step == 1 {
            return self.run(block, start, to);
        }
        for (index, pixel) in to.chunks_exact_mut(LANES).enumerate() {
            self.run(block, start + index * step * LANES, pixel);
        }
    }
}
