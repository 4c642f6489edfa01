//! What a protection adds to a tensor.

use bitquake_bits::{Format, Words};

use super::code::{Code, Columns};
use super::codec::Codec;
use super::protection::{OnDetection, ProtectError, Protection};
use super::secded64::Secded64;
use super::tiling::Tiling;

/// How the code words of a [`Protection`] tile a tensor, and the check bits that they cost.
///
/// Code words take the protected bits of the tensor in the order of their bit addresses; the last word is shortened,
/// its missing bits being zeros that cannot fail. The check bits are memory like any other: tensors of their own, the
/// [`CheckPart`]s, to be added to the fault space.
#[derive(Clone, Debug)]
pub struct CheckSpace {
    pub(super) format: Format,
    pub(super) codec: Codec,
    pub(super) tiling: Tiling,
    pub(super) on_detection: OnDetection,
    /// The word that stands for zero, if there is one.
    pub(super) zero: Option<u64>,
    parts: Vec<CheckPart>,
}

/// A tensor of check bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckPart {
    /// `check`, or `copy1`, `copy2` ... for copies.
    pub name: String,
    /// Its format: one unsigned word of all check bits for each code word; for copies the format of the tensor if
    /// whole words are copied, otherwise an unsigned word of the copied bits.
    pub format: Format,
    /// How many words: one for each code word; for copies, as many as the tensor has.
    pub elements: u64,
}

impl CheckPart {
    /// The name of the part of a tensor: `TENSOR@check` and the like.
    #[must_use]
    pub fn tensor(&self, tensor: &str) -> String {
        format!("{tensor}@{}", self.name)
    }

    /// Its bits.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.elements * u64::from(self.format.width())
    }
}

impl CheckSpace {
    pub(super) fn new(protection: &Protection, format: Format, elements: u64) -> Result<Self, ProtectError> {
        let code = protection.code()?;
        let tiling = Tiling {
            width: format.width(),
            mask: protection.bits.mask(format)?,
            elements,
            data_bits: code.data_bits(),
            check_bits: code.check_bits(),
            unit: if let Code::Symbol { symbol_bits, .. } = code { symbol_bits } else { 1 },
            interleave: protection.interleave,
        };
        // Every word has at least one data bit, so there are at most 24 check bits for each bit.
        if elements.checked_mul(64 * 24).is_none() {
            return Err(ProtectError::TooLarge { format, elements });
        }
        let parts = parts(code, &tiling, format);
        let (codec, on_detection, zero) =
            (Codec::new(code)?, protection.on_detection, format.encode(0.0).ok());
        Ok(Self { format, codec, tiling, on_detection, zero, parts })
    }

    /// With another word that stands for zero: the zero point of a quantizer. From the start it is the word that the
    /// format decodes to 0.
    #[must_use]
    pub fn with_zero(self, word: u64) -> Self {
        Self { zero: Some(word & self.format.mask()), ..self }
    }

    /// The tensors of check bits.
    #[must_use]
    pub fn parts(&self) -> &[CheckPart] {
        &self.parts
    }

    /// The code.
    #[must_use]
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Number of code words.
    #[must_use]
    pub fn code_words(&self) -> u64 {
        self.tiling.words()
    }

    /// Bits of the tensor that are protected.
    #[must_use]
    pub fn protected_bits(&self) -> u64 {
        self.tiling.bits()
    }

    /// Bits that the protection adds.
    #[must_use]
    pub fn check_bits(&self) -> u64 {
        self.parts.iter().map(CheckPart::bits).sum()
    }

    /// Check bits over all bits of the tensor, protected or not; 0 for a tensor without elements.
    #[must_use]
    pub fn overhead(&self) -> f64 {
        match self.tiling.elements * u64::from(self.tiling.width) {
            0 => 0.0,
            bits => self.check_bits() as f64 / bits as f64,
        }
    }

    /// The words that a part holds when no bit is wrong, packed as [`Layout::packed`](bitquake_bits::Layout::packed)
    /// says: what a stuck bit of it is compared with. Time and memory follow the tensor.
    ///
    /// # Errors
    /// [`ProtectError::OtherWords`] if the words are not the tensor's, [`ProtectError::Parts`] if there is no such
    /// part.
    pub fn encode(&self, part: usize, words: &Words<'_>) -> Result<Vec<u8>, ProtectError> {
        self.check_words(words)?;
        let wanted = self.parts.len();
        let bits = self.parts.get(part).ok_or(ProtectError::Parts { given: part + 1, wanted })?.bits();
        let mut bytes = vec![0; bits.div_ceil(8) as usize];
        // The bytes of the tensor alone, if they are whole.
        let bits = self.tiling.bits();
        let is_plain = self.tiling.is_plain() && bits.is_multiple_of(8);
        let packed =
            words.packed_bytes().filter(|_| is_plain).and_then(|data| data.get(..(bits / 8) as usize));
        match (self.codec.code(), packed) {
            (Code::Secded { data_bits: 64, columns }, Some(data)) => secded_bytes(columns, data, &mut bytes),
            (Code::Repetition { .. }, _) => self.copy_bits(words, &mut bytes),
            _ => self.encode_words(words, &mut bytes),
        }
        Ok(bytes)
    }

    fn copy_bits(&self, words: &Words<'_>, bytes: &mut [u8]) {
        for number in 0..self.tiling.bits() {
            if self.is_set(words, number) {
                set_bit(bytes, number);
            }
        }
    }

    fn encode_words(&self, words: &Words<'_>, bytes: &mut [u8]) {
        let mut limbs = vec![0_u64; self.tiling.data_bits.div_ceil(64) as usize];
        for word in 0..self.tiling.words() {
            limbs.fill(0);
            for place in 0..self.tiling.bits_of_word(word) {
                let is_set = self.is_set(words, self.tiling.number_of(word, place));
                limbs[place as usize / 64] |= u64::from(is_set) << (place % 64);
            }
            let check = self.codec.encode(&limbs);
            for place in (0..self.tiling.check_bits).filter(|place| check >> place & 1 == 1) {
                set_bit(bytes, self.tiling.check_address(word, place));
            }
        }
    }

    fn is_set(&self, words: &Words<'_>, number: u64) -> bool {
        words.bit(self.tiling.address(number)).unwrap_or(false)
    }

    /// Format and elements of the tensor.
    pub(super) fn shape(&self) -> (Format, u64) {
        (self.format, self.tiling.elements)
    }

    /// That words are those of the tensor that this is laid out for, as far as format and size tell.
    pub(super) fn check_words(&self, words: &Words<'_>) -> Result<(), ProtectError> {
        let (format, elements) = (self.format, self.tiling.elements);
        let (found, found_elements) = (words.format(), words.elements());
        if (found, found_elements) == (format, elements) {
            Ok(())
        } else {
            Err(ProtectError::OtherWords { format, elements, found, found_elements })
        }
    }
}

/// The check bytes of packed words; bytes that are missing in the last one are zeros.
fn secded_bytes(columns: Columns, data: &[u8], check: &mut [u8]) {
    let secded = Secded64::new(columns);
    let (words, rest) = data.as_chunks();
    let whole = words.len().min(check.len());
    let (check, check_rest) = check.split_at_mut(whole);
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // The lengths are equal, so neither can fail.
    let _ = secded.encode(&words[..whole], check);
    let _ = secded.encode(&[last][..check_rest.len()], check_rest);
}

fn set_bit(bytes: &mut [u8], address: u64) {
    bytes[(address / 8) as usize] |= 1 << (address % 8);
}

fn parts(code: Code, tiling: &Tiling, format: Format) -> Vec<CheckPart> {
    let Code::Repetition { copies } = code else {
        let format = Format::unsigned(tiling.check_bits);
        return vec![CheckPart { name: "check".to_owned(), format, elements: tiling.words() }];
    };
    let is_whole = tiling.selected() == tiling.width;
    let format = if is_whole { format } else { Format::unsigned(tiling.selected()) };
    let part = |copy| CheckPart { name: format!("copy{copy}"), format, elements: tiling.elements };
    (1..copies).map(part).collect()
}
