//! Between the integers of a scheme and the words that are stored.

use bitquake_bits::{Encoding, Format};

use crate::error::QuantError;

/// Which integers are codes, and how each is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) bits: u32,
    pub(crate) signed: bool,
    pub(crate) encoding: Encoding,
    /// Binary point of the format; it is not 0 only where the format alone gives the level.
    pub(crate) point: i16,
    /// Codes -1 and 1 in one bit: word 0 is -1 (SPEC 5.1).
    pub(crate) is_sign: bool,
}

impl Codes {
    pub(crate) fn sign() -> Self {
        Self { bits: 1, signed: false, encoding: Encoding::Plain, point: 0, is_sign: true }
    }

    /// Lowest code that has a word.
    pub(crate) fn low(self) -> i64 {
        match (self.is_sign, self.signed, self.encoding) {
            (true, ..) => -1,
            (_, false, _) => 0,
            (_, true, Encoding::SignMagnitude) => 1 - self.half(),
            (_, true, _) => -self.half(),
        }
    }

    /// Highest code that has a word.
    pub(crate) fn high(self) -> i64 {
        match (self.is_sign, self.signed) {
            (true, _) => 1,
            (_, false) => 2 * self.half() - 1,
            (_, true) => self.half() - 1,
        }
    }

    /// `2^(bits - 1)`.
    pub(crate) fn half(self) -> i64 {
        1 << (self.bits - 1)
    }

    pub(crate) fn mask(self) -> u64 {
        u64::MAX >> (u64::BITS - self.bits)
    }

    /// The word of a code; bits above the width are 0. The code must be in bounds.
    #[inline(always)]
    pub(crate) fn word(self, code: i64) -> u64 {
        if self.is_sign {
            return u64::from(code > 0);
        }
        let offset = if self.signed { code + self.half() } else { code } as u64;
        match self.encoding {
            Encoding::Plain => code as u64 & self.mask(),
            Encoding::Offset => offset,
            Encoding::SignMagnitude if code < 0 => (self.half() - code) as u64,
            Encoding::SignMagnitude => code as u64,
            Encoding::Gray => offset ^ offset >> 1,
        }
    }

    /// The code of a word; bits above the width are ignored.
    pub(crate) fn code(self, word: u64) -> i64 {
        let word = word & self.mask();
        let plain = word as i64;
        match (self.is_sign, self.encoding) {
            (true, _) => 2 * plain - 1,
            (_, Encoding::Plain) if self.signed => (plain ^ self.half()) - self.half(),
            (_, Encoding::Plain) => plain,
            (_, Encoding::Offset) if self.signed => plain - self.half(),
            (_, Encoding::Offset) => plain,
            (_, Encoding::SignMagnitude) if plain >= self.half() => self.half() - plain,
            (_, Encoding::SignMagnitude) => plain,
            (_, Encoding::Gray) => from_gray(word) as i64 - if self.signed { self.half() } else { 0 },
        }
    }

    /// The word of a code, checked; `index` is for the message.
    pub(crate) fn checked_word(self, index: u64, code: i64) -> Result<u64, QuantError> {
        let (low, high) = (self.low(), self.high());
        let is_code = (low..=high).contains(&code) && !(self.is_sign && code == 0);
        if is_code { Ok(self.word(code)) } else { Err(QuantError::CodeOutside { index, code, low, high }) }
    }

    pub(crate) fn checked_code(self, word: u64) -> Result<i64, QuantError> {
        if word & !self.mask() != 0 {
            return Err(QuantError::WordOutside { word, bits: self.bits });
        }
        Ok(self.code(word))
    }

    /// The number format of the stored words. A sign has no number format of its own: it is an unsigned bit.
    pub(crate) fn format(self) -> Format {
        let encoding =
            if !self.signed && self.encoding == Encoding::Offset { Encoding::Plain } else { self.encoding };
        let plain = if self.signed { Format::signed(self.bits) } else { Format::unsigned(self.bits) };
        Format::code(self.bits, self.signed, encoding, self.point).unwrap_or(plain)
    }

    /// Whether a word is the code, plus a constant, modulo the width: then no table is needed.
    pub(crate) fn is_linear(self) -> bool {
        !self.is_sign && matches!(self.encoding, Encoding::Plain | Encoding::Offset)
    }
}

/// Each bit of the number is the parity of the word's bits from there up.
fn from_gray(word: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].iter().fold(word, |binary, shift| binary ^ binary >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code of every width up to 16 against the table of formats, which computes them its own way.
    #[test]
    fn words_are_those_of_the_format() {
        for bits in 1..=16 {
            for (signed, encoding) in Encoding::ALL.iter().flat_map(|&e| [(true, e), (false, e)]) {
                if !signed && encoding == Encoding::SignMagnitude {
                    continue;
                }
                let codes = Codes { bits, signed, encoding, point: 0, is_sign: false };
                for code in codes.low()..=codes.high() {
                    let word = codes.word(code);
                    assert_eq!(codes.code(word), code, "{codes:?}");
                    assert_eq!(codes.format().integer(word), Some(i128::from(code)), "{codes:?} {word:#x}");
                }
            }
        }
    }

    #[test]
    fn a_sign_is_one_bit() {
        let codes = Codes::sign();
        assert_eq!([codes.word(-1), codes.word(1)], [0, 1]);
        assert_eq!([codes.code(0), codes.code(1)], [-1, 1]);
        assert_eq!(
            codes.checked_word(3, 0),
            Err(QuantError::CodeOutside { index: 3, code: 0, low: -1, high: 1 })
        );
    }

    /// SPEC 5.1: two's complement of 8 bits.
    #[test]
    fn twos_complement() {
        let codes = Codes { bits: 8, signed: true, encoding: Encoding::Plain, point: 0, is_sign: false };
        for (code, word) in [(-128, 128), (-107, 149), (-41, 215), (-1, 255), (0, 0), (21, 21), (127, 127)] {
            assert_eq!(codes.word(code), word);
        }
        for (code, flipped) in [(21, -107), (-41, 87), (-1, 127)] {
            assert_eq!(codes.code(codes.word(code) ^ 0x80), flipped);
        }
    }
}
