//! The published binary32 vectors (SPEC section 1.2).

use bitquake_bits::{Format, binary, describe_flip, hex, pattern, read_word, write_word};

/// Integer view, hexadecimal word, value, bits.
const WORDS: [(i32, &str, f64, &str); 9] = [
    (-1099712250, "be73b906", -0.2380104959011078, "10111110011100111011100100000110"),
    (1020618774, "3cd56816", 0.026050608605146408, "00111100110101010110100000010110"),
    (1046115288, "3e5a73d8", 0.21333253383636475, "00111110010110100111001111011000"),
    (-1096991409, "be9d3d4f", -0.3071083724498749, "10111110100111010011110101001111"),
    (-1096167765, "bea9ceab", -0.3316548764705658, "10111110101010011100111010101011"),
    (1050902816, "3ea38120", 0.31934452056884766, "00111110101000111000000100100000"),
    (-1117487605, "bd647e0b", -0.05578426644206047, "10111101011001000111111000001011"),
    (1051193350, "3ea7f006", 0.3280031085014343, "00111110101001111111000000000110"),
    (1039613558, "3df73e76", 0.12072460353374481, "00111101111101110011111001110110"),
];

/// Value, bit, value after the flip.
const FLIPS: [(f64, u32, f64); 13] = [
    (0.026050608605146408, 24, 0.10420243442058563),
    (0.5, 0, 0.5000000596046448),
    (0.5, 12, 0.500244140625),
    (0.5, 22, 0.75),
    (0.5, 23, 1.0),
    (0.5, 24, 0.125),
    (0.5, 29, 2.710505431213761e-20),
    (0.5, 30, 1.7014118346046923e+38),
    (0.5, 31, -0.5),
    (1.0, 30, f64::INFINITY),
    (1.5, 30, f64::NAN),
    (0.0, 30, 2.0),
    (0.0, 31, -0.0),
];

/// NaN equals NaN, and the zeros differ.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn words_show_as_published() {
    for (view, hexadecimal, value, bits) in WORDS {
        let word = Format::I32.encode(f64::from(view)).unwrap();
        assert_eq!(hex(Format::F32, word), hexadecimal);
        assert_eq!(binary(Format::F32, word), bits);
        assert_eq!(pattern(Format::F32, word).replace('.', ""), bits);
        // The published decimals are the shortest ones of the widened value.
        assert_eq!(Format::F32.decode(word), value, "{hexadecimal}");
        assert_eq!(Format::F32.encode(value), Ok(word));
        assert_eq!(Format::I32.decode(word), f64::from(view));
        for text in [format!("0x{hexadecimal}"), format!("0b{bits}"), format!("{value}")] {
            assert_eq!(Format::F32.parse_word(&text), Ok(word), "{text}");
        }
        assert_eq!(Format::I32.parse_word(&view.to_string()), Ok(word));
    }
}

#[test]
fn flips_give_the_published_values() {
    for (old, bit, new) in FLIPS {
        let word = Format::F32.encode(old).unwrap();
        let flipped = describe_flip(Format::F32, word, &[bit]).unwrap();
        assert!(same(flipped.new, new), "{old} with bit {bit} flipped is {new}, not {}", flipped.new);
        assert!(same(flipped.old, old));
        let back = describe_flip(Format::F32, flipped.new_word, &[bit]).unwrap();
        assert_eq!(back.new_word, word, "a second flip undoes the first");
        // The same through the bytes in memory.
        let mut bytes = (old as f32).to_le_bytes();
        bitquake_bits::flip(&mut bytes, u64::from(bit)).unwrap();
        assert_eq!(read_word(Format::F32, &bytes, 0), Some(flipped.new_word));
    }
    let flipped = describe_flip(Format::F32, 1020618774, &[24]).unwrap();
    assert_eq!((flipped.new_word, flipped.ratio()), (1037395990, Some(4.0)));
    assert_eq!(hex(Format::F32, flipped.new_word), "3dd56816");
}

/// A cast to bytes keeps a word's low eight bits: 1048365694 becomes 126, -1098724192 becomes 160. Nothing here does.
#[test]
fn nothing_narrows_a_word() {
    for (view, narrowed) in [(1048365694_i32, 126), (-1098724192, 160)] {
        let word = u64::from(view.cast_unsigned());
        assert_eq!(word % 256, narrowed, "the published lesson");
        let mut byte = [7];
        assert_eq!(write_word(Format::U8, &mut byte, 0, word), None);
        assert_eq!(byte, [7]);
        assert!(describe_flip(Format::U8, word, &[0]).is_err());
        assert!(Format::U8.parse_word(&format!("0x{word:x}")).is_err());
        assert!(Format::U8.parse_word(&view.to_string()).is_err());
        assert!(Format::U8.encode(f64::from(view)).is_err());
        assert!(Format::U8.nearest(f64::from(view)).is_err());
    }
}
