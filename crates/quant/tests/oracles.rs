//! Against other implementations: ONNX Runtime and the `gguf` package (`tools/fixtures/quant_oracles.py`), and `quantized_bits`
//! written out in float64 as QKeras' source describes it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not `#[test]` functions themselves")]

mod common;

use bitquake_bits::Format;
use bitquake_quant::{Family, Granularity, Part, PartKind, Quantizer, QuantizerSpec};
use common::{fit, values};
use serde_json::Value;

fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn integers(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|item| item.as_i64().unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    integers(value).into_iter().map(|bits| f32::from_bits(bits as u32)).collect()
}

#[test]
fn onnx_quantize_and_dequantize_linear() {
    let cases = cases("onnx");
    assert_eq!(cases.len(), 20);
    for case in cases {
        let format: Format = case["format"].as_str().unwrap().parse().unwrap();
        let granularity = match case["granularity"].as_str().unwrap() {
            "tensor" => Granularity::Tensor,
            "group4" => Granularity::Group(4),
            channel => Granularity::Channel(channel.strip_prefix("channel").unwrap().parse().unwrap()),
        };
        let quantizer = Quantizer::from_spec(&QuantizerSpec {
            bits: Some(format.width()),
            signed: Some(case["format"].as_str().unwrap().starts_with('i')),
            granularity: Some(granularity),
            ..QuantizerSpec::new(Family::Affine)
        })
        .unwrap();
        let word = |zero: i64| format.word_of_integer(zero.into()).unwrap();
        let scale_words = integers(&case["scale"]).into_iter().map(|bits| bits as u64).collect();
        let zero_words = integers(&case["zero_point"]).into_iter().map(word).collect();
        let parts = [
            Part { kind: PartKind::Scale, format: Format::F32, words: scale_words },
            Part { kind: PartKind::ZeroPoint, format, words: zero_words },
        ];
        let shape: Vec<u64> = integers(&case["shape"]).into_iter().map(|dim| dim as u64).collect();
        let grid = quantizer.grid_of(&shape, &parts).unwrap();
        let name = format!("{} {}", case["format"], case["granularity"]);
        assert_eq!(grid.format(), format);
        let words = grid.quantize(&floats(&case["values"])).unwrap();
        assert_eq!(grid.unpack_codes(&words).unwrap(), integers(&case["codes"]), "{name}");
        assert_eq!(grid.dequantize(&words).unwrap(), floats(&case["levels"]), "{name}");
        assert_eq!(grid.parts(), parts, "{name}");
    }
}

#[test]
fn onnx_dynamic_quantize_linear() {
    for case in cases("dynamic") {
        let values = floats(&case["values"]);
        let grid = fit(r#"{"family":"affine","signed":false}"#, &values);
        let parts = grid.parts();
        assert_eq!(parts[0].words, [case["scale"].as_u64().unwrap()], "{case}");
        assert_eq!(parts[1].words, [case["zero_point"].as_u64().unwrap()], "{case}");
        assert_eq!(grid.codes(&values).unwrap(), integers(&case["codes"]));
    }
}

#[test]
fn gguf_blocks() {
    for case in cases("blocks") {
        let values = floats(&case["values"]);
        let scheme = case["scheme"].as_str().unwrap();
        let grid = fit(&format!(r#"{{"family":"block","scheme":"{scheme}"}}"#), &values);
        let bytes = grid.quantize_blocks(&values).unwrap().unwrap();
        let wanted: Vec<u8> = integers(&case["bytes"]).into_iter().map(|byte| byte as u8).collect();
        assert_eq!(bytes, wanted, "{scheme}");
        let levels = floats(&case["levels"]);
        assert_eq!(grid.dequantize_blocks(&bytes).unwrap().unwrap(), levels, "{scheme}");
        assert_eq!(grid.fake_quantize(&values).unwrap(), levels, "{scheme}");
        // A faulted scale in the bytes is what decodes.
        let mut faulty = bytes.clone();
        faulty[1] ^= 0x80;
        let negated = grid.dequantize_blocks(&faulty).unwrap().unwrap();
        let part = grid.part_block_layout(PartKind::Scale).unwrap();
        assert_eq!(part.position(15), 15);
        if scheme != "q4_1" {
            assert!(negated[..32].iter().zip(&levels).all(|(a, b)| *a == -*b), "{scheme}");
        }
        assert_eq!(negated[32..], levels[32..]);
    }
}

/// QKeras' two automatic alphas, one unit, in float64 throughout.
fn qkeras_auto(values: &[f32], bits: u32, integer: i32, power_of_two: bool) -> Vec<f64> {
    let unit = 2_f64.powi(integer);
    let levels = ((1_i64 << (bits - 1)) - 1) as f64 * 2.0;
    let x: Vec<f64> = values.iter().map(|&value| f64::from(value) / unit).collect();
    let to_power = |scale: f64| 2_f64.powf((scale + 1e-7).log2().round_ties_even());
    let integers = |scale: f64| -> Vec<f64> {
        x.iter().map(|x| x.signum() * (x.abs() / scale + 0.5).floor().min(levels / 2.0)).collect()
    };
    let mut scale = x.iter().fold(0.0_f64, |most, x| most.max(x.abs())) * 2.0 / levels;
    if power_of_two {
        scale = to_power(scale);
        for _ in 0..5 {
            let z = integers(scale);
            let n = x.len() as f64;
            let xz = x.iter().zip(&z).map(|(x, z)| x * z).sum::<f64>() / n;
            let zz = z.iter().map(|z| z * z).sum::<f64>() / n;
            scale = to_power(xz / (zz + 1e-7));
        }
    }
    integers(scale).iter().map(|z| z * scale * unit).collect()
}

#[test]
fn qkeras_automatic_alphas() {
    for count in [1, 7, 1_000] {
        for (bits, integer) in [(2, 0), (4, 0), (4, 2), (5, -3), (8, 0)] {
            for (alpha, power_of_two) in [("auto", false), ("auto_po2", true)] {
                let json =
                    format!(r#"{{"family":"qkeras","bits":{bits},"integer":{integer},"alpha":"{alpha}"}}"#);
                let values = values(count);
                let grid = fit(&json, &values);
                let got = grid.fake_quantize(&values).unwrap();
                let wanted = qkeras_auto(&values, bits, integer, power_of_two);
                let step = f64::from(grid.scale(0).unwrap());
                for (got, wanted) in got.iter().zip(wanted) {
                    assert!((f64::from(*got) - wanted).abs() < 1e-3 * step, "{json}: {got}, not {wanted}");
                }
                assert!(!power_of_two || step.log2().fract() == 0.0, "{json}: {step}");
            }
        }
    }
}
