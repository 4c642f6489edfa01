//! What a campaign's file says of a protection.

use bitquake_bits::{BitSelection, BitSelectionError, Format};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::code::{Code, CodeError, Columns};
use super::space::CheckSpace;
use crate::pattern::PatternError;

/// A protection of stored words, as plain fields. Which tensors it covers is the caller's.
///
/// ```
/// use bitquake_bits::Format;
/// use bitquake_fault::protect::{Kind, Protection};
/// let secded = Protection::new(Kind::Secded);
/// let space = secded.layout(Format::F32, 1001)?;
/// assert_eq!((space.code_words(), space.check_bits()), (501, 501 * 8));
/// assert_eq!(space.parts()[0].tensor("fc.weight"), "fc.weight@check");
/// # Ok::<(), bitquake_fault::protect::ProtectError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protection {
    /// What protects.
    pub kind: Kind,
    /// Data bits of a code word. For `parity`, `secded` and `dec-ted`, where the default is 64; for `chipkill`, where
    /// it is 128 (8-bit symbols) or 32 (4-bit symbols). Limits: see [`Code`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_bits: Option<u32>,
    /// Bits of a symbol of `chipkill`, 4 or 8 (the default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol_bits: Option<u32>,
    /// How many times a bit is stored in all, for `replication`: 2..=9, default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<u32>,
    /// The parity-check columns of `secded`: `hamming` (default) or `hsiao`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// How many code words take turns, bit by bit (`chipkill`: symbol by symbol), so that neighbouring bits belong to
    /// different words; 1: none. Not for `tmr` and `replication`.
    #[serde(default = "no_interleave")]
    pub interleave: u32,
    /// The bits of each stored word that are protected; the others stay as they are, without cost.
    #[serde(default, with = "as_text")]
    pub bits: BitSelection,
    /// What happens to data with an error that is detected and cannot be corrected.
    #[serde(default)]
    pub on_detection: OnDetection,
}

/// What protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// [`Code::Parity`].
    Parity,
    /// [`Code::Secded`].
    Secded,
    /// [`Code::DecTed`].
    DecTed,
    /// [`Code::Symbol`].
    Chipkill,
    /// Three copies of each bit, the majority wins.
    Tmr,
    /// Any number of copies; with `bits = "msb"` or a range of top bits: MSB replication.
    Replication,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Parity => "parity",
            Self::Secded => "secded",
            Self::DecTed => "dec-ted",
            Self::Chipkill => "chipkill",
            Self::Tmr => "tmr",
            Self::Replication => "replication",
        })
    }
}

/// What happens to data with an error that is detected and cannot be corrected (DUE).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDetection {
    /// The network sees the data with all their errors.
    #[default]
    Keep,
    /// The network sees zeros instead of all elements that have a bit in the code word.
    Zero,
}

/// A protection that cannot be, or that does not fit what it is applied to.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ProtectError {
    /// No such code.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The format does not have the bits to protect.
    #[error(transparent)]
    Bits(#[from] BitSelectionError),
    /// A field that means nothing for the kind of protection.
    #[error("`{field}` means nothing for the protection `{kind}`")]
    Field {
        /// The kind.
        kind: Kind,
        /// The field.
        field: &'static str,
    },
    /// A number of interleaved words that is not supported.
    #[error("an interleave of {interleave} is not supported, use 1 to 65536")]
    Interleave {
        /// What was asked for.
        interleave: u32,
    },
    /// A tensor with too many bits to count.
    #[error("{elements} elements of {format} have too many bits to protect")]
    TooLarge {
        /// The format.
        format: Format,
        /// The elements.
        elements: u64,
    },
    /// Lists of flips for other parts than there are.
    #[error("flips of {given} check parts were given, there are {wanted}")]
    Parts {
        /// Lists given.
        given: usize,
        /// Parts there are.
        wanted: usize,
    },
    /// A flip beyond a part.
    #[error("bit {address} of {part} is out of bounds, there are {bits}")]
    OutOfBounds {
        /// `data`, or the name of the check part.
        part: String,
        /// The bit address.
        address: u64,
        /// Bits there are.
        bits: u64,
    },
    /// Flips that do not rise.
    #[error("bit {address} of {part} is out of order or named twice")]
    NotRising {
        /// `data`, or the name of the check part.
        part: String,
        /// The bit address.
        address: u64,
    },
    /// Clean words are needed and were not given.
    #[error("the stored words are needed to replace what is wrong, and were not given")]
    NoWords,
    /// The clean words are those of another tensor.
    #[error(
        "the protection was laid out for {elements} elements of {format}, the words are {found_elements} of {found}"
    )]
    OtherWords {
        /// Format of the layout.
        format: Format,
        /// Elements of the layout.
        elements: u64,
        /// Format of the words.
        found: Format,
        /// Elements of the words.
        found_elements: u64,
    },
    /// A format that cannot store zero.
    #[error("{format} has no zero to put in the place of what is wrong")]
    NoZero {
        /// The format.
        format: Format,
    },
    /// The bounds of a guard.
    #[error("a range guard from {low} to {high} lets nothing pass")]
    GuardRange {
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
    },
    /// A range cannot be taken from words that have none.
    #[error("no range can be taken from {elements} elements of {format}: none is a number")]
    NoRange {
        /// The format.
        format: Format,
        /// The elements.
        elements: u64,
    },
    /// The flips that are seen are no pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// What is wrong with one tensor.
    #[error("tensor `{tensor}`: {source}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong.
        source: Box<ProtectError>,
    },
}

impl Protection {
    /// A kind with every default.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            data_bits: None,
            symbol_bits: None,
            copies: None,
            columns: None,
            interleave: no_interleave(),
            bits: BitSelection::All,
            on_detection: OnDetection::Keep,
        }
    }

    /// The code, defaults filled in.
    ///
    /// # Errors
    /// [`ProtectError::Field`] for a field that the kind does not have, [`ProtectError::Code`] for a code that does
    /// not exist, [`ProtectError::Interleave`].
    pub fn code(&self) -> Result<Code, ProtectError> {
        self.check_fields()?;
        let code = match self.kind {
            Kind::Parity => Code::Parity { data_bits: self.data_bits.unwrap_or(64) },
            Kind::Secded => Code::Secded {
                data_bits: self.data_bits.unwrap_or(64),
                columns: self.columns.unwrap_or_default(),
            },
            Kind::DecTed => Code::DecTed { data_bits: self.data_bits.unwrap_or(64) },
            Kind::Chipkill => {
                let symbol_bits = self.symbol_bits.unwrap_or(8);
                let default = if symbol_bits == 4 { 32 } else { 128 };
                Code::Symbol { symbol_bits, data_bits: self.data_bits.unwrap_or(default) }
            }
            Kind::Tmr => Code::Repetition { copies: 3 },
            Kind::Replication => Code::Repetition { copies: self.copies.unwrap_or(3) },
        };
        code.check()?;
        Ok(code)
    }

    /// How code words tile a tensor, and what they cost.
    ///
    /// # Errors
    /// As [`Protection::code`]; also [`ProtectError::Bits`] and [`ProtectError::TooLarge`].
    pub fn layout(&self, format: Format, elements: u64) -> Result<CheckSpace, ProtectError> {
        CheckSpace::new(self, format, elements)
    }

    fn check_fields(&self) -> Result<(), ProtectError> {
        use Kind::{Chipkill, DecTed, Parity, Replication, Secded};
        let has_words = matches!(self.kind, Parity | Secded | DecTed | Chipkill);
        let rules = [
            ("data_bits", self.data_bits.is_some(), has_words),
            ("symbol_bits", self.symbol_bits.is_some(), self.kind == Chipkill),
            ("copies", self.copies.is_some(), self.kind == Replication),
            ("columns", self.columns.is_some(), self.kind == Secded),
            ("interleave", self.interleave != no_interleave(), has_words),
        ];
        if let Some((field, ..)) = rules.into_iter().find(|(_, is_given, is_known)| *is_given && !is_known) {
            return Err(ProtectError::Field { kind: self.kind, field });
        }
        match self.interleave {
            1..=65_536 => Ok(()),
            interleave => Err(ProtectError::Interleave { interleave }),
        }
    }
}

fn no_interleave() -> u32 {
    1
}

/// A selection of bits as its text.
mod as_text {
    use bitquake_bits::BitSelection;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bits: &BitSelection, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(bits)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BitSelection, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
