//! The fields of a word.

use std::fmt;

use crate::format::{Class, Format};

/// A part of a word with one meaning. The fields of a format divide its word: each bit is in exactly one.
///
/// ```
/// use bitquake_bits::{Field, Format};
/// assert_eq!(Format::F32.field(30), Some(Field::Exponent));
/// assert_eq!(Format::F32.field_mask(Field::Exponent), 0x7f80_0000);
/// assert_eq!(Format::I8.field(7), Some(Field::Sign));
/// assert_eq!(Format::U8.field_mask(Field::Sign), 0); // there is none
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The most significant bit of a float or of a signed code. In offset binary and Gray code it is set for numbers
    /// from 0 on, elsewhere for negative ones.
    Sign,
    /// The exponent of a float; a power of two is nothing else.
    Exponent,
    /// The mantissa of a float, without the leading 1 that is not stored.
    Mantissa,
    /// The value bits of a code: all bits, less the sign bit if there is one.
    Magnitude,
}

impl Field {
    /// Every field, from the most significant one to the least. No format has them all.
    pub const ALL: [Field; 4] = [Field::Sign, Field::Exponent, Field::Mantissa, Field::Magnitude];

    /// The field's name, lower case: `"sign"`, `"exponent"`, `"mantissa"`, `"magnitude"`.
    pub fn name(self) -> &'static str {
        match self {
            Field::Sign => "sign",
            Field::Exponent => "exponent",
            Field::Mantissa => "mantissa",
            Field::Magnitude => "magnitude",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Format {
    /// The field that bit `bit` belongs to; `None` if the format has no such bit.
    pub fn field(self, bit: u32) -> Option<Field> {
        if bit >= self.width() {
            return None;
        }
        Some(match self.class() {
            Class::Float { .. } if bit == self.msb() => Field::Sign,
            Class::Float { mantissa, .. } if bit >= mantissa.into() => Field::Exponent,
            Class::Float { .. } => Field::Mantissa,
            Class::Exponent => Field::Exponent,
            Class::Code { signed: true, .. } if bit == self.msb() => Field::Sign,
            Class::Code { .. } => Field::Magnitude,
        })
    }

    /// The bits of a field; 0 if the format does not have it.
    pub fn field_mask(self, field: Field) -> u64 {
        (0..self.width()).filter(|&bit| self.field(bit) == Some(field)).fold(0, |mask, bit| mask | 1 << bit)
    }
}
