//! What holds for every quantizer and every tensor.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not `#[test]` functions themselves")]

mod common;

use bitquake_quant::{Grid, Quantizer};
use bitquake_testing::{SplitMix64, assert_binomial};
use common::{FAMILIES, fit, spec};
use proptest::prelude::*;

/// Weights of any size between 2^-40 and 2^40, zeros among them; a multiple of 32 of them, for the blocks.
fn tensors() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![1 => Just(0.0_f32), 1 => Just(-0.0_f32), 8 => -1.0_f32..1.0];
    (prop::collection::vec(value, 32..200), -40..40).prop_map(|(values, exponent)| {
        let full = values.len() / 32 * 32;
        values[..full].iter().map(|value| value * 2.0_f32.powi(exponent)).collect()
    })
}

/// A family and a granularity that it allows; sometimes none.
fn grids(family: &str, values: &[f32], granularity: &str) -> Option<Grid> {
    let quantizer = Quantizer::from_spec(&spec(family, granularity)?).ok()?;
    let shape = [4, values.len() as u64 / 4];
    // SAWB may have no positive range for some tensors, a block's scale may not fit a float16.
    quantizer.fit(values, &shape).ok()
}

const GRANULARITIES: [&str; 4] = [
    "",
    r#","granularity":{"channel":0}"#,
    r#","granularity":{"channel":1}"#,
    r#","granularity":{"group":9}"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Levels are fixed points: a level is quantized to a code of the same level. Truncation is another matter (SPEC 2.10
    /// number 5), and so are quantizers whose levels do not lie where they cut (factors, rounded block scales, the faulty
    /// middle of a binary range).
    #[test]
    fn quantizing_levels_changes_nothing(values in tensors(), i in 0..FAMILIES.len(), j in 0..4_usize) {
        let family = FAMILIES[i];
        let moves = ["truncate", "alpha", "block", "dorefa"].iter().any(|word| family.contains(word));
        if let Some(grid) = grids(family, &values, GRANULARITIES[j]).filter(|_| !moves) {
            let once = grid.fake_quantize(&values).unwrap();
            let twice = grid.fake_quantize(&once).unwrap();
            prop_assert_eq!(once, twice, "{}", family);
        }
    }

    /// Nearest levels are within half a step of what lies in the range; truncated ones within a step.
    #[test]
    fn errors_are_within_a_step(values in tensors(), i in 0..FAMILIES.len(), j in 0..4_usize) {
        let family = FAMILIES[i];
        let has_uniform_levels =
            !["binary", "dorefa", "alpha", "block", "compat"].iter().any(|word| family.contains(word));
        if let Some(grid) = grids(family, &values, GRANULARITIES[j]).filter(|_| has_uniform_levels) {
            let share = if family.contains("truncate") { 1.0 } else { 0.5 };
            let levels = grid.fake_quantize(&values).unwrap();
            for (index, (&value, &level)) in values.iter().zip(&levels).enumerate() {
                let unit = grid.unit_of(index as u64).unwrap();
                let (low, high) = grid.range(unit).unwrap();
                let step = grid.scale(unit).unwrap();
                // wcat and normal have no level at the upper end.
                if value < low || value > high - step {
                    continue;
                }
                let tolerance = share * step * 1.001 + (low.abs().max(high.abs())) * 4e-7;
                prop_assert!((value - level).abs() <= tolerance, "{family}: {value} became {level}, step {step}");
            }
        }
    }

    #[test]
    fn words_codes_and_levels_agree(values in tensors(), i in 0..FAMILIES.len(), j in 0..4_usize) {
        let family = FAMILIES[i];
        if let Some(grid) = grids(family, &values, GRANULARITIES[j]) {
            let words = grid.quantize(&values).unwrap();
            let codes = grid.codes(&values).unwrap();
            prop_assert_eq!(&grid.unpack_codes(&words).unwrap(), &codes, "{}", family);
            let levels = grid.dequantize(&words).unwrap();
            for (index, (&code, level)) in codes.iter().zip(levels).enumerate() {
                let word = grid.word_of_code(code).unwrap();
                prop_assert_eq!(grid.decode(index as u64, word).unwrap().to_bits(), level.to_bits(), "{}", family);
            }
        }
    }

    /// The stored scales and zero points are all that decoding needs, and they survive a round trip.
    #[test]
    fn parts_are_the_whole_truth(values in tensors(), i in 0..FAMILIES.len(), j in 0..4_usize) {
        let family = FAMILIES[i];
        if let Some(grid) = grids(family, &values, GRANULARITIES[j]) {
            let words = grid.quantize(&values).unwrap();
            let levels = grid.dequantize(&words).unwrap();
            let again = grid.with_parts(&grid.parts()).unwrap();
            prop_assert_eq!(again.dequantize(&words).unwrap(), levels.clone(), "{}", family);
            if !family.contains("dorefa") || family.contains("1") {
                let adopted = grid.quantizer().grid_of(grid.shape(), &grid.parts()).unwrap();
                prop_assert_eq!(adopted.dequantize(&words).unwrap(), levels, "{}", family);
                // The codes of a block are made with its scale before that is rounded to a float16.
                if !family.contains("block") {
                    prop_assert_eq!(adopted.quantize(&values).unwrap(), words, "{}", family);
                }
            }
        }
    }

    /// A unit is quantized as if it were a tensor of its own.
    #[test]
    fn channels_are_tensors(values in tensors(), i in 0..FAMILIES.len()) {
        let family = FAMILIES[i];
        if let Some(grid) = grids(family, &values, r#","granularity":{"channel":0}"#) {
            let len = values.len() / 4;
            let levels = grid.fake_quantize(&values).unwrap();
            for (channel, part) in values.chunks(len).enumerate() {
                let alone = fit(&format!("{{{family}}}"), part).fake_quantize(part).unwrap();
                prop_assert_eq!(&levels[channel * len..(channel + 1) * len], &alone[..], "{}", family);
                let wanted: Vec<_> = std::iter::once(channel as u64 * len as u64..(channel as u64 + 1) * len as u64).collect();
                prop_assert_eq!(grid.elements_of(channel as u64).collect::<Vec<_>>(), wanted);
            }
        }
    }

    /// The encoding changes words, never codes or levels.
    #[test]
    fn encodings_store_the_same_levels(values in tensors(), bits in 2..12_u32) {
        for family in ["symmetric", "wcat", "bfa"] {
            let results: Vec<_> = ["twos-complement", "offset", "gray", "sign-magnitude"].iter().map(|encoding| {
                let grid = fit(&format!(r#"{{"family":"{family}","bits":{bits},"encoding":"{encoding}"}}"#), &values);
                grid.fake_quantize(&values).unwrap()
            }).collect();
            prop_assert_eq!(&results[0], &results[1]);
            prop_assert_eq!(&results[0], &results[2]);
            // The lowest code of wcat has no sign and magnitude: it saturates one step above.
            let step = fit(&format!(r#"{{"family":"{family}","bits":{bits}}}"#), &values).scale(0).unwrap();
            let most = if family == "wcat" { 1.001 * step } else { 0.0 };
            prop_assert!(results[0].iter().zip(&results[3]).all(|(a, b)| (a - b).abs() <= most));
        }
    }
}

/// A Gray code's words of neighbouring codes differ in one bit, so a flip that moves one level exists everywhere.
#[test]
fn damage_by_bit_depends_on_the_encoding() {
    let damage = |encoding: &str| {
        let grid = fit(
            &format!(r#"{{"family":"wcat","bits":3,"encoding":"{encoding}","range":{{"alpha":4}}}}"#),
            &[0.0; 8],
        );
        let words = grid.pack_codes(&[-4, -3, -2, -1, 0, 1, 2, 3]).unwrap();
        grid.damage_by_bit(&words).unwrap()
    };
    assert_eq!(damage("twos-complement"), [1.0, 2.0, 4.0]);
    assert_eq!(damage("offset"), [1.0, 2.0, 4.0]);
    // Flipping the top bit of Gray words mirrors -4..3 about -1/2: changes of 7, 5, 3, 1; the next one within each half.
    assert_eq!(damage("gray"), [1.0, 2.0, 4.0]);
    let grid = fit(r#"{"family":"wcat","bits":3,"encoding":"gray","range":{"alpha":4}}"#, &[0.0; 2]);
    assert_eq!(grid.damage_by_bit(&grid.pack_codes(&[-1, 0]).unwrap()).unwrap(), [1.0, 3.0, 1.0]);
    let grid =
        fit(r#"{"family":"wcat","bits":3,"encoding":"sign-magnitude","range":{"alpha":4}}"#, &[0.0; 2]);
    assert_eq!(grid.damage_by_bit(&grid.pack_codes(&[0, 3]).unwrap()).unwrap(), [1.0, 2.0, 3.0]);
}

/// Up with the probability of the fraction; false alarm 1e-6 for each of the three.
#[test]
fn stochastic_rounding_is_unbiased_and_keyed() {
    const N: u64 = 100_000;
    let json = r#"{"family":"lsq","rounding":"stochastic","range":{"step":0.5}}"#;
    for (value, down, fraction) in [(0.625_f32, 1, 0.25), (-0.6, -2, 0.8), (1.0, 2, 0.0)] {
        let values = vec![value; N as usize];
        let grid = fit(json, &values);
        let mut random = SplitMix64::new(3);
        let codes = grid.codes_with(&values, |_| random.unit()).unwrap();
        let up = codes.iter().filter(|&&code| code == down + 1).count() as u64;
        assert_eq!(up + codes.iter().filter(|&&code| code == down).count() as u64, N);
        assert_binomial(up, N, fraction, 1e-6);
    }
    // The number of an element depends on its index alone.
    let values: Vec<f32> = (0..1_000).map(|i| i as f32 * 0.013).collect();
    let grid = fit(&json.replace("0.5", "0.1"), &values);
    let keyed = |index: u64| SplitMix64::new(index).unit();
    let words = grid.quantize_with(&values, keyed).unwrap();
    assert_eq!(words, grid.quantize_with(&values, keyed).unwrap());
    assert_eq!(words[..12], [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2], "pinned");
    assert!(grid.quantize(&values).unwrap_err().to_string().contains("uniform numbers"));
    assert!(grid.codes(&values).is_err());
}
