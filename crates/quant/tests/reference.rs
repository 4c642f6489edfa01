//! The fast loops against a slow reference that shares nothing with them: it tries every code.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not `#[test]` functions themselves")]

mod common;

use bitquake_quant::{Grid, Quantizer, QuantizerSpec};
use bitquake_testing::SplitMix64;
use common::{FAMILIES, fit, values};

/// The float32 quotient, by way of float64: rounding twice is harmless, since 53 >= 2 * 24 + 2 (Figueroa 1995).
fn quotient(value: f32, offset: f32, step: f32) -> f64 {
    let difference = (f64::from(value) - f64::from(offset)) as f32;
    f64::from((f64::from(difference) / f64::from(step)) as f32)
}

/// The code whose distance from the quotient is least, the even one of two: by trying all from `low` to `high`.
fn nearest_code(quotient: f64, low: i64, high: i64) -> i64 {
    let order = |code: &i64| ((*code as f64 - quotient).abs(), code.rem_euclid(2));
    let less = |a: &i64, b: &i64| order(a).partial_cmp(&order(b)).unwrap();
    (low..=high).min_by(less).unwrap()
}

/// Values on and beside every tie between codes, and beyond both ends.
fn ties(step: f32, offset: f32) -> Vec<f32> {
    let at = |k: i32| (f64::from(k) * 0.5 * f64::from(step) + f64::from(offset)) as f32;
    (-1_050..1_050).flat_map(|k| [at(k).next_down(), at(k), at(k).next_up()]).collect()
}

/// Ranges of lo and hi, and the codes' bounds relative to the code of `lo` (or of 0).
struct Case {
    spec: String,
    low: i64,
    high: i64,
    zero: i64,
    is_offset: bool,
}

fn cases(bits: u32) -> Vec<Case> {
    let half = 1_i64 << (bits - 1);
    let edge = half - 1;
    let case = |spec: &str, low, high, zero, is_offset| Case {
        spec: spec.replace("BITS", &bits.to_string()),
        low,
        high,
        zero,
        is_offset,
    };
    vec![
        case(r#"{"family":"symmetric","bits":BITS}"#, -edge, edge, 0, false),
        case(r#"{"family":"symmetric","bits":BITS,"encoding":"offset"}"#, -edge, edge, 0, false),
        case(r#"{"family":"symmetric","bits":BITS,"encoding":"gray"}"#, -edge, edge, 0, false),
        case(r#"{"family":"symmetric","bits":BITS,"encoding":"sign-magnitude"}"#, -edge, edge, 0, false),
        case(r#"{"family":"symmetric","bits":BITS,"signed":false}"#, -edge, edge, half, false),
        case(
            r#"{"family":"symmetric","bits":BITS,"signed":false,"encoding":"gray"}"#,
            -edge,
            edge,
            half,
            false,
        ),
        case(r#"{"family":"normal","bits":BITS}"#, -half, edge, 0, false),
        case(r#"{"family":"normal","bits":BITS,"encoding":"sign-magnitude"}"#, -edge, edge, 0, false),
        case(r#"{"family":"wcat","bits":BITS,"signed":false}"#, 0, half + edge, 0, false),
        case(r#"{"family":"asymmetric","bits":BITS}"#, 0, half + edge, -half, true),
        case(
            r#"{"family":"asymmetric","bits":BITS,"signed":false,"encoding":"gray"}"#,
            0,
            half + edge,
            0,
            true,
        ),
        case(r#"{"family":"bfa","bits":BITS}"#, -edge, edge, 0, false),
    ]
}

#[test]
fn codes_are_the_nearest_ones_at_and_around_every_tie() {
    let mut random = SplitMix64::new(11);
    for bits in [2, 4, 7, 8, 9] {
        for case in cases(bits) {
            let widest = [0.1 + random.unit() as f32, -0.1 - 2.0 * random.unit() as f32];
            let fitted = fit(&case.spec, &widest);
            let (low, _) = fitted.range(0).unwrap();
            let step = fitted.scale(0).unwrap();
            let offset = if case.is_offset { low } else { 0.0 };
            let values = ties(step, offset);
            let grid = refit(&case.spec, &fitted, &values);
            let codes = grid.unpack_codes(&grid.quantize(&values).unwrap()).unwrap();
            for (&value, &code) in values.iter().zip(&codes) {
                let wanted = nearest_code(quotient(value, offset, step), case.low, case.high) + case.zero;
                assert_eq!(code, wanted, "{} of {value} with step {step}", case.spec);
            }
            assert_eq!(grid.codes(&values).unwrap(), codes, "{}", case.spec);
        }
    }
}

/// A grid for other values with the range of the first: fitting looks at one large value of each sign.
fn refit(spec: &str, fitted: &Grid, values: &[f32]) -> Grid {
    let spec: QuantizerSpec = serde_json::from_str(spec).unwrap();
    let (low, high) = fitted.range(0).unwrap();
    let frozen: Vec<f32> = values
        .iter()
        .enumerate()
        .map(|(i, _)| {
            if i == 0 {
                low
            } else if i == 1 {
                high
            } else {
                0.0
            }
        })
        .collect();
    let grid = Quantizer::from_spec(&spec).unwrap().fit(&frozen, &[values.len() as u64]).unwrap();
    assert_eq!(grid.scale(0).unwrap(), fitted.scale(0).unwrap());
    grid
}

/// EXAMPLES, "Two warnings": the inputs where a reciprocal would give another code are many, and all of them right.
#[test]
fn division_is_not_multiplication_by_a_reciprocal() {
    let mut random = SplitMix64::new(5);
    let mut different = 0;
    for _ in 0..200 {
        let grid = fit(r#"{"family":"symmetric","signed":false}"#, &[random.unit() as f32 + 0.01]);
        let step = grid.scale(0).unwrap();
        let values: Vec<f32> = (0..1_000).map(|_| (random.below(254) as f32 - 126.5) * step).collect();
        let grid = fit(&format!(r#"{{"family":"lsq","range":{{"step":{}}}}}"#, f64::from(step)), &values);
        assert_eq!(grid.scale(0).unwrap(), step);
        let codes = grid.codes(&values).unwrap();
        for (&value, &code) in values.iter().zip(&codes) {
            assert_eq!(code, nearest_code(quotient(value, 0.0, step), -128, 127), "{value} {step}");
            different += usize::from((value * (1.0 / step)).round_ties_even() as i64 != code);
        }
        assert_eq!(grid.unpack_codes(&grid.quantize(&values).unwrap()).unwrap(), codes);
    }
    assert!(different > 10_000, "{different} of 200000 would differ");
}

/// Whole tensors, through packing and the vector loops, against one element at a time.
#[test]
fn bulk_work_is_the_same_as_single_words() {
    let values = values(5_003);
    for family in FAMILIES {
        for granularity in [
            "",
            r#","granularity":{"channel":0}"#,
            r#","granularity":{"channel":1}"#,
            r#","granularity":{"group":37}"#,
        ] {
            let Some(spec) = common::spec(family, granularity) else { continue };
            let Ok(quantizer) = Quantizer::from_spec(&spec) else { continue };
            let (values, shape) = if family.contains("block") {
                (&values[..4_992], [4_992, 1])
            } else {
                (&values[..], [5_003, 1])
            };
            let shape = if granularity.contains(":1}") { [1, shape[0]] } else { shape };
            let Ok(grid) = quantizer.fit(values, &shape) else {
                // One value has no standard deviation.
                assert!(family.contains("sawb") && shape[0] * shape[1] > 1, "{family}");
                continue;
            };
            let words = grid.quantize(values).unwrap();
            let levels = grid.dequantize(&words).unwrap();
            let codes = grid.codes(values).unwrap();
            assert_eq!(grid.unpack_codes(&words).unwrap(), codes, "{family} {granularity}");
            assert_eq!(grid.pack_codes(&codes).unwrap(), words, "{family} {granularity}");
            for (i, (&code, &level)) in codes.iter().zip(&levels).enumerate() {
                let word = grid.word_of_code(code).unwrap();
                let decoded = grid.decode(i as u64, word).unwrap();
                assert_eq!(decoded.to_bits(), level.to_bits(), "{family} {granularity} element {i}");
                assert_eq!(grid.code_of_word(word).unwrap(), code);
            }
        }
    }
}

/// Levels by exact rational arithmetic in float64 for every code of every 8-bit family, within a float32 rounding error.
#[test]
fn levels_follow_the_formula() {
    let values = values(64);
    for family in FAMILIES {
        let spec = common::spec(family, "").unwrap();
        let grid = Quantizer::from_spec(&spec).unwrap().fit(&values, &[64]).unwrap();
        if grid.quantizer().bits() > 16 || spec.compat == Some(true) {
            continue;
        }
        let scale = f64::from(grid.scale(0).unwrap());
        let levels = grid.levels(0).unwrap();
        let origin = f64::from(levels[0].value);
        for level in &levels {
            let wanted = origin + (level.code - levels[0].code) as f64 * scale;
            let error = (f64::from(level.value) - wanted).abs();
            let size = origin.abs() + (levels.len() as f64 * scale).abs();
            assert!(error <= size * 3e-7, "{family}: {level:?}, not {wanted}");
        }
    }
}
