//! Loops over blocks of channels, compiled once for each instruction set.

mod wide;

use crate::Isa;
pub(super) use wide::Wide;

/// A loop over floats. [`run`](Sweep::run) must be `#[inline(always)]`, so that it takes on the instructions of its caller.
pub(super) trait Sweep {
    /// Runs the loop, sixteen floats at a time.
    fn run<W: Wide>(self);
}

/// Runs a loop with the instructions of `isa`. Products and sums stay separate operations, so the bits are the same for every set.
///
/// # Panics
///
/// When the processor does not have the set.
pub(super) fn vectorised<S: Sweep>(isa: Isa, sweep: S) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            assert!(isa.is_available(), "this processor has no {isa}");
            // SAFETY: the processor has the instructions that the function is compiled for; it needs nothing else.
            #[expect(unsafe_code, reason = "a function for instructions that not every processor has")]
            unsafe {
                avx512(sweep);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => {
            assert!(isa.is_available(), "this processor has no {isa}");
            // SAFETY: the processor has the instructions that the function is compiled for; it needs nothing else.
            #[expect(unsafe_code, reason = "a function for instructions that not every processor has")]
            unsafe {
                avx2(sweep);
            }
        }
        _ => sweep.run::<wide::Portable>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512<S: Sweep>(sweep: S) {
    sweep.run::<wide::Avx512>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<S: Sweep>(sweep: S) {
    sweep.run::<wide::Avx2>();
}

/// One float for each lane of a block.
pub(super) type Lanes = [f32; crate::LANES];

/// A blocked list of channels, or a blocked image, in blocks of lanes.
///
/// # Panics
///
/// When the length is no multiple of the lanes.
#[inline(always)]
pub(super) fn lanes(floats: &[f32]) -> &[Lanes] {
    let (lanes, rest) = floats.as_chunks();
    assert!(rest.is_empty(), "{} floats are no whole blocks", floats.len());
    lanes
}

/// As [`lanes`], to be written.
#[inline(always)]
pub(super) fn lanes_mut(floats: &mut [f32]) -> &mut [Lanes] {
    let length = floats.len();
    let (lanes, rest) = floats.as_chunks_mut();
    assert!(rest.is_empty(), "{length} floats are no whole blocks");
    lanes
}
