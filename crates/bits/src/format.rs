//! The table of number formats, and what follows from a row: masks, decoding, encoding, rounding.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::float;

/// A number format: the layout and the meaning of a word's bits.
///
/// `Display` and [`FromStr`] use the name in the table ([`FORMATS`]). The order is the table's.
///
/// ```
/// use bitquake_bits::Format;
///
/// let format: Format = "bf16".parse()?;
/// assert_eq!(format.width(), 16);
/// assert_eq!(format.decode(0x3f80), 1.0);
/// # Ok::<(), bitquake_bits::UnknownFormat>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    Bf16,
    /// 32-bit two's complement.
    I32,
    /// 32-bit unsigned.
    U32,
    /// 16-bit two's complement.
    I16,
    /// 16-bit unsigned.
    U16,
    /// 8-bit two's complement.
    I8,
    /// 8-bit unsigned.
    U8,
}

/// How the bits of a word make a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// IEEE 754: one sign bit (the most significant), then the exponent, then the mantissa. The exponent's bias is
    /// `2^(exponent - 1) - 1`; all ones in the exponent mean infinity (mantissa 0) or NaN.
    Float {
        /// Width of the exponent field in bits, at least 2.
        exponent: u32,
        /// Width of the mantissa field in bits, at least 1; the leading 1 of normal numbers is not stored.
        mantissa: u32,
    },
    /// A whole number, two's complement when signed.
    Integer {
        /// Whether the most significant bit is a sign.
        signed: bool,
    },
}

/// One row of [`FORMATS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatRow {
    /// The format that the row describes.
    pub format: Format,
    /// Its name in files, on the command line and in messages: lower case, unique.
    pub name: &'static str,
    /// Width of a word in bits, 1 to 64.
    pub width: u32,
    /// The layout and meaning of the bits.
    pub class: Class,
    /// One line for people.
    pub about: &'static str,
}

/// Every number format. The list exists once: parsers, help pages and tests loop over it.
pub const FORMATS: &[FormatRow] = &[
    float_row(Format::F64, "f64", 11, 52, "IEEE 754 double precision"),
    float_row(Format::F32, "f32", 8, 23, "IEEE 754 single precision"),
    float_row(Format::F16, "f16", 5, 10, "IEEE 754 half precision"),
    float_row(Format::Bf16, "bf16", 8, 7, "bfloat16, the upper half of f32"),
    integer_row(Format::I32, "i32", 32, true, "32-bit integer, two's complement"),
    integer_row(Format::U32, "u32", 32, false, "32-bit integer, unsigned"),
    integer_row(Format::I16, "i16", 16, true, "16-bit integer, two's complement"),
    integer_row(Format::U16, "u16", 16, false, "16-bit integer, unsigned"),
    integer_row(Format::I8, "i8", 8, true, "8-bit integer, two's complement"),
    integer_row(Format::U8, "u8", 8, false, "8-bit integer, unsigned"),
];

const fn float_row(
    format: Format,
    name: &'static str,
    exponent: u32,
    mantissa: u32,
    about: &'static str,
) -> FormatRow {
    FormatRow {
        format,
        name,
        width: 1 + exponent + mantissa,
        class: Class::Float { exponent, mantissa },
        about,
    }
}

const fn integer_row(
    format: Format,
    name: &'static str,
    width: u32,
    signed: bool,
    about: &'static str,
) -> FormatRow {
    FormatRow { format, name, width, class: Class::Integer { signed }, about }
}

// `Format::row` indexes the table by the enum's order; this makes a row in the wrong place a build error.
const _: () = {
    let mut i = 0;
    while i < FORMATS.len() {
        assert!(FORMATS[i].format as usize == i);
        i += 1;
    }
};

/// A name that no format has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown number format `{name}`; known: {}", known_names())]
pub struct UnknownFormat {
    /// The name that was asked for.
    pub name: String,
}

fn known_names() -> String {
    FORMATS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
}

/// A value that a format cannot hold without changing it.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{value:?} is not exactly representable in {format}{}", nearest_hint(.nearest))]
pub struct NotRepresentable {
    /// The format.
    pub format: Format,
    /// The value that was to be encoded.
    pub value: f64,
    /// The value that rounding would give ([`Format::nearest`]); `None` when it is out of range.
    pub nearest: Option<f64>,
}

fn nearest_hint(nearest: &Option<f64>) -> String {
    nearest.map_or_else(String::new, |value| format!(", the nearest is {value:?}"))
}

/// A value that an integer format does not reach, or that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{value:?} is outside {format}, which holds whole numbers from {low} to {high}")]
pub struct OutOfRange {
    /// The integer format.
    pub format: Format,
    /// The value that was to be rounded.
    pub value: f64,
    /// The smallest number of the format.
    pub low: i64,
    /// The largest number of the format.
    pub high: i64,
}

impl Format {
    /// The format's row of [`FORMATS`].
    pub fn row(self) -> &'static FormatRow {
        &FORMATS[self as usize]
    }

    /// The format's name, for example `"f32"`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Width of a word in bits.
    pub fn width(self) -> u32 {
        self.row().width
    }

    /// Width of a word in bytes, rounded up.
    pub fn bytes(self) -> usize {
        self.width().div_ceil(8) as usize
    }

    /// The format of that name, which must be written as in the table (lower case).
    ///
    /// # Errors
    /// [`UnknownFormat`], whose message lists the known names.
    pub fn from_name(name: &str) -> Result<Format, UnknownFormat> {
        let row = FORMATS.iter().find(|row| row.name == name);
        row.map(|row| row.format).ok_or_else(|| UnknownFormat { name: name.to_owned() })
    }

    /// All bits of a word: the low [`width`](Self::width) bits set.
    pub fn mask(self) -> u64 {
        u64::MAX >> (u64::BITS - self.width())
    }

    /// The number of the most significant bit: the width less one.
    pub fn msb(self) -> u32 {
        self.width() - 1
    }

    /// The number that a word stands for. Exact for every format of the table; every NaN word gives a NaN.
    ///
    /// Bits of `word` above the format's width are not part of the word and are ignored.
    pub fn decode(self, word: u64) -> f64 {
        let word = word & self.mask();
        match self.row().class {
            Class::Float { exponent, mantissa } => float::decode(word, exponent, mantissa),
            Class::Integer { signed: false } => word as f64,
            Class::Integer { signed: true } => self.sign_extend(word) as f64,
        }
    }

    /// The word that stands for exactly `value`.
    ///
    /// Every NaN becomes the canonical quiet NaN (sign 0, exponent all ones, only the top mantissa bit set), so NaN
    /// payloads do not survive `decode` and `encode`; every other word does. Integers have one zero: -0.0 encodes to 0.
    ///
    /// # Errors
    /// [`NotRepresentable`] if the format has no such number; nothing is rounded.
    ///
    /// ```
    /// use bitquake_bits::Format;
    /// assert_eq!(Format::F16.encode(-2.5), Ok(0xc100));
    /// assert!(Format::F16.encode(0.1).is_err()); // ask for `nearest` instead
    /// assert!(Format::I8.encode(128.0).is_err());
    /// ```
    pub fn encode(self, value: f64) -> Result<u64, NotRepresentable> {
        let nearest = self.nearest(value).ok();
        match nearest {
            Some(word) if value.is_nan() || self.decode(word) == value => Ok(word),
            _ => {
                Err(NotRepresentable { format: self, value, nearest: nearest.map(|word| self.decode(word)) })
            }
        }
    }

    /// The word nearest to `value`, halves to the even word.
    ///
    /// Floats follow IEEE 754 round-to-nearest: beyond the largest finite number by half a step or more is infinity,
    /// tiny values become subnormal or zero and keep their sign, NaN is the canonical quiet NaN.
    ///
    /// # Errors
    /// [`OutOfRange`] for integer formats, if the rounded value is outside the format or `value` is not finite.
    /// Integers never saturate here.
    ///
    /// ```
    /// use bitquake_bits::Format;
    /// assert_eq!(Format::U8.nearest(2.5), Ok(2));
    /// assert_eq!(Format::I8.nearest(-1.0), Ok(0xff));
    /// assert_eq!(Format::F16.nearest(65_520.0), Ok(0x7c00)); // infinity
    /// assert!(Format::U8.nearest(255.5).is_err());
    /// ```
    pub fn nearest(self, value: f64) -> Result<u64, OutOfRange> {
        match self.row().class {
            Class::Float { exponent, mantissa } => Ok(float::nearest(value, exponent, mantissa)),
            Class::Integer { signed } => self.nearest_integer(value, signed),
        }
    }

    /// Whether the word stands for a finite number; always true for integers.
    pub fn is_finite(self, word: u64) -> bool {
        self.decode(word).is_finite()
    }

    /// Whether the word stands for a NaN; never true for integers.
    pub fn is_nan(self, word: u64) -> bool {
        self.decode(word).is_nan()
    }

    fn nearest_integer(self, value: f64, signed: bool) -> Result<u64, OutOfRange> {
        // Formats are at most 32 bits wide here, so the bounds are exact in both i64 and f64.
        let (low, high) = match signed {
            true => (-(1_i64 << self.msb()), (1_i64 << self.msb()) - 1),
            false => (0, (1_i64 << self.width()) - 1),
        };
        let rounded = value.round_ties_even();
        // Written so that NaN, which compares false with everything, is refused too.
        if rounded >= low as f64 && rounded <= high as f64 {
            Ok(rounded as i64 as u64 & self.mask())
        } else {
            Err(OutOfRange { format: self, value, low, high })
        }
    }

    fn sign_extend(self, word: u64) -> i64 {
        let unused = u64::BITS - self.width();
        (word << unused) as i64 >> unused
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Format, UnknownFormat> {
        Format::from_name(name)
    }
}
