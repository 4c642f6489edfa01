//! The types whose bits the kernels work on.

use std::fmt::Debug;
use std::hash::Hash;
use std::ops::{BitAnd, BitOr, BitXor, Not, Shl, Shr};

use bytemuck::Pod;

mod sealed {
    /// Keeps the traits of this module to the types of this module.
    pub trait Sealed {}
}

/// A raw word: `u8`, `u16`, `u32` or `u64`. Other element types are looked at through [`as_words`].
pub trait Word:
    sealed::Sealed
    + Pod
    + Ord
    + Hash
    + Debug
    + Into<u64>
    + Send
    + Sync
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
{
    /// The width in bits.
    const BITS: u32;
    /// The word without a set bit.
    const ZERO: Self;

    /// The lowest [`BITS`](Word::BITS) bits of `bits`; those above are dropped.
    fn of_low_bits(bits: u64) -> Self;

    /// The number of set bits, 0 to 64.
    fn ones(self) -> u8;

    /// A word whose `count` lowest bits are set; all bits when `count` is the width or more.
    fn low_mask(count: u32) -> Self {
        if count == 0 { Self::ZERO } else { !Self::ZERO >> Self::BITS.saturating_sub(count) }
    }
}

/// A stored number whose bits a [`Word`] of the same size shows.
///
/// `half::f16` and `half::bf16` are not listed, since `bits` does not depend on `half`; that crate's
/// `reinterpret_cast` gives their words as `u16`.
pub trait Element: sealed::Sealed + Pod + Send + Sync {
    /// The word of the same size.
    type Word: Word;
    /// A distance between two values; larger means further apart.
    type Distance: Ord + Copy;

    /// How far two values are apart.
    ///
    /// Integers: the exact difference. Floats: the difference in `f64`, rounded once; a difference that is not a number
    /// (to a NaN, or between equal infinities) counts as further than any other.
    fn distance(self, other: Self) -> Self::Distance;
}

/// The order of differences between real numbers: that of `difference.abs()`, and NaN after all others.
///
/// ```
/// use bitquake_bits::kernels::real_distance;
/// assert!(real_distance(-2.0) > real_distance(1.5));
/// assert!(real_distance(f64::NAN) > real_distance(f64::INFINITY));
/// ```
pub fn real_distance(difference: f64) -> u64 {
    // Bit patterns of numbers that are not negative are in the order of the numbers.
    if difference.is_nan() { u64::MAX } else { difference.abs().to_bits() }
}

/// The words of stored numbers, the same memory: nothing is converted, so nothing can be lost.
///
/// ```
/// use bitquake_bits::kernels::as_words;
/// assert_eq!(as_words(&[0.5_f32, -0.0]), [0x3f00_0000, 0x8000_0000]);
/// assert_eq!(as_words(&[-1_i8]), [0xff]);
/// ```
pub fn as_words<T: Element>(values: &[T]) -> &[T::Word] {
    bytemuck::must_cast_slice(values)
}

/// The words of stored numbers, to be changed in place.
///
/// ```
/// use bitquake_bits::kernels::{as_words_mut, flip_each};
/// let mut weights = [1.0_f32, -2.0];
/// flip_each(as_words_mut(&mut weights), 1 << 31);
/// assert_eq!(weights, [-1.0, 2.0]);
/// ```
pub fn as_words_mut<T: Element>(values: &mut [T]) -> &mut [T::Word] {
    bytemuck::must_cast_slice_mut(values)
}

/// Words as the numbers that they stand for: the inverse of [`as_words`].
///
/// ```
/// use bitquake_bits::kernels::from_words;
/// assert_eq!(from_words::<i32>(&[0xffff_ff9b]), [-101]);
/// ```
pub fn from_words<T: Element>(words: &[T::Word]) -> &[T] {
    bytemuck::must_cast_slice(words)
}

/// Words as the numbers that they stand for, to be changed in place.
pub fn from_words_mut<T: Element>(words: &mut [T::Word]) -> &mut [T] {
    bytemuck::must_cast_slice_mut(words)
}

macro_rules! words {
    ($($word:ty)*) => { $(
        impl sealed::Sealed for $word {}

        impl Word for $word {
            const BITS: u32 = <$word>::BITS;
            const ZERO: $word = 0;

            #[inline(always)]
            fn of_low_bits(bits: u64) -> $word {
                bits as $word
            }

            #[inline(always)]
            fn ones(self) -> u8 {
                self.count_ones() as u8
            }
        }
    )* };
}

macro_rules! integers {
    ($($integer:ty => $word:ty),*) => { $(
        impl Element for $integer {
            type Word = $word;
            type Distance = $word;

            fn distance(self, other: $integer) -> $word {
                self.abs_diff(other)
            }
        }
    )* };
}

macro_rules! floats {
    ($($float:ty => $word:ty),*) => { $(
        impl Element for $float {
            type Word = $word;
            type Distance = u64;

            fn distance(self, other: $float) -> u64 {
                real_distance(f64::from(self) - f64::from(other))
            }
        }
    )* };
}

macro_rules! seal {
    ($($element:ty)*) => { $( impl sealed::Sealed for $element {} )* };
}

words!(u8 u16 u32 u64);
seal!(i8 i16 i32 i64 f32 f64);
integers!(u8 => u8, u16 => u16, u32 => u32, u64 => u64, i8 => u8, i16 => u16, i32 => u32, i64 => u64);
floats!(f32 => u32, f64 => u64);
