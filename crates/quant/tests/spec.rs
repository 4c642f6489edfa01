//! Fields: what is read, what is refused, what is filled in; and what values and words are refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not `#[test]` functions themselves")]

mod common;

use bitquake_quant::{Family, Granularity, QuantError, Quantizer, QuantizerSpec, Range};
use bitquake_testing::assert_cases;
use common::{FAMILIES, fit};

fn refusal(json: &str) -> String {
    match serde_json::from_str::<QuantizerSpec>(json) {
        Err(error) => format!("read: {error}"),
        Ok(spec) => match Quantizer::from_spec(&spec) {
            Err(error) => error.to_string(),
            Ok(_) => "accepted".to_owned(),
        },
    }
}

/// The message of each refusal begins so.
#[test]
fn refusals_name_the_field_the_value_and_what_is_allowed() {
    let rows = [
        (r#"{"family":"symmetric","bit":8}"#, "read: unknown field `bit`, expected one of `family`, `bits`"),
        (
            r#"{"family":"symetric"}"#,
            "read: unknown variant `symetric`, expected one of `native`, `symmetric`",
        ),
        (
            r#"{"family":"symmetric","range":"max"}"#,
            "read: invalid value: string \"max\", expected a range: \"adaptive\"",
        ),
        (r#"{"family":"symmetric","range":{"fix":1}}"#, "read: unknown field `fix`, expected one of `fixed`"),
        (r#"{"family":"asymmetric","range":{"lo":1}}"#, "read: a range is one of"),
        (r#"{"family":"asymmetric","range":{"lo":1,"hi":2,"fixed":1}}"#, "read: a range is one of"),
        (
            r#"{"family":"qkeras","alpha":"po2"}"#,
            "read: invalid value: string \"po2\", expected a number, \"auto\"",
        ),
        (
            r#"{"family":"symmetric","granularity":{"row":1}}"#,
            "read: unknown variant `row`, expected one of `tensor`, `channel`, `group`",
        ),
        ("{}", "family `native` keeps the file's own words"),
        (r#"{"bits":8}"#, "native words take no other fields; name a family"),
        (r#"{"family":"symmetric","bits":33}"#, "quantizer field `bits` is 33: symmetric allows 2..32"),
        (r#"{"family":"symmetric","bits":1}"#, "quantizer field `bits` is 1: symmetric allows 2..32"),
        (r#"{"family":"wcat","bits":0}"#, "quantizer field `bits` is 0: wcat allows 1..32"),
        (r#"{"family":"dorefa","bits":17}"#, "quantizer field `bits` is 17: dorefa allows 1..16"),
        (r#"{"family":"binary","bits":2}"#, "quantizer field `bits` is 2: binary allows 1 only"),
        (r#"{"family":"block"}"#, "family `block` needs the quantizer field `scheme`: q4_0, q4_1 or q8_0"),
        (r#"{"family":"block","scheme":"q5_0"}"#, "read: unknown variant `q5_0`, expected one of `q4_0`"),
        (
            r#"{"family":"block","scheme":"q4_0","bits":8}"#,
            "quantizer field `bits` is 8: block allows 4 only",
        ),
        (
            r#"{"family":"block","scheme":"q4_0","granularity":{"group":32}}"#,
            "quantizer field `granularity` has no meaning for family `block`",
        ),
        (
            r#"{"family":"symmetric","scheme":"q4_0"}"#,
            "quantizer field `scheme` has no meaning for family `symmetric`: it belongs to block",
        ),
        (
            r#"{"family":"symmetric","alpha":1}"#,
            "quantizer field `alpha` has no meaning for family `symmetric`: it belongs to qkeras",
        ),
        (r#"{"family":"wcat","compat":true}"#, "quantizer field `compat` has no meaning for family `wcat`"),
        (r#"{"family":"lsq","clip":1}"#, "quantizer field `clip` has no meaning for family `lsq`"),
        (
            r#"{"family":"qkeras","signed":true}"#,
            "quantizer field `signed` has no meaning for family `qkeras`",
        ),
        (
            r#"{"family":"qkeras","range":"adaptive"}"#,
            "quantizer field `range` has no meaning for family `qkeras`",
        ),
        (
            r#"{"family":"binary","rounding":"truncate"}"#,
            "quantizer field `rounding` has no meaning for family `binary`",
        ),
        (
            r#"{"family":"dorefa","bits":1,"encoding":"gray"}"#,
            "quantizer field `encoding` has no meaning for family `dorefa`",
        ),
        (
            r#"{"family":"normal","signed":false}"#,
            "quantizer field `signed` is false: normal allows true only",
        ),
        (
            r#"{"family":"dorefa","signed":true}"#,
            "quantizer field `signed` is true: dorefa allows false only",
        ),
        (
            r#"{"family":"symmetric","clip":0}"#,
            "quantizer field `clip` is 0: symmetric allows numbers above 0",
        ),
        (
            r#"{"family":"symmetric","clip":1,"range":{"fixed":2}}"#,
            "quantizer field `clip` is 1: symmetric allows a clip only where the range is not given",
        ),
        (
            r#"{"family":"symmetric","range":{"fixed":-1}}"#,
            "quantizer field `range.fixed` is -1: symmetric allows numbers above 0",
        ),
        (r#"{"family":"symmetric","range":{"fixed":1e39}}"#, "read: number out of range at line 1 column 43"),
        (
            r#"{"family":"symmetric","range":{"lo":0,"hi":1}}"#,
            "quantizer field `range` is { lo = 0, hi = 1 }: symmetric allows adaptive",
        ),
        (
            r#"{"family":"asymmetric","range":{"lo":2,"hi":1}}"#,
            "quantizer field `range` is { lo = 2, hi = 1 }: asymmetric allows lo <= hi",
        ),
        (
            r#"{"family":"affine","range":{"lo":1,"hi":2}}"#,
            "quantizer field `range` is { lo = 1, hi = 2 }: affine allows ranges with 0 in them",
        ),
        (
            r#"{"family":"asymmetric","range":"mse"}"#,
            "quantizer field `range` is \"mse\": asymmetric allows adaptive, fixed and { lo, hi }",
        ),
        (
            r#"{"family":"wcat","range":{"step":1}}"#,
            "quantizer field `range` is { step = 1 }: wcat allows adaptive, fixed, alpha",
        ),
        (
            r#"{"family":"lsq","range":{"alpha":1}}"#,
            "quantizer field `range` is { alpha = 1 }: lsq allows adaptive",
        ),
        (r#"{"family":"bfa","range":"mse"}"#, "quantizer field `range` is \"mse\": bfa allows adaptive only"),
        (
            r#"{"family":"wcat","bits":3,"range":"sawb"}"#,
            "quantizer field `bits` is 3: wcat allows 2, 4 or 8 with a sawb range",
        ),
        (
            r#"{"family":"wcat","bits":17,"range":{"noisy_mse":0.001}}"#,
            "quantizer field `bits` is 17: wcat allows 1..16 with a noisy_mse range",
        ),
        (
            r#"{"family":"wcat","range":{"noisy_mse":1.5}}"#,
            "quantizer field `range.noisy_mse` is 1.5: wcat allows probabilities 0..1",
        ),
        (
            r#"{"family":"pact","signed":false,"range":"sawb"}"#,
            "quantizer field `range` is \"sawb\": pact allows sawb for weights",
        ),
        (
            r#"{"family":"symmetric","granularity":{"group":0}}"#,
            "quantizer field `granularity.group` is 0: symmetric allows groups of at least 1",
        ),
        (
            r#"{"family":"symmetric","signed":false,"encoding":"twos-complement"}"#,
            "quantizer field `encoding` is twos-complement: symmetric allows offset or gray for unsigned codes",
        ),
        (
            r#"{"family":"symmetric","signed":false,"encoding":"sign-magnitude"}"#,
            "quantizer field `encoding` is sign-magnitude: symmetric allows offset or gray",
        ),
        (
            r#"{"family":"wcat","bits":1,"encoding":"sign-magnitude"}"#,
            "quantizer field `encoding` is sign-magnitude: wcat allows twos-complement",
        ),
        (
            r#"{"family":"asymmetric","encoding":"sign-magnitude"}"#,
            "quantizer field `encoding` is sign-magnitude: asymmetric allows encodings in which every code has a word",
        ),
        (
            r#"{"family":"symmetric","compat":true,"bits":4}"#,
            "quantizer field `bits` is 4: symmetric allows 8, 16 or 32 for signed codes with compat",
        ),
        (
            r#"{"family":"symmetric","compat":true,"bits":16,"signed":false}"#,
            "quantizer field `bits` is 16: symmetric allows 2..8 for unsigned codes with compat",
        ),
        (
            r#"{"family":"symmetric","compat":true,"rounding":"stochastic"}"#,
            "quantizer field `rounding` is stochastic: symmetric allows nearest-even or truncate with compat",
        ),
        (
            r#"{"family":"symmetric","compat":true,"granularity":{"channel":0}}"#,
            "quantizer field `granularity` is { channel = 0 }: symmetric allows one range a tensor",
        ),
        (
            r#"{"family":"symmetric","compat":true,"range":"mse"}"#,
            "quantizer field `range` is \"mse\": symmetric allows adaptive and fixed with compat",
        ),
        (r#"{"family":"qkeras","integer":65}"#, "quantizer field `integer` is 65: qkeras allows -64..64"),
        (r#"{"family":"qkeras","alpha":0}"#, "quantizer field `alpha` is 0: qkeras allows numbers above 0"),
        (
            r#"{"family":"qkeras","alpha":"auto","keep_negative":false}"#,
            "quantizer field `keep_negative` is false: qkeras allows true only, with an automatic alpha",
        ),
        (
            r#"{"family":"qkeras","alpha":"auto","symmetric":false}"#,
            "quantizer field `symmetric` is false: qkeras allows true only, with an automatic alpha",
        ),
        (
            r#"{"family":"qkeras","alpha":"auto","rounding":"nearest-even"}"#,
            "quantizer field `rounding` has no meaning for family `qkeras`",
        ),
        (
            r#"{"family":"qkeras","granularity":{"channel":0}}"#,
            "quantizer field `granularity` is { channel = 0 }: qkeras allows scales of units only with an automatic alpha",
        ),
        (
            r#"{"family":"qkeras","keep_negative":false,"symmetric":true}"#,
            "quantizer field `symmetric` is true: qkeras allows false only",
        ),
    ];
    assert_cases(rows.map(|(json, start)| (json, (json, start), start.to_owned())), |(json, start)| {
        let message = refusal(json);
        message.get(..start.len()).map_or(message.clone(), str::to_owned)
    });
}

/// The resolved fields have every default in them, can be written and read, and make the same quantizer.
#[test]
fn resolved_fields_make_the_same_quantizer() {
    for family in FAMILIES {
        let spec = common::spec(family, "").unwrap();
        let quantizer = Quantizer::from_spec(&spec).unwrap();
        let resolved = quantizer.spec();
        assert_eq!(Quantizer::from_spec(resolved).as_ref(), Ok(&quantizer), "{family}");
        let json = serde_json::to_string(resolved).unwrap();
        assert_eq!(&serde_json::from_str::<QuantizerSpec>(&json).unwrap(), resolved, "{json}");
        let toml = toml::to_string(resolved).unwrap();
        assert_eq!(&toml::from_str::<QuantizerSpec>(&toml).unwrap(), resolved, "{toml}");
    }
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let text = r#"{"family":"symmetric","bits":8,"signed":true,"range":"adaptive","rounding":"nearest-even","granularity":"tensor","encoding":"twos-complement","compat":false}"#;
    let quantizer = Quantizer::from_spec(&QuantizerSpec::new(Family::Symmetric)).unwrap();
    assert_eq!(serde_json::to_string(quantizer.spec()).unwrap(), text);
    let unsigned = QuantizerSpec { signed: Some(false), ..QuantizerSpec::new(Family::Symmetric) };
    let unsigned = Quantizer::from_spec(&unsigned).unwrap();
    assert!(serde_json::to_string(unsigned.spec()).unwrap().contains(r#""encoding":"offset""#));
}

/// The example of the design, as TOML.
#[test]
fn toml_tables() {
    let text = r#"
        family = "symmetric"
        bits = 4
        signed = false
        clip = 0.1
        rounding = "nearest-even"
        granularity = { channel = 0 }
    "#;
    let spec: QuantizerSpec = toml::from_str(text).unwrap();
    assert_eq!(spec.granularity, Some(Granularity::Channel(0)));
    assert_eq!(spec.clip, Some(0.1));
    for (text, range) in [
        ("range = { fixed = 1 }", Range::Fixed(1.0)),
        ("range = { lo = -0.5, hi = 2 }", Range::Interval { lo: -0.5, hi: 2.0 }),
        ("range = { noisy_mse = 1e-3 }", Range::NoisyMse(1e-3)),
        ("range = \"sawb\"", Range::Sawb),
    ] {
        assert_eq!(toml::from_str::<QuantizerSpec>(text).unwrap().range, Some(range), "{text}");
    }
    assert!(
        toml::from_str::<QuantizerSpec>("clip = 0.1")
            .is_ok_and(|spec| toml::to_string(&spec).unwrap() == "clip = 0.1\n")
    );
}

#[test]
fn overrides() {
    let base = QuantizerSpec { bits: Some(4), clip: Some(0.1), ..QuantizerSpec::new(Family::Symmetric) };
    let other = QuantizerSpec { bits: Some(8), ..QuantizerSpec::new(Family::Lsq) };
    assert_eq!(base.overridden_by(&other), other);
    let native = QuantizerSpec::new(Family::Native);
    assert!(base.overridden_by(&native).is_native());
    assert_eq!(base.overridden_by(&QuantizerSpec::default()), base);
}

#[test]
fn values_that_cannot_be_quantized() {
    for family in FAMILIES {
        let spec = common::spec(family, "").unwrap();
        let quantizer = Quantizer::from_spec(&spec).unwrap();
        let fine: Vec<f32> = (0..64).map(|i| i as f32 * 0.01 - 0.2).collect();
        let grid = quantizer.fit(&fine, &[64]).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = fine.clone();
            values[37] = bad;
            for error in [
                quantizer.fit(&values, &[64]).unwrap_err(),
                grid.quantize(&values).unwrap_err(),
                grid.codes(&values).unwrap_err(),
            ] {
                assert!(matches!(error, QuantError::NotFinite { index: 37, .. }), "{family}: {error}");
            }
        }
        let shape_error = quantizer.fit(&fine, &[8, 9]).unwrap_err();
        assert_eq!(shape_error.to_string(), "shape [8, 9] has 72 elements, but there are 64");
        assert!(matches!(grid.quantize(&fine[1..]), Err(QuantError::Length { got: 63, wanted: 64, .. })));
        assert!(matches!(grid.dequantize(&[]), Err(QuantError::Length { got: 0, .. })));
        let high = grid.levels(0).map_or(i64::MAX, |levels| levels[levels.len() - 1].code);
        assert!(matches!(grid.word_of_code(high.saturating_add(1)), Err(QuantError::CodeOutside { .. })));
        let word = 1 << grid.quantizer().bits();
        assert!(matches!(grid.decode(0, word), Err(QuantError::WordOutside { .. })), "{family}");
        assert!(matches!(grid.decode(64, 0), Err(QuantError::Element { index: 64, elements: 64 })));
        let mut codes = grid.codes(&fine).unwrap();
        codes[5] = 1 << 40;
        assert!(matches!(grid.pack_codes(&codes), Err(QuantError::CodeOutside { index: 5, .. })), "{family}");
    }
    let error = fit(r#"{"family":"symmetric","bits":3}"#, &[1.0]).word_of_code(4).unwrap_err();
    assert_eq!(error.to_string(), "code 4 of element 0 is out of bounds: the scheme has -4..3");
}

#[test]
fn shapes_and_parts_that_cannot_be() {
    let channel = |axis| QuantizerSpec {
        granularity: Some(Granularity::Channel(axis)),
        ..QuantizerSpec::new(Family::Affine)
    };
    let quantizer = Quantizer::from_spec(&channel(2)).unwrap();
    let error = quantizer.fit(&[0.0; 4], &[2, 2]).unwrap_err();
    assert_eq!(error.to_string(), "channel axis 2 is out of bounds: shape [2, 2] has 2 axes");
    let quantizer = Quantizer::from_spec(&channel(0)).unwrap();
    assert!(quantizer.fit(&[], &[u64::MAX, 0]).unwrap().parts()[0].words.is_empty());
    assert!(quantizer.fit(&[0.0; 4], &[u64::MAX, u64::MAX]).is_err());

    let grid = quantizer.fit(&[0.5, 1.0, -1.0, 2.0], &[2, 2]).unwrap();
    let mut parts = grid.parts();
    assert!(matches!(quantizer.grid_of(&[1 << 50, 2], &parts), Err(QuantError::Length { got: 2, .. })));
    parts.swap(0, 1);
    let error = grid.with_parts(&parts).unwrap_err();
    assert_eq!(error.to_string(), "part 0 is `zero_point`, and must be `scale`");
    parts.swap(0, 1);
    parts[0].words[1] = f32::NAN.to_bits().into();
    assert!(grid.with_parts(&parts).unwrap().decode(3, 5).unwrap().is_nan(), "a faulted scale decodes");
    assert!(matches!(quantizer.grid_of(&[2, 2], &parts), Err(QuantError::BadScale { unit: 1, .. })));
    parts[0].words.pop();
    assert!(matches!(grid.with_parts(&parts), Err(QuantError::Length { what: "scale", got: 1, wanted: 2 })));
    assert!(matches!(grid.decoder_from(0, &[0]), Err(QuantError::Length { .. })));
    assert!(matches!(grid.decoder_from(0, &[0, 256]), Err(QuantError::WordOutside { word: 256, bits: 8 })));
    assert!(matches!(grid.decoder(2), Err(QuantError::Unit { unit: 2, units: 2 })));

    let block = fit_error(r#"{"family":"block","scheme":"q8_0"}"#, 33);
    assert_eq!(block, "33 elements are not a whole number of blocks of 32");
}

fn fit_error(json: &str, elements: usize) -> String {
    let spec: QuantizerSpec = serde_json::from_str(json).unwrap();
    let values = vec![0.1; elements];
    Quantizer::from_spec(&spec).unwrap().fit(&values, &[elements as u64]).unwrap_err().to_string()
}

#[test]
fn stored_bits_count_codes_and_parts() {
    let bits = |json: &str| fit(json, &[0.5; 96]).stored_bits();
    assert_eq!(bits(r#"{"family":"symmetric","bits":5}"#), 96 * 5 + 32);
    assert_eq!(bits(r#"{"family":"affine","bits":4,"granularity":{"group":32}}"#), 96 * 4 + 3 * 36);
    assert_eq!(bits(r#"{"family":"block","scheme":"q4_0"}"#), 3 * 18 * 8);
    assert_eq!(bits(r#"{"family":"block","scheme":"q4_1"}"#), 3 * 20 * 8);
    assert_eq!(bits(r#"{"family":"block","scheme":"q8_0"}"#), 3 * 34 * 8);
    assert_eq!(bits(r#"{"family":"qkeras"}"#), 96 * 8);
}
