//! Text to words.

use thiserror::Error;

use crate::{Class, Format, OutOfRange, WordError, decimal};

/// A text that is no word of the format.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ParseWordError {
    /// Neither a number nor a raw word.
    #[error(
        "`{text}` is no number; write a decimal number, nan, inf, -inf, or the raw word as 0x... or 0b... (with _ or . between digits)"
    )]
    NotANumber {
        /// The text.
        text: String,
    },
    /// A number that the format does not reach.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A raw word with bits above the format's width, up to 64 bits.
    #[error(transparent)]
    TooWide(#[from] WordError),
    /// A raw word of more than 64 bits.
    #[error("the word {text} does not fit the {width} bits of {format}")]
    TooLong {
        /// The text.
        text: String,
        /// The format.
        format: Format,
        /// The format's width in bits.
        width: u32,
    },
}

impl Format {
    /// The word that a text stands for.
    ///
    /// | text | word |
    /// | --- | --- |
    /// | `0.1`, `-3`, `1e-4` | the word nearest to that number, halves to even, rounded once |
    /// | `nan`, `inf`, `-inf` | those, in any case; floats only; NaN is the canonical quiet NaN |
    /// | `0x3f800000` | the raw word in hexadecimal |
    /// | `0b0.01111111.00000000000000000000000` | the raw word in binary |
    ///
    /// Raw words may have `_` and `.` between digits and may leave out leading zeros. Float formats overflow to
    /// infinity as [`Format::nearest`] says.
    ///
    /// # Errors
    /// [`ParseWordError`] if the text is none of these, if a number is outside an integer format, or if a raw word
    /// is wider than the format.
    ///
    /// ```
    /// use bitquake_bits::{Format, pattern};
    /// assert_eq!(Format::F32.parse_word("0.5")?, 0x3f00_0000);
    /// assert_eq!(Format::I8.parse_word("-1")?, 0xff);
    /// assert_eq!(Format::F32.parse_word("0x3f000000")?, 0x3f00_0000);
    /// let word = 0x3dd5_6816;
    /// assert_eq!(Format::F32.parse_word(&format!("0b{}", pattern(Format::F32, word)))?, word);
    /// assert!(Format::I8.parse_word("0x100").is_err());
    /// # Ok::<(), bitquake_bits::ParseWordError>(())
    /// ```
    pub fn parse_word(self, text: &str) -> Result<u64, ParseWordError> {
        let prefix = text.get(..2).map(str::to_ascii_lowercase);
        match prefix.as_deref() {
            Some("0x") => self.parse_raw(text, 16),
            Some("0b") => self.parse_raw(text, 2),
            _ => self.parse_number(text),
        }
    }

    fn parse_number(self, text: &str) -> Result<u64, ParseWordError> {
        // Whole numbers beyond 2^53 do not survive the way through a float.
        if let (Class::Code { point: 0, .. }, Ok(integer)) = (self.class(), text.parse()) {
            let out_of_range = || OutOfRange { format: self, value: integer as f64 };
            return Ok(self.word_of_integer(integer).ok_or_else(out_of_range)?);
        }
        let value = text.parse().map_err(|_| ParseWordError::NotANumber { text: text.to_owned() })?;
        // Binary64 is the type that was parsed, already rounded; everything narrower must not be rounded twice.
        let value = if self == Format::F64 { value } else { decimal::round_to_odd(text, value) };
        Ok(self.nearest(value)?)
    }

    fn parse_raw(self, text: &str, radix: u32) -> Result<u64, ParseWordError> {
        let (format, width) = (self, self.width());
        let digits: String = text.chars().skip(2).filter(|c| !matches!(c, '_' | '.')).collect();
        if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
            return Err(ParseWordError::NotANumber { text: text.to_owned() });
        }
        let too_long = |_| ParseWordError::TooLong { text: text.to_owned(), format, width };
        let word = u64::from_str_radix(&digits, radix).map_err(too_long)?;
        if word & !self.mask() != 0 {
            return Err(WordError::TooWide { format, word, width }.into());
        }
        Ok(word)
    }
}
