//! The protobuf wire format, read with absolute byte ranges and written in its simplest form.
//!
//! Why not a protobuf library: those decode into owned messages and forget where each value stood. Here a fault
//! must land in the very bytes of the file and everything else must stay, byte for byte, including unknown fields,
//! field order and unusual encodings; so every value is reported with its place in the file.
//!
//! The format: a message is a run of fields; a field is a tag (varint: `number << 3 | wire type`) and a payload.
//! Wire types: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes. Types 3 and 4 (groups) are not used by
//! ONNX and are refused. Varints hold 7 bits a byte, least significant first, at most 10 bytes.
//!
//! Nothing is allocated while reading, and no length is believed before it is checked against its message.
//!
//! ```
//! use bitquake_tensors::wire::{Fields, Writer};
//!
//! let mut writer = Writer::new();
//! writer.varint(1, 300);
//! writer.bytes(7, b"hello");
//! let bytes = writer.into_bytes();
//! let fields: Vec<_> = Fields::new(&bytes, 0..bytes.len()).collect::<Result<_, _>>()?;
//! assert_eq!(fields[0].varint()?, 300);
//! assert_eq!(&bytes[fields[1].message()?.body], b"hello");
//! # Ok::<(), bitquake_tensors::wire::WireError>(())
//! ```

use std::ops::Range;

use thiserror::Error;

/// What is wrong with the bytes of a message. `at` is always an absolute byte offset in the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The file ends before the field does.
    #[error("truncated: field at byte {at} needs {needed} bytes, {left} left")]
    Truncated {
        /// Where the field starts.
        at: usize,
        /// How many bytes it says it has.
        needed: u64,
        /// How many there are.
        left: usize,
    },
    /// A field is longer than the message it stands in, though the file goes on.
    #[error("field at byte {at} needs {needed} bytes, its message has {left} left")]
    Overrun {
        /// Where the field starts.
        at: usize,
        /// How many bytes it says it has.
        needed: u64,
        /// How many its message has left.
        left: usize,
    },
    /// A varint of more than 10 bytes or 64 bits.
    #[error("varint at byte {at} does not fit 64 bits")]
    VarintTooLong {
        /// Where the varint starts.
        at: usize,
    },
    /// A tag with a wire type that is not used (groups) or does not exist.
    #[error("field at byte {at} has wire type {wire_type}, which ONNX does not use")]
    WireType {
        /// Where the tag starts.
        at: usize,
        /// The wire type, 0 to 7.
        wire_type: u8,
    },
    /// A tag whose field number is 0 or above 2^29 - 1.
    #[error("tag at byte {at} has the field number {number}, outside 1 to 536870911")]
    FieldNumber {
        /// Where the tag starts.
        at: usize,
        /// The number.
        number: u64,
    },
    /// A known field with another wire type than its own.
    #[error("field {number} at byte {at} is not {expected}")]
    Unexpected {
        /// Where the field starts.
        at: usize,
        /// The field's number.
        number: u32,
        /// What it should be.
        expected: &'static str,
    },
    /// A text field that is not UTF-8.
    #[error("text at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Where the text starts.
        at: usize,
    },
}

/// A length-delimited value: where its length stands and where its bytes stand, both absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimited {
    /// The bytes of the varint that holds the length.
    pub prefix: Range<usize>,
    /// The bytes it counts.
    pub body: Range<usize>,
}

/// The payload of a field, with absolute byte ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Wire type 0: the value and the bytes that hold it.
    Varint(u64, Range<usize>),
    /// Wire type 1: eight little-endian bytes.
    Fixed64(Range<usize>),
    /// Wire type 2: text, bytes, a message, or packed numbers.
    Delimited(Delimited),
    /// Wire type 5: four little-endian bytes.
    Fixed32(Range<usize>),
}

/// One field of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The field number, 1 to 2^29 - 1.
    pub number: u32,
    /// The whole field, tag included, as absolute byte offsets.
    pub span: Range<usize>,
    /// Its payload.
    pub payload: Payload,
}

impl Field {
    fn unexpected(&self, expected: &'static str) -> WireError {
        WireError::Unexpected { at: self.span.start, number: self.number, expected }
    }

    /// The value of a varint field.
    ///
    /// # Errors
    /// [`WireError::Unexpected`] if the field has another wire type.
    pub fn varint(&self) -> Result<u64, WireError> {
        match self.payload {
            Payload::Varint(value, _) => Ok(value),
            _ => Err(self.unexpected("a varint")),
        }
    }

    /// The bytes of a four-byte field.
    ///
    /// # Errors
    /// [`WireError::Unexpected`] if the field has another wire type.
    pub fn fixed32(&self) -> Result<Range<usize>, WireError> {
        match &self.payload {
            Payload::Fixed32(range) => Ok(range.clone()),
            _ => Err(self.unexpected("a four-byte value")),
        }
    }

    /// The place of a length-delimited field (message, bytes, text, packed numbers).
    ///
    /// # Errors
    /// [`WireError::Unexpected`] if the field has another wire type.
    pub fn message(&self) -> Result<Delimited, WireError> {
        match &self.payload {
            Payload::Delimited(place) => Ok(place.clone()),
            _ => Err(self.unexpected("length-delimited")),
        }
    }

    /// The text of a length-delimited field; `bytes` are the file's.
    ///
    /// # Errors
    /// [`WireError::Unexpected`] for another wire type, [`WireError::NotUtf8`] for other bytes than text.
    pub fn text<'a>(&self, bytes: &'a [u8]) -> Result<&'a str, WireError> {
        let body = self.message()?.body;
        let at = body.start;
        let content = bytes.get(body).ok_or(WireError::NotUtf8 { at })?;
        std::str::from_utf8(content).map_err(|_| WireError::NotUtf8 { at })
    }
}

/// A position that walks through a range of a file.
#[derive(Clone, Debug)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Cursor<'_> {
    /// `field` is the place that an error names.
    fn past_end(&self, field: usize, needed: u64) -> WireError {
        let left = self.end - self.at;
        if self.end == self.bytes.len() {
            WireError::Truncated { at: field, needed, left }
        } else {
            WireError::Overrun { at: field, needed, left }
        }
    }

    fn take(&mut self, field: usize, count: u64) -> Result<Range<usize>, WireError> {
        let fits = usize::try_from(count).ok().filter(|&count| count <= self.end - self.at);
        let count = fits.ok_or_else(|| self.past_end(field, count))?;
        let start = self.at;
        self.at += count;
        Ok(start..self.at)
    }

    fn varint(&mut self, field: usize) -> Result<u64, WireError> {
        let start = self.at;
        let mut value = 0_u64;
        for index in 0..10 {
            let byte_at = self.take(field, 1)?.start;
            let byte = self.bytes[byte_at];
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::VarintTooLong { at: start })
    }

    fn field(&mut self) -> Result<Field, WireError> {
        let start = self.at;
        let (number, wire_type) = self.tag(start)?;
        let payload = match wire_type {
            0 => {
                let value_at = self.at;
                Payload::Varint(self.varint(start)?, value_at..self.at)
            }
            1 => Payload::Fixed64(self.take(start, 8)?),
            2 => {
                let prefix_at = self.at;
                let length = self.varint(start)?;
                let prefix = prefix_at..self.at;
                Payload::Delimited(Delimited { prefix, body: self.take(start, length)? })
            }
            5 => Payload::Fixed32(self.take(start, 4)?),
            _ => return Err(WireError::WireType { at: start, wire_type }),
        };
        Ok(Field { number, span: start..self.at, payload })
    }

    fn tag(&mut self, start: usize) -> Result<(u32, u8), WireError> {
        let tag = self.varint(start)?;
        let number = tag >> 3;
        match u32::try_from(number) {
            Ok(small @ 1..=0x1fff_ffff) => Ok((small, (tag & 7) as u8)),
            _ => Err(WireError::FieldNumber { at: start, number }),
        }
    }
}

/// The fields of one message, in file order. After an error the iterator ends.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Fields<'a> {
    /// The fields of the message that occupies `range` of the file `bytes`; a range that leaves the file is cut.
    pub fn new(bytes: &'a [u8], range: Range<usize>) -> Fields<'a> {
        let end = range.end.min(bytes.len());
        Fields { cursor: Cursor { bytes, at: range.start.min(end), end } }
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.at >= self.cursor.end {
            return None;
        }
        let field = self.cursor.field();
        if field.is_err() {
            self.cursor.at = self.cursor.end;
        }
        Some(field)
    }
}

/// How the numbers of a repeated field are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A varint each.
    Varint,
    /// Four bytes each.
    Fixed32,
    /// Eight bytes each.
    Fixed64,
}

impl Element {
    /// The payload of `field` as a run of this kind of number: its place, and the length prefix if it is packed.
    fn run(self, field: &Field) -> Result<(Range<usize>, Option<Delimited>), WireError> {
        match (&field.payload, self) {
            (Payload::Delimited(place), _) => Ok((place.body.clone(), Some(place.clone()))),
            (Payload::Varint(_, range), Element::Varint)
            | (Payload::Fixed32(range), Element::Fixed32)
            | (Payload::Fixed64(range), Element::Fixed64) => Ok((range.clone(), None)),
            _ => Err(field.unexpected("a list of numbers of its type")),
        }
    }

    fn read(self, cursor: &mut Cursor<'_>) -> Result<(u64, Range<usize>), WireError> {
        let start = cursor.at;
        let width = match self {
            Element::Varint => {
                let value = cursor.varint(start)?;
                return Ok((value, start..cursor.at));
            }
            Element::Fixed32 => 4,
            Element::Fixed64 => 8,
        };
        let range = cursor.take(start, width)?;
        let mut word = [0; 8];
        word[..range.len()].copy_from_slice(&cursor.bytes[range.clone()]);
        Ok((u64::from_le_bytes(word), range))
    }
}

/// One stretch of a repeated numeric field: a packed run, or a single number in a field of its own.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The whole field, tag included.
    pub span: Range<usize>,
    /// The numbers alone.
    pub body: Range<usize>,
    /// The length prefix, when the chunk is packed.
    pub packed: Option<Delimited>,
}

/// A repeated field of numbers inside one message, packed, unpacked or both, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The message that holds the field.
    pub message: Range<usize>,
    /// The field's number.
    pub number: u32,
    /// How its numbers are written.
    pub element: Element,
}

impl Numbers {
    /// The stretches of the field.
    pub fn chunks<'a>(&self, bytes: &'a [u8]) -> impl Iterator<Item = Result<Chunk, WireError>> + use<'a> {
        let (number, element) = (self.number, self.element);
        Fields::new(bytes, self.message.clone()).filter_map(move |field| match field {
            Ok(field) if field.number != number => None,
            Ok(field) => {
                let run = element.run(&field);
                Some(run.map(|(body, packed)| Chunk { span: field.span, body, packed }))
            }
            Err(error) => Some(Err(error)),
        })
    }

    /// The numbers of one stretch: the value (a varint's 64 bits, or the little-endian word) and its bytes.
    pub fn values<'a>(
        &self,
        bytes: &'a [u8],
        chunk: &Chunk,
    ) -> impl Iterator<Item = Result<(u64, Range<usize>), WireError>> + use<'a> {
        let element = self.element;
        let mut cursor = Fields::new(bytes, chunk.body.clone()).cursor;
        std::iter::from_fn(move || {
            if cursor.at >= cursor.end {
                return None;
            }
            let value = element.read(&mut cursor);
            if value.is_err() {
                cursor.at = cursor.end;
            }
            Some(value)
        })
    }

    /// All numbers of the field, in file order: the value and its bytes.
    pub fn all<'a>(
        &self,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = Result<(u64, Range<usize>), WireError>> + use<'a, '_> {
        self.chunks(bytes).flat_map(move |chunk| {
            let (values, error) = match chunk {
                Ok(chunk) => (Some(self.values(bytes, &chunk)), None),
                Err(error) => (None, Some(Err(error))),
            };
            values.into_iter().flatten().chain(error)
        })
    }

    /// How many numbers there are, all stretches together.
    ///
    /// # Errors
    /// [`WireError`] if a stretch is not a whole number of numbers.
    pub fn count(&self, bytes: &[u8]) -> Result<u64, WireError> {
        self.all(bytes).try_fold(0, |count, value| value.map(|_| count + 1))
    }
}

/// Appends `value` to `out` as a varint, in its shortest form.
pub fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a message, field after field, in the order of the calls.
///
/// Signed numbers go through `value as u64`, as protobuf's `int32` and `int64` ask (two's complement, 64 bits).
#[derive(Clone, Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// An empty message.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// The message's bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    fn tag(&mut self, number: u32, wire_type: u8) {
        push_varint(&mut self.out, u64::from(number) << 3 | u64::from(wire_type));
    }

    /// A varint field.
    pub fn varint(&mut self, number: u32, value: u64) -> &mut Self {
        self.tag(number, 0);
        push_varint(&mut self.out, value);
        self
    }

    /// A four-byte float field.
    pub fn float(&mut self, number: u32, value: f32) -> &mut Self {
        self.tag(number, 5);
        self.out.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// An eight-byte float field.
    pub fn double(&mut self, number: u32, value: f64) -> &mut Self {
        self.tag(number, 1);
        self.out.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A length-delimited field of bytes or text.
    pub fn bytes(&mut self, number: u32, value: &[u8]) -> &mut Self {
        self.tag(number, 2);
        push_varint(&mut self.out, value.len() as u64);
        self.out.extend_from_slice(value);
        self
    }

    /// A field that holds a message.
    pub fn message(&mut self, number: u32, message: &Writer) -> &mut Self {
        self.bytes(number, &message.out)
    }

    /// A packed field of varints.
    pub fn packed_varints(&mut self, number: u32, values: impl IntoIterator<Item = u64>) -> &mut Self {
        let mut body = Vec::new();
        values.into_iter().for_each(|value| push_varint(&mut body, value));
        self.bytes(number, &body)
    }

    /// A packed field of four-byte floats.
    pub fn packed_floats(&mut self, number: u32, values: &[f32]) -> &mut Self {
        let body: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(number, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Field>, WireError> {
        Fields::new(bytes, 0..bytes.len()).collect()
    }

    #[test]
    fn ranges_are_absolute() {
        let mut inner = Writer::new();
        inner.varint(1, 5).float(2, 1.0);
        let mut outer = Writer::new();
        outer.varint(9, 1).message(3, &inner).double(4, 2.0);
        let bytes = outer.into_bytes();
        let fields = all(&bytes).unwrap();
        assert_eq!(fields.len(), 3);
        let place = fields[1].message().unwrap();
        assert_eq!(place, Delimited { prefix: 3..4, body: 4..11 });
        let nested: Vec<_> = Fields::new(&bytes, place.body).map(Result::unwrap).collect();
        assert_eq!(nested[1].span, 6..11);
        assert_eq!(nested[1].fixed32(), Ok(7..11));
        assert_eq!(fields[2].payload, Payload::Fixed64(12..20));
    }

    #[test]
    fn varints_round_trip() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift, u64::MAX] {
                let mut writer = Writer::new();
                writer.varint(1, value);
                assert_eq!(all(&writer.into_bytes()).unwrap()[0].varint(), Ok(value));
            }
        }
    }

    #[test]
    fn every_error_is_named() {
        let overlong = [&[0x08][..], &[0xff; 9], &[0x02]].concat();
        let cases: &[(&[u8], WireError)] = &[
            (&[0x0a, 0x05, 0x00], WireError::Truncated { at: 0, needed: 5, left: 1 }),
            (&[0x08], WireError::Truncated { at: 0, needed: 1, left: 0 }),
            (&[0x08, 0x80], WireError::Truncated { at: 0, needed: 1, left: 0 }),
            (&[0x0d, 0x00], WireError::Truncated { at: 0, needed: 4, left: 1 }),
            (&[0x09, 0x00], WireError::Truncated { at: 0, needed: 8, left: 1 }),
            (&overlong, WireError::VarintTooLong { at: 1 }),
            (&[0x0b], WireError::WireType { at: 0, wire_type: 3 }),
            (&[0x0f], WireError::WireType { at: 0, wire_type: 7 }),
            (&[0x00, 0x00], WireError::FieldNumber { at: 0, number: 0 }),
        ];
        for (bytes, expected) in cases {
            assert_eq!(all(bytes).as_ref(), Err(expected), "{bytes:02x?}");
        }
        let huge = [&[0x0a][..], &[0xff; 9], &[0x01]].concat();
        assert_eq!(all(&huge), Err(WireError::Truncated { at: 0, needed: u64::MAX, left: 0 }));
    }

    #[test]
    fn an_inner_lie_is_an_overrun_not_a_truncation() {
        let bytes = [0x0a, 0x02, 0x0a, 0x09, 0x08, 0x01];
        let inner: Result<Vec<_>, _> = Fields::new(&bytes, 2..4).collect();
        assert_eq!(inner, Err(WireError::Overrun { at: 2, needed: 9, left: 0 }));
    }

    #[test]
    fn accessors_refuse_other_wire_types() {
        let mut writer = Writer::new();
        writer.varint(1, 5).bytes(2, &[0xff]);
        let bytes = writer.into_bytes();
        let fields = all(&bytes).unwrap();
        assert!(matches!(fields[0].message(), Err(WireError::Unexpected { number: 1, .. })));
        assert!(matches!(fields[0].fixed32(), Err(WireError::Unexpected { .. })));
        assert!(matches!(fields[1].varint(), Err(WireError::Unexpected { number: 2, .. })));
        assert_eq!(fields[1].text(&bytes), Err(WireError::NotUtf8 { at: 4 }));
    }

    #[test]
    fn packed_and_unpacked_numbers_mix() {
        let mut writer = Writer::new();
        writer.varint(5, 1).varint(6, 9).packed_varints(5, [300, 2]).varint(5, 7);
        let bytes = writer.into_bytes();
        let numbers = Numbers { message: 0..bytes.len(), number: 5, element: Element::Varint };
        assert_eq!(numbers.count(&bytes), Ok(4));
        let values: Vec<u64> = numbers.all(&bytes).map(|value| value.unwrap().0).collect();
        assert_eq!(values, [1, 300, 2, 7]);
        let floats = Numbers { element: Element::Fixed32, ..numbers };
        assert!(matches!(floats.count(&bytes), Err(WireError::Unexpected { .. })));
    }
}
