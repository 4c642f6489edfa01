//! The element types of ONNX, as a table.

use bitquake_bits::Format;

use crate::Dtype;
use crate::info::element_count;
use crate::wire::Element;

/// `TensorProto.DataType` numbers in order from 0: name, and format if the format table has it.
const ELEMENT_TYPES: &[(&str, Option<Format>)] = &[
    ("undefined", None),
    ("f32", Some(Format::F32)),
    ("u8", Some(Format::U8)),
    ("i8", Some(Format::I8)),
    ("u16", Some(Format::U16)),
    ("i16", Some(Format::I16)),
    ("i32", Some(Format::I32)),
    ("i64", None),
    ("string", None),
    ("bool", None),
    ("f16", Some(Format::F16)),
    ("f64", Some(Format::F64)),
    ("u32", Some(Format::U32)),
    ("u64", None),
    ("c64", None),
    ("c128", None),
    ("bf16", Some(Format::Bf16)),
    ("f8e4m3", None),
    ("f8e4m3fnuz", None),
    ("f8e5m2", None),
    ("f8e5m2fnuz", None),
    ("u4", None),
    ("i4", None),
    ("f4e2m1", None),
    ("f8e8m0", None),
    ("u2", None),
    ("i2", None),
    ("f6e2m3", None),
    ("f6e3m2", None),
];

/// The dtype with the number `code`; numbers that are not known get the name `onnx-type-<code>`.
pub(super) fn dtype(code: u64) -> Dtype {
    match usize::try_from(code).ok().and_then(|index| ELEMENT_TYPES.get(index)) {
        Some((_, Some(format))) => Dtype::Known(*format),
        Some((name, None)) => Dtype::Other((*name).to_owned()),
        None => Dtype::Other(format!("onnx-type-{code}")),
    }
}

/// The typed field of `TensorProto` that holds words of a format when there is no `raw_data`, and its encoding.
pub(super) fn typed_field(format: Format) -> (u32, Element) {
    match format {
        Format::F32 => (4, Element::Fixed32),
        Format::F64 => (10, Element::Fixed64),
        Format::U32 => (11, Element::Varint),
        _ => (5, Element::Varint),
    }
}

/// The bytes of a tensor whose dtype is outside the format table, as contiguous data; `None` where that is not known.
pub(crate) fn opaque_size(dtype: &Dtype, shape: &[u64]) -> Option<u64> {
    let Dtype::Other(name) = dtype else { return None };
    let bits: u64 = match name.as_str() {
        "u2" | "i2" => 2,
        "u4" | "i4" | "f4e2m1" => 4,
        "bool" => 8,
        "i64" | "u64" | "c64" => 64,
        "c128" => 128,
        name if name.starts_with("f8") => 8,
        _ => return None,
    };
    Some(element_count(shape)?.checked_mul(bits)?.div_ceil(8))
}

#[cfg(test)]
mod tests {
    use bitquake_bits::FORMATS;

    use super::*;

    #[test]
    fn known_types_carry_the_name_of_their_format() {
        for (name, format) in ELEMENT_TYPES {
            assert!(format.is_none_or(|format| format.name() == *name), "{name}");
        }
    }

    #[test]
    fn every_format_has_a_number() {
        for row in FORMATS {
            assert!(ELEMENT_TYPES.iter().any(|(_, format)| *format == Some(row.format)), "{}", row.name);
        }
    }

    #[test]
    fn sizes_outside_the_format_table() {
        let cases: &[(&str, &[u64], Option<u64>)] = &[
            ("i64", &[3], Some(24)),
            ("bool", &[], Some(1)),
            ("i4", &[3], Some(2)),
            ("u2", &[5], Some(2)),
            ("f8e5m2", &[2, 3], Some(6)),
            ("c128", &[0], Some(0)),
            ("string", &[1], None),
            ("i64", &[u64::MAX], None),
        ];
        for &(name, shape, size) in cases {
            assert_eq!(opaque_size(&Dtype::Other(name.into()), shape), size, "{name} {shape:?}");
        }
        assert_eq!(opaque_size(&Dtype::Known(Format::F32), &[1]), None);
    }

    #[test]
    fn numbers() {
        assert_eq!(dtype(16), Dtype::Known(Format::Bf16));
        assert_eq!(dtype(7), Dtype::Other("i64".into()));
        assert_eq!(dtype(22), Dtype::Other("i4".into()));
        assert_eq!(dtype(u64::MAX), Dtype::Other(format!("onnx-type-{}", u64::MAX)));
    }
}
