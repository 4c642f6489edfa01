//! Words and bits in byte buffers, bit selections, and words as text.

use bitquake_bits::{
    AddressOutOfBounds, BitSelection, BitSelectionError, FORMATS, Field, Format, WordError, binary, bit,
    describe_flip, flip, hex, pattern, read_word, write_word,
};
use proptest::prelude::*;

#[test]
fn elements_past_the_end_are_refused() {
    for row in FORMATS {
        let format = row.format;
        let width = format.width() as usize;
        let mut bytes = vec![0xa5; (3 * width).div_ceil(8).max(2) - 1]; // without the last byte of three elements
        let held = bytes.len() * 8 / width;
        for index in [held, held + 1, usize::MAX / width, usize::MAX] {
            assert_eq!(read_word(format, &bytes, index), None, "{format} {index}");
            assert_eq!(write_word(format, &mut bytes, index, 0), None, "{format} {index}");
        }
        if format.bytes() > 1 {
            assert!(bytes.iter().all(|byte| *byte == 0xa5), "{format} wrote part of an element");
        }
    }
}

#[test]
fn addresses_past_the_end_are_refused() {
    let mut bytes = [0; 4];
    for address in [32, 33, 1 << 40, u64::MAX] {
        let error = AddressOutOfBounds { address, bits: 32 };
        assert_eq!(flip(&mut bytes, address), Err(error));
        assert_eq!(bit(&bytes, address), Err(error));
    }
    assert_eq!(bytes, [0; 4]);
    let error = flip(&mut bytes, 32).unwrap_err().to_string();
    assert_eq!(error, "bit address 32 is outside the tensor, which has 32 bits");
}

proptest! {
    #[test]
    fn words_are_little_endian_and_addressed_by_bit(bits: u64, index in 0_usize..3, seed: [u8; 24]) {
        for row in FORMATS {
            let (format, word) = (row.format, bits & row.format.mask());
            let mut bytes = seed;
            prop_assert_eq!(write_word(format, &mut bytes, index, word), Some(()));
            prop_assert_eq!(read_word(format, &bytes, index), Some(word));
            let width = format.width() as usize;
            for place in 0..seed.len() * 8 {
                let inside = (index * width..(index + 1) * width).contains(&place);
                let old = seed[place / 8] >> (place % 8) & 1;
                let expected = if inside { (word >> (place - index * width)) as u8 & 1 } else { old };
                prop_assert_eq!(bytes[place / 8] >> (place % 8) & 1, expected, "{} bit {}", format, place);
            }
            for position in 0..format.width() {
                let address = index as u64 * u64::from(format.width()) + u64::from(position);
                prop_assert_eq!(bit(&bytes, address), Ok(word >> position & 1 == 1));
                let before = bytes;
                flip(&mut bytes, address).unwrap();
                prop_assert_eq!(read_word(format, &bytes, index), Some(word ^ 1 << position));
                flip(&mut bytes, address).unwrap();
                prop_assert_eq!(bytes, before);
            }
        }
    }

    #[test]
    fn texts_of_a_word_read_back(bits: u64) {
        for row in FORMATS {
            let (format, word) = (row.format, bits & row.format.mask());
            prop_assert_eq!(binary(format, word).len() as u32, format.width());
            let value = format.decode(word);
            for text in [format!("0x{}", hex(format, word)), format!("0b{}", pattern(format, word)), format!("0b{}", binary(format, word))] {
                prop_assert_eq!(format.parse_word(&text), Ok(word), "{}", text);
            }
            if let Some(integer) = format.integer(word) {
                prop_assert_eq!(format.parse_word(&integer.to_string()), Ok(word));
            }
            if !value.is_nan() && (value.abs() < 2.0_f64.powi(53) || format.is_float()) {
                for text in [format!("{value}"), format!("{value:e}"), format!("{value:?}")] {
                    prop_assert_eq!(format.parse_word(&text), Ok(word), "{} {}", format, text);
                }
            }
        }
    }

    #[test]
    fn f32_text_is_rounded_once(word in 0..0x7f7f_ffff_u32, noise in "[0-9]{1,30}", scale in 0..3) {
        // Just around the midpoint of two neighbouring f32 values, further than f64 can tell.
        let low = f64::from(f32::from_bits(word));
        let middle = (low + f64::from(f32::from_bits(word + 1))) / 2.0;
        let text = match scale {
            0 => format!("{middle:.200}{noise}"),
            1 => format!("{low:.1074}{noise}"),
            _ => format!("{low}{noise}"),
        };
        let text = if text.contains('.') { text } else { format!("{text}.0") };
        let expected: f32 = text.parse().unwrap();
        prop_assert_eq!(Format::F32.parse_word(&text), Ok(u64::from(expected.to_bits())), "{}", text);
    }

    #[test]
    fn no_text_panics(text in "[-+0-9a-fxXbBe._ ni\u{e9}]{0,24}", any in ".{0,16}") {
        for row in FORMATS {
            for text in [&text, &any] {
                if let Ok(word) = row.format.parse_word(text) {
                    prop_assert_eq!(word & !row.format.mask(), 0);
                }
            }
        }
        let _ = text.parse::<BitSelection>();
        let _ = any.parse::<BitSelection>();
    }

    #[test]
    fn any_selection_prints_and_reads_back(low: u32, high: u32) {
        for selection in [BitSelection::Bit(low), BitSelection::Range { low: low.min(high), high: low.max(high) }] {
            prop_assert_eq!(selection.to_string().parse(), Ok(selection));
        }
    }
}

#[test]
fn numbers_as_text() {
    let cases = [
        (Format::F32, "0.5", 0x3f00_0000),
        (Format::F32, "-0", 0x8000_0000),
        (Format::F32, "+1e-4", 0x38d1_b717),
        (Format::F32, "nan", 0x7fc0_0000),
        (Format::F32, "NaN", 0x7fc0_0000),
        (Format::F32, "inf", 0x7f80_0000),
        (Format::F32, "-inf", 0xff80_0000),
        (Format::F32, "1e400", 0x7f80_0000),
        (Format::F32, "-1e-400", 0x8000_0000),
        (Format::F32, "1e-99999999999999999999", 0),
        (Format::F16, "65519.999999999999999999999", 0x7bff),
        (Format::F16, "65520", 0x7c00),
        (Format::BF16, "1.00390625", 0x3f80),
        (Format::BF16, "1.00390625000000000000000000000001", 0x3f81),
        (Format::BF16, "-1.01171874999999999999999999999999", 0xbf81),
        (Format::BF16, "-1.01171875", 0xbf82),
        (Format::F64, "0.1", 0x3fb9_9999_9999_999a),
        (Format::I8, "-128", 0x80),
        (Format::I8, "-1", 0xff),
        (Format::I8, "127.49999999999999999999999", 0x7f),
        (Format::U8, "2.5", 2),
        (Format::U8, "2.50000000000000000000001", 3),
        (Format::U8, "255", 255),
        (Format::I32, "-1099712250", 0xbe73_b906),
        (Format::I16, "0XFF", 0xff),
        (Format::U8, "0B1", 1),
        (Format::U8, "0b0000_0000_0000_0101", 5),
        (Format::U32, "0xdead_beef", 0xdead_beef),
    ];
    for (format, text, word) in cases {
        assert_eq!(format.parse_word(text), Ok(word), "{format} {text}");
    }
}

#[test]
fn text_that_is_no_word_is_refused() {
    let cases = [
        (Format::F32, "", "`` is no number"),
        (Format::F32, "one", "`one` is no number"),
        (Format::F32, "1_000", "is no number"),
        (Format::F32, " 1", "is no number"),
        (Format::F32, "0x", "`0x` is no number"),
        (Format::F32, "0x_", "is no number"),
        (Format::F32, "-0x1", "is no number"),
        (Format::F32, "0x+1", "is no number"),
        (Format::F32, "0xg", "is no number"),
        (Format::F32, "0b2", "is no number"),
        (Format::F32, "0x1ffffffff", "the word 0x1ffffffff does not fit the 32 bits of f32"),
        (Format::F64, "0x10000000000000000", "the word 0x10000000000000000 does not fit the 64 bits of f64"),
        (Format::I8, "128", "128.0 is outside i8, which holds whole numbers from -128 to 127"),
        (Format::I8, "127.5", "127.5 is outside i8"),
        (Format::U8, "-1", "-1.0 is outside u8, which holds whole numbers from 0 to 255"),
        (Format::U8, "nan", "NaN is outside u8"),
        (Format::U8, "inf", "inf is outside u8"),
    ];
    for (format, text, message) in cases {
        let error = format.parse_word(text).unwrap_err().to_string();
        assert!(error.contains(message), "{format} {text}: {error}");
    }
}

#[test]
fn patterns_show_the_fields() {
    let cases = [
        (
            Format::F64,
            1.0,
            "0.01111111111.0000000000000000000000000000000000000000000000000000",
            "3ff0000000000000",
        ),
        (Format::F32, -0.5, "1.01111110.00000000000000000000000", "bf000000"),
        (Format::F16, 1.0, "0.01111.0000000000", "3c00"),
        (Format::BF16, 1.0, "0.01111111.0000000", "3f80"),
        (Format::I32, -101.0, "1.1111111111111111111111110011011", "ffffff9b"),
        (Format::U32, 1.0, "00000000000000000000000000000001", "00000001"),
        (Format::I16, -1.0, "1.111111111111111", "ffff"),
        (Format::U16, 1.0, "0000000000000001", "0001"),
        (Format::I8, -128.0, "1.0000000", "80"),
        (Format::U8, 10.0, "00001010", "0a"),
    ];
    for (format, value, bits, digits) in cases {
        let word = format.encode(value).unwrap();
        assert_eq!(
            (pattern(format, word), hex(format, word)),
            (bits.to_owned(), digits.to_owned()),
            "{format}"
        );
    }
}

#[test]
fn every_format_and_field_can_be_selected_or_says_why_not() {
    for row in FORMATS {
        let (format, width) = (row.format, row.format.width());
        assert_eq!(BitSelection::All.mask(format), Ok(format.mask()));
        assert_eq!(BitSelection::Msb.mask(format), Ok(1 << (width - 1)));
        assert_eq!(BitSelection::Range { low: 0, high: width - 1 }.mask(format), Ok(format.mask()));
        for position in 0..width {
            assert_eq!(BitSelection::Bit(position).mask(format), Ok(1 << position));
        }
        for (selection, field) in [
            (BitSelection::Sign, Field::Sign),
            (BitSelection::Exponent, Field::Exponent),
            (BitSelection::Mantissa, Field::Mantissa),
        ] {
            let expected = match format.field_mask(field) {
                0 => Err(BitSelectionError::NoField { format, field }),
                mask => Ok(mask),
            };
            assert_eq!(selection.mask(format), expected, "{format} {field}");
        }
        for (selection, bit) in [
            (BitSelection::Bit(width), width),
            (BitSelection::Bit(u32::MAX), u32::MAX),
            (BitSelection::Range { low: 0, high: width }, width),
        ] {
            let error = WordError::BitOutOfRange { format, bit, width };
            assert_eq!(selection.mask(format), Err(error.into()), "{format} {selection}");
            assert_eq!(describe_flip(format, 0, &[0, bit]), Err(error));
        }
        let reversed = BitSelection::Range { low: 3, high: 2 };
        assert_eq!(reversed.mask(format), Err(BitSelectionError::Reversed { low: 3, high: 2 }));
    }
    assert_eq!(BitSelection::Range { low: 23, high: 30 }.mask(Format::F32), Ok(0x7f80_0000));
    assert_eq!(BitSelection::Exponent.mask(Format::U8).unwrap_err().to_string(), "u8 has no exponent bits");
}

#[test]
fn selections_read_back_and_typos_are_refused() {
    for text in ["all", "sign", "exponent", "mantissa", "msb", "0", "30", "23..30", "5..5"] {
        assert_eq!(text.parse::<BitSelection>().map(|selection| selection.to_string()), Ok(text.to_owned()));
    }
    for text in
        ["", "All", "signs", "..", "1..", "..3", "1..=3", "1...3", "-1", "+1", " 1", "1.0", "99999999999"]
    {
        assert_eq!(text.parse::<BitSelection>(), Err(BitSelectionError::Unknown { text: text.to_owned() }));
    }
    assert_eq!("30..23".parse::<BitSelection>(), Err(BitSelectionError::Reversed { low: 30, high: 23 }));
}

#[test]
fn flipped_words_tell_what_became_of_them() {
    let flipped =
        |value: f64, bits: &[u32]| describe_flip(Format::F32, Format::F32.encode(value).unwrap(), bits);
    assert!(flipped(1.5, &[30]).unwrap().became_nan());
    assert!(flipped(1.0, &[30]).unwrap().became_infinite());
    assert_eq!(flipped(1.0, &[30]).unwrap().ratio(), None);
    assert_eq!(flipped(0.0, &[30]).unwrap().ratio(), None);
    assert_eq!(flipped(1.0, &[31, 23]).unwrap().ratio(), Some(-0.5));
    assert_eq!(flipped(1.0, &[31, 31]).unwrap().new, 1.0, "a bit named twice is left as it was");
    assert_eq!(
        describe_flip(Format::F32, 0, &[32]).unwrap_err().to_string(),
        "f32 has no bit 32: its 32 bits are 0 to 31"
    );
}
