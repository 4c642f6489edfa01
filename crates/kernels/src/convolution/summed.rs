//! Tiles of correlations from many channels to few.
//!
//! Where a result has few channels, most lanes of its vectors are empty. Here the lanes are sixteen channels of the image instead: each
//! channel of the result has a vector of sums of its own, whose lanes are added up at last.

#![expect(
    unsafe_code,
    reason = "inner loops read and write through pointers whose bounds the plan guarantees"
)]

use super::tile::{Tile, TileFn};
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::lanes::Avx512;
use crate::lanes::Lanes;
use crate::layout::LANES;

/// The most channels of a result.
pub(super) const MOST: usize = 8;

/// Whether a correlation from and to so many channels is done this way. The last block must be full: lanes beyond the channels hold
/// anything at all.
pub(super) fn is_best(channels: [usize; 2], isa: Isa) -> bool {
    isa == Isa::Avx512 && channels[0].is_multiple_of(LANES) && channels[1] <= MOST
}

/// The most pixels of a tile with so many channels of the result.
pub(super) fn most_pixels(channels: usize) -> usize {
    (18 / channels).min(8)
}

/// A tile of `P` pixels and `N` channels of the result.
///
/// Invariants: those of [`Tile`], but its channels are blocks of the source, each place reads sixteen floats, and `weights` holds
/// `channels * places * N * 16` floats.
#[inline(always)]
unsafe fn tile<L: Lanes, const P: usize, const N: usize>(tile: &Tile<'_>) {
    // SAFETY: the invariants, within whose numbers the loops stay.
    unsafe {
        let mut sums = [[L::zero(); P]; N];
        let (mut weights, mut block) = (tile.weights, tile.source);
        let mut reach = 0;
        // One loop over blocks and places: of two, the compiler would keep the sums in memory.
        for _ in 0..tile.channels * tile.reaches.len() {
            let from = block.add(tile.reaches[reach].offset);
            let mut pixels = [L::zero(); P];
            for (p, pixel) in pixels.iter_mut().enumerate() {
                *pixel = L::load(from.add(p * LANES));
            }
            for (n, sums) in sums.iter_mut().enumerate() {
                let weight = L::load(weights.add(n * LANES));
                for (sum, &pixel) in sums.iter_mut().zip(&pixels) {
                    *sum = sum.multiply_add(weight, pixel);
                }
            }
            weights = weights.add(N * LANES);
            reach += 1;
            if reach == tile.reaches.len() {
                (reach, block) = (0, block.wrapping_add(tile.block_pitch));
            }
        }
        for p in 0..P {
            let mut of_pixel = [L::zero(); MOST];
            for (of_pixel, sums) in of_pixel.iter_mut().zip(&sums) {
                *of_pixel = sums[p];
            }
            let target = tile.target.add(p * tile.target_pitch);
            let before = if tile.start.is_null() { target.cast_const() } else { tile.start };
            L::load(before).add(L::totals(of_pixel)).store(target);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const P: usize, const N: usize>(of: &Tile<'_>) {
    // SAFETY: the caller's promise.
    unsafe { tile::<Avx512, P, N>(of) }
}

/// The function of two numbers that are not known before run time.
macro_rules! by_numbers {
    ($numbers:expr, $($channels:literal: [$($pixels:literal)+])+) => {
        match $numbers {
            $($(($channels, $pixels) => Some(avx512::<$pixels, $channels> as TileFn),)+)+
            _ => None,
        }
    };
}

/// The function for a tile, if there is one.
pub(super) fn function(isa: Isa, channels: usize, pixels: usize) -> Option<TileFn> {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => by_numbers!((channels, pixels),
            1: [1 2 3 4 5 6 7 8] 2: [1 2 3 4 5 6 7 8] 3: [1 2 3 4 5 6] 4: [1 2 3 4]
            5: [1 2 3] 6: [1 2 3] 7: [1 2] 8: [1 2]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_tile_that_fits_the_registers_has_a_function() {
        for channels in 1..=MOST {
            for pixels in 1..=most_pixels(channels) {
                assert!(function(Isa::Avx512, channels, pixels).is_some(), "{channels} {pixels}");
            }
        }
    }
}
