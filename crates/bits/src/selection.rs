//! Which bits of every word are meant.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::{Field, Format, WordError};

/// A choice of bits within a word. `Display` and [`FromStr`] are each other's inverse.
///
/// | text | bits |
/// | --- | --- |
/// | `all` | every bit |
/// | `30` | bit 30 |
/// | `23..30` | bits 23 to 30, both included |
/// | `sign` | the sign bit of a float or of a signed integer |
/// | `exponent`, `mantissa` | that field of a float |
/// | `msb` | the most significant bit |
///
/// ```
/// use bitquake_bits::{BitSelection, Format};
/// let exponent: BitSelection = "23..30".parse()?;
/// assert_eq!(exponent.mask(Format::F32)?, BitSelection::Exponent.mask(Format::F32)?);
/// assert!(exponent.mask(Format::F16).is_err());
/// # Ok::<(), bitquake_bits::BitSelectionError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BitSelection {
    /// Every bit.
    #[default]
    All,
    /// One bit, by number.
    Bit(u32),
    /// Neighbouring bits; both ends belong to it.
    Range {
        /// The lowest bit.
        low: u32,
        /// The highest bit, not below `low`.
        high: u32,
    },
    /// The sign bit of a float or of a signed integer.
    Sign,
    /// The exponent of a float.
    Exponent,
    /// The mantissa of a float.
    Mantissa,
    /// The most significant bit, whatever it means.
    Msb,
}

/// A selection of bits that cannot be read, or that a format does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BitSelectionError {
    /// The text is none of the known ones.
    #[error(
        "`{text}` selects no bits; use all, sign, exponent, mantissa, msb, one bit (30) or a range with both ends (23..30)"
    )]
    Unknown {
        /// The text.
        text: String,
    },
    /// The ends of a range are in the wrong order.
    #[error("the bit range {low}..{high} is empty: its first bit is above its last")]
    Reversed {
        /// The first bit.
        low: u32,
        /// The last bit.
        high: u32,
    },
    /// A bit that the format does not have.
    #[error(transparent)]
    OutOfRange(#[from] WordError),
    /// A field that the format does not have.
    #[error("{format} has no {field} bits")]
    NoField {
        /// The format.
        format: Format,
        /// The field asked for.
        field: Field,
    },
}

impl BitSelection {
    /// The selected bits of a word, never 0.
    ///
    /// # Errors
    /// [`BitSelectionError`] if the format lacks a selected bit or the selected field, or if a range is reversed.
    pub fn mask(self, format: Format) -> Result<u64, BitSelectionError> {
        match self {
            BitSelection::All => Ok(format.mask()),
            BitSelection::Msb => Ok(1 << format.msb()),
            BitSelection::Bit(bit) => range_mask(format, bit, bit),
            BitSelection::Range { low, high } => range_mask(format, low, high),
            BitSelection::Sign => field_mask(format, Field::Sign),
            BitSelection::Exponent => field_mask(format, Field::Exponent),
            BitSelection::Mantissa => field_mask(format, Field::Mantissa),
        }
    }
}

fn range_mask(format: Format, low: u32, high: u32) -> Result<u64, BitSelectionError> {
    let width = format.width();
    if low > high {
        return Err(BitSelectionError::Reversed { low, high });
    }
    if high >= width {
        return Err(WordError::BitOutOfRange { format, bit: high, width }.into());
    }
    Ok(u64::MAX >> (u64::BITS - 1 - (high - low)) << low)
}

fn field_mask(format: Format, field: Field) -> Result<u64, BitSelectionError> {
    match format.field_mask(field) {
        0 => Err(BitSelectionError::NoField { format, field }),
        mask => Ok(mask),
    }
}

/// The selections that are written as one word; `Display` and `FromStr` share this list.
const NAMED: [(&str, BitSelection); 5] = [
    ("all", BitSelection::All),
    ("sign", BitSelection::Sign),
    ("exponent", BitSelection::Exponent),
    ("mantissa", BitSelection::Mantissa),
    ("msb", BitSelection::Msb),
];

impl fmt::Display for BitSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BitSelection::Bit(bit) => write!(f, "{bit}"),
            BitSelection::Range { low, high } => write!(f, "{low}..{high}"),
            named => {
                NAMED.iter().filter(|(_, known)| known == named).try_for_each(|(name, _)| f.write_str(name))
            }
        }
    }
}

impl FromStr for BitSelection {
    type Err = BitSelectionError;

    fn from_str(text: &str) -> Result<BitSelection, BitSelectionError> {
        if let Some((_, named)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(*named);
        }
        let unknown = || BitSelectionError::Unknown { text: text.to_owned() };
        let Some((low, high)) = text.split_once("..") else {
            return bit_number(text).map(BitSelection::Bit).ok_or_else(unknown);
        };
        let (low, high) = bit_number(low).zip(bit_number(high)).ok_or_else(unknown)?;
        if low > high {
            return Err(BitSelectionError::Reversed { low, high });
        }
        Ok(BitSelection::Range { low, high })
    }
}

/// A number of digits alone: `u32::from_str` would take a leading `+` too.
fn bit_number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
