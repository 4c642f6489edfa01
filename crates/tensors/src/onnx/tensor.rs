//! `TensorProto`: what it says, and where its data stand.

use std::ops::Range;

use super::dtype::{dtype, typed_field};
use super::{Problem, SETTING_MARK};
use crate::Dtype;
use crate::wire::{Element, Field, Fields, Numbers, Payload};

/// A tensor as its message describes it; sizes are not checked yet.
#[derive(Clone, Debug)]
pub(crate) struct TensorRecord {
    /// The name within its graph, possibly empty.
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    pub(crate) data: Data,
    /// It carries [`SETTING_MARK`].
    pub(crate) is_setting: bool,
}

/// Where the data of a tensor stand.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    /// Contiguous little-endian words at absolute offsets of the main file.
    Words(Range<usize>),
    /// Numbers that are not contiguous words, and the field that takes their place when they must be words.
    Numbers(Numbers, Rewrite),
    /// In another file.
    External(ExternalRecord),
    /// Elements that are not in the format table and stand in the main file.
    Opaque,
    /// Stored in a way that has no one meaning.
    Bad(String),
}

/// The field that holds a list of numbers as contiguous words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rewrite {
    /// `TensorProto.raw_data`.
    RawData,
    /// `AttributeProto.floats`, packed.
    PackedFloats,
}

impl Rewrite {
    /// The number of the field.
    pub(crate) fn field(self) -> u32 {
        match self {
            Rewrite::RawData => 9,
            Rewrite::PackedFloats => 7,
        }
    }
}

/// The entries of `TensorProto.external_data`, as text.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExternalRecord {
    pub(crate) location: Option<String>,
    pub(crate) offset: Option<String>,
    pub(crate) length: Option<String>,
}

/// The fields of a `TensorProto` that matter here.
#[derive(Default)]
struct Scan {
    name: String,
    code: u64,
    raw: Option<Range<usize>>,
    typed: Typed,
    external: ExternalRecord,
    is_external: bool,
    is_segmented: bool,
    is_setting: bool,
}

/// The non-empty typed data fields seen: `float_data`, `int32_data` and their like.
#[derive(Default)]
struct Typed {
    /// One bit per field number.
    numbers: u32,
    /// How many fields there are.
    count: u64,
    /// The body of the last one, if it was packed.
    packed: Option<Range<usize>>,
}

/// Reads the message that occupies `body`.
pub(super) fn read_tensor(bytes: &[u8], body: Range<usize>) -> Result<TensorRecord, Problem> {
    let mut scan = Scan::default();
    for field in Fields::new(bytes, body.clone()) {
        scan.take(bytes, &field?)?;
    }
    let dims = Numbers { message: body.clone(), number: 1, element: Element::Varint };
    let dims: Vec<i64> = dims.all(bytes).map(|dim| Ok(dim?.0 as i64)).collect::<Result<_, Problem>>()?;
    let dtype = dtype(scan.code);
    let (name, is_setting) = (std::mem::take(&mut scan.name), scan.is_setting);
    let data = match dims.iter().find(|dim| **dim < 0) {
        Some(dim) => Data::Bad(format!("dimension {dim} is negative")),
        None => scan.into_data(&dtype, body),
    };
    let shape = dims.into_iter().map(|dim| u64::try_from(dim).unwrap_or(0)).collect();
    Ok(TensorRecord { name, dtype, shape, data, is_setting })
}

impl Scan {
    fn take(&mut self, bytes: &[u8], field: &Field) -> Result<(), Problem> {
        match field.number {
            2 => self.code = field.varint()?,
            3 => self.is_segmented = true,
            8 => self.name = field.text(bytes)?.to_owned(),
            9 => self.raw = Some(field.message()?.body),
            4..=7 | 10 | 11 => self.typed.take(field),
            13 => self.external.take(bytes, field.message()?.body)?,
            14 => self.is_external = field.varint()? == 1,
            16 => self.is_setting |= entry(bytes, field.message()?.body)? == SETTING_MARK,
            _ => {}
        }
        Ok(())
    }

    fn into_data(self, dtype: &Dtype, body: Range<usize>) -> Data {
        if self.is_segmented {
            return Data::Bad("is stored in segments, which is not supported".to_owned());
        }
        if self.is_external {
            return Data::External(self.external);
        }
        let Dtype::Known(format) = dtype else { return Data::Opaque };
        let (number, element) = typed_field(*format);
        match self.raw {
            Some(raw) if !raw.is_empty() && self.typed.count > 0 => {
                Data::Bad("is stored twice, as raw_data and in a typed field".to_owned())
            }
            Some(raw) if self.typed.count == 0 => Data::Words(raw),
            _ => self.typed.into_data(number, element, body),
        }
    }
}

impl Typed {
    fn take(&mut self, field: &Field) {
        let packed = match &field.payload {
            Payload::Delimited(place) => Some(place.body.clone()),
            _ => None,
        };
        // Strings are counted even when empty; a packed run without numbers says nothing.
        if field.number == 6 || packed.as_ref().is_none_or(|body| !body.is_empty()) {
            self.numbers |= 1 << field.number;
            self.count += 1;
            self.packed = packed;
        }
    }

    /// The data of a tensor whose numbers belong into the field `number`.
    fn into_data(self, number: u32, element: Element, body: Range<usize>) -> Data {
        if self.numbers & !(1 << number) != 0 {
            return Data::Bad("has numbers in a data field of another type".to_owned());
        }
        match (self.count, self.packed) {
            (0, _) => Data::Words(body.end..body.end),
            (1, Some(words)) if element != Element::Varint => Data::Words(words),
            _ => Data::Numbers(Numbers { message: body, number, element }, Rewrite::RawData),
        }
    }
}

impl ExternalRecord {
    /// Reads one key and value; keys other than these three (such as `checksum`) are passed over.
    fn take(&mut self, bytes: &[u8], body: Range<usize>) -> Result<(), Problem> {
        let (key, value) = entry(bytes, body)?;
        match key {
            "location" => self.location = Some(value.to_owned()),
            "offset" => self.offset = Some(value.to_owned()),
            "length" => self.length = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// The key and the value of a `StringStringEntryProto`.
fn entry(bytes: &[u8], body: Range<usize>) -> Result<(&str, &str), Problem> {
    let (mut key, mut value) = ("", "");
    for field in Fields::new(bytes, body) {
        let field = field?;
        match field.number {
            1 => key = field.text(bytes)?,
            2 => value = field.text(bytes)?,
            _ => {}
        }
    }
    Ok((key, value))
}
