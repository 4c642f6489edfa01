//! The types of elements, as PyTorch names them.

use bitquake_bits::{Format, Layout};

/// A type of elements.
#[derive(Debug, PartialEq)]
pub(super) struct Element {
    /// What PyTorch calls it, without `torch.`.
    pub(super) name: &'static str,
    /// The class of storages of such elements, without `torch.`; empty if there is none.
    storage: &'static str,
    /// The format of its words; `None` if they are no numbers.
    pub(super) format: Option<Format>,
    /// How many words make an element: 2 for complex numbers, real and imaginary part, and for pairs of nibbles.
    pub(super) words: u64,
}

const fn plain(name: &'static str, storage: &'static str, format: Format) -> Element {
    Element { name, storage, format: Some(format), words: 1 }
}

const fn complex(name: &'static str, storage: &'static str, part: Format) -> Element {
    Element { name, storage, format: Some(part), words: 2 }
}

const fn other(name: &'static str, storage: &'static str) -> Element {
    Element { name, storage, format: None, words: 1 }
}

/// All types that tensors in a file can have. Quantized ones are known by their codes. Formats of less than a byte are
/// stored in the low bits of one, except for the pairs.
const ELEMENTS: &[Element] = &[
    plain("float64", "DoubleStorage", Format::F64),
    plain("float32", "FloatStorage", Format::F32),
    plain("float16", "HalfStorage", Format::F16),
    plain("bfloat16", "BFloat16Storage", Format::BF16),
    plain("float8_e4m3fn", "", Format::F8E4M3),
    plain("float8_e5m2", "", Format::F8E5M2),
    plain("float8_e4m3fnuz", "", Format::F8E4M3FNUZ),
    plain("float8_e5m2fnuz", "", Format::F8E5M2FNUZ),
    plain("float8_e8m0fnu", "", Format::F8E8M0),
    Element { name: "float4_e2m1fn_x2", storage: "", format: Some(Format::F4E2M1), words: 2 },
    complex("complex128", "ComplexDoubleStorage", Format::F64),
    complex("complex64", "ComplexFloatStorage", Format::F32),
    complex("complex32", "ComplexHalfStorage", Format::F16),
    plain("int64", "LongStorage", Format::I64),
    plain("int32", "IntStorage", Format::I32),
    plain("int16", "ShortStorage", Format::I16),
    plain("int8", "CharStorage", Format::I8),
    plain("uint8", "ByteStorage", Format::U8),
    plain("uint16", "", Format::U16),
    plain("uint32", "", Format::U32),
    plain("uint64", "", Format::U64),
    plain("uint1", "", Format::unsigned(1)),
    plain("uint2", "", Format::unsigned(2)),
    plain("uint3", "", Format::unsigned(3)),
    plain("uint4", "", Format::unsigned(4)),
    plain("uint5", "", Format::unsigned(5)),
    plain("uint6", "", Format::unsigned(6)),
    plain("uint7", "", Format::unsigned(7)),
    plain("int1", "", Format::signed(1)),
    plain("int2", "", Format::signed(2)),
    plain("int3", "", Format::signed(3)),
    plain("int4", "", Format::signed(4)),
    plain("int5", "", Format::signed(5)),
    plain("int6", "", Format::signed(6)),
    plain("int7", "", Format::signed(7)),
    plain("qint32", "QInt32Storage", Format::I32),
    plain("qint8", "QInt8Storage", Format::I8),
    plain("quint8", "QUInt8Storage", Format::U8),
    other("bool", "BoolStorage"),
    other("quint4x2", "QUInt4x2Storage"),
    other("quint2x4", "QUInt2x4Storage"),
    UNTYPED,
];

/// Bytes of which only the tensor knows the type.
const UNTYPED: Element = other("untyped", "UntypedStorage");

impl Element {
    /// The bytes of an element, 1 if it is no number.
    pub(super) fn bytes(&self) -> u64 {
        self.format.map_or(1, |format| (u64::from(format.width()) * self.words).div_ceil(8))
    }

    /// The type of a dtype such as `float32`.
    pub(super) fn of_dtype(name: &str) -> Option<&'static Element> {
        ELEMENTS.iter().find(|element| element.name == name)
    }

    /// The type of the elements of a class of storages.
    pub(super) fn of_storage(class: &str) -> Option<&'static Element> {
        ELEMENTS.iter().find(|element| !element.storage.is_empty() && element.storage == class)
    }

    /// Where the words of contiguous elements are.
    pub(super) fn layout(&self, format: Format, is_big_endian: bool) -> Layout {
        let layout = match self.words {
            1 => Layout::padded(format, self.bytes()),
            _ => Layout::packed(format),
        };
        if is_big_endian && format.width() > 8 { layout.big_endian() } else { layout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for element in ELEMENTS {
            assert_eq!(Element::of_dtype(element.name), Some(element));
            if !element.storage.is_empty() {
                assert_eq!(Element::of_storage(element.storage), Some(element));
            }
            if let Some(format) = element.format {
                let layout = element.layout(format, false);
                assert_eq!(layout.bytes_needed(element.words), Some(element.bytes()), "{}", element.name);
                let is_whole = element.bytes() * 8 == element.words * u64::from(format.width());
                assert_eq!(layout.is_packed(), is_whole, "{}", element.name);
            }
        }
        assert_eq!(Element::of_storage(""), None);
    }
}
