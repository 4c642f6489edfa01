//! What can be wrong with the arguments of a kernel.

use thiserror::Error;

/// Arguments that do not fit each other, or a value outside its range. Every check is made before a word is changed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum KernelError {
    /// Two arrays that belong together have different lengths. Nothing is broadcast.
    #[error("{what} has {actual} elements, but {expected} are needed")]
    Length {
        /// Which array it is.
        what: &'static str,
        /// How many elements it has.
        actual: usize,
        /// How many it must have.
        expected: usize,
    },
    /// A width that a word does not have room for.
    #[error("a width of {width} bits is impossible here: it must be 1 to {max}")]
    Width {
        /// The width asked for, in bits.
        width: u32,
        /// The largest possible width, in bits.
        max: u32,
    },
    /// A number of low bits larger than the word.
    #[error("{bits} low bits cannot be cleared in words of {width} bits")]
    LowBits {
        /// The number of bits asked for.
        bits: u32,
        /// The width of a word, in bits.
        width: u32,
    },
    /// A bit number that the words do not have.
    #[error("bit {bit} is outside the {width} bits of a word")]
    Bit {
        /// The bit asked for.
        bit: u32,
        /// The width of a word, in bits.
        width: u32,
    },
    /// An element past the end of the tensor.
    #[error("element {index} is outside the tensor, which has {bound} elements")]
    Index {
        /// The index asked for.
        index: u64,
        /// The number of elements.
        bound: u64,
    },
    /// A word with bits above the stated width; it is not narrowed.
    #[error("the word 0x{word:x} of element {index} does not fit {width} bits")]
    TooWide {
        /// The element.
        index: usize,
        /// Its word.
        word: u64,
        /// The stated width in bits.
        width: u32,
    },
    /// A probability that is none.
    #[error("{what} is {value} at index {index}, which is no probability from 0 to 1")]
    Probability {
        /// Which probability it is: `p0` or `p1`.
        what: &'static str,
        /// Its place in the flattened array; 0 for a single number.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A uniform number outside `[0, 1)`.
    #[error("the uniform number at index {index} is {value}, but it must be at least 0 and below 1")]
    Uniform {
        /// Its place in the flattened array.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A bound on changed words that is negative or not a number.
    #[error("a bound of {bound} changed words is impossible: it must be a number that is not negative")]
    Bound {
        /// The bound.
        bound: f64,
    },
    /// A text that is not the bits of a word.
    #[error("`{text}` at index {index} is not a string of {width} binary digits")]
    Digits {
        /// Which of the texts.
        index: usize,
        /// The text.
        text: String,
        /// How many digits it must have.
        width: u32,
    },
    /// A list of protected bits with something other than 0 and 1.
    #[error(
        "entry {index} of the list of protected bits is {value}; use 1 for a protected bit, 0 for any other"
    )]
    Protected {
        /// The place in the list, that is, the bit.
        index: usize,
        /// The entry.
        value: u8,
    },
}

/// Refuses an array whose length is not the expected one.
pub(super) fn check_length(what: &'static str, actual: usize, expected: usize) -> Result<(), KernelError> {
    if actual == expected { Ok(()) } else { Err(KernelError::Length { what, actual, expected }) }
}

/// Refuses a width that words of `max` bits cannot hold.
pub(super) fn check_width(width: u32, max: u32) -> Result<(), KernelError> {
    if (1..=max).contains(&width) { Ok(()) } else { Err(KernelError::Width { width, max }) }
}
