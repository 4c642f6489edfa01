//! The words of tensors that are not contiguous in the file: decoding, and encoding what changed.

use bitquake_bits::{Class, Format, read_word};

use crate::edits::{Edits, Nesting};
use crate::onnx::Rewrite;
use crate::wire::{Element, Numbers, WireError, push_varint};

/// A tensor whose words are kept beside the file.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    /// The decoded words, contiguous, little-endian.
    pub(crate) words: Vec<u8>,
    /// Where they came from.
    numbers: Numbers,
    /// The message that holds the numbers.
    message: usize,
    rewrite: Rewrite,
}

/// Why numbers cannot be decoded.
#[derive(Debug)]
pub(crate) enum DecodeProblem {
    Wire(WireError),
    /// There are this many bytes of words rather than as many as asked for.
    Size(u64),
    /// The number at this byte does not fit the format.
    TooLarge {
        at: usize,
        value: i64,
    },
}

impl From<WireError> for DecodeProblem {
    fn from(error: WireError) -> DecodeProblem {
        DecodeProblem::Wire(error)
    }
}

impl Encoded {
    /// Decodes the numbers; they must make `expected` bytes of words, and are counted before anything is allocated.
    pub(crate) fn decode(
        bytes: &[u8],
        format: Format,
        expected: u64,
        (numbers, rewrite, message): (Numbers, Rewrite, usize),
    ) -> Result<Encoded, DecodeProblem> {
        // Words of less than a byte come packed in bytes, never as numbers.
        let size = format.bytes();
        let actual = numbers.count(bytes)?.saturating_mul(size as u64);
        if actual != expected {
            return Err(DecodeProblem::Size(actual));
        }
        let mut words = Vec::with_capacity(actual as usize);
        for number in numbers.all(bytes) {
            let (value, range) = number?;
            let word = word_of(format, numbers.element, value)
                .ok_or(DecodeProblem::TooLarge { at: range.start, value: value as i64 })?;
            words.extend_from_slice(&word.to_le_bytes()[..size]);
        }
        Ok(Encoded { words, numbers, message, rewrite })
    }

    /// Adds to `edits` what brings the file's numbers to the present words; numbers that did not change stay as
    /// they are written, even if not in the shortest form.
    pub(crate) fn update(
        &self,
        bytes: &[u8],
        format: Format,
        nesting: &Nesting,
        edits: &mut Edits,
    ) -> Result<(), WireError> {
        let mut index = 0;
        for chunk in self.numbers.chunks(bytes) {
            let chunk = chunk?;
            let mut is_changed = false;
            for number in self.numbers.values(bytes, &chunk) {
                let (value, range) = number?;
                let old = word_of(format, self.numbers.element, value);
                let new = read_word(format, &self.words, index);
                index += 1;
                if let Some(new) = new.filter(|_| new != old) {
                    edits.replace(range, encode(format, self.numbers.element, new));
                    is_changed = true;
                }
            }
            if is_changed {
                chunk.packed.iter().for_each(|place| edits.within_value(place));
                edits.within(nesting, self.message);
            }
        }
        Ok(())
    }

    /// Whether the words differ from the file's numbers.
    pub(crate) fn is_changed(&self, bytes: &[u8], format: Format) -> bool {
        let words = (0..).map_while(|index| read_word(format, &self.words, index));
        let numbers = self.numbers.all(bytes);
        !numbers.zip(words).all(|(number, word)| {
            number.is_ok_and(|(value, _)| word_of(format, self.numbers.element, value) == Some(word))
        })
    }

    /// Adds to `edits` the replacement of the numbers by one field of contiguous words. The result says where the
    /// words will stand: the position in the old file that moves with them, and the distance from there.
    pub(crate) fn make_contiguous(
        &self,
        bytes: &[u8],
        nesting: &Nesting,
        edits: &mut Edits,
    ) -> Result<(usize, usize), WireError> {
        let head = self.contiguous_head();
        let head_len = head.len();
        let mut field = [&head[..], &self.words].concat();
        let mut start = None;
        for chunk in self.numbers.chunks(bytes) {
            let span = chunk?.span;
            start = start.or(Some(span.start));
            edits.replace(span, std::mem::take(&mut field)); // the first stretch becomes the field, the rest go
        }
        edits.within(nesting, self.message);
        Ok(start.map_or((0, 0), |start| (start, head_len)))
    }

    /// Tag and length of the field that holds the words.
    fn contiguous_head(&self) -> Vec<u8> {
        let mut head = Vec::new();
        push_varint(&mut head, u64::from(self.rewrite.field()) << 3 | 2);
        push_varint(&mut head, self.words.len() as u64);
        head
    }
}

/// The word that a written number stands for; `None` if it does not fit the format.
///
/// Varints of `int32_data` count by their low 32 bits, as protobuf says; narrower formats may be written signed or
/// unsigned, since writers do both.
fn word_of(format: Format, element: Element, value: u64) -> Option<u64> {
    let width = format.width();
    let fits = match element {
        Element::Fixed32 | Element::Fixed64 => return Some(value),
        Element::Varint if format.width() == 64 => return Some(value),
        Element::Varint if format == Format::U32 => value <= format.mask(),
        Element::Varint => {
            let value = i64::from(value as i32);
            (-(1_i64 << (width - 1))..1 << width).contains(&value)
        }
    };
    fits.then_some(value & format.mask())
}

/// The bytes that write a word as a number.
fn encode(format: Format, element: Element, word: u64) -> Vec<u8> {
    match element {
        Element::Fixed32 => word.to_le_bytes()[..4].to_vec(),
        Element::Fixed64 => word.to_le_bytes().to_vec(),
        Element::Varint => {
            let mut out = Vec::new();
            push_varint(&mut out, extend(format, word));
            out
        }
    }
}

/// Signed words extended to 64 bits.
fn extend(format: Format, word: u64) -> u64 {
    let shift = u64::BITS - format.width();
    match format.class() {
        Class::Code { signed: true, .. } => (((word << shift) as i64) >> shift) as u64,
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Fields;

    #[test]
    fn numbers_and_words() {
        let negative = |value: i64| value as u64;
        let cases = [
            (Format::I8, negative(-128), Some(0x80)),
            (Format::I8, 127, Some(0x7f)),
            (Format::I8, 255, Some(0xff)),
            (Format::I8, 256, None),
            (Format::I8, negative(-129), None),
            (Format::U8, 255, Some(0xff)),
            (Format::U8, negative(-1), Some(0xff)),
            (Format::F16, 0x3c00, Some(0x3c00)),
            (Format::BF16, 0x1_0000, None),
            (Format::I32, negative(-1), Some(0xffff_ffff)),
            (Format::I32, 0xffff_ffff, Some(0xffff_ffff)),
            (Format::U32, 0xffff_ffff, Some(0xffff_ffff)),
            (Format::U32, 0x1_0000_0000, None),
            (Format::I64, negative(-1), Some(u64::MAX)),
            (Format::U64, u64::MAX, Some(u64::MAX)),
        ];
        for (format, value, word) in cases {
            assert_eq!(word_of(format, Element::Varint, value), word, "{format} {value}");
        }
    }

    #[test]
    fn every_short_word_survives_encoding() {
        for format in [Format::I8, Format::U8, Format::I16, Format::U16, Format::F16, Format::BF16] {
            for word in 0..=format.mask() {
                let bytes = [&[0x28][..], &encode(format, Element::Varint, word)].concat();
                let value = Fields::new(&bytes, 0..bytes.len()).next().unwrap().unwrap().varint().unwrap();
                assert_eq!(word_of(format, Element::Varint, value), Some(word), "{format} {word:x}");
            }
        }
    }
}
