//! Sixteen floats in the registers of x86-64.

#![expect(unsafe_code, reason = "intrinsics, and lanes that are read and written through pointers")]

use std::arch::x86_64::*;

use super::Lanes;

/// One register of 16 floats; needs AVX-512 F.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// Two registers of 8 floats; needs AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

impl Lanes for Avx512 {
    const IS_ROOMY: bool = true;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        Self(unsafe { _mm512_setzero_ps() })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        Self(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        Self(unsafe { _mm512_set1_ps(from.read()) })
    }

    #[inline(always)]
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn subtract(self, other: Self) -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn first(self, count: usize) -> Self {
        let mask = !(u32::MAX << count.min(16)) as u16;
        // SAFETY: the caller promises the instructions (see `Lanes`).
        Self(unsafe { _mm512_maskz_mov_ps(mask, self.0) })
    }

    /// Halves, quarters, and then single lanes are added crosswise, so that each addition works on the lanes of two vectors.
    #[inline(always)]
    unsafe fn totals(of: [Self; 8]) -> Self {
        // SAFETY: the caller promises the instructions (see `Lanes`).
        unsafe {
            let halves = |a: __m512, b: __m512| {
                _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xEE>(a, b))
            };
            let quarters = |a: __m512, b: __m512| {
                _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xDD>(a, b))
            };
            // Quarter `k` of `first` has four lanes whose sum is that of vector `k`, of `last` that of vector `k + 4`.
            let first = quarters(halves(of[0].0, of[1].0), halves(of[2].0, of[3].0));
            let last = quarters(halves(of[4].0, of[5].0), halves(of[6].0, of[7].0));
            let pairs = _mm512_add_ps(_mm512_unpacklo_ps(first, last), _mm512_unpackhi_ps(first, last));
            let totals = _mm512_add_ps(pairs, _mm512_permute_ps::<0x4E>(pairs));
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
            Self(_mm512_permutexvar_ps(order, totals))
        }
    }

    #[inline(always)]
    fn prefetch(from: *const f32) {
        // SAFETY: every x86-64 processor has the instruction, and it faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
}

impl Lanes for Avx2 {
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        let all = unsafe { _mm256_set1_ps(from.read()) };
        Self(all, all)
    }

    #[inline(always)]
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn subtract(self, other: Self) -> Self {
        // SAFETY: the caller promises the instructions and the floats (see `Lanes`).
        unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn first(self, count: usize) -> Self {
        // SAFETY: the caller promises the instructions (see `Lanes`).
        unsafe {
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let below = |count: usize| {
                _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), lanes))
            };
            Self(_mm256_and_ps(self.0, below(count)), _mm256_and_ps(self.1, below(count.saturating_sub(8))))
        }
    }
}
