//! From one word to its level.

use crate::codes::Codes;
use crate::compat;
use crate::error::QuantError;
use crate::unit::Unit;

/// Decodes the words of one unit: it holds the scale, the zero point and whatever else the unit stores, perhaps faulted.
///
/// Float32 arithmetic for codes of up to 16 bits: `(code - zero) * scale + min`, each operation rounded; float64, rounded
/// once at the end, for wider codes. Nothing is hidden: a faulted scale of NaN or infinity gives what IEEE 754 says. Code
/// `zero` of a range without minimum decodes to +0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decoder {
    pub(crate) codes: Codes,
    pub(crate) form: Form,
}

/// How codes become levels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// `(code - zero) * scale + min`.
    Linear { zero: i64, scale: f32, min: f32 },
    /// `2 * (code / highest) - 1`.
    Dorefa { highest: f32 },
    /// As the RandBET release decodes.
    Compat { asymmetric: bool, unit: Unit },
}

impl Decoder {
    /// The level of a word.
    ///
    /// # Errors
    /// [`QuantError::WordOutside`] if the word has bits above the width.
    pub fn level(&self, word: u64) -> Result<f32, QuantError> {
        Ok(self.level_of_code(self.codes.checked_code(word)?))
    }

    pub(crate) fn level_of_word(&self, word: u64) -> f32 {
        self.level_of_code(self.codes.code(word))
    }

    pub(crate) fn level_of_code(&self, code: i64) -> f32 {
        match self.form {
            Form::Linear { zero, scale, min } if self.codes.bits > 16 => {
                (code.saturating_sub(zero) as f64 * f64::from(scale) + f64::from(min) + 0.0) as f32
            }
            Form::Linear { zero, scale, min } => (code - zero) as f32 * scale + min,
            Form::Dorefa { highest } => 2.0 * (code as f32 / highest) - 1.0,
            Form::Compat { asymmetric, unit } => compat::level(asymmetric, &unit, code),
        }
    }
}
