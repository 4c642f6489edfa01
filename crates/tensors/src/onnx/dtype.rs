//! The element types of ONNX, as a table.

use bitquake_bits::Format;

use crate::Dtype;
use crate::info::element_count;
use crate::wire::Element;

/// `TensorProto.DataType` numbers in order from 0: name, and number format if it is one.
const ELEMENT_TYPES: &[(&str, Option<Format>)] = &[
    ("undefined", None),
    ("f32", Some(Format::F32)),
    ("u8", Some(Format::U8)),
    ("i8", Some(Format::I8)),
    ("u16", Some(Format::U16)),
    ("i16", Some(Format::I16)),
    ("i32", Some(Format::I32)),
    ("i64", Some(Format::I64)),
    ("string", None),
    ("bool", None),
    ("f16", Some(Format::F16)),
    ("f64", Some(Format::F64)),
    ("u32", Some(Format::U32)),
    ("u64", Some(Format::U64)),
    ("c64", None),
    ("c128", None),
    ("bf16", Some(Format::BF16)),
    ("f8e4m3", Some(Format::F8E4M3)),
    ("f8e4m3fnuz", Some(Format::F8E4M3FNUZ)),
    ("f8e5m2", Some(Format::F8E5M2)),
    ("f8e5m2fnuz", Some(Format::F8E5M2FNUZ)),
    ("u4", Some(Format::unsigned(4))),
    ("i4", Some(Format::signed(4))),
    ("f4e2m1", Some(Format::F4E2M1)),
    ("f8e8m0", Some(Format::F8E8M0)),
    ("u2", Some(Format::unsigned(2))),
    ("i2", Some(Format::signed(2))),
    ("f6e2m3", Some(Format::F6E2M3)),
    ("f6e3m2", Some(Format::F6E3M2)),
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
        Format::I64 => (7, Element::Varint),
        Format::U32 | Format::U64 => (11, Element::Varint),
        _ => (5, Element::Varint),
    }
}

/// The bytes of a tensor whose dtype is no number format, as contiguous data; `None` where that is not known.
pub(crate) fn opaque_size(dtype: &Dtype, shape: &[u64]) -> Option<u64> {
    let Dtype::Other(name) = dtype else { return None };
    let bits: u64 = match name.as_str() {
        "bool" => 8,
        "c64" => 64,
        "c128" => 128,
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
    fn every_format_of_the_usual_widths_has_a_number() {
        for row in FORMATS.iter().filter(|row| row.format.is_float() || row.format.width().is_power_of_two())
        {
            if row.format.width() == 1 {
                continue;
            }
            assert!(ELEMENT_TYPES.iter().any(|(_, format)| *format == Some(row.format)), "{}", row.name);
        }
    }

    #[test]
    fn sizes_of_what_is_no_format() {
        let cases: &[(&str, &[u64], Option<u64>)] = &[
            ("c64", &[3], Some(24)),
            ("bool", &[], Some(1)),
            ("c128", &[0], Some(0)),
            ("string", &[1], None),
            ("c64", &[u64::MAX], None),
        ];
        for &(name, shape, size) in cases {
            assert_eq!(opaque_size(&Dtype::Other(name.into()), shape), size, "{name} {shape:?}");
        }
        assert_eq!(opaque_size(&Dtype::Known(Format::F32), &[1]), None);
    }

    #[test]
    fn numbers() {
        assert_eq!(dtype(16), Dtype::Known(Format::BF16));
        assert_eq!(dtype(7), Dtype::Known(Format::I64));
        assert_eq!(dtype(22), Dtype::Known(Format::signed(4)));
        assert_eq!(dtype(9), Dtype::Other("bool".into()));
        assert_eq!(dtype(u64::MAX), Dtype::Other(format!("onnx-type-{}", u64::MAX)));
    }
}
