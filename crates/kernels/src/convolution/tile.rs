//! The inner loops of correlations: a tile of neighbouring pixels and some blocks of channels, summed in registers.
//!
//! For every input channel and every run of places, the weights are loaded once for all pixels, and a pixel of the scratch is read once for
//! all places of the run: pixel `j` of the scratch serves place `t` of output `j - t`. So three places and 16 pixels cost 21 reads for 48
//! multiplications, where place by place it would be 51.

#![expect(
    unsafe_code,
    reason = "inner loops read and write through pointers whose bounds the plan guarantees"
)]

use super::summed;
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Lanes, Portable};
use crate::layout::{LANES, blocks};

/// The most places of a run that share what is read.
const MOST_PLACES: usize = 3;

/// How the image lies that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Blocked: one channel of a pixel meets the weights of sixteen output channels.
    Blocked,
    /// Plain: as blocked, but neighbouring pixels are neighbouring floats.
    Plain,
    /// Blocked, and every lane meets its own weight only: a depthwise convolution.
    Lanewise,
    /// Blocked, and every lane meets its own weight, for each of few channels of the result, which is the sum of all lanes (see
    /// [`summed`]). What is called channels elsewhere is then a block of them.
    Summed,
}

impl Source {
    /// Floats of a pixel.
    pub(super) fn pixel(self) -> usize {
        if self == Source::Plain { 1 } else { LANES }
    }

    /// How many of `channels` channels lie together, one after the other, before the next block.
    pub(super) fn block_channels(self, channels: usize) -> usize {
        match self {
            Source::Blocked => LANES,
            Source::Plain => channels,
            Source::Lanewise | Source::Summed => 1,
        }
    }

    /// Blocks, or planes, of `channels` channels that are read together.
    pub(super) fn planes(self, channels: usize) -> usize {
        match self {
            Source::Blocked => blocks(channels),
            Source::Plain | Source::Summed => channels,
            Source::Lanewise => 1,
        }
    }
}

/// What is known of a [`Source`] at compile time.
pub(super) trait Reader {
    /// Floats from a pixel to the next.
    const PITCH: usize;
    /// What is read of a pixel.
    ///
    /// # Safety
    ///
    /// As [`Lanes`]: a lanewise source has sixteen floats there, the others one.
    unsafe fn read<L: Lanes>(from: *const f32) -> L;
}

pub(super) struct Blocked;
pub(super) struct Plain;
pub(super) struct Lanewise;

impl Reader for Blocked {
    const PITCH: usize = LANES;

    #[inline(always)]
    unsafe fn read<L: Lanes>(from: *const f32) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::splat(from) }
    }
}

impl Reader for Plain {
    const PITCH: usize = 1;

    #[inline(always)]
    unsafe fn read<L: Lanes>(from: *const f32) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::splat(from) }
    }
}

impl Reader for Lanewise {
    const PITCH: usize = LANES;

    #[inline(always)]
    unsafe fn read<L: Lanes>(from: *const f32) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load(from) }
    }
}

/// Neighbouring places of the kernel, as the inner loop needs them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// Floats from the tile's first pixel to what its first output reads for the first place.
    pub(super) offset: usize,
    /// 1 to [`MOST_PLACES`].
    pub(super) places: usize,
}

/// Repeats a block for every number below `$end`, which is at most 18, as a constant: the compiler leaves a long loop a loop, and then keeps
/// the sums in memory.
macro_rules! unrolled {
    ($index:ident < $end:expr, $body:block) => {
        unrolled!(@ $index, $end, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17)
    };
    (@ $index:ident, $end:expr, $body:block, $($number:literal)+) => {
        $(
            if $number < $end {
                const $index: usize = $number;
                $body
            }
        )+
    };
}

/// A tile of `P` pixels and `B` blocks.
///
/// Invariants, for a kernel of these numbers: with `channels` channels in blocks of at most `block_channels`, at `block_pitch` from each
/// other, channel by channel at `channel_pitch`, `source` may be read at every offset of `reaches` plus `(P + places - 2) * PITCH` (and for
/// a lanewise source the 15 floats after it); `weights` holds `channels * places * B * 16` floats, in the order they are met; `start` is
/// null or stands at `B * 16` floats; `target` may be read and written at `b * target_block + p * target_pitch`, 16 floats each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a> {
    pub(super) reaches: &'a [Reach],
    pub(super) source: *const f32,
    pub(super) channels: usize,
    pub(super) block_channels: usize,
    pub(super) block_pitch: usize,
    pub(super) channel_pitch: usize,
    pub(super) weights: *const f32,
    /// What the sums start from; null: from what the target holds.
    pub(super) start: *const f32,
    pub(super) target: *mut f32,
    pub(super) target_block: usize,
    pub(super) target_pitch: usize,
}

/// Computes a tile.
///
/// # Safety
///
/// The processor has the instruction set, and the tile keeps its invariants for the numbers that the function was chosen for.
pub(super) type TileFn = unsafe fn(&Tile<'_>);

#[inline(always)]
unsafe fn tile<L: Lanes, R: Reader, const P: usize, const B: usize>(tile: &Tile<'_>) {
    // SAFETY: the invariants of `Tile`; the loops below stay within the numbers named there.
    unsafe {
        let mut sums = [[L::zero(); B]; P];
        unrolled!(PIXEL < P, {
            for (b, sum) in sums[PIXEL].iter_mut().enumerate() {
                let target = tile.target.add(b * tile.target_block + PIXEL * tile.target_pitch);
                *sum = if tile.start.is_null() {
                    L::load(target)
                } else {
                    L::prefetch(target);
                    L::load(tile.start.add(b * LANES))
                };
            }
        });
        let (mut weights, mut block, mut left) = (tile.weights, tile.source, tile.channels);
        while left > 0 {
            let channels = left.min(tile.block_channels);
            for reach in tile.reaches {
                let from = block.add(reach.offset);
                weights = match reach.places {
                    3 if L::IS_ROOMY => places::<L, R, P, B, 3>(&mut sums, tile, from, channels, weights),
                    2 if L::IS_ROOMY => places::<L, R, P, B, 2>(&mut sums, tile, from, channels, weights),
                    _ => places::<L, R, P, B, 1>(&mut sums, tile, from, channels, weights),
                };
            }
            left -= channels;
            block = block.wrapping_add(tile.block_pitch);
        }
        unrolled!(PIXEL < P, {
            for (b, sum) in sums[PIXEL].iter().enumerate() {
                sum.store(tile.target.add(b * tile.target_block + PIXEL * tile.target_pitch));
            }
        });
    }
}

/// Adds what `T` neighbouring places give, for some channels; the weights that follow.
#[inline(always)]
unsafe fn places<L: Lanes, R: Reader, const P: usize, const B: usize, const T: usize>(
    sums: &mut [[L; B]; P],
    tile: &Tile<'_>,
    mut from: *const f32,
    channels: usize,
    mut weights: *const f32,
) -> *const f32 {
    let mut next = from.wrapping_add(P * R::PITCH);
    // SAFETY: the invariants of `Tile`. Pointers are moved past the last channel but not read there.
    unsafe {
        for _ in 0..channels {
            let mut of_place = [[L::zero(); B]; T];
            for (t, of_place) in of_place.iter_mut().enumerate() {
                for (b, weight) in of_place.iter_mut().enumerate() {
                    *weight = L::load(weights.add((t * B + b) * LANES));
                }
            }
            if T == 1 && B > 1 {
                // With one place only, every pixel is new. A line for each channel: those of the next tile of the row.
                L::prefetch(next);
                next = next.wrapping_add(R::PITCH);
            }
            unrolled!(READ < P + T - 1, {
                let pixel: L = R::read(from.add(READ * R::PITCH));
                for (t, of_place) in of_place.iter().enumerate() {
                    if let Some(output) = usize::checked_sub(READ, t).filter(|&output| output < P) {
                        for (sum, &weight) in sums[output].iter_mut().zip(of_place) {
                            *sum = sum.multiply_add(weight, pixel);
                        }
                    }
                }
            });
            weights = weights.add(T * B * LANES);
            from = from.wrapping_add(tile.channel_pitch);
        }
        weights
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<R: Reader, const P: usize, const B: usize>(of: &Tile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { tile::<Avx512, R, P, B>(of) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<R: Reader, const P: usize, const B: usize>(of: &Tile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { tile::<Avx2, R, P, B>(of) }
}

unsafe fn portable<R: Reader, const P: usize, const B: usize>(of: &Tile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { tile::<Portable, R, P, B>(of) }
}

/// The function of a number of pixels that is not known before run time.
macro_rules! by_pixels {
    ($function:ident, $reader:ty, $blocks:literal, $pixels:expr, [$($count:literal)+]) => {
        match $pixels {
            $($count => Some($function::<$reader, $count, $blocks> as TileFn),)+
            _ => None,
        }
    };
}

/// The pixels and blocks that fill the registers of an instruction set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    /// The most pixels of a tile, by blocks: of 1, 2 and 4.
    pixels: [usize; 3],
    /// The longest run of places that share what is read.
    pub(super) places: usize,
}

impl Registers {
    pub(super) fn of(isa: Isa) -> Self {
        match isa {
            Isa::Avx512 => Self { pixels: [16, 14, 6], places: MOST_PLACES },
            Isa::Avx2 => Self { pixels: [6, 0, 0], places: 1 },
            Isa::Portable if cfg!(target_arch = "aarch64") => Self { pixels: [6, 0, 0], places: 1 },
            Isa::Portable => Self { pixels: [3, 0, 0], places: 1 },
        }
    }

    /// The most pixels of a tile of `blocks` blocks whose longest run has `places` places: sums, weights and what is read must fit.
    pub(super) fn pixels(&self, blocks: usize, places: usize) -> usize {
        let index = blocks.trailing_zeros() as usize;
        if self.places == 1 {
            return self.pixels[index];
        }
        self.pixels[index].min((31 - blocks * places) / blocks)
    }
}

/// The function for a tile, if there is one. `vectors`: blocks of the result; of a summed source, its channels.
pub(super) fn function(isa: Isa, source: Source, vectors: usize, pixels: usize) -> Option<TileFn> {
    match isa {
        _ if source == Source::Summed => summed::function(isa, vectors, pixels),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => match (source, vectors) {
            (Source::Blocked, 1) => {
                by_pixels!(avx512, Blocked, 1, pixels, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16])
            }
            (Source::Blocked, 2) => {
                by_pixels!(avx512, Blocked, 2, pixels, [1 2 3 4 5 6 7 8 9 10 11 12 13 14])
            }
            (Source::Blocked, 4) => by_pixels!(avx512, Blocked, 4, pixels, [1 2 3 4 5 6]),
            (Source::Plain, 1) => {
                by_pixels!(avx512, Plain, 1, pixels, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16])
            }
            (Source::Plain, 2) => by_pixels!(avx512, Plain, 2, pixels, [1 2 3 4 5 6 7 8 9 10 11 12 13 14]),
            (Source::Lanewise, 1) => {
                by_pixels!(avx512, Lanewise, 1, pixels, [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16])
            }
            _ => None,
        },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => match (source, vectors) {
            (Source::Blocked, 1) => by_pixels!(avx2, Blocked, 1, pixels, [1 2 3 4 5 6]),
            (Source::Plain, 1) => by_pixels!(avx2, Plain, 1, pixels, [1 2 3 4 5 6]),
            (Source::Lanewise, 1) => by_pixels!(avx2, Lanewise, 1, pixels, [1 2 3 4 5 6]),
            _ => None,
        },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512 | Isa::Avx2 => None,
        Isa::Portable => match (source, vectors) {
            (Source::Blocked, 1) => by_pixels!(portable, Blocked, 1, pixels, [1 2 3 4 5 6]),
            (Source::Plain, 1) => by_pixels!(portable, Plain, 1, pixels, [1 2 3 4 5 6]),
            (Source::Lanewise, 1) => by_pixels!(portable, Lanewise, 1, pixels, [1 2 3 4 5 6]),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_tile_that_fits_the_registers_has_a_function() {
        for isa in Isa::ALL {
            let registers = Registers::of(isa);
            for (source, blocks) in
                [(Source::Blocked, &[1, 2, 4][..]), (Source::Plain, &[1, 2]), (Source::Lanewise, &[1])]
            {
                for (&blocks, places) in blocks
                    .iter()
                    .flat_map(|blocks| (1..=registers.places).map(move |places| (blocks, places)))
                {
                    for pixels in 1..=registers.pixels(blocks, places) {
                        assert!(
                            function(isa, source, blocks, pixels).is_some(),
                            "{isa} {source:?} {blocks} {pixels}"
                        );
                    }
                }
            }
        }
    }
}
