//! Sixteen floats as one value.

use super::Lanes;
use crate::LANES;

/// Sixteen floats in registers. Comparisons with NaN do not hold.
///
/// Values of an instruction set's type are made only in loops that [`vectorised`](super::vectorised) runs, which has looked whether the
/// processor has the set.
pub(in crate::program) trait Wide: Copy {
    fn load(from: &Lanes) -> Self;
    fn store(self, to: &mut Lanes);
    /// Sixteen times a number.
    fn splat(number: f32) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// `yes` where `self < other`, else `no`.
    fn if_below(self, other: Self, yes: Self, no: Self) -> Self;
    /// `yes` where `self <= other`, else `no`.
    fn if_at_most(self, other: Self, yes: Self, no: Self) -> Self;
    /// `yes` where `self == other`, else `no`.
    fn if_equal(self, other: Self, yes: Self, no: Self) -> Self;
    /// `yes` where `self` is NaN, else `no`.
    fn if_nan(self, yes: Self, no: Self) -> Self;
}

/// Sixteen floats that the compiler puts into whatever registers there are.
#[derive(Clone, Copy)]
pub(in crate::program) struct Portable(Lanes);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, of: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| of(self.0[lane], other.0[lane])))
    }

    #[inline(always)]
    fn choose(self, other: Self, yes: Self, no: Self, test: impl Fn(f32, f32) -> bool) -> Self {
        let choose = |lane: usize| if test(self.0[lane], other.0[lane]) { yes.0[lane] } else { no.0[lane] };
        Self(std::array::from_fn(choose))
    }
}

impl Wide for Portable {
    #[inline(always)]
    fn load(from: &Lanes) -> Self {
        Self(*from)
    }

    #[inline(always)]
    fn store(self, to: &mut Lanes) {
        *to = self.0;
    }

    #[inline(always)]
    fn splat(number: f32) -> Self {
        Self([number; LANES])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn if_below(self, other: Self, yes: Self, no: Self) -> Self {
        self.choose(other, yes, no, |a, b| a < b)
    }

    #[inline(always)]
    fn if_at_most(self, other: Self, yes: Self, no: Self) -> Self {
        self.choose(other, yes, no, |a, b| a <= b)
    }

    #[inline(always)]
    fn if_equal(self, other: Self, yes: Self, no: Self) -> Self {
        self.choose(other, yes, no, |a, b| a == b)
    }

    #[inline(always)]
    fn if_nan(self, yes: Self, no: Self) -> Self {
        self.choose(self, yes, no, |a, _| a.is_nan())
    }
}

#[cfg(target_arch = "x86_64")]
pub(in crate::program) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "intrinsics of instructions that not every processor has")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, Wide};

    /// One register of AVX-512.
    #[derive(Clone, Copy)]
    pub(in crate::program) struct Avx512(__m512);

    /// Calls an intrinsic.
    macro_rules! on_registers {
        ($call:expr) => {
            // SAFETY: the processor has the instructions, as the trait says; pointers are those of sixteen floats, and need no alignment.
            unsafe { $call }
        };
    }

    impl Wide for Avx512 {
        #[inline(always)]
        fn load(from: &Lanes) -> Self {
            Self(on_registers!(_mm512_loadu_ps(from.as_ptr())))
        }

        #[inline(always)]
        fn store(self, to: &mut Lanes) {
            on_registers!(_mm512_storeu_ps(to.as_mut_ptr(), self.0));
        }

        #[inline(always)]
        fn splat(number: f32) -> Self {
            Self(on_registers!(_mm512_set1_ps(number)))
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            Self(on_registers!(_mm512_add_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            Self(on_registers!(_mm512_sub_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            Self(on_registers!(_mm512_mul_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn div(self, other: Self) -> Self {
            Self(on_registers!(_mm512_div_ps(self.0, other.0)))
        }

        #[inline(always)]
        fn if_below(self, other: Self, yes: Self, no: Self) -> Self {
            Self(on_registers!({
                _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0), no.0, yes.0)
            }))
        }

        #[inline(always)]
        fn if_at_most(self, other: Self, yes: Self, no: Self) -> Self {
            Self(on_registers!({
                _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(self.0, other.0), no.0, yes.0)
            }))
        }

        #[inline(always)]
        fn if_equal(self, other: Self, yes: Self, no: Self) -> Self {
            Self(on_registers!({
                _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(self.0, other.0), no.0, yes.0)
            }))
        }

        #[inline(always)]
        fn if_nan(self, yes: Self, no: Self) -> Self {
            Self(on_registers!({
                _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0), no.0, yes.0)
            }))
        }
    }

    /// Two registers of AVX2.
    #[derive(Clone, Copy)]
    pub(in crate::program) struct Avx2([__m256; 2]);

    impl Avx2 {
        #[inline(always)]
        fn zip(self, other: Self, of: impl Fn(__m256, __m256) -> __m256) -> Self {
            Self([of(self.0[0], other.0[0]), of(self.0[1], other.0[1])])
        }

        #[inline(always)]
        fn choose<const TEST: i32>(self, other: Self, yes: Self, no: Self) -> Self {
            let half = |half: usize| {
                on_registers!({
                    let test = _mm256_cmp_ps::<TEST>(self.0[half], other.0[half]);
                    _mm256_blendv_ps(no.0[half], yes.0[half], test)
                })
            };
            Self([half(0), half(1)])
        }
    }

    impl Wide for Avx2 {
        #[inline(always)]
        fn load(from: &Lanes) -> Self {
            Self(on_registers!([_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from[8..].as_ptr())]))
        }

        #[inline(always)]
        fn store(self, to: &mut Lanes) {
            on_registers!({
                _mm256_storeu_ps(to.as_mut_ptr(), self.0[0]);
                _mm256_storeu_ps(to[8..].as_mut_ptr(), self.0[1]);
            });
        }

        #[inline(always)]
        fn splat(number: f32) -> Self {
            Self([on_registers!(_mm256_set1_ps(number)); 2])
        }

        #[inline(always)]
        fn add(self, other: Self) -> Self {
            self.zip(other, |a, b| on_registers!(_mm256_add_ps(a, b)))
        }

        #[inline(always)]
        fn sub(self, other: Self) -> Self {
            self.zip(other, |a, b| on_registers!(_mm256_sub_ps(a, b)))
        }

        #[inline(always)]
        fn mul(self, other: Self) -> Self {
            self.zip(other, |a, b| on_registers!(_mm256_mul_ps(a, b)))
        }

        #[inline(always)]
        fn div(self, other: Self) -> Self {
            self.zip(other, |a, b| on_registers!(_mm256_div_ps(a, b)))
        }

        #[inline(always)]
        fn if_below(self, other: Self, yes: Self, no: Self) -> Self {
            self.choose::<_CMP_LT_OQ>(other, yes, no)
        }

        #[inline(always)]
        fn if_at_most(self, other: Self, yes: Self, no: Self) -> Self {
            self.choose::<_CMP_LE_OQ>(other, yes, no)
        }

        #[inline(always)]
        fn if_equal(self, other: Self, yes: Self, no: Self) -> Self {
            self.choose::<_CMP_EQ_OQ>(other, yes, no)
        }

        #[inline(always)]
        fn if_nan(self, yes: Self, no: Self) -> Self {
            self.choose::<_CMP_UNORD_Q>(self, yes, no)
        }
    }
}
