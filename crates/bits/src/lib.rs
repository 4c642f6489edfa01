//! What the memory holds: number formats, the words stored in them, and the bits of those words.
//!
//! - [`Format`] and [`FORMATS`]: number formats. Everything that deals with the named ones loops over the table.
//! - [`Layout`]: where the words of a tensor lie in its bytes; [`Words`] and [`WordsMut`]: those words.
//! - [`read_word`], [`write_word`], [`flip`], [`bit`]: packed words and single bits of a byte buffer.
//! - [`Field`] and [`BitSelection`]: which bits of a word are meant.
//! - [`pattern`], [`binary`], [`hex`], [`Format::parse_word`]: words as text, and back.
//! - [`WordStore`]: anything that holds named tensors of words.
//!
//! Conventions, everywhere: bit 0 is the least significant bit; words are held in the low bits of a `u64`; the *bit
//! address* of bit `b` of element `i` of a tensor whose format is `w` bits wide is `i * w + b`, wherever that bit lies in
//! memory; ranges of bits include both ends. A word is never narrowed: what does not fit is an error.
//!
//! ```
//! use bitquake_bits::{Format, describe_flip, pattern};
//!
//! let word = Format::F32.encode(1.0)?;
//! assert_eq!(pattern(Format::F32, word), "0.01111111.00000000000000000000000");
//! assert_eq!(describe_flip(Format::F32, word, &[30])?.new, f64::INFINITY);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod code;
mod decimal;
mod exponent;
mod field;
mod float;
mod format;
pub mod kernels;
mod layout;
mod parse;
mod pattern;
mod selection;
mod store;
mod word;

pub use code::Encoding;
pub use field::Field;
pub use float::Special;
pub use format::{
    Class, FORMATS, Format, FormatError, FormatRow, NotRepresentable, OutOfRange, UnknownFormat,
};
pub use layout::{Blocks, Layout};
pub use parse::ParseWordError;
pub use pattern::{binary, hex, pattern};
pub use selection::{BitSelection, BitSelectionError};
pub use store::{TooFewBytes, WordStore, Words, WordsMut};
pub use word::{AddressOutOfBounds, FlippedWord, WordError, bit, describe_flip, flip, read_word, write_word};
