//! Number formats: the named ones as a table, the parametrised ones by their fields; masks, decoding, encoding, rounding.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::code::{self, Encoding};
use crate::exponent;
use crate::float::{self, Float, Special};

/// A number format: the layout and the meaning of a word's bits.
///
/// The named formats are constants ([`Format::F32`]) and rows of [`FORMATS`]. Codes of other widths, binary points and
/// encodings are made by [`signed`](Format::signed), [`unsigned`](Format::unsigned) and [`code`](Format::code).
/// `Display` and [`FromStr`] use the name:
///
/// | name | format |
/// | --- | --- |
/// | `f32`, `bf16`, ... | the row of [`FORMATS`] |
/// | `i5`, `u5` | whole numbers of 5 bits, two's complement or unsigned; any width from 1 to 64 |
/// | `i8.5`, `u4.4`, `i6.-2` | fixed point: the number after the dot is that of the bits after the binary point |
/// | `i8-offset`, `i8-sign-magnitude`, `i8-gray`, `u4-gray`, `i8.5-gray` | another [`Encoding`] |
///
/// ```
/// use bitquake_bits::Format;
///
/// let format: Format = "bf16".parse()?;
/// assert_eq!(format.width(), 16);
/// assert_eq!(format.decode(0x3f80), 1.0);
/// assert_eq!("i5.3".parse::<Format>()?.decode(0b11111), -0.125);
/// # Ok::<(), bitquake_bits::UnknownFormat>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Format {
    width: u8,
    class: Class,
}

/// How the bits of a word make a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// One sign bit (the most significant), then the exponent, then the mantissa, as in IEEE 754.
    Float {
        /// Width of the exponent field in bits, at least 2.
        exponent: u8,
        /// Width of the mantissa field in bits, at least 1; the leading 1 of normal numbers is not stored.
        mantissa: u8,
        /// Which words are infinities and NaNs.
        special: Special,
    },
    /// A power of two: the word less 127 is the exponent, all ones are NaN. There is no sign and no zero.
    Exponent,
    /// A whole number times a power of two.
    Code {
        /// Whether there are negative numbers.
        signed: bool,
        /// How whole numbers become words.
        encoding: Encoding,
        /// Bits after the binary point: the word stands for its whole number times 2^-point.
        point: i16,
    },
}

/// One row of [`FORMATS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatRow {
    /// The format that the row describes.
    pub format: Format,
    /// Its name in files, on the command line and in messages: lower case, unique.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
}

/// Every named format. The list exists once: parsers, help pages and tests loop over it.
pub const FORMATS: &[FormatRow] = &[
    row(Format::F64, "f64", "IEEE 754 double precision"),
    row(Format::F32, "f32", "IEEE 754 single precision"),
    row(Format::F16, "f16", "IEEE 754 half precision"),
    row(Format::BF16, "bf16", "bfloat16, the upper half of f32"),
    row(Format::F8E4M3, "f8e4m3", "8-bit float of OCP: no infinity, one NaN of each sign, up to 448"),
    row(Format::F8E5M2, "f8e5m2", "8-bit float of OCP, the upper half of f16"),
    row(Format::F8E4M3FNUZ, "f8e4m3fnuz", "8-bit float without infinity and -0, up to 240"),
    row(Format::F8E5M2FNUZ, "f8e5m2fnuz", "8-bit float without infinity and -0, up to 57344"),
    row(Format::F8E8M0, "f8e8m0", "power of two, the scale of OCP microscaling blocks"),
    row(Format::F6E3M2, "f6e3m2", "6-bit float of OCP microscaling, finite, up to 28"),
    row(Format::F6E2M3, "f6e2m3", "6-bit float of OCP microscaling, finite, up to 7.5"),
    row(Format::F4E2M1, "f4e2m1", "4-bit float of OCP microscaling, finite, up to 6"),
    row(Format::I64, "i64", "64-bit integer, two's complement"),
    row(Format::U64, "u64", "64-bit integer, unsigned"),
    row(Format::I32, "i32", "32-bit integer, two's complement"),
    row(Format::U32, "u32", "32-bit integer, unsigned"),
    row(Format::I16, "i16", "16-bit integer, two's complement"),
    row(Format::U16, "u16", "16-bit integer, unsigned"),
    row(Format::I8, "i8", "8-bit integer, two's complement"),
    row(Format::U8, "u8", "8-bit integer, unsigned"),
    row(Format::signed(7), "i7", "7-bit code, two's complement"),
    row(Format::unsigned(7), "u7", "7-bit code, unsigned"),
    row(Format::signed(6), "i6", "6-bit code, two's complement"),
    row(Format::unsigned(6), "u6", "6-bit code, unsigned"),
    row(Format::signed(5), "i5", "5-bit code, two's complement"),
    row(Format::unsigned(5), "u5", "5-bit code, unsigned"),
    row(Format::signed(4), "i4", "4-bit code, two's complement"),
    row(Format::unsigned(4), "u4", "4-bit code, unsigned"),
    row(Format::signed(3), "i3", "3-bit code, two's complement"),
    row(Format::unsigned(3), "u3", "3-bit code, unsigned"),
    row(Format::signed(2), "i2", "2-bit code, two's complement"),
    row(Format::unsigned(2), "u2", "2-bit code, unsigned"),
    row(Format::signed(1), "i1", "1-bit code, two's complement: 0 and -1"),
    row(Format::unsigned(1), "u1", "1-bit code, unsigned"),
];

const fn row(format: Format, name: &'static str, about: &'static str) -> FormatRow {
    FormatRow { format, name, about }
}

/// The widest binary point on either side: 2^-512 and 2^512 times any code are exact in binary64.
const FARTHEST_POINT: i16 = 512;

/// A name that no format has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "unknown number format `{name}`; known: {}, any width of whole numbers (i5, u12), fixed point (i8.5), and the suffixes -offset, -sign-magnitude, -gray",
    known_names()
)]
pub struct UnknownFormat {
    /// The name that was asked for.
    pub name: String,
}

fn known_names() -> String {
    FORMATS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
}

/// Fields that make no format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// A width that no word has.
    #[error("a code has 1 to 64 bits, not {width}")]
    Width {
        /// The width asked for.
        width: u32,
    },
    /// A binary point too far from the word.
    #[error("a binary point lies at most {FARTHEST_POINT} bits away, not {point}")]
    Point {
        /// The point asked for.
        point: i16,
    },
    /// An encoding of a sign for numbers without one.
    #[error("unsigned codes have no {encoding} encoding")]
    NoSign {
        /// The encoding asked for.
        encoding: Encoding,
    },
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

/// A value that a format without infinities does not reach, or that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{value:?} is outside {format}, which holds {}", .format.holds())]
pub struct OutOfRange {
    /// The format.
    pub format: Format,
    /// The value that was to be rounded.
    pub value: f64,
}

impl Format {
    /// IEEE 754 binary64.
    pub const F64: Format = Format::float(11, 52, Special::Ieee);
    /// IEEE 754 binary32.
    pub const F32: Format = Format::float(8, 23, Special::Ieee);
    /// IEEE 754 binary16.
    pub const F16: Format = Format::float(5, 10, Special::Ieee);
    /// The upper half of binary32.
    pub const BF16: Format = Format::float(8, 7, Special::Ieee);
    /// The 8-bit float of the OCP specification with 4 exponent bits: no infinity, one NaN of each sign.
    pub const F8E4M3: Format = Format::float(4, 3, Special::NanOnly);
    /// The 8-bit float of the OCP specification with 5 exponent bits.
    pub const F8E5M2: Format = Format::float(5, 2, Special::Ieee);
    /// As [`F8E4M3`](Self::F8E4M3) with a bias greater by 1; its one NaN is where -0 would be.
    pub const F8E4M3FNUZ: Format = Format::float(4, 3, Special::NanIsNegativeZero);
    /// As [`F8E5M2`](Self::F8E5M2) with a bias greater by 1 and no infinity; its one NaN is where -0 would be.
    pub const F8E5M2FNUZ: Format = Format::float(5, 2, Special::NanIsNegativeZero);
    /// The scale of the OCP microscaling formats: a power of two.
    pub const F8E8M0: Format = Format { width: 8, class: Class::Exponent };
    /// The 6-bit microscaling float with 3 exponent bits.
    pub const F6E3M2: Format = Format::float(3, 2, Special::Finite);
    /// The 6-bit microscaling float with 2 exponent bits.
    pub const F6E2M3: Format = Format::float(2, 3, Special::Finite);
    /// The 4-bit microscaling float.
    pub const F4E2M1: Format = Format::float(2, 1, Special::Finite);
    /// 64-bit two's complement.
    pub const I64: Format = Format::signed(64);
    /// 64-bit unsigned.
    pub const U64: Format = Format::unsigned(64);
    /// 32-bit two's complement.
    pub const I32: Format = Format::signed(32);
    /// 32-bit unsigned.
    pub const U32: Format = Format::unsigned(32);
    /// 16-bit two's complement.
    pub const I16: Format = Format::signed(16);
    /// 16-bit unsigned.
    pub const U16: Format = Format::unsigned(16);
    /// 8-bit two's complement.
    pub const I8: Format = Format::signed(8);
    /// 8-bit unsigned.
    pub const U8: Format = Format::unsigned(8);

    const fn float(exponent: u8, mantissa: u8, special: Special) -> Format {
        Format { width: 1 + exponent + mantissa, class: Class::Float { exponent, mantissa, special } }
    }

    /// Whole numbers in two's complement. For a width that comes from input, use [`code`](Self::code).
    ///
    /// # Panics
    /// If `width` is not in 1..=64.
    #[must_use]
    pub const fn signed(width: u32) -> Format {
        Format::plain(width, true)
    }

    /// Whole numbers from 0. For a width that comes from input, use [`code`](Self::code).
    ///
    /// # Panics
    /// If `width` is not in 1..=64.
    #[must_use]
    pub const fn unsigned(width: u32) -> Format {
        Format::plain(width, false)
    }

    const fn plain(width: u32, signed: bool) -> Format {
        assert!(width >= 1 && width <= 64, "a code has 1 to 64 bits");
        Format { width: width as u8, class: Class::Code { signed, encoding: Encoding::Plain, point: 0 } }
    }

    /// Codes of any width, encoding and binary point: the number is the code's whole number times 2^-point.
    ///
    /// # Errors
    /// [`FormatError`] for a width outside 1..=64, a point beyond ±512, or an encoding of signs for unsigned codes.
    ///
    /// ```
    /// use bitquake_bits::{Encoding, Format};
    /// let format = Format::code(5, true, Encoding::SignMagnitude, 3)?;
    /// assert_eq!(format.decode(0b10101), -0.625);
    /// assert_eq!(format.name(), "i5.3-sign-magnitude");
    /// # Ok::<(), bitquake_bits::FormatError>(())
    /// ```
    pub fn code(width: u32, signed: bool, encoding: Encoding, point: i16) -> Result<Format, FormatError> {
        if !(1..=64).contains(&width) {
            return Err(FormatError::Width { width });
        }
        if !(-FARTHEST_POINT..=FARTHEST_POINT).contains(&point) {
            return Err(FormatError::Point { point });
        }
        if !signed && matches!(encoding, Encoding::Offset | Encoding::SignMagnitude) {
            return Err(FormatError::NoSign { encoding });
        }
        Ok(Format { width: width as u8, class: Class::Code { signed, encoding, point } })
    }

    /// The format's row of [`FORMATS`]; `None` for codes that have no name of their own there.
    pub fn row(self) -> Option<&'static FormatRow> {
        FORMATS.iter().find(|row| row.format == self)
    }

    /// How the bits of a word make a number.
    pub fn class(self) -> Class {
        self.class
    }

    /// Whether words have an exponent and a mantissa.
    pub fn is_float(self) -> bool {
        matches!(self.class, Class::Float { .. })
    }

    /// The format's name, for example `"f32"`.
    pub fn name(self) -> String {
        let Class::Code { signed, encoding, point } = self.class else {
            return self.row().map_or_else(String::new, |row| row.name.to_owned());
        };
        let letter = if signed { 'i' } else { 'u' };
        let point = if point == 0 { String::new() } else { format!(".{point}") };
        format!("{letter}{}{point}{}", self.width, encoding.suffix())
    }

    /// Width of a word in bits, 1 to 64.
    pub const fn width(self) -> u32 {
        self.width as u32
    }

    /// Width of a word in bytes, rounded up.
    pub fn bytes(self) -> usize {
        self.width().div_ceil(8) as usize
    }

    /// The format of that name, which must be in lower case.
    ///
    /// # Errors
    /// [`UnknownFormat`], whose message lists the known names.
    pub fn from_name(name: &str) -> Result<Format, UnknownFormat> {
        let row = FORMATS.iter().find(|row| row.name == name).map(|row| row.format);
        row.or_else(|| code_from_name(name)).ok_or_else(|| UnknownFormat { name: name.to_owned() })
    }

    /// All bits of a word: the low [`width`](Self::width) bits set.
    pub fn mask(self) -> u64 {
        u64::MAX >> (u64::BITS - self.width())
    }

    /// The number of the most significant bit: the width less one.
    pub fn msb(self) -> u32 {
        self.width() - 1
    }

    /// The number that a word stands for. Exact, but for whole numbers beyond 2^53, which give the nearest `f64`
    /// ([`integer`](Self::integer) is exact). Every NaN word gives a NaN; the negative zero of a sign-magnitude code
    /// gives -0.0.
    ///
    /// Bits of `word` above the format's width are not part of the word and are ignored.
    pub fn decode(self, word: u64) -> f64 {
        let word = word & self.mask();
        match self.class {
            Class::Float { exponent, mantissa, special } => {
                float::decode(word, Float::new(exponent, mantissa, special))
            }
            Class::Exponent => exponent::decode(word),
            Class::Code { signed, encoding, point } => {
                let integer = code::integer(word, self.width(), signed, encoding);
                let is_negative_zero = integer == 0 && code::has_two_zeros(encoding) && word != 0;
                let value = integer as f64 * float::power_of_two(-i64::from(point));
                if is_negative_zero { -value } else { value }
            }
        }
    }

    /// The whole number of a code, before the binary point is applied; `None` for floats and powers of two.
    ///
    /// ```
    /// use bitquake_bits::Format;
    /// assert_eq!(Format::I64.integer(u64::MAX >> 1), Some(i128::from(i64::MAX)));
    /// assert_eq!("i8-offset".parse::<Format>()?.integer(0), Some(-128));
    /// # Ok::<(), bitquake_bits::UnknownFormat>(())
    /// ```
    pub fn integer(self, word: u64) -> Option<i128> {
        match self.class {
            Class::Code { signed, encoding, .. } => {
                Some(code::integer(word & self.mask(), self.width(), signed, encoding))
            }
            _ => None,
        }
    }

    /// The word of a whole number, the inverse of [`integer`](Self::integer) (0 is the positive zero); `None` if the
    /// format has no such code.
    pub fn word_of_integer(self, integer: i128) -> Option<u64> {
        match self.class {
            Class::Code { signed, encoding, .. } => code::word(integer, self.width(), signed, encoding),
            _ => None,
        }
    }

    /// The smallest and the largest whole number of a code; `None` for floats and powers of two.
    pub fn integer_range(self) -> Option<(i128, i128)> {
        match self.class {
            Class::Code { signed, encoding, .. } => Some(code::range(self.width(), signed, encoding)),
            _ => None,
        }
    }

    /// The word that stands for exactly `value`.
    ///
    /// Every NaN becomes the canonical quiet NaN (sign 0, exponent all ones, only the top mantissa bit set, or the
    /// format's only NaN), so NaN payloads do not survive `decode` and `encode`; every other word does, up to 53 bits.
    /// Codes with one zero encode -0.0 as it.
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
    /// Floats follow IEEE 754 round-to-nearest: beyond the largest finite number by half a step or more is infinity
    /// (NaN where there is no infinity), tiny values become subnormal or zero and keep their sign, NaN is the
    /// canonical quiet NaN.
    ///
    /// # Errors
    /// [`OutOfRange`] for codes, powers of two, and floats with neither infinity nor NaN, if the rounded value is
    /// outside the format or the format has no such special value. Nothing saturates here.
    ///
    /// ```
    /// use bitquake_bits::Format;
    /// assert_eq!(Format::U8.nearest(2.5), Ok(2));
    /// assert_eq!(Format::I8.nearest(-1.0), Ok(0xff));
    /// assert_eq!(Format::F16.nearest(65_520.0), Ok(0x7c00)); // infinity
    /// assert!(Format::U8.nearest(255.5).is_err());
    /// ```
    pub fn nearest(self, value: f64) -> Result<u64, OutOfRange> {
        let word = match self.class {
            Class::Float { exponent, mantissa, special } => {
                float::nearest(value, Float::new(exponent, mantissa, special))
            }
            Class::Exponent => exponent::nearest(value),
            Class::Code { point, .. } => self.nearest_code(value, point),
        };
        word.ok_or(OutOfRange { format: self, value })
    }

    fn nearest_code(self, value: f64, point: i16) -> Option<u64> {
        let scaled = (value * float::power_of_two(point.into())).round_ties_even();
        if scaled == 0.0 && scaled.is_sign_negative() {
            return self.word_of_negative_zero();
        }
        // A finite number that needs more than 127 bits saturates in the cast, and then is out of range.
        scaled.is_finite().then(|| self.word_of_integer(scaled as i128)).flatten()
    }

    fn word_of_negative_zero(self) -> Option<u64> {
        match self.class {
            Class::Code { encoding, .. } if code::has_two_zeros(encoding) => Some(1 << self.msb()),
            _ => self.word_of_integer(0),
        }
    }

    /// Whether the word stands for a finite number; always true for codes.
    pub fn is_finite(self, word: u64) -> bool {
        self.decode(word).is_finite()
    }

    /// Whether the word stands for a NaN; never true for codes.
    pub fn is_nan(self, word: u64) -> bool {
        self.decode(word).is_nan()
    }

    /// What the format reaches, as the end of a sentence.
    fn holds(self) -> String {
        match self.class {
            Class::Float { .. } => {
                let high = self.decode(self.mask() >> 1);
                format!("numbers from -{high} to {high}")
            }
            Class::Exponent => "powers of two from 2^-127 to 2^127".to_owned(),
            Class::Code { point, .. } => {
                let (low, high) = self.integer_range().unwrap_or_default();
                if point == 0 {
                    return format!("whole numbers from {low} to {high}");
                }
                let scale = float::power_of_two(-i64::from(point));
                format!("multiples of {scale:?} from {:?} to {:?}", low as f64 * scale, high as f64 * scale)
            }
        }
    }
}

/// A name such as `i8.5-gray`.
fn code_from_name(name: &str) -> Option<Format> {
    let (signed, rest) = match name.as_bytes().first()? {
        b'i' => (true, &name[1..]),
        b'u' => (false, &name[1..]),
        _ => return None,
    };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (width, rest) = rest.split_at(digits);
    let (point, suffix) = match rest.strip_prefix('.') {
        Some(rest) => {
            let minus = usize::from(rest.starts_with('-'));
            let digits = rest.bytes().skip(minus).take_while(u8::is_ascii_digit).count();
            let (point, suffix) = rest.split_at(minus + digits);
            (point.parse().ok()?, suffix)
        }
        None => (0, rest),
    };
    let format = Format::code(width.parse().ok()?, signed, Encoding::from_suffix(suffix)?, point).ok()?;
    (format.name() == name).then_some(format) // one spelling each: not `i08`, not `i8.0`
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Format, UnknownFormat> {
        Format::from_name(name)
    }
}
