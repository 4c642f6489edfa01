//! Sixteen floats as an array: the compiler makes vectors of whatever the target has.

#![expect(unsafe_code, reason = "lanes are read and written through pointers")]

use super::Lanes;
use crate::layout::LANES;

/// An array.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; LANES]);

/// A fused multiply-add only where it is an instruction: elsewhere it is a call of a slow function.
#[inline(always)]
fn multiply_add(sum: f32, a: f32, b: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { a.mul_add(b, sum) } else { sum + a * b }
}

impl Lanes for Portable {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller gives sixteen floats; an array of floats needs the alignment of a float, which `from` has.
        Self(unsafe { from.cast::<[f32; LANES]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as in `load`.
        unsafe { to.cast::<[f32; LANES]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        // SAFETY: the caller gives one float.
        Self([unsafe { from.read() }; LANES])
    }

    #[inline(always)]
    unsafe fn multiply_add(mut self, a: Self, b: Self) -> Self {
        for lane in 0..LANES {
            self.0[lane] = multiply_add(self.0[lane], a.0[lane], b.0[lane]);
        }
        self
    }

    #[inline(always)]
    unsafe fn add(mut self, other: Self) -> Self {
        for lane in 0..LANES {
            self.0[lane] += other.0[lane];
        }
        self
    }

    #[inline(always)]
    unsafe fn subtract(mut self, other: Self) -> Self {
        for lane in 0..LANES {
            self.0[lane] -= other.0[lane];
        }
        self
    }

    #[inline(always)]
    unsafe fn first(mut self, count: usize) -> Self {
        for lane in 0..LANES {
            self.0[lane] = if lane < count { self.0[lane] } else { 0.0 };
        }
        self
    }
}
