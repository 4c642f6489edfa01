//! The test vectors of SPEC 2.2.6, 3.1, 4.5, 5.1 and 5.3.

#![allow(clippy::excessive_precision, reason = "digits as SPEC prints them")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are not `#[test]` functions themselves")]

use bitquake_quant::{Family, Grid, Level, Quantizer, QuantizerSpec};
use bitquake_testing::assert_cases;

fn quantizer(json: &str) -> Quantizer {
    let spec: QuantizerSpec = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    Quantizer::from_spec(&spec).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn fit(json: &str, values: &[f32]) -> Grid {
    quantizer(json).fit(values, &[values.len() as u64]).unwrap()
}

fn near(got: &[f32], wanted: &[f32], tolerance: f32) -> bool {
    got.len() == wanted.len() && got.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= tolerance)
}

/// Codes and decoded values, the latter to a float32 rounding error at 1: SPEC prints up to eight digits.
fn check(json: &str, values: &[f32], codes: &[i64], decoded: &[f32]) {
    let grid = fit(json, values);
    assert_eq!(grid.codes(values).unwrap(), codes, "{json}");
    let words = grid.quantize(values).unwrap();
    assert_eq!(grid.unpack_codes(&words).unwrap(), codes, "{json}");
    let got = grid.dequantize(&words).unwrap();
    assert!(near(&got, decoded, 6e-8), "{json}: {got:?}, not {decoded:?}");
    assert_eq!(grid.levels_of_codes(codes).unwrap(), got, "{json}");
}

const W: [f32; 9] = [-1.0, -0.5, -0.25, -0.1, 0.0, 0.1, 0.3, 0.6, 1.0];
const SIGNED_8: ([i64; 9], [f32; 9]) = (
    [-126, -63, -31, -12, 0, 12, 38, 76, 126],
    [
        -0.993_118_17,
        -0.496_559_08,
        -0.244_338_59,
        -0.094_582_68,
        0.0,
        0.094_582_68,
        0.299_511_82,
        0.599_023_64,
        0.993_118_17,
    ],
);
const UNSIGNED_8: ([i64; 9], [f32; 9]) = (
    [1, 64, 96, 115, 128, 140, 166, 204, 254],
    [
        -1.0,
        -0.504_440_96,
        -0.252_220_48,
        -0.102_464_57,
        0.0,
        0.094_582_68,
        0.299_511_82,
        0.599_023_64,
        0.993_118_17,
    ],
);

/// SPEC 2.2.6, the table of symmetric quantizers, row by row.
#[test]
fn the_release_symmetric() {
    let spec = |rest: &str| format!(r#"{{"family":"symmetric","compat":true,{rest}}}"#);
    let fixed = r#""range":{"fixed":1}"#;
    let trunc = r#""rounding":"truncate""#;
    check(&spec(&format!("{fixed},{trunc}")), &W, &SIGNED_8.0, &SIGNED_8.1);
    check(
        &spec(&format!(r#"{fixed},{trunc},"bits":16"#)),
        &W,
        &[-32734, -16367, -8183, -3273, 0, 3273, 9820, 19640, 32734],
        &[
            -0.999_991_89,
            -0.499_995_95,
            -0.249_982_70,
            -0.099_986_97,
            0.0,
            0.099_986_97,
            0.299_991_46,
            0.599_982_92,
            0.999_991_89,
        ],
    );
    check(&spec(trunc), &W, &SIGNED_8.0, &SIGNED_8.1);
    check(
        &spec(&format!(r#"{trunc},"clip":0.5"#)),
        &W,
        &[-127, -127, -63, -25, 0, 25, 76, 127, 127],
        &[-0.5, -0.5, -0.248_031_50, -0.098_425_19, 0.0, 0.098_425_19, 0.299_212_60, 0.5, 0.5],
    );
    let unsigned = |rest: &str| spec(&format!(r#""signed":false,{rest}"#));
    check(&unsigned(&format!("{fixed},{trunc}")), &W, &UNSIGNED_8.0, &UNSIGNED_8.1);
    check(
        &unsigned(&format!(r#"{fixed},{trunc},"bits":4"#)),
        &W,
        &[1, 4, 6, 7, 8, 8, 10, 12, 14],
        &[-1.0, -0.572, -0.286, -0.143, 0.0, 0.0, 0.286, 0.572, 0.858],
    );
    check(
        &unsigned(&format!(r#"{fixed},{trunc},"bits":2"#)),
        &W,
        &[1, 1, 1, 1, 2, 2, 2, 2, 2],
        &[-1.0, -1.0, -1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    );
    let mut adaptive = UNSIGNED_8.1;
    adaptive[0] = -1.001_000_05;
    check(&unsigned(trunc), &W, &UNSIGNED_8.0, &adaptive);
    check(
        &unsigned(&format!(r#"{trunc},"clip":0.5"#)),
        &W,
        &[1, 1, 64, 102, 128, 153, 204, 255, 255],
        &[-0.5, -0.5, -0.251_968_50, -0.102_362_20, 0.0, 0.098_425_19, 0.299_212_60, 0.5, 0.5],
    );
    check(
        &unsigned(r#""clip":0.5"#),
        &W,
        &[1, 1, 64, 103, 128, 153, 204, 255, 255],
        &[-0.5, -0.5, -0.251_968_50, -0.098_425_19, 0.0, 0.098_425_19, 0.299_212_60, 0.5, 0.5],
    );
}

#[test]
fn the_release_steps() {
    let cases = [
        (r#""range":{"fixed":1}"#, 0.007_881_889_76),
        (r#""range":{"fixed":1},"bits":16"#, 3.054_902_8e-5),
        (r#""clip":0.5"#, 0.003_937_007_87),
        (r#""range":{"fixed":1},"signed":false,"bits":4"#, 0.143),
    ];
    for (fields, step) in cases {
        let grid = fit(&format!(r#"{{"family":"symmetric","compat":true,{fields}}}"#), &W);
        let got = grid.scale(0).unwrap();
        assert!((got / step - 1.0).abs() < 1e-7, "{fields}: {got}");
    }
}

const ASYMMETRIC: [f32; 5] = [-0.2, -0.05, 0.0, 0.1, 0.4];

/// A row of SPEC 2.2.6's asymmetric table: width, truncated codes and values, rounded codes and values.
type AsymmetricRow = (u32, [i64; 5], [f32; 5], [i64; 5], [f32; 5]);

/// SPEC 2.2.6, asymmetric unsigned; fixed and adaptive ends are the same ones.
#[test]
fn the_release_asymmetric() {
    let rows: [AsymmetricRow; 4] = [
        (
            8,
            [1, 64, 85, 128, 254],
            [-0.2, -0.051_332_28, -0.001_676_38, 0.1, 0.397_935_51],
            [1, 65, 86, 128, 255],
            [-0.2, -0.048_967_72, 0.000_688_20, 0.1, 0.4],
        ),
        (
            4,
            [1, 4, 5, 8, 14],
            [-0.2, -0.0716, -0.0287, 0.1, 0.3574],
            [1, 5, 6, 8, 15],
            [-0.2, -0.0287, 0.0142, 0.1, 0.4],
        ),
        (
            3,
            [1, 2, 3, 4, 6],
            [-0.2, -0.1002, -0.0001, 0.1, 0.3002],
            [1, 3, 3, 4, 7],
            [-0.2, -0.0001, -0.0001, 0.1, 0.4],
        ),
        (2, [1, 1, 1, 2, 2], [-0.2, -0.2, -0.2, 0.1, 0.1], [1, 2, 2, 2, 3], [-0.2, 0.1, 0.1, 0.1, 0.4]),
    ];
    for (bits, truncated, truncated_values, rounded, rounded_values) in rows {
        for range in [r#""adaptive""#, r#"{"lo":-0.2,"hi":0.4}"#] {
            let spec = |rounding| {
                format!(
                    r#"{{"family":"asymmetric","compat":true,"signed":false,"bits":{bits},"range":{range},"rounding":"{rounding}"}}"#
                )
            };
            let near_enough = |json: &str, codes: &[i64], values: &[f32]| {
                let grid = fit(json, &ASYMMETRIC);
                assert_eq!(grid.codes(&ASYMMETRIC).unwrap(), codes, "{json}");
                let got = grid.fake_quantize(&ASYMMETRIC).unwrap();
                assert!(near(&got, values, 7e-8), "{json}: {got:?}");
            };
            near_enough(&spec("truncate"), &truncated, &truncated_values);
            near_enough(&spec("nearest-even"), &rounded, &rounded_values);
        }
    }
    let signed = fit(r#"{"family":"asymmetric","compat":true,"rounding":"truncate"}"#, &ASYMMETRIC);
    assert_eq!(signed.codes(&ASYMMETRIC).unwrap(), [-126, -63, -42, 0, 126]);
    let wanted = [-0.197_935_45, -0.048_967_72, 0.000_688_20, 0.1, 0.397_935_51];
    assert!(near(&signed.fake_quantize(&ASYMMETRIC).unwrap(), &wanted, 7e-8));
}

/// SPEC 2.2.6: every decode value of m = 4 and m = 2, with code 0 reachable and decoding like code 1.
#[test]
fn the_release_levels() {
    let spec = |bits| {
        format!(
            r#"{{"family":"asymmetric","compat":true,"signed":false,"bits":{bits},"range":{{"lo":-0.2,"hi":0.4}}}}"#
        )
    };
    let levels = |bits| -> Vec<f32> {
        let grid = fit(&spec(bits), &ASYMMETRIC);
        grid.levels(0).unwrap().iter().map(|level| level.value).collect()
    };
    let wanted = [
        -0.2, -0.2, -0.1574, -0.1145, -0.0716, -0.0287, 0.0142, 0.0571, 0.1, 0.1429, 0.1858, 0.2287, 0.2716,
        0.3145, 0.3574, 0.4,
    ];
    assert!(near(&levels(4), &wanted, 7e-8), "{:?}", levels(4));
    assert!(near(&levels(2), &[-0.2, -0.2, 0.1, 0.4], 7e-8), "{:?}", levels(2));
    assert_eq!(levels(4)[0], levels(4)[1]);

    let grid = fit(&spec(4), &ASYMMETRIC);
    let dense: Vec<f32> = (0..100_000).map(|i| -0.2 + 0.6 * i as f32 / 99_999.0).collect();
    let dense_grid = quantizer(&spec(4)).fit(&dense, &[100_000]).unwrap();
    assert!(dense_grid.codes(&dense).unwrap().iter().all(|&code| code > 0));
    assert_eq!(grid.decode(0, 0).unwrap(), -0.2);
}

/// SPEC 2.2.6: the mean and the root mean square of the error in steps, over uniform data.
#[test]
fn the_release_mean_errors() {
    let values: Vec<f32> = (0..200_001).map(|i| (i - 100_000) as f32 / 100_000.0).collect();
    let cases = [
        (true, "truncate", -0.002, 0.577),
        (false, "truncate", -0.499, 0.577),
        (false, "nearest-even", 0.0, 0.288),
    ];
    for (signed, rounding, mean, rms) in cases {
        let json = format!(
            r#"{{"family":"symmetric","compat":true,"signed":{signed},"rounding":"{rounding}","range":{{"fixed":1}}}}"#
        );
        let grid = fit(&json, &values);
        let step = f64::from(grid.scale(0).unwrap());
        let levels = grid.fake_quantize(&values).unwrap();
        let errors: Vec<f64> =
            levels.iter().zip(&values).map(|(a, b)| (f64::from(*a) - f64::from(*b)) / step).collect();
        let got_mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let got_rms = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
        assert!((got_mean - mean).abs() < 3e-3, "{json}: mean {got_mean}");
        assert!((got_rms - rms).abs() < 2e-3, "{json}: rms {got_rms}");
    }
}

/// SPEC 2.2.6: what a flip of each bit does at code 128.
#[test]
fn the_release_damage() {
    let json = r#"{"family":"symmetric","compat":true,"signed":false,"range":{"fixed":1}}"#;
    let grid = fit(json, &[0.0]);
    let wanted = [0.00788, 0.01576, 0.03153, 0.06306, 0.12611, 0.25222, 0.50444, -1.0];
    for (bit, wanted) in wanted.into_iter().enumerate() {
        let got = grid.decode(0, 128 ^ 1 << bit).unwrap();
        assert!((got - wanted).abs() < 5e-6, "bit {bit}: {got}");
    }
    let damage = grid.damage_by_bit(&[128]).unwrap();
    assert!(damage.iter().zip(wanted).all(|(got, wanted)| (got - f64::from(wanted.abs())).abs() < 5e-6));
}

/// SPEC 3.1: q(0.3) and q(-0.7) of (bits, integer, keep_negative).
#[test]
fn qkeras() {
    let rows = [
        ((8, 0, true), (0.296_875, -0.703_125)),
        ((6, 0, true), (0.3125, -0.6875)),
        ((5, 0, true), (0.3125, -0.6875)),
        ((4, 0, true), (0.25, -0.75)),
        ((8, 7, true), (0.0, -1.0)),
        ((5, 1, false), (0.3125, 0.0)),
    ];
    assert_cases(
        rows.map(|(fields, wanted)| (format!("{fields:?}"), fields, wanted)),
        |(bits, integer, keep)| {
            let json =
                format!(r#"{{"family":"qkeras","bits":{bits},"integer":{integer},"keep_negative":{keep}}}"#);
            let grid = fit(&json, &[0.3, -0.7]);
            let got = grid.fake_quantize(&[0.3, -0.7]).unwrap();
            (got[0], got[1])
        },
    );
}

/// SPEC 3.1: `range()` lists the levels in two's complement order, and the format alone decodes to them.
#[test]
fn qkeras_levels_in_word_order() {
    let grid = fit(r#"{"family":"qkeras","bits":4,"integer":1}"#, &[0.0]);
    let mut levels = grid.levels(0).unwrap();
    levels.sort_by_key(|level| level.word);
    let wanted: Vec<f32> = (0..8).chain(-8..0).map(|k| k as f32 * 0.25).collect();
    assert_eq!(levels.iter().map(|level| level.value).collect::<Vec<_>>(), wanted);
    assert_eq!(grid.format().name(), "i4.2");
    assert!(levels.iter().all(|level| grid.format().decode(level.word) == f64::from(level.value)));
    assert!(grid.parts().is_empty());
}

#[test]
fn qkeras_one_bit_and_the_symmetric_range() {
    let grid = fit(r#"{"family":"qkeras","bits":1,"alpha":0.5}"#, &[0.0, -0.0, -3.0]);
    assert_eq!(grid.fake_quantize(&[0.0, -0.0, -3.0]).unwrap(), [0.5, 0.5, -0.5]);
    let grid = fit(r#"{"family":"qkeras","bits":1,"keep_negative":false}"#, &[0.3, 0.1, -3.0]);
    assert_eq!(grid.fake_quantize(&[0.3, 0.1, -3.0]).unwrap(), [0.5, 0.0, 0.0]);
    let lowest = |symmetric| {
        let grid = fit(&format!(r#"{{"family":"qkeras","bits":4,"symmetric":{symmetric}}}"#), &[-9.0]);
        grid.codes(&[-9.0]).unwrap()[0]
    };
    assert_eq!([lowest(false), lowest(true)], [-8, -7]);
}

const WCAT: [f32; 10] = [-0.9, -0.5, -0.26, -0.05, 0.0, 0.05, 0.3, 0.47, 0.5, 1.2];

/// SPEC 4.5 and 5.1.
#[test]
fn wcat_normal_lsq_bfa() {
    let rows: [(&str, f32, [i64; 10]); 8] = [
        (r#"{"family":"wcat","bits":4,"range":{"alpha":0.5}}"#, 0.0625, [-8, -8, -4, -1, 0, 1, 5, 7, 7, 7]),
        (
            r#"{"family":"wcat","bits":8,"range":{"fixed":0.5}}"#,
            0.003_906_25,
            [-128, -128, -67, -13, 0, 13, 77, 120, 127, 127],
        ),
        (r#"{"family":"wcat","bits":2,"range":{"alpha":0.5}}"#, 0.25, [-2, -2, -1, 0, 0, 0, 1, 1, 1, 1]),
        (r#"{"family":"normal","bits":4}"#, 0.15, [-6, -3, -2, 0, 0, 0, 2, 3, 3, 7]),
        (r#"{"family":"normal","bits":8}"#, 0.009_375, [-96, -53, -28, -5, 0, 5, 32, 50, 53, 127]),
        (r#"{"family":"lsq","bits":4,"range":{"step":0.1}}"#, 0.1, [-8, -5, -3, 0, 0, 0, 3, 5, 5, 7]),
        (r#"{"family":"bfa","bits":8}"#, 0.009_448_818_9, [-95, -53, -28, -5, 0, 5, 32, 50, 53, 127]),
        (r#"{"family":"bfa","bits":4}"#, 0.171_428_571_4, [-5, -3, -2, 0, 0, 0, 2, 3, 3, 7]),
    ];
    for (json, step, codes) in rows {
        let grid = fit(json, &WCAT);
        let got = grid.scale(0).unwrap();
        assert!((got / step - 1.0).abs() < 1e-7, "{json}: {got}");
        assert_eq!(grid.codes(&WCAT).unwrap(), codes, "{json}");
        let words = grid.quantize(&WCAT).unwrap();
        let levels: Vec<f32> = codes.iter().map(|&code| code as f32 * got).collect();
        assert_eq!(grid.dequantize(&words).unwrap(), levels, "{json}");
    }
    let wcat =
        fit(r#"{"family":"wcat","bits":4,"range":{"alpha":0.5}}"#, &WCAT).fake_quantize(&WCAT).unwrap();
    assert_eq!(wcat, [-0.5, -0.5, -0.25, -0.0625, 0.0, 0.0625, 0.3125, 0.4375, 0.4375, 0.4375]);
    let normal = fit(r#"{"family":"normal","bits":4}"#, &WCAT).fake_quantize(&WCAT).unwrap();
    assert!(near(&normal, &[-0.9, -0.45, -0.3, 0.0, 0.0, 0.0, 0.3, 0.45, 0.45, 1.05], 1e-6), "{normal:?}");
}

/// SPEC 4.5: the initial step of LSQ, and the ranges of SAWB.
#[test]
fn initial_ranges() {
    let step = fit(r#"{"family":"lsq","bits":4}"#, &WCAT).scale(0).unwrap();
    assert!((step - 0.319_757_944).abs() < 5e-9, "{step}");
    for (bits, range) in [(2, 0.955_153), (4, 2.017_499), (8, 4.171_276)] {
        let grid = fit(&format!(r#"{{"family":"wcat","bits":{bits},"range":"sawb"}}"#), &WCAT);
        let (low, high) = grid.range(0).unwrap();
        assert!((high - range).abs() < 5e-7 && low == -high, "{bits} bits: {high}");
    }
}

/// SPEC 5.3.
#[test]
fn binary() {
    let values = [-0.9, -0.1, 0.0, 0.3, 0.7];
    let grid = fit(r#"{"family":"binary"}"#, &values);
    assert_eq!(grid.codes(&values).unwrap(), [-1, -1, 1, 1, 1]);
    assert_eq!(grid.codes(&[-0.0; 5]).unwrap(), [1; 5]);
    assert_eq!(grid.quantize(&values).unwrap(), [0b11100]);
    assert_eq!(grid.scale(0).unwrap(), 0.4);
    let levels = grid.levels(0).unwrap();
    let wanted = [Level { code: -1, word: 0, value: -0.4 }, Level { code: 1, word: 1, value: 0.4 }];
    assert_eq!(levels, wanted);
}

/// `DoReFa`, equation 9 of the paper, by hand for two bits: `tanh` of 0.5 and -0.25 over `2 tanh 0.5`, plus 1/2, times 3.
#[test]
fn dorefa_and_pact() {
    let values = [0.5, -0.25, 0.0, -0.5];
    let grid = fit(r#"{"family":"dorefa","bits":2}"#, &values);
    assert_eq!(grid.codes(&values).unwrap(), [3, 1, 2, 0]); // 3, 0.705, 1.5 (a tie, to even), 0
    assert_eq!(
        grid.fake_quantize(&values).unwrap(),
        [1.0, 2.0 * (1.0 / 3.0) - 1.0, 2.0 * (2.0 / 3.0) - 1.0, -1.0]
    );
    let one_bit = fit(r#"{"family":"dorefa","bits":1}"#, &values);
    assert_eq!(one_bit.fake_quantize(&values).unwrap(), [0.3125, -0.3125, 0.3125, -0.3125]);

    let activations = [-1.0, 0.5, 1.0, 3.0, 9.0];
    let pact = fit(r#"{"family":"pact","bits":2,"signed":false,"range":{"alpha":3.0}}"#, &activations);
    assert_eq!(pact.codes(&activations).unwrap(), [0, 0, 1, 3, 3]);
    assert_eq!(pact.fake_quantize(&activations).unwrap(), [0.0, 0.0, 1.0, 3.0, 3.0]);
    let weights = fit(r#"{"family":"pact","bits":2,"range":{"alpha":3.0}}"#, &activations);
    assert_eq!(weights.codes(&activations).unwrap(), [-1, 0, 0, 1, 1]);
    assert_eq!(weights.fake_quantize(&activations).unwrap(), [-1.0, 1.0, 1.0, 3.0, 3.0]);
}

#[test]
fn the_default_symmetric_uses_every_level_and_adds_no_epsilon() {
    let tiny = [-0.01, 0.005, 0.0, -0.0, 0.01];
    let grid = fit(r#"{"family":"symmetric"}"#, &tiny);
    assert_eq!(grid.scale(0).unwrap(), 0.01 / 127.0);
    assert_eq!(grid.codes(&tiny).unwrap(), [-127, 63, 0, 0, 127]); // 0.005 is at 63.499996: the scale was rounded up
    let unsigned = fit(r#"{"family":"symmetric","signed":false}"#, &tiny);
    assert_eq!(unsigned.codes(&tiny).unwrap(), [1, 191, 128, 128, 255]);
    assert_eq!(unsigned.decode(0, 0).unwrap(), -128.0 * (0.01 / 127.0));
    let full = fit(r#"{"family":"asymmetric","signed":false,"bits":2}"#, &[-0.2, 0.1, 0.4, 0.2]);
    assert_eq!(full.codes(&[-0.2, 0.1, 0.4, 0.21]).unwrap(), [0, 2, 3, 2]); // 0.1 is at 1.5
    assert_eq!(full.levels(0).unwrap().len(), 4);
}

#[test]
fn constant_and_empty_tensors() {
    for compat in [false, true] {
        for signed in [false, true] {
            let json = format!(r#"{{"family":"asymmetric","signed":{signed},"compat":{compat}}}"#);
            let grid = fit(&json, &[0.3; 5]);
            assert!(grid.levels(0).unwrap().iter().all(|level| level.value == 0.3), "{json}");
            assert_eq!(grid.fake_quantize(&[0.3; 5]).unwrap(), [0.3; 5], "{json}");
        }
    }
    for family in ["symmetric", "asymmetric", "wcat", "normal", "bfa", "lsq", "affine", "pact", "binary"] {
        let json = format!(r#"{{"family":"{family}"}}"#);
        for values in [&[0.0, -0.0, 0.0][..], &[]] {
            let grid = fit(&json, values);
            let levels = grid.levels(0).unwrap();
            assert!(levels.iter().all(|level| level.value == 0.0), "{json}");
            let words = grid.quantize(values).unwrap();
            assert!(grid.dequantize(&words).unwrap().iter().all(|level| *level == 0.0), "{json}");
        }
    }
    for alpha in ["auto", "auto_po2"] {
        let grid = fit(&format!(r#"{{"family":"qkeras","alpha":"{alpha}"}}"#), &[0.0; 4]);
        assert_eq!(grid.fake_quantize(&[0.0; 4]).unwrap(), [0.0; 4]);
    }
}

#[test]
fn truncation_reaches_the_ends() {
    for family in ["symmetric", "wcat", "bfa", "asymmetric"] {
        for i in 1..2_000 {
            let most = i as f32 * 0.137;
            let values = [-most, most];
            let grid = fit(&format!(r#"{{"family":"{family}","rounding":"truncate"}}"#), &values);
            let lowest = if matches!(family, "wcat" | "asymmetric") { -128 } else { -127 };
            assert_eq!(grid.codes(&values).unwrap(), [lowest, 127], "{family} {most}");
        }
    }
}

#[test]
fn the_smallest_and_the_widest_ranges() {
    let tiny = f32::from_bits(3);
    let grid = fit(r#"{"family":"symmetric"}"#, &[tiny, -tiny]);
    assert_eq!(grid.scale(0).unwrap(), f32::MIN_POSITIVE);
    assert_eq!(grid.fake_quantize(&[tiny, -tiny]).unwrap(), [0.0, 0.0]);
    let error = quantizer(r#"{"family":"symmetric"}"#).fit(&[3e38, -1.0], &[2]).unwrap_err();
    assert!(
        error.to_string().starts_with("range -3e38..3e38 is too wide")
            || error.to_string().contains("too wide")
    );
    let large = f32::MAX / 4.0;
    for family in ["symmetric", "asymmetric", "wcat", "affine", "lsq"] {
        let Ok(grid) = quantizer(&format!(r#"{{"family":"{family}","bits":2}}"#)).fit(&[large, -large], &[2])
        else {
            continue;
        };
        assert!(grid.levels(0).unwrap().iter().all(|level| level.value.is_finite()), "{family}");
    }
}

#[test]
fn wide_codes_are_exact() {
    let values = [1.0, -1.0, 1.0 / 3.0];
    let grid = fit(r#"{"family":"wcat","bits":32,"range":{"alpha":2.0}}"#, &values);
    let third = (f64::from(1.0_f32 / 3.0) * f64::from(1_u32 << 30)).round_ties_even() as i64;
    assert_eq!(grid.codes(&values).unwrap(), [1 << 30, -1 << 30, third]);
    assert_eq!(grid.fake_quantize(&values).unwrap(), values);
    // The scale, 1 / (2^32 - 1), is 2^-32 as a float32, so that 1 saturates.
    let unsigned = fit(r#"{"family":"affine","signed":false,"bits":32,"range":{"lo":0,"hi":1}}"#, &values);
    assert_eq!(unsigned.codes(&values).unwrap(), [4_294_967_295, 0, 1_431_655_808]);
}

#[test]
fn native_is_no_quantizer() {
    let spec = QuantizerSpec::default();
    assert!(spec.is_native());
    assert!(Quantizer::from_spec(&spec).unwrap_err().to_string().contains("native"));
    assert!(!QuantizerSpec::new(Family::Wcat).is_native());
}
