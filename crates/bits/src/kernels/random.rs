//! Random flips from stored uniform numbers: the exact reference form (S7 to S10).
//!
//! One uniform number a bit is what earlier systems draw. It needs four or eight bytes of memory a bit, and `f32`
//! uniforms distort rates below 1e-6 (SPEC 2.10, 2), so campaigns do not use this: `fault` and `sample` draw the same
//! distribution from keyed streams at a cost that follows the flips. This form is for comparing with those systems, for
//! replaying their patterns, and as the reference that the fast samplers are tested against.
//!
//! The chains of random AND and OR words of S11 have no counterpart here. They reach only nine rates, 0.5^9 to 0.5^5; the
//! exact samplers reach those and any other.

use super::axis::BitAxis;
use super::bitwise::Bitwise;
use super::error::{KernelError, check_length};
use super::word::Word;

mod sealed {
    /// Keeps [`Real`](super::Real) to the types of this module.
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// The type of uniform numbers and of the probabilities that they are compared with: `f32` or `f64`.
pub trait Real: sealed::Sealed + Copy + PartialOrd + Into<f64> {}
impl Real for f32 {}
impl Real for f64 {}

/// Random flips with given uniform numbers: bit `b` of element `i` flips if and only if it is not protected, its element
/// is chosen, and `uniform[i, b] < p`, where `p` is `p1` if the stored bit is 1 and `p0` if it is 0.
///
/// The comparison is strict, in the type of the numbers: `p = 0` never flips, `p = 1` always. All arrays with a bit axis
/// have the shape `[elements, axis.width()]`. Words are unsigned here, so the sign bit of an `i32` obeys `p1` when it is
/// set, as every other bit does.
///
/// ```
/// use bitquake_bits::kernels::{BitAxis, BitOrder, RandomFlip};
/// let axis = BitAxis::new(2, BitOrder::Lsb)?;
/// let mut codes = [0b01_u8, 0b10];
/// let uniforms = [0.4_f32, 0.4, 0.4, 0.4];
/// // Only stored ones are lost.
/// let flips = RandomFlip::new(0.0, 0.5, axis).apply(&mut codes, &uniforms)?;
/// assert_eq!((codes, flips), ([0b00, 0b00], 2));
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RandomFlip<'a, P> {
    rates: Rates<'a, P>,
    axis: BitAxis,
    elements: Option<&'a [bool]>,
    protected: u64,
}

#[derive(Clone, Copy, Debug)]
enum Rates<'a, P> {
    Each { p0: P, p1: P },
    PerBit { p0: &'a [P], p1: &'a [P] },
}

impl<'a, P: Real> RandomFlip<'a, P> {
    /// One rate for every stored 0 and one for every stored 1 (S7).
    pub fn new(p0: P, p1: P, axis: BitAxis) -> RandomFlip<'a, P> {
        RandomFlip { rates: Rates::Each { p0, p1 }, axis, elements: None, protected: 0 }
    }

    /// Rates of their own for every bit of every element (S9): profiles of chips, and stuck-at maps as rates of 0 and 1.
    pub fn per_bit(p0: &'a [P], p1: &'a [P], axis: BitAxis) -> RandomFlip<'a, P> {
        RandomFlip { rates: Rates::PerBit { p0, p1 }, axis, elements: None, protected: 0 }
    }

    /// Only elements whose entry is true may change (S8, S10).
    pub fn elements(self, chosen: &'a [bool]) -> RandomFlip<'a, P> {
        RandomFlip { elements: Some(chosen), ..self }
    }

    /// The bits of this mask never flip (S14).
    pub fn protected(self, mask: u64) -> RandomFlip<'a, P> {
        RandomFlip { protected: mask, ..self }
    }

    /// The flips as one XOR mask an element.
    ///
    /// # Errors
    /// [`KernelError::Length`] or [`KernelError::Width`] if an array does not fit the words, [`KernelError::Probability`]
    /// if a rate is not from 0 to 1, [`KernelError::Uniform`] if a uniform number is not at least 0 and below 1.
    pub fn masks<W: Word>(&self, words: &[W], uniforms: &[P]) -> Result<Vec<W>, KernelError> {
        self.check(words, uniforms)?;
        let width = self.axis.width() as usize;
        let mask = |(index, word): (usize, &W)| {
            let first = index * width;
            let chosen = self.elements.is_none_or(|chosen| chosen[index]);
            let mask = if chosen { self.mask((*word).into(), first, &uniforms[first..]) } else { 0 };
            W::of_low_bits(mask)
        };
        Ok(words.iter().enumerate().map(mask).collect())
    }

    /// Flips the words in place; the result is the number of flips.
    ///
    /// # Errors
    /// As [`masks`](RandomFlip::masks); nothing is changed.
    pub fn apply<W: Word>(&self, words: &mut [W], uniforms: &[P]) -> Result<u64, KernelError> {
        let masks = self.masks(words, uniforms)?;
        Bitwise::Xor.in_place(words, &masks)?;
        Ok(masks.iter().map(|mask| u64::from(mask.ones())).sum())
    }

    /// The flips of one word, whose first entry in the arrays of rates is `first`.
    fn mask(&self, word: u64, first: usize, uniforms: &[P]) -> u64 {
        let mut mask = 0;
        for (position, uniform) in (0..self.axis.width()).zip(uniforms) {
            let bit = self.axis.bit_at(position);
            let rate = self.rate(word >> bit & 1 == 1, first + position as usize);
            mask |= u64::from(*uniform < rate) << bit;
        }
        mask & !self.protected
    }

    fn rate(&self, stored: bool, entry: usize) -> P {
        match (self.rates, stored) {
            (Rates::Each { p0, .. }, false) => p0,
            (Rates::Each { p1, .. }, true) => p1,
            (Rates::PerBit { p0, .. }, false) => p0[entry],
            (Rates::PerBit { p1, .. }, true) => p1[entry],
        }
    }

    fn check<W: Word>(&self, words: &[W], uniforms: &[P]) -> Result<(), KernelError> {
        self.axis.check::<W>("the array of uniform numbers", uniforms.len(), words.len())?;
        if let Some(chosen) = self.elements {
            check_length("the mask of elements", chosen.len(), words.len())?;
        }
        if let Rates::PerBit { p0, p1 } = self.rates {
            self.axis.check::<W>("the array p0", p0.len(), words.len())?;
            self.axis.check::<W>("the array p1", p1.len(), words.len())?;
        }
        let (p0, p1) = match &self.rates {
            Rates::Each { p0, p1 } => (std::slice::from_ref(p0), std::slice::from_ref(p1)),
            Rates::PerBit { p0, p1 } => (*p0, *p1),
        };
        check_probabilities("p0", p0)?;
        check_probabilities("p1", p1)?;
        check_uniforms(uniforms)
    }
}

fn check_probabilities<P: Real>(what: &'static str, values: &[P]) -> Result<(), KernelError> {
    match first_outside(values, |value| (0.0..=1.0).contains(&value)) {
        Some((index, value)) => Err(KernelError::Probability { what, index, value }),
        None => Ok(()),
    }
}

fn check_uniforms<P: Real>(values: &[P]) -> Result<(), KernelError> {
    match first_outside(values, |value| (0.0..1.0).contains(&value)) {
        Some((index, value)) => Err(KernelError::Uniform { index, value }),
        None => Ok(()),
    }
}

/// The first value that is not in a range; a NaN is in none.
fn first_outside<P: Real>(values: &[P], inside: impl Fn(f64) -> bool) -> Option<(usize, f64)> {
    values.iter().map(|value| (*value).into()).enumerate().find(|(_, value)| !inside(*value))
}
