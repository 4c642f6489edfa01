use bitquake_bits::Format;
use bitquake_fault::{Effect, TensorFaults};
use bitquake_testing::SplitMix64;

use super::*;
use crate::ActivationsConfig;

fn quantizer(text: &str) -> Quantizer {
    let section: ActivationsConfig = toml::from_str(text).expect(text);
    section.quantizer().expect(text).expect("codes")
}

fn value(dims: &[u64]) -> Value {
    Value { name: "v".into(), dims: dims.to_vec() }
}

/// What a value's units span, from the definition.
fn ends(row: &[f32], channel: Option<usize>) -> Vec<Ends> {
    let size = channel.map_or(row.len(), |channels| row.len() / channels);
    let end = |unit: &[f32]| {
        let fold = |pick: fn(f32, f32) -> f32| unit.iter().copied().reduce(pick).expect("elements");
        (fold(f32::min), fold(f32::max))
    };
    row.chunks(size).map(end).collect()
}

const SECTIONS: [&str; 14] = [
    "family = 'symmetric'",
    "family = 'symmetric'\nsigned = false\nbits = 5",
    "family = 'symmetric'\nbits = 4\nrounding = 'truncate'\nclip = 0.7",
    "family = 'symmetric'\nbits = 16\nrounding = 'truncate'",
    "family = 'symmetric'\nrange = { fixed = 0.8 }\nencoding = 'sign-magnitude'",
    "family = 'asymmetric'",
    "family = 'asymmetric'\nbits = 16\nrounding = 'truncate'\nsigned = false",
    "family = 'asymmetric'\nbits = 3\nencoding = 'gray'",
    "family = 'affine'",
    "family = 'affine'\nsigned = false\nbits = 16",
    "family = 'pact'\nrounding = 'truncate'",
    "family = 'wcat'\nrange = { alpha = 0.9 }\nbits = 6",
    "family = 'lsq'\nrange = { step = 0.013 }\nrounding = 'truncate'",
    "family = 'qkeras'\ninteger = 1",
];

/// The memory holds codes: what the network sees of a stored row gives the codes of the row back, all of them, and storing it
/// again changes nothing unless fractions are dropped, which is why codes are read to the nearest.
#[test]
fn the_codes_of_a_stored_row_come_back() {
    let mut random = SplitMix64::new(11);
    for text in SECTIONS {
        for (channels, magnitude) in [(None, 1.0), (None, 3e-5), (None, 4e6), (Some(4), 0.3)] {
            let per_channel = "\ngranularity = { channel = 0 }";
            if channels.is_some() && text.contains("qkeras") {
                continue;
            }
            let text = format!("{text}{}", if channels.is_some() { per_channel } else { "" });
            let shift = random.normal();
            let row: Vec<f32> = (0..4 * 3 * 50)
                .map(|at| ((random.normal() + shift) * magnitude * f64::from(1 + at / 150)) as f32)
                .collect();
            let quantizer = quantizer(&text);
            let codes = ValueCodes::fit(&quantizer, &value(&[4, 3, 50]), &ends(&row, channels)).expect(&text);
            // The grid is the one that the whole row gives.
            let whole = quantizer.fit(&row, &[4, 3, 50]).expect(&text);
            let words = whole.quantize(&row).expect(&text);
            assert_eq!(codes.grid.quantize(&row).expect(&text), words, "{text} {magnitude}");
            let mut stored = row.clone();
            codes.store(&mut stored).expect(&text);
            assert_eq!(stored, whole.dequantize(&words).expect(&text), "{text} {magnitude}");
            assert_eq!(codes.read("v", &stored).expect(&text).bytes, words, "{text} {magnitude}");
            if !text.contains("truncate") {
                let again = stored.clone();
                codes.store(&mut stored).expect(&text);
                assert_eq!(stored, again, "{text} {magnitude}");
            }
        }
    }
}

/// The same for every code that quantizing gives, of all families, and ranges far to one side of 0.
#[test]
fn every_code_that_is_given_comes_back() {
    for text in SECTIONS {
        for span in [(-1.0, 1.0), (-0.37, 2.9), (0.0, 6.0), (10.0, 10.7), (-3e20, 1e19), (0.0, 0.0)] {
            let codes = ValueCodes::fit(&quantizer(text), &value(&[1]), &[span]).expect(text);
            let format = codes.format;
            let mut given = std::collections::BTreeSet::new();
            for word in 0..1_u64 << format.width() {
                let level = codes.grid.decode(0, word).expect("a word");
                given.insert(codes.reader.quantize(&[level]).expect(text));
            }
            for bytes in given {
                let level = codes.grid.dequantize(&bytes).expect(text);
                assert_eq!(codes.reader.quantize(&level).expect(text), bytes, "{text} {span:?} {level:?}");
            }
        }
    }
}

#[test]
fn levels_that_float32_cannot_tell_apart_are_refused() {
    let error = ValueCodes::fit(&quantizer("family = 'asymmetric'"), &value(&[3]), &[(1e6, 1e6 + 1.0)]);
    let error = error.expect_err("256 levels within one unit, 2^20 / 256 of which fit");
    assert!(error.starts_with("value `v`: levels from 1000000 to 1000001"), "{error}");
    let error = ValueCodes::fit(&quantizer("family = 'affine'"), &value(&[3]), &[(-3e38, 3e38)]);
    assert!(error.expect_err("too wide").starts_with("value `v`: range -"));
}

fn faults(format: Format, lists: Vec<(Effect, Vec<u64>)>) -> Faults {
    Faults::new(vec![TensorFaults::new("v", format, 3, lists)]).expect("faults")
}

#[test]
fn a_fault_hits_the_code_that_is_there() {
    let section = "family = 'symmetric'\nrange = { fixed = 1.27 }";
    let codes = ValueCodes::fit(&quantizer(section), &value(&[3]), &[(0.0, 0.0)]).expect(section);
    let mut row = [0.5, -0.017, 9.0];
    codes.store(&mut row).expect("stored");
    let step = 1.27_f32 / 127.0;
    assert_eq!(row, [50.0 * step, -2.0 * step, 127.0 * step]);
    let i8 = codes.format;
    // 50 = 0b0011_0010 loses its lowest 1 and gains the sign; -2 = 0b1111_1110 becomes -1.
    let hit = codes.hit("v", &faults(i8, vec![(Effect::Flip, vec![1, 7, 8])]), &mut row).expect("hit");
    assert_eq!(row, [(48.0 - 128.0) * step, -step, 127.0 * step]);
    assert_eq!((hit.told.total.flips, hit.told.total.to_one, hit.dormant), (3, 2, 0));
    assert_eq!(hit.told.total.by_bit[..8], [1, 1, 0, 0, 0, 0, 0, 1]);
    // -80 is 0b1011_0000; stuck at 0 in bits 0 (dormant) and 5; 127 stuck at 1 in all bits: -1.
    let stuck = vec![(Effect::Set0, vec![0, 5]), (Effect::Set1, (16..24).collect())];
    let hit = codes.hit("v", &faults(i8, stuck), &mut row).expect("hit");
    assert_eq!(row, [(-80.0 - 32.0) * step, -step, -step]);
    assert_eq!((hit.told.total.flips, hit.dormant), (2, 8));
    // -128 is a level of its own, which quantizing never gives.
    let mut zero = [0.0; 3];
    codes.hit("v", &faults(i8, vec![(Effect::Flip, vec![7])]), &mut zero).expect("hit");
    assert_eq!(zero, [-128.0 * step, 0.0, 0.0]);
}

#[test]
fn what_is_no_number_has_a_code_all_the_same() {
    for (section, wanted) in [
        ("family = 'affine'\nrange = { lo = -1.0, hi = 1.55 }", [0.0, 1.55, -1.0]),
        ("family = 'asymmetric'\nrange = { lo = 2.0, hi = 3.0 }", [2.0, 3.0, 2.0]),
        ("family = 'symmetric'\nrounding = 'truncate'\nbits = 16\nrange = { fixed = 2.0 }", [0.0, 2.0, -2.0]),
    ] {
        let codes = ValueCodes::fit(&quantizer(section), &value(&[3]), &[(0.0, 0.0)]).expect(section);
        let mut row = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        codes.store(&mut row).expect("stored");
        for (level, wanted) in row.iter().zip(wanted) {
            assert!((level - wanted).abs() < 1e-6, "{section}: {row:?}");
        }
    }
}
