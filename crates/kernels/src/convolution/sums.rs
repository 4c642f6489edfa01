//! The inner loops of the gradient to the weights: sums over the pixels of an image, kept in registers.

#![expect(
    unsafe_code,
    reason = "inner loops read and write through pointers whose bounds the plan guarantees"
)]

use super::tile::{Blocked, Lanewise, Plain, Reader, Source};
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Lanes, Portable};
use crate::layout::LANES;

/// The most offsets that are summed together.
pub(super) const MOST_OFFSETS: usize = 9;

/// Products of an image and a gradient, summed over a grid of pixels and added to a target.
///
/// Invariants, for `P` the floats of a pixel and each offset of the function: `image` may be read at the offset plus
/// `row * image_row + column * P` for every row and column, and `gradient` at `row * gradient_row + column * 16`; how far from there, and
/// how long `target` is, says each function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Products<'a> {
    pub(super) image: *const f32,
    pub(super) offsets: &'a [usize],
    pub(super) image_row: usize,
    pub(super) gradient: *const f32,
    pub(super) gradient_row: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) target: *mut f32,
}

/// Adds products to the target.
///
/// # Safety
///
/// The processor has the instruction set, and the products keep their invariants for the numbers that the function was chosen for.
pub(super) type SumFn = unsafe fn(&Products<'_>);

/// Sixteen channels of the image at each of `V` offsets, times each of `N` neighbouring channels of the gradient:
/// `target[n][v][lane]`.
#[inline(always)]
unsafe fn outer<L: Lanes, R: Reader, const V: usize, const N: usize>(of: &Products<'_>) {
    // SAFETY: the invariants of `Products`, with sixteen floats of the image at each place and `N` of the gradient.
    unsafe {
        let offsets: [usize; V] = std::array::from_fn(|v| of.offsets[v]);
        for index in 0..V * N {
            L::prefetch(of.target.wrapping_add(index * LANES));
        }
        let mut sums = [[L::zero(); V]; N];
        for row in 0..of.rows {
            let mut image = of.image.add(row * of.image_row);
            let mut gradient = of.gradient.add(row * of.gradient_row);
            for _ in 0..of.columns {
                let mut pixels = [L::zero(); V];
                for (pixel, &offset) in pixels.iter_mut().zip(&offsets) {
                    *pixel = R::read(image.add(offset));
                }
                for (n, sums) in sums.iter_mut().enumerate() {
                    let value = L::splat(gradient.add(n));
                    for (sum, &pixel) in sums.iter_mut().zip(&pixels) {
                        *sum = sum.multiply_add(pixel, value);
                    }
                }
                image = image.wrapping_add(R::PITCH);
                gradient = gradient.wrapping_add(LANES);
            }
        }
        for (index, sum) in sums.iter().flatten().enumerate() {
            let target = of.target.add(index * LANES);
            L::load(target).add(*sum).store(target);
        }
    }
}

/// What is read of the image at each of `V` offsets and the `T - 1` pixels after it, times sixteen channels of the gradient:
/// `target[v][t][lane]`.
#[inline(always)]
unsafe fn lanewise<L: Lanes, R: Reader, const V: usize, const T: usize>(of: &Products<'_>) {
    // SAFETY: the invariants of `Products`, with `T` pixels of the image at each place and sixteen floats of the gradient.
    unsafe {
        let offsets: [usize; V] = std::array::from_fn(|v| of.offsets[v]);
        let mut sums = [[L::zero(); T]; V];
        for row in 0..of.rows {
            let mut image = of.image.add(row * of.image_row);
            let mut gradient = of.gradient.add(row * of.gradient_row);
            for _ in 0..of.columns {
                let values = L::load(gradient);
                for (sums, &offset) in sums.iter_mut().zip(&offsets) {
                    for (t, sum) in sums.iter_mut().enumerate() {
                        *sum = sum.multiply_add(R::read(image.add(offset + t * R::PITCH)), values);
                    }
                }
                image = image.wrapping_add(R::PITCH);
                gradient = gradient.wrapping_add(LANES);
            }
        }
        for (index, sum) in sums.iter().flatten().enumerate() {
            let target = of.target.add(index * LANES);
            L::load(target).add(*sum).store(target);
        }
    }
}

/// The functions of one instruction set.
macro_rules! functions {
    ($(#[$feature:meta])* $module:ident, $lanes:ty) => {
        mod $module {
            use super::*;

            $(#[$feature])*
            pub(super) unsafe fn outer<R: Reader, const V: usize, const N: usize>(of: &Products<'_>) {
                // SAFETY: the caller's promise.
                unsafe { super::outer::<$lanes, R, V, N>(of) }
            }

            $(#[$feature])*
            pub(super) unsafe fn lanewise<R: Reader, const V: usize, const T: usize>(of: &Products<'_>) {
                // SAFETY: the caller's promise.
                unsafe { super::lanewise::<$lanes, R, V, T>(of) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
functions!(
    #[target_feature(enable = "avx512f")]
    avx512,
    Avx512
);
#[cfg(target_arch = "x86_64")]
functions!(
    #[target_feature(enable = "avx2,fma")]
    avx2,
    Avx2
);
functions!(portable, Portable);

/// The function of two numbers that are not known before run time.
macro_rules! by_numbers {
    ($numbers:expr, $set:ident, $function:ident, $reader:ty, $($first:literal: [$($second:literal)+])+) => {
        match $numbers {
            $($(($first, $second) => Some($set::$function::<$reader, $first, $second> as SumFn),)+)+
            _ => None,
        }
    };
}

/// The numbers of sums that fill the registers of an instruction set.
#[derive(Clone, Copy, Debug)]
pub(super) struct SumRegisters {
    sums: usize,
    /// The most offsets for an outer product.
    pub(super) offsets: usize,
    /// The longest run of neighbouring pixels.
    pub(super) run: usize,
}

impl SumRegisters {
    pub(super) fn of(isa: Isa) -> Self {
        match isa {
            Isa::Avx512 => Self { sums: 27, offsets: 3, run: 5 },
            Isa::Avx2 => Self { sums: 6, offsets: 1, run: 5 },
            Isa::Portable if cfg!(target_arch = "aarch64") => Self { sums: 6, offsets: 1, run: 5 },
            Isa::Portable => Self { sums: 3, offsets: 1, run: 3 },
        }
    }

    /// The most channels of the gradient that meet so many offsets.
    pub(super) fn channels(&self, offsets: usize) -> usize {
        let most = if self.sums < LANES { LANES } else { 8 * (1 + usize::from(offsets == 1)) };
        (self.sums / offsets).min(most)
    }

    /// The most runs of so many pixels.
    pub(super) fn runs(&self, pixels: usize) -> usize {
        (self.sums / pixels).clamp(1, MOST_OFFSETS)
    }
}

/// The function that sums outer products at `offsets` with `channels` channels, if there is one.
pub(super) fn outer_function(isa: Isa, offsets: usize, channels: usize) -> Option<SumFn> {
    let numbers = (offsets, channels);
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => by_numbers!(numbers, avx512, outer, Lanewise,
            1: [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16] 2: [1 2 3 4 5 6 7 8] 3: [1 2 3 4 5 6 7 8]),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => by_numbers!(numbers, avx2, outer, Lanewise, 1: [1 2 3 4 5 6]),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512 | Isa::Avx2 => None,
        Isa::Portable => by_numbers!(numbers, portable, outer, Lanewise, 1: [1 2 3 4 5 6]),
    }
}

/// The function that sums at so many runs of so many pixels, if there is one.
pub(super) fn lanewise_function(isa: Isa, source: Source, runs: usize, pixels: usize) -> Option<SumFn> {
    match source {
        Source::Blocked => lanewise_function_of::<Blocked>(isa, runs, pixels),
        Source::Plain => lanewise_function_of::<Plain>(isa, runs, pixels),
        Source::Lanewise => lanewise_function_of::<Lanewise>(isa, runs, pixels),
        // Only correlations sum lanes.
        Source::Summed => None,
    }
}

fn lanewise_function_of<R: Reader>(isa: Isa, runs: usize, pixels: usize) -> Option<SumFn> {
    let numbers = (runs, pixels);
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => by_numbers!(numbers, avx512, lanewise, R,
            1: [1 2 3 4 5] 2: [1 2 3 4 5] 3: [1 2 3 4 5] 4: [1 2 3 4 5] 5: [1 2 3 4 5]
            6: [1 2 3 4] 7: [1 2 3] 8: [1 2 3] 9: [1 2 3]),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => by_numbers!(numbers, avx2, lanewise, R,
            1: [1 2 3 4 5] 2: [1 2 3] 3: [1 2] 4: [1] 5: [1] 6: [1]),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512 | Isa::Avx2 => None,
        Isa::Portable => by_numbers!(numbers, portable, lanewise, R,
            1: [1 2 3 4 5] 2: [1 2 3] 3: [1 2] 4: [1] 5: [1] 6: [1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn all_sums_that_fit_the_registers_have_a_function() {
        for isa in Isa::ALL {
            let registers = SumRegisters::of(isa);
            for offsets in 1..=registers.offsets {
                for channels in 1..=registers.channels(offsets) {
                    assert!(outer_function(isa, offsets, channels).is_some(), "{isa} {offsets} {channels}");
                }
            }
            for source in [Source::Blocked, Source::Plain, Source::Lanewise] {
                for pixels in 1..=registers.run {
                    for runs in 1..=registers.runs(pixels) {
                        assert!(
                            lanewise_function(isa, source, runs, pixels).is_some(),
                            "{isa} {source:?} {runs} {pixels}"
                        );
                    }
                }
            }
        }
    }
}
