//! Whole numbers as words.

use std::fmt;

/// How the whole number of a code becomes its word. Which bit flips hurt depends on it.
///
/// | encoding | signed, width w | unsigned |
/// | --- | --- | --- |
/// | plain | two's complement | binary |
/// | offset | the number + 2^(w-1), in binary | |
/// | sign-magnitude | the sign, then the magnitude; there is a -0, and no -2^(w-1) | |
/// | gray | the reflected Gray code of the offset word | the reflected Gray code of the number |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// Two's complement for signed codes, binary for unsigned ones.
    #[default]
    Plain,
    /// Offset binary.
    Offset,
    /// Sign and magnitude.
    SignMagnitude,
    /// Reflected Gray code: neighbouring numbers differ in one bit.
    Gray,
}

const SUFFIXES: [(Encoding, &str); 4] = [
    (Encoding::Plain, ""),
    (Encoding::Offset, "-offset"),
    (Encoding::SignMagnitude, "-sign-magnitude"),
    (Encoding::Gray, "-gray"),
];

impl Encoding {
    /// Every encoding.
    pub const ALL: [Encoding; 4] =
        [Encoding::Plain, Encoding::Offset, Encoding::SignMagnitude, Encoding::Gray];

    /// What a format's name says of it: nothing for [`Plain`](Self::Plain), else `-offset` and so on.
    pub(crate) fn suffix(self) -> &'static str {
        SUFFIXES[self as usize].1
    }

    pub(crate) fn from_suffix(suffix: &str) -> Option<Encoding> {
        SUFFIXES.iter().find(|(_, known)| *known == suffix).map(|(encoding, _)| *encoding)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Encoding::Plain => "plain",
            named => &named.suffix()[1..],
        })
    }
}

/// Whether a word other than 0 stands for -0.
pub(crate) fn has_two_zeros(encoding: Encoding) -> bool {
    encoding == Encoding::SignMagnitude
}

/// The smallest and the largest number.
pub(crate) fn range(width: u32, signed: bool, encoding: Encoding) -> (i128, i128) {
    let half = 1_i128 << (width - 1);
    match (signed, encoding) {
        (false, _) => (0, 2 * half - 1),
        (true, Encoding::SignMagnitude) => (1 - half, half - 1),
        (true, _) => (-half, half - 1),
    }
}

/// The number of a word that has no bits above its width.
pub(crate) fn integer(word: u64, width: u32, signed: bool, encoding: Encoding) -> i128 {
    let half = 1_i128 << (width - 1);
    let plain = i128::from(word);
    match (signed, encoding) {
        (false, Encoding::Gray) => i128::from(from_gray(word)),
        (false, _) => plain,
        (true, Encoding::Plain) if plain >= half => plain - 2 * half,
        (true, Encoding::Plain) => plain,
        (true, Encoding::Offset) => plain - half,
        (true, Encoding::SignMagnitude) if plain >= half => half - plain,
        (true, Encoding::SignMagnitude) => plain,
        (true, Encoding::Gray) => i128::from(from_gray(word)) - half,
    }
}

/// The word of a number; `None` if it is out of range.
pub(crate) fn word(integer: i128, width: u32, signed: bool, encoding: Encoding) -> Option<u64> {
    let (low, high) = range(width, signed, encoding);
    if !(low..=high).contains(&integer) {
        return None;
    }
    let half = 1_i128 << (width - 1);
    Some(match (signed, encoding) {
        (false, Encoding::Gray) => to_gray(integer as u64),
        (false, _) => integer as u64,
        (true, Encoding::Plain) => integer as u64 & (u64::MAX >> (u64::BITS - width)),
        (true, Encoding::Offset) => (integer + half) as u64,
        (true, Encoding::SignMagnitude) if integer < 0 => (half - integer) as u64,
        (true, Encoding::SignMagnitude) => integer as u64,
        (true, Encoding::Gray) => to_gray((integer + half) as u64),
    })
}

fn to_gray(binary: u64) -> u64 {
    binary ^ binary >> 1
}

/// Each bit of the number is the parity of the word's bits from there up.
fn from_gray(word: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].iter().fold(word, |binary, shift| binary ^ binary >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_short_code_round_trips_in_order() {
        for width in 1..=10 {
            for (signed, encoding) in Encoding::ALL.iter().flat_map(|&e| [(true, e), (false, e)]) {
                let (low, high) = range(width, signed, encoding);
                for number in low..=high {
                    let code = word(number, width, signed, encoding).unwrap();
                    assert_eq!(integer(code, width, signed, encoding), number, "{width} {signed} {encoding}");
                    if encoding == Encoding::Gray && number > low {
                        let before = word(number - 1, width, signed, encoding).unwrap();
                        assert_eq!((code ^ before).count_ones(), 1);
                    }
                }
                assert_eq!(word(low - 1, width, signed, encoding), None);
                assert_eq!(word(high + 1, width, signed, encoding), None);
            }
        }
    }

    /// SPEC 7.1: the sign bit of code 0 flipped.
    #[test]
    fn the_sign_bit_of_zero() {
        let flipped = |encoding| {
            let zero = word(0, 8, true, encoding).unwrap();
            integer(zero ^ 0x80, 8, true, encoding)
        };
        assert_eq!(Encoding::ALL.map(flipped), [-128, -128, 0, -1]);
    }

    #[test]
    fn the_widest() {
        assert_eq!(integer(u64::MAX, 64, false, Encoding::Plain), i128::from(u64::MAX));
        assert_eq!(integer(1 << 63, 64, true, Encoding::Plain), i128::from(i64::MIN));
        assert_eq!(word(i128::from(i64::MIN), 64, true, Encoding::Offset), Some(0));
        assert_eq!(from_gray(to_gray(0x0123_4567_89ab_cdef)), 0x0123_4567_89ab_cdef);
    }
}
