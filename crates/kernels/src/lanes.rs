//! Sixteen floats as one value, whatever registers they take.
//!
//! A kernel is written once, generic over [`Lanes`], marked `#[inline(always)]`, and called from a small function of each instruction set
//! that enables the instructions (`#[target_feature]`): inlined there, its intrinsics become single instructions.

#![expect(unsafe_code, reason = "lanes are read and written through pointers")]

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// Sixteen floats.
///
/// # Safety
///
/// Every function needs a processor that has the instructions of the implementation. Pointers need no alignment; those of `load` and
/// `store` stand at sixteen floats, that of `splat` at one.
pub(crate) trait Lanes: Copy {
    /// Whether there are registers enough to keep the weights of several places beside the sums.
    const IS_ROOMY: bool = false;

    /// Zeros.
    unsafe fn zero() -> Self;

    /// The sixteen floats from `from` on.
    unsafe fn load(from: *const f32) -> Self;

    /// Writes the sixteen floats from `to` on.
    unsafe fn store(self, to: *mut f32);

    /// Sixteen times the float at `from`.
    unsafe fn splat(from: *const f32) -> Self;

    /// `self + a * b`, rounded once where the processor can.
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self;

    /// Has the cache line of `_from` fetched, which need not be memory at all.
    #[inline(always)]
    fn prefetch(_from: *const f32) {}

    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;

    /// `self - other`.
    unsafe fn subtract(self, other: Self) -> Self;

    /// The first `count` lanes; the others become zero.
    unsafe fn first(self, count: usize) -> Self;

    /// The sum of the lanes of each, in the first eight lanes; the others hold anything.
    unsafe fn totals(of: [Self; 8]) -> Self {
        let mut totals = [0.0; 16];
        for (total, lanes) in totals.iter_mut().zip(of) {
            let mut floats = [0.0_f32; 16];
            // SAFETY: sixteen floats; the caller promises the instructions.
            unsafe { lanes.store(floats.as_mut_ptr()) };
            *total = floats.iter().sum();
        }
        // SAFETY: as above.
        unsafe { Self::load(totals.as_ptr()) }
    }
}
