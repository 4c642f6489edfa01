//! Encoding and decoding words of a code.

mod dec_ted;
pub(super) mod secded;
mod symbol;

use std::ops::Deref;

use super::code::{Code, CodeError};
use super::galois::Galois;

/// A [`Code`] with its tables, ready to encode and decode.
///
/// Bits of a code word are counted from 0: data bits first, in their order, then the check bits. Data are given as
/// `u64` limbs, bit 0 of limb 0 first; bits beyond the data bits are ignored and missing limbs are zeros. Check bits
/// are in the low bits of a `u32`.
///
/// The code being linear, what a decoder does depends on the wrong bits alone and not on the data: [`Codec::judge`]
/// takes nothing else.
///
/// ```
/// use bitquake_fault::protect::{Code, Codec, Columns, Decoded, Verdict};
/// let codec = Codec::new(Code::Secded { data_bits: 64, columns: Columns::Hamming })?;
/// let check = codec.encode(&[0x1234]);
/// assert_eq!(codec.decode(&[0x1234], check), Decoded::Clean);
/// assert_eq!(codec.decode(&[0x1236], check), Decoded::Corrected([1].into_iter().collect()));
/// assert_eq!(codec.decode(&[0x1237], check), Decoded::Detected);
/// assert_eq!(codec.judge(&[0, 1]).0, Verdict::Detected);
/// # Ok::<(), bitquake_fault::protect::CodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Codec {
    code: Code,
    /// For each data bit, the check bits that it decides; empty for parity and repetition, where that is all of them.
    columns: Vec<u32>,
    decoder: Decoder,
}

#[derive(Clone, Debug)]
enum Decoder {
    Parity,
    /// For each syndrome the position of the wrong bit plus one, or 0.
    Secded(Vec<u16>),
    DecTed(Galois),
    Symbol(Galois),
    Repetition,
}

/// What a decoder says of a word. It cannot know whether its correction is the right one: see [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// No error seen.
    Clean,
    /// These bits are to be flipped.
    Corrected(Positions),
    /// An error that cannot be corrected.
    Detected,
}

/// What a decoder does to a word, told by one who knows which bits are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No bit was wrong.
    Clean,
    /// All wrong bits were corrected (CE).
    Corrected,
    /// The decoder saw an error that it cannot correct (DUE).
    Detected,
    /// The decoder "corrected" the word to another one.
    Miscorrected,
    /// Bits are wrong and the decoder saw nothing.
    Silent,
}

/// At most [`Positions::MOST`] bits of a code word, rising.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    list: [u16; Self::MOST],
    len: u8,
}

impl Positions {
    /// No code corrects more bits of a word than this.
    pub const MOST: usize = 8;

    fn push(&mut self, position: u32) {
        if let Some(place) = self.list.get_mut(usize::from(self.len)) {
            *place = position as u16;
            self.len += 1;
        }
    }
}

/// Takes the first [`Positions::MOST`].
impl FromIterator<u32> for Positions {
    fn from_iter<I: IntoIterator<Item = u32>>(positions: I) -> Self {
        let mut all = Self::default();
        positions.into_iter().for_each(|position| all.push(position));
        all.list[..usize::from(all.len)].sort_unstable();
        all
    }
}

impl Deref for Positions {
    type Target = [u16];

    fn deref(&self) -> &[u16] {
        &self.list[..usize::from(self.len)]
    }
}

impl Codec {
    /// The codec of a code.
    ///
    /// # Errors
    /// [`CodeError`] if there is no such code.
    pub fn new(code: Code) -> Result<Self, CodeError> {
        code.check()?;
        let check_bits = code.check_bits();
        let (columns, decoder) = match code {
            Code::Parity { .. } => (Vec::new(), Decoder::Parity),
            Code::Repetition { .. } => (Vec::new(), Decoder::Repetition),
            Code::Secded { data_bits, columns } => {
                let columns = secded::columns(data_bits, check_bits, columns);
                let table = secded::table(&columns, check_bits);
                (columns, Decoder::Secded(table))
            }
            Code::DecTed { data_bits } => (dec_ted::columns(data_bits), Decoder::DecTed(Galois::of_128())),
            Code::Symbol { symbol_bits, data_bits } => {
                let field = Galois::of_symbols(symbol_bits);
                (symbol::columns(&field, symbol_bits, data_bits), Decoder::Symbol(field))
            }
        };
        Ok(Self { code, columns, decoder })
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// Data and check bits of a full word.
    #[must_use]
    pub fn word_bits(&self) -> u32 {
        self.code.data_bits() + self.code.check_bits()
    }

    /// The column of the parity-check matrix for one bit of the code word: which bits of the syndrome it flips.
    /// Beyond the word, 0.
    #[must_use]
    pub fn column(&self, position: u32) -> u32 {
        let (data_bits, check_bits) = (self.code.data_bits(), self.code.check_bits());
        if position < data_bits {
            self.columns.get(position as usize).copied().unwrap_or((1 << check_bits) - 1)
        } else if position - data_bits < check_bits {
            1 << (position - data_bits)
        } else {
            0
        }
    }

    /// The check bits that belong to `data`.
    #[must_use]
    pub fn encode(&self, data: &[u64]) -> u32 {
        let mut check = 0;
        for (limb, &word) in (0_u32..).zip(data) {
            let mut rest = word;
            while rest != 0 {
                let position = limb * 64 + rest.trailing_zeros();
                if position >= self.code.data_bits() {
                    return check;
                }
                check ^= self.column(position);
                rest &= rest - 1;
            }
        }
        check
    }

    /// What the decoder says of stored data and check bits.
    #[must_use]
    pub fn decode(&self, data: &[u64], check: u32) -> Decoded {
        let mask = (1 << self.code.check_bits()) - 1;
        self.decode_syndrome(self.encode(data) ^ (check & mask), self.code.data_bits())
    }

    /// The syndrome of wrong bits: which check bits differ from those that the stored data call for.
    #[must_use]
    pub fn syndrome(&self, wrong: &[u32]) -> u32 {
        wrong.iter().fold(0, |sum, &position| sum ^ self.column(position))
    }

    /// What the decoder says at a syndrome, in a word shortened to its first `data_bits` data bits. The others are
    /// zeros that are not stored; the decoder knows it, so a correction there is an error detected.
    #[must_use]
    pub fn decode_syndrome(&self, syndrome: u32, data_bits: u32) -> Decoded {
        if syndrome == 0 {
            return Decoded::Clean;
        }
        let full = self.code.data_bits();
        let found = match &self.decoder {
            Decoder::Parity => None,
            Decoder::Secded(table) => secded::correct(table, syndrome),
            Decoder::DecTed(field) => dec_ted::correct(field, syndrome, full),
            Decoder::Symbol(field) => symbol::correct(field, self.code.check_bits() / 3, syndrome, full),
            Decoder::Repetition => majority(syndrome, self.code.check_bits()),
        };
        let is_stored = |&position: &u16| {
            let position = u32::from(position);
            position < data_bits || position >= full
        };
        match found.filter(|positions| positions.iter().all(is_stored)) {
            Some(positions) => Decoded::Corrected(positions),
            None => Decoded::Detected,
        }
    }

    /// What becomes of a full word whose bits at the rising positions `wrong` are wrong: the truth, and what the
    /// decoder says.
    #[must_use]
    pub fn judge(&self, wrong: &[u32]) -> (Verdict, Decoded) {
        self.judge_shortened(wrong, self.code.data_bits())
    }

    /// As [`Codec::judge`], for a word shortened as in [`Codec::decode_syndrome`].
    #[must_use]
    pub fn judge_shortened(&self, wrong: &[u32], data_bits: u32) -> (Verdict, Decoded) {
        let decoded = self.decode_syndrome(self.syndrome(wrong), data_bits);
        let verdict = match &decoded {
            Decoded::Clean if wrong.is_empty() => Verdict::Clean,
            Decoded::Clean => Verdict::Silent,
            Decoded::Detected => Verdict::Detected,
            Decoded::Corrected(flips)
                if flips.iter().map(|&flip| u32::from(flip)).eq(wrong.iter().copied()) =>
            {
                Verdict::Corrected
            }
            Decoded::Corrected(_) => Verdict::Miscorrected,
        };
        (verdict, decoded)
    }
}

/// The majority of copies, seen from the first: bit i of the syndrome tells whether copy i + 1 differs from it.
fn majority(syndrome: u32, check_bits: u32) -> Option<Positions> {
    let differing = syndrome.count_ones();
    let copies = check_bits + 1;
    if 2 * differing == copies {
        return None;
    }
    let first_is_wrong = 2 * differing > copies;
    let is_wrong = |copy: &u32| (syndrome >> (copy - 1) & 1 == 1) != first_is_wrong;
    Some(first_is_wrong.then_some(0).into_iter().chain((1..copies).filter(is_wrong)).collect())
}
