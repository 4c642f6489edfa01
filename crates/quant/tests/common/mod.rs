//! What the tests share.
#![allow(dead_code, reason = "each test file uses some of it")]

use bitquake_quant::{Grid, Quantizer, QuantizerSpec};
use bitquake_testing::SplitMix64;

/// One of each kind of quantizer, as the inside of a JSON object.
pub const FAMILIES: &[&str] = &[
    r#""family":"symmetric""#,
    r#""family":"symmetric","signed":false,"bits":5"#,
    r#""family":"symmetric","encoding":"gray","bits":7"#,
    r#""family":"symmetric","encoding":"sign-magnitude""#,
    r#""family":"symmetric","bits":12,"rounding":"truncate""#,
    r#""family":"symmetric","bits":32"#,
    r#""family":"symmetric","signed":false,"rounding":"truncate""#,
    r#""family":"symmetric","clip":0.3,"bits":6,"encoding":"offset""#,
    r#""family":"asymmetric""#,
    r#""family":"asymmetric","signed":false,"bits":3"#,
    r#""family":"asymmetric","bits":1"#,
    r#""family":"asymmetric","encoding":"gray","rounding":"truncate""#,
    r#""family":"wcat","bits":4"#,
    r#""family":"wcat","signed":false"#,
    r#""family":"wcat","bits":4,"range":"sawb""#,
    r#""family":"normal","bits":8"#,
    r#""family":"normal","bits":16"#,
    r#""family":"normal","bits":20"#,
    r#""family":"lsq","bits":4"#,
    r#""family":"lsq","signed":false"#,
    r#""family":"bfa","bits":8"#,
    r#""family":"affine""#,
    r#""family":"affine","signed":false,"bits":4"#,
    r#""family":"affine","bits":16"#,
    r#""family":"affine","bits":24"#,
    r#""family":"qkeras","bits":6,"integer":1"#,
    r#""family":"qkeras","alpha":0.75"#,
    r#""family":"qkeras","alpha":"auto","bits":5"#,
    r#""family":"qkeras","alpha":"auto_po2","bits":5"#,
    r#""family":"binary""#,
    r#""family":"dorefa","bits":3"#,
    r#""family":"dorefa","bits":1"#,
    r#""family":"pact","bits":4"#,
    r#""family":"pact","signed":false,"bits":2"#,
    r#""family":"block","scheme":"q4_0""#,
    r#""family":"block","scheme":"q4_1""#,
    r#""family":"block","scheme":"q8_0""#,
    r#""family":"symmetric","compat":true"#,
    r#""family":"symmetric","compat":true,"bits":16,"rounding":"truncate""#,
    r#""family":"symmetric","compat":true,"signed":false,"bits":4"#,
    r#""family":"asymmetric","compat":true,"signed":false,"bits":8"#,
    r#""family":"asymmetric","compat":true,"rounding":"truncate""#,
];

/// The fields of a family with some more; none if they are not JSON.
pub fn spec(family: &str, more: &str) -> Option<QuantizerSpec> {
    serde_json::from_str(&format!("{{{family}{more}}}")).ok()
}

/// The grid of values for the fields, one axis.
pub fn fit(json: &str, values: &[f32]) -> Grid {
    let spec: QuantizerSpec = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let quantizer = Quantizer::from_spec(&spec).unwrap_or_else(|error| panic!("{json}: {error}"));
    quantizer.fit(values, &[values.len() as u64]).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// Values as weights have them: normal, a little off centre, with a few zeros.
pub fn values(count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(count as u64);
    (0..count).map(|i| if i % 50 == 3 { 0.0 } else { (random.normal() * 0.2 + 0.03) as f32 }).collect()
}
