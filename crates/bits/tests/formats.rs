//! Every row of the format table: its fields, its round trips, its rounding. A new row is tested by being there.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use bitquake_bits::{Class, Encoding, FORMATS, Field, Format, FormatError, FormatRow, Special};
use proptest::prelude::*;

/// Whether the format has infinities and NaNs as IEEE 754 says.
fn is_ieee(row: &FormatRow) -> bool {
    matches!(row.format.class(), Class::Float { special: Special::Ieee, .. })
}

fn is_code(row: &FormatRow) -> bool {
    matches!(row.format.class(), Class::Code { .. })
}

/// Formats that `f64` holds exactly.
fn exact() -> impl Iterator<Item = Format> {
    FORMATS.iter().filter(|row| !is_code(row) || row.format.width() <= 53).map(|row| row.format)
}

/// Formats small enough to try every word, codes in every encoding and some fixed points among them.
fn small() -> impl Iterator<Item = Format> {
    let named = FORMATS.iter().filter(|row| row.format.width() <= 16).map(|row| row.format);
    let codes = [1, 2, 5, 8, 11].into_iter().flat_map(|width| {
        Encoding::ALL.into_iter().flat_map(move |encoding| {
            [(true, 0), (true, 3), (false, 9), (false, -2)]
                .into_iter()
                .filter_map(move |(signed, point)| Format::code(width, signed, encoding, point).ok())
        })
    });
    named.chain(codes)
}

fn words(format: Format) -> impl Iterator<Item = u64> {
    0..1 << format.width()
}

/// What a decoded word must encode to: itself, but for NaNs, which all become the canonical one.
fn canonical(format: Format, word: u64) -> u64 {
    if format.is_nan(word) { format.encode(f64::NAN).unwrap() } else { word }
}

#[test]
fn names_are_unique_and_read_back() {
    for row in FORMATS {
        assert_eq!(row.format.row(), Some(row));
        assert_eq!(row.format.name(), row.name);
        assert_eq!(Format::from_name(row.name), Ok(row.format));
        assert_eq!(row.format.to_string().parse(), Ok(row.format));
        assert!(!row.about.is_empty());
    }
    let error = Format::from_name("F32").unwrap_err().to_string();
    assert!(
        error.starts_with("unknown number format `F32`; known: f64, f32, f16, bf16, f8e4m3, "),
        "{error}"
    );
}

#[test]
fn names_of_codes_read_back_and_have_one_spelling() {
    for format in small() {
        assert_eq!(format.name().parse(), Ok(format));
    }
    let known = [
        ("i5", Format::signed(5)),
        ("u64", Format::U64),
        ("i8.5", Format::code(8, true, Encoding::Plain, 5).unwrap()),
        ("u4.-2-gray", Format::code(4, false, Encoding::Gray, -2).unwrap()),
        ("i16-offset", Format::code(16, true, Encoding::Offset, 0).unwrap()),
    ];
    for (name, format) in known {
        assert_eq!((name.parse(), format.name().as_str()), (Ok(format), name));
    }
    for bad in [
        "",
        "i",
        "i0",
        "u65",
        "i08",
        "i8.0",
        "i8.",
        "i8.-",
        "i8.+5",
        "i8.513",
        "u8-offset",
        "i8-",
        "i8-grey",
        "é8",
        "-8",
    ] {
        assert!(bad.parse::<Format>().is_err(), "{bad}");
    }
}

#[test]
fn fields_that_make_no_format() {
    let code = |width, signed, encoding, point| Format::code(width, signed, encoding, point).unwrap_err();
    assert_eq!(code(0, true, Encoding::Plain, 0), FormatError::Width { width: 0 });
    assert_eq!(code(65, true, Encoding::Plain, 0).to_string(), "a code has 1 to 64 bits, not 65");
    assert_eq!(code(8, true, Encoding::Plain, -513), FormatError::Point { point: -513 });
    assert_eq!(
        code(8, false, Encoding::SignMagnitude, 0).to_string(),
        "unsigned codes have no sign-magnitude encoding"
    );
}

#[test]
fn fields_divide_the_word() {
    for row in FORMATS {
        let format = row.format;
        let masks = Field::ALL.map(|field| format.field_mask(field));
        let bits: u32 = masks.iter().map(|mask| mask.count_ones()).sum();
        assert_eq!(masks.iter().fold(0, |all, mask| all | mask), format.mask(), "{format}");
        assert_eq!(bits, format.width(), "the fields of {format} overlap");
        assert_eq!(format.mask().count_ones(), format.width());
        assert_eq!(format.field(format.width()), None);
        assert_eq!(format.field(u32::MAX), None);
        for (field, mask) in Field::ALL.into_iter().zip(masks) {
            for bit in 0..format.width() {
                assert_eq!(format.field(bit) == Some(field), mask >> bit & 1 == 1, "{format} bit {bit}");
            }
        }
    }
}

#[test]
fn field_widths_are_the_standard_ones() {
    let widths = [
        (Format::F64, [1, 11, 52, 0]),
        (Format::F32, [1, 8, 23, 0]),
        (Format::F16, [1, 5, 10, 0]),
        (Format::BF16, [1, 8, 7, 0]),
        (Format::I32, [1, 0, 0, 31]),
        (Format::U32, [0, 0, 0, 32]),
        (Format::I16, [1, 0, 0, 15]),
        (Format::U16, [0, 0, 0, 16]),
        (Format::I8, [1, 0, 0, 7]),
        (Format::U8, [0, 0, 0, 8]),
        (Format::F8E4M3, [1, 4, 3, 0]),
        (Format::F8E5M2, [1, 5, 2, 0]),
        (Format::F8E8M0, [0, 8, 0, 0]),
        (Format::F6E3M2, [1, 3, 2, 0]),
        (Format::F4E2M1, [1, 2, 1, 0]),
        (Format::signed(3), [1, 0, 0, 2]),
        (Format::unsigned(1), [0, 0, 0, 1]),
    ];
    for (format, expected) in widths {
        assert_eq!(Field::ALL.map(|field| format.field_mask(field).count_ones()), expected, "{format}");
    }
}

#[test]
fn every_small_word_survives_decode_and_encode() {
    for format in small() {
        for word in words(format) {
            let value = format.decode(word);
            assert_eq!(format.encode(value), Ok(canonical(format, word)), "{format} {word:#x} = {value}");
            assert_eq!(format.nearest(value), Ok(canonical(format, word)), "{format} {word:#x} = {value}");
        }
    }
}

#[test]
fn every_small_word_decodes_as_an_independent_implementation_says() {
    for word in 0..=u16::MAX {
        let expected = [
            (Format::F16, half::f16::from_bits(word).to_f64()),
            (Format::BF16, half::bf16::from_bits(word).to_f64()),
            (Format::I16, f64::from(word.cast_signed())),
            (Format::U16, f64::from(word)),
            (Format::I8, f64::from((word as u8).cast_signed())),
            (Format::U8, f64::from(word as u8)),
        ];
        for (format, value) in expected {
            let decoded = format.decode(u64::from(word));
            let same = decoded.to_bits() == value.to_bits() || (decoded.is_nan() && value.is_nan());
            assert!(same, "{format} {word:#x}: {decoded}, not {value}");
            assert_eq!(format.is_nan(u64::from(word)), value.is_nan());
            assert_eq!(format.is_finite(u64::from(word)), value.is_finite());
        }
    }
}

fn ieee_small() -> impl Iterator<Item = Format> {
    FORMATS.iter().filter(|row| is_ieee(row) && row.format.width() <= 16).map(|row| row.format)
}

/// All words of a small float format from 0 to infinity, with their values; both ascend.
fn ladder(format: Format) -> Vec<(u64, f64)> {
    let positive = words(format).filter(|word| word >> format.msb() == 0 && !format.is_nan(*word));
    positive.map(|word| (word, format.decode(word))).collect()
}

/// Rounding by search: the two neighbours on the ladder, and on which side of their midpoint `value` lies.
fn nearest_by_search(ladder: &[(u64, f64)], value: f64) -> u64 {
    let above = ladder.partition_point(|(_, step)| *step <= value);
    let (low, high) = (ladder[above - 1], ladder.get(above));
    let Some(&high) = high else { return low.0 };
    // Infinity stands for the power of two that would come next. All midpoints are exact in f64.
    let next = if high.1.is_infinite() { 2.0 * low.1 - ladder[above - 2].1 } else { high.1 };
    let middle = (low.1 + next) / 2.0;
    let even = if low.0 & 1 == 0 { low.0 } else { high.0 };
    match value.partial_cmp(&middle).unwrap() {
        std::cmp::Ordering::Less => low.0,
        std::cmp::Ordering::Equal => even,
        std::cmp::Ordering::Greater => high.0,
    }
}

#[test]
fn small_floats_round_half_to_even_everywhere() {
    for format in ieee_small() {
        let ladder = ladder(format);
        let check = |value: f64| {
            let expected = nearest_by_search(&ladder, value);
            assert_eq!(format.nearest(value), Ok(expected), "{format} {value:e}");
            assert_eq!(format.nearest(-value), Ok(expected | 1 << format.msb()), "{format} -{value:e}");
        };
        for pair in ladder.windows(2).filter(|pair| pair[1].1.is_finite()) {
            let middle = (pair[0].1 + pair[1].1) / 2.0;
            [pair[0].1, pair[0].1.next_up(), middle.next_down(), middle, middle.next_up()]
                .into_iter()
                .for_each(check);
        }
        let largest = ladder[ladder.len() - 2];
        let middle = largest.1 + (largest.1 - ladder[ladder.len() - 3].1) / 2.0;
        [largest.1, middle.next_down(), middle, middle.next_up(), f64::MAX, f64::INFINITY]
            .into_iter()
            .for_each(check);
        [f64::MIN_POSITIVE, 5e-324].into_iter().for_each(check);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_word_of_any_format_survives_decode_and_encode(bits: u64) {
        for format in exact() {
            let word = bits & format.mask();
            prop_assert_eq!(format.encode(format.decode(word)), Ok(canonical(format, word)));
        }
    }

    #[test]
    fn bits_above_the_word_are_ignored_when_decoding(bits: u64) {
        for row in FORMATS {
            let (wide, word) = (row.format.decode(bits), row.format.decode(bits & row.format.mask()));
            prop_assert!(wide == word || wide.is_nan() && word.is_nan());
        }
    }

    #[test]
    fn f32_is_the_machines_f32(word: u32, bits: u64) {
        let value = f64::from(f32::from_bits(word));
        let decoded = Format::F32.decode(u64::from(word));
        prop_assert!(decoded.to_bits() == value.to_bits() || decoded.is_nan() && value.is_nan());
        let any = f64::from_bits(bits);
        prop_assume!(!any.is_nan());
        prop_assert_eq!(Format::F32.nearest(any), Ok(u64::from((any as f32).to_bits())));
    }

    /// Any f64 is rarely in the range of f32; these are, and lie near its ties and subnormals.
    #[test]
    fn f32_rounds_as_the_machine_does(word: u32, low in prop_oneof![Just(0_u64), Just(1 << 28), 0..1_u64 << 29]) {
        let value = f64::from_bits(f64::from(f32::from_bits(word & 0x7f7f_ffff)).to_bits() + low);
        prop_assert_eq!(Format::F32.nearest(value), Ok(u64::from((value as f32).to_bits())));
    }

    #[test]
    fn f64_keeps_every_value(word: u64) {
        let value = f64::from_bits(word);
        prop_assert_eq!(Format::F64.nearest(value), Ok(canonical(Format::F64, word)));
    }

    #[test]
    fn small_floats_round_as_the_search_does(bits in 0..0x7ff0_0000_0000_0000_u64, exponent in 950..1150_u64) {
        for format in ieee_small() {
            let ladder = ladder(format);
            for bits in [bits, (bits & ((1 << 52) - 1)) | exponent << 52] {
                let value = f64::from_bits(bits);
                prop_assert_eq!(format.nearest(value), Ok(nearest_by_search(&ladder, value)));
            }
        }
    }
}

#[test]
#[ignore = "all 2^32 words of f32: a minute and a half in the test profile"]
fn every_f32_word_survives() {
    for word in 0..=u32::MAX {
        let (value, decoded) = (f64::from(f32::from_bits(word)), Format::F32.decode(u64::from(word)));
        assert!(decoded.to_bits() == value.to_bits() || decoded.is_nan() && value.is_nan(), "{word:#x}");
        assert_eq!(Format::F32.encode(decoded), Ok(canonical(Format::F32, u64::from(word))), "{word:#x}");
    }
}

#[test]
fn special_float_words() {
    for row in FORMATS.iter().filter(|row| is_ieee(row)) {
        let format = row.format;
        let (exponent, mantissa) = (format.field_mask(Field::Exponent), format.field_mask(Field::Mantissa));
        let quiet = mantissa & !(mantissa >> 1);
        assert_eq!(format.encode(f64::NAN), Ok(exponent | quiet), "the canonical NaN of {format}");
        assert_eq!(format.encode(-f64::NAN), Ok(exponent | quiet));
        for nan in [exponent | 1, exponent | mantissa, format.mask()] {
            assert!(format.is_nan(nan) && !format.is_finite(nan) && format.decode(nan).is_nan());
        }
        assert_eq!(format.decode(exponent), f64::INFINITY);
        assert_eq!(format.encode(f64::NEG_INFINITY), Ok(exponent | 1 << format.msb()));
        assert!(!format.is_finite(exponent) && !format.is_nan(exponent));
        assert_eq!(format.encode(-0.0), Ok(1 << format.msb()), "{format} keeps the sign of zero");
        // The largest subnormal and the smallest normal number are neighbours.
        assert!(format.decode(mantissa) < format.decode(mantissa + 1) && format.decode(1) > 0.0);
        assert_eq!(format.decode(mantissa) + format.decode(1), format.decode(mantissa + 1));
    }
}

#[test]
fn integers_round_and_refuse_what_they_do_not_hold() {
    for row in FORMATS.iter().filter(|row| is_code(row) && (2..=32).contains(&row.format.width())) {
        let format = row.format;
        let signed = matches!(format.class(), Class::Code { signed: true, .. });
        let high = if signed { format.mask() >> 1 } else { format.mask() };
        let low = if signed { -(high as f64) - 1.0 } else { 0.0 };
        let high = high as f64;
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, high + 0.5, high + 1.0, low - 0.75, 1e300] {
            let error = format.nearest(value).unwrap_err();
            assert_eq!(format.integer_range(), Some((low as i128, high as i128)), "{format} {value}");
            assert!(format.encode(value).is_err());
            assert!(error.to_string().contains(row.name), "{error}");
        }
        for (value, rounded) in [
            (0.5, 0.0),
            (1.5, 2.0),
            (2.5, 2.0),
            (-0.5, 0.0),
            (low, low),
            (high, high),
            (high - 0.75, high - 1.0),
        ]
        .into_iter()
        .filter(|(_, rounded)| (low..=high).contains(rounded))
        {
            assert_eq!(
                format.nearest(value).map(|word| format.decode(word)),
                Ok(rounded),
                "{format} {value}"
            );
        }
        assert_eq!(format.encode(-0.0), Ok(0), "integers have one zero");
        assert!(format.is_finite(format.mask()) && !format.is_nan(format.mask()));
    }
}

#[test]
fn a_value_that_needs_rounding_is_not_encoded() {
    let error = Format::F16.encode(0.1).unwrap_err();
    assert_eq!(error.nearest, Some(0.0999755859375));
    assert_eq!(error.to_string(), "0.1 is not exactly representable in f16, the nearest is 0.0999755859375");
    assert_eq!(Format::I8.encode(200.0).unwrap_err().to_string(), "200.0 is not exactly representable in i8");
    assert_eq!(
        Format::I8.nearest(200.0).unwrap_err().to_string(),
        "200.0 is outside i8, which holds whole numbers from -128 to 127"
    );
}

/// Values of the OCP 8-bit floats and of the microscaling formats, from the OCP specifications' tables.
#[test]
fn floats_without_infinity() {
    let cases = [
        (Format::F8E4M3, 0x7e, 448.0),
        (Format::F8E4M3, 0x08, 0.015625),
        (Format::F8E4M3, 0x01, 0.001953125),
        (Format::F8E4M3, 0x78, 256.0),
        (Format::F8E5M2, 0x7b, 57344.0),
        (Format::F8E5M2, 0x01, 1.52587890625e-5),
        (Format::F8E5M2, 0x7c, f64::INFINITY),
        (Format::F8E4M3FNUZ, 0x7f, 240.0),
        (Format::F8E4M3FNUZ, 0x01, 0.0009765625),
        (Format::F8E5M2FNUZ, 0x7f, 57344.0),
        (Format::F8E5M2FNUZ, 0x01, 7.62939453125e-6),
        (Format::F6E3M2, 0x1f, 28.0),
        (Format::F6E3M2, 0x01, 0.0625),
        (Format::F6E2M3, 0x1f, 7.5),
        (Format::F6E2M3, 0x01, 0.125),
        (Format::F4E2M1, 0x7, 6.0),
        (Format::F4E2M1, 0x1, 0.5),
        (Format::F4E2M1, 0xf, -6.0),
    ];
    for (format, word, value) in cases {
        assert_eq!(format.decode(word), value, "{format} {word:#x}");
        assert_eq!(format.nearest(value), Ok(word), "{format} {value}");
    }
    let nans =
        |format: Format| (0..1 << format.width()).filter(|&word| format.is_nan(word)).collect::<Vec<_>>();
    assert_eq!(nans(Format::F8E4M3), [0x7f, 0xff]);
    assert_eq!(nans(Format::F8E4M3FNUZ), [0x80]);
    assert_eq!(nans(Format::F8E5M2FNUZ), [0x80]);
    assert_eq!(nans(Format::F8E8M0), [0xff]);
    assert_eq!(nans(Format::F6E2M3).len() + nans(Format::F6E3M2).len() + nans(Format::F4E2M1).len(), 0);
}

#[test]
fn beyond_the_largest_float() {
    // Half a step beyond 448 rounds to it (even), more has no number; there is no infinity to round to.
    assert_eq!(Format::F8E4M3.nearest(464.0), Ok(0x7e));
    assert_eq!(Format::F8E4M3.nearest(464.1), Ok(0x7f));
    assert_eq!(Format::F8E4M3.nearest(f64::NEG_INFINITY), Ok(0xff));
    assert_eq!(Format::F8E5M2FNUZ.nearest(-1e9), Ok(0x80));
    assert_eq!(Format::F8E4M3FNUZ.nearest(-0.0), Ok(0), "its -0 is the NaN");
    assert_eq!(
        Format::F4E2M1.nearest(7.0),
        Err(bitquake_bits::OutOfRange { format: Format::F4E2M1, value: 7.0 })
    );
    assert_eq!(
        Format::F4E2M1.nearest(f64::NAN).unwrap_err().to_string(),
        "NaN is outside f4e2m1, which holds numbers from -6 to 6"
    );
}

#[test]
fn fixed_point_and_wide_integers() {
    // SPEC 3.3: quantizer A has 5 bits, 3 of them after the binary point.
    let a: Format = "i5.3".parse().unwrap();
    for (word, value) in [(0, 0.0), (0b01111, 1.875), (0b10000, -2.0), (0b10001, -1.875), (0b11111, -0.125)] {
        assert_eq!((a.decode(word), a.encode(value)), (value, Ok(word)));
    }
    let error = a.nearest(2.0).unwrap_err().to_string();
    assert_eq!(error, "2.0 is outside i5.3, which holds multiples of 0.125 from -2.0 to 1.875");
    assert_eq!(Format::I64.parse_word("9223372036854775807"), Ok(u64::MAX >> 1));
    assert_eq!(Format::U64.parse_word("18446744073709551615"), Ok(u64::MAX));
    assert!(Format::U64.parse_word("18446744073709551616").is_err());
    assert!(Format::I64.nearest(9.3e18).is_err() && Format::I64.nearest(-9.2e18).is_ok());
}
