//! `bitquake quantize`, with the vectors of SPEC.

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[path = "common/docs.rs"]
mod docs;

use bitquake::quantize::parse_quantizer;
use common::{Done, bitquake, model, run};
use docs::{assert_generated, markdown};
use serde_json::Value;

fn quantize(values: &str, spec: &str, more: &[&str]) -> Done {
    run(&[&["quantize", "--values", values, "--spec", spec][..], more].concat())
}

fn told(values: &str, spec: &str) -> Value {
    serde_json::from_str(&quantize(values, spec, &["--json"]).ok()).expect("JSON")
}

fn integers(list: &Value) -> Vec<i64> {
    list.as_array().expect("a list").iter().map(|code| code.as_i64().expect("an integer")).collect()
}

/// Checks numbers against a list as SPEC prints it, to the digits that it prints.
fn assert_numbers(list: &Value, wanted: &str, what: &str) {
    let wanted: Vec<f64> = wanted.split(' ').map(|number| number.parse().expect("a number")).collect();
    let list: Vec<f64> =
        list.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect();
    assert_eq!(list.len(), wanted.len(), "{what}");
    for (got, wanted) in list.iter().zip(wanted) {
        assert!((got - wanted).abs() <= 2e-8 + 6e-8 * wanted.abs(), "{what}: {got}, not {wanted}");
    }
}

/// SPEC 2.2.6: bits, fields, codes, levels.
#[test]
fn symmetric_codes_of_the_release() {
    let w = "-1,-0.5,-0.25,-0.1,0,0.1,0.3,0.6,1";
    let eight =
        "-0.99311817 -0.49655908 -0.24433859 -0.09458268 0 0.09458268 0.29951182 0.59902364 0.99311817";
    let cases = [
        ("bits = 8, range = { fixed = 1 }", "-126 -63 -31 -12 0 12 38 76 126", eight),
        (
            "bits = 16, range = { fixed = 1 }",
            "-32734 -16367 -8183 -3273 0 3273 9820 19640 32734",
            "-0.99999189 -0.49999595 -0.24998270 -0.09998697 0 0.09998697 0.29999146 0.59998292 0.99999189",
        ),
        ("bits = 8", "-126 -63 -31 -12 0 12 38 76 126", eight),
        (
            "bits = 8, clip = 0.5",
            "-127 -127 -63 -25 0 25 76 127 127",
            "-0.5 -0.5 -0.24803150 -0.09842519 0 0.09842519 0.29921260 0.5 0.5",
        ),
        (
            "bits = 8, signed = false, range = { fixed = 1 }",
            "1 64 96 115 128 140 166 204 254",
            "-1 -0.50444096 -0.25222048 -0.10246457 0 0.09458268 0.29951182 0.59902364 0.99311817",
        ),
        (
            "bits = 4, signed = false, range = { fixed = 1 }",
            "1 4 6 7 8 8 10 12 14",
            "-1 -0.572 -0.286 -0.143 0 0 0.286 0.572 0.858",
        ),
        ("bits = 2, signed = false, range = { fixed = 1 }", "1 1 1 1 2 2 2 2 2", "-1 -1 -1 -1 0 0 0 0 0"),
        (
            "bits = 8, signed = false",
            "1 64 96 115 128 140 166 204 254",
            "-1.00100005 -0.50444096 -0.25222048 -0.10246457 0 0.09458268 0.29951182 0.59902364 0.99311817",
        ),
        (
            "bits = 8, signed = false, clip = 0.5",
            "1 1 64 102 128 153 204 255 255",
            "-0.5 -0.5 -0.25196850 -0.10236220 0 0.09842519 0.29921260 0.5 0.5",
        ),
    ];
    for (fields, codes, levels) in cases {
        let spec = format!("{{ family = 'symmetric', compat = true, rounding = 'truncate', {fields} }}");
        let shown = told(w, &spec);
        assert_eq!(
            integers(&shown["codes"]),
            codes.split(' ').map(|c| c.parse().unwrap()).collect::<Vec<i64>>(),
            "{fields}"
        );
        assert_numbers(&shown["decoded"], levels, fields);
    }
    let rounded = told(w, "{ family = 'symmetric', compat = true, signed = false, clip = 0.5 }");
    assert_eq!(integers(&rounded["codes"]), [1, 1, 64, 103, 128, 153, 204, 255, 255]);
    let first =
        told(w, "{ family = 'symmetric', compat = true, rounding = 'truncate', range = { fixed = 1 } }");
    assert!((first["scale"].as_f64().expect("a number") - 0.00788188976).abs() < 1e-9);
    assert_eq!(first["range"], serde_json::json!([-1.0, 1.0]));
}

/// SPEC 2.2.6, asymmetric: bits, truncated codes and levels, rounded ones.
#[test]
fn asymmetric_codes_of_the_release() {
    let w = "-0.2,-0.05,0,0.1,0.4";
    let cases = [
        (
            8,
            "1 64 85 128 254",
            "-0.2 -0.05133228 -0.00167638 0.1 0.39793551",
            "1 65 86 128 255",
            "-0.2 -0.04896772 0.00068820 0.1 0.4",
        ),
        (4, "1 4 5 8 14", "-0.2 -0.0716 -0.0287 0.1 0.3574", "1 5 6 8 15", "-0.2 -0.0287 0.0142 0.1 0.4"),
        (3, "1 2 3 4 6", "-0.2 -0.1002 -0.0001 0.1 0.3002", "1 3 3 4 7", "-0.2 -0.0001 -0.0001 0.1 0.4"),
        (2, "1 1 1 2 2", "-0.2 -0.2 -0.2 0.1 0.1", "1 2 2 2 3", "-0.2 0.1 0.1 0.1 0.4"),
    ];
    let list =
        |text: &str| text.split(' ').map(|number| number.parse().expect("a number")).collect::<Vec<f64>>();
    for (bits, truncated, low, rounded, near) in cases {
        for (rounding, codes, levels) in [("truncate", truncated, low), ("nearest-even", rounded, near)] {
            let spec = format!(
                "family = 'asymmetric', compat = true, signed = false, bits = {bits}, rounding = '{rounding}'"
            );
            let shown = told(w, &spec);
            let got: Vec<f64> = integers(&shown["codes"]).into_iter().map(|code| code as f64).collect();
            assert_eq!(got, list(codes), "{spec}");
            for (got, wanted) in shown["decoded"].as_array().expect("a list").iter().zip(list(levels)) {
                // SPEC prints four decimals for the narrow ones.
                let close = if bits == 8 { 2e-8 } else { 6e-5 };
                assert!(
                    (got.as_f64().expect("a number") - wanted).abs() < close,
                    "{spec}: {got}, not {wanted}"
                );
            }
        }
    }
    let signed = told(w, "family = 'asymmetric', compat = true, rounding = 'truncate'");
    assert_eq!(integers(&signed["codes"]), [-126, -63, -42, 0, 126]);
    assert_numbers(&signed["decoded"], "-0.19793545 -0.04896772 0.00068820 0.1 0.39793551", "signed");
}

/// SPEC 2.2.6: all decoded values, and the code that only a flip reaches.
#[test]
fn the_table_of_codes_shows_what_only_a_flip_reaches() {
    let shown = told(
        "-0.2,0.4",
        "family = 'asymmetric', compat = true, signed = false, bits = 4, rounding = 'truncate'",
    );
    let levels = shown["levels"].as_array().expect("a table");
    let wanted = "-0.2 -0.2 -0.1574 -0.1145 -0.0716 -0.0287 0.0142 0.0571 0.1 0.1429 0.1858 0.2287 0.2716 0.3145 0.3574 0.4";
    for (code, (row, wanted)) in levels.iter().zip(wanted.split(' ')).enumerate() {
        assert_eq!(row["code"], code);
        let level: f64 = wanted.parse().expect("a number");
        assert!((row["level"].as_f64().expect("a number") - level).abs() < 6e-5, "{row}");
        // A value at the upper end is cut off to code 14.
        assert_eq!(row["produced"], (1..=14).contains(&code), "{row}");
    }
    assert_eq!(levels.len(), 16);
}

/// SPEC 3.3: quantizer A on the weights u, and its code table.
#[test]
fn quantizer_a_of_the_notebook() {
    let u = ".4263812245,.0285622043,.1483886153,.6128669344,.7276006002,.3124551335,.9670235976,.4482571768,.4207928178,.3103981442,.2773049277,.7789492049";
    let a = "{ family = 'qkeras', bits = 5, integer = 1, alpha = 1 }";
    let shown = told(u, a);
    assert_numbers(&shown["decoded"], "0.375 0 0.125 0.625 0.75 0.25 1 0.5 0.375 0.25 0.25 0.75", "A(u)");
    assert_eq!((&shown["scale"], &shown["range"]), (&0.125.into(), &serde_json::json!([-2.0, 1.875])));
    let negative = format!("-{}", u.replace(',', ",-"));
    let shown = told(&negative, a);
    assert_numbers(
        &shown["decoded"],
        "-0.375 0 -0.125 -0.625 -0.75 -0.25 -1 -0.5 -0.375 -0.25 -0.25 -0.75",
        "A(-u)",
    );
    let rows = shown["levels"].as_array().expect("a table");
    assert_eq!(rows.len(), 32);
    for row in rows {
        let word = u8::from_str_radix(&row["word"].as_str().expect("text")[2..], 16).expect("hexadecimal");
        let level = if word < 16 { f64::from(word) } else { f64::from(word) - 32.0 } * 0.125;
        assert_eq!((&row["level"], &row["produced"]), (&level.into(), &true.into()), "{word:05b}");
    }
}

/// SPEC 5.1.
#[test]
fn the_quantizer_of_bfa() {
    let w = "-0.9,-0.5,-0.26,-0.05,0,0.05,0.3,0.47,0.5,1.2";
    let shown = told(w, "family = 'bfa'");
    assert_eq!(integers(&shown["codes"]), [-95, -53, -28, -5, 0, 5, 32, 50, 53, 127]);
    assert_eq!(integers(&told(w, "family = 'bfa', bits = 4")["codes"]), [-5, -3, -2, 0, 0, 0, 2, 3, 3, 7]);
    assert!((shown["scale"].as_f64().expect("a number") - 0.0094488189).abs() < 1e-9);
}

/// SPEC 2.2.6: what a flip of each bit costs at code 128.
#[test]
fn damage_by_bit() {
    let shown = told("0", "family = 'symmetric', compat = true, signed = false, range = { fixed = 1 }");
    assert_eq!(integers(&shown["codes"]), [128]);
    let by_bit: Vec<f64> =
        shown["damage_by_bit"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    for (got, wanted) in
        by_bit.iter().zip([0.00788, 0.01576, 0.03153, 0.06306, 0.12611, 0.25222, 0.50444, 1.0])
    {
        assert!((got - wanted).abs() < 6e-6, "{got}, not {wanted}");
    }
    assert_eq!(by_bit.len(), 8);
}

#[test]
fn scripts_find_the_keys_in_their_order() {
    let text = quantize("-1,0.5", "family = 'symmetric', bits = 8", &["--json"]).ok();
    let keys = ["\"codes\"", "\"decoded\"", "\"scale\"", "\"range\"", "\"values\""].map(|key| text.find(key));
    assert!(keys.iter().all(Option::is_some) && keys.is_sorted(), "{text}");
    assert!(text.contains("0.503937"), "float32 in its own digits: {text}");
    let joined = run(&["quantize", "--values=-1,0.5", "--spec", "family = 'symmetric', bits = 8", "--json"]);
    assert_eq!(joined.ok(), text);
    let shown = told("1,2", "family = 'symmetric', granularity = { group = 1 }");
    assert_eq!(
        (&shown["scale"].as_array().map(Vec::len), &shown["unit"]),
        (&Some(2), &serde_json::json!([0, 1]))
    );
    assert_eq!(shown["range"], serde_json::json!([[-1.0, 1.0], [-2.0, 2.0]]));
}

#[test]
fn the_seed_decides_stochastic_rounding() {
    let values = vec!["0.3"; 64].join(",") + ",1";
    let codes = |seed: &str| {
        let shown = quantize(
            &values,
            "family = 'normal', bits = 3, rounding = 'stochastic'",
            &["--json", "--seed", seed],
        );
        integers(&serde_json::from_str::<Value>(&shown.ok()).expect("JSON")["codes"])
    };
    assert_eq!(codes("1"), codes("1"));
    // 64 draws agree with a probability of less than 1e-10.
    assert_ne!(codes("1"), codes("2"));
    assert!(codes("1")[..64].iter().all(|code| [1, 2].contains(code)));
}

#[test]
fn tables_for_people() {
    let w = "-1,-0.5,0.05,0.3,1";
    insta::assert_snapshot!("symmetric_4", quantize(w, "family = 'symmetric', bits = 4", &[]).ok());
    insta::assert_snapshot!("binary", quantize(w, "family = 'binary'", &[]).ok());
    let channels = "family = 'affine', bits = 2, granularity = { channel = 0 }";
    insta::assert_snapshot!("channels", quantize("0,1.5,-1,0.5", channels, &["--shape", "2x2"]).ok());
    insta::assert_snapshot!(
        "eight_bits",
        quantize(w, "family = 'symmetric', encoding = 'sign-magnitude'", &[]).ok()
    );
    insta::assert_snapshot!(
        "zeros",
        quantize("0,0", "family = 'symmetric', bits = 2, encoding = 'sign-magnitude'", &[]).ok()
    );
    let all = quantize(w, "family = 'symmetric'", &["--levels"]).ok();
    assert!(
        all.lines().any(|line| line.starts_with("1.0000000  -128") && line.ends_with("by a flip only")),
        "{all}"
    );
    let done = bitquake()
        .args(["quantize", "--values", "1,-1", "--spec", "family = 'bfa', bits = 3"])
        .env("CLICOLOR_FORCE", "1")
        .env_remove("NO_COLOR")
        .output();
    insta::assert_snapshot!("coloured", Done::of(done.expect("starts")).ok().replace('\u{1b}', "^"));
}

#[test]
fn what_is_wrong_is_named() {
    for (values, spec, wanted) in [
        ("1,nan", "family = 'bfa'", "element 1 is NaN"),
        ("1,2,-inf", "family = 'bfa'", "element 2 is -inf"),
        ("1,1e39", "family = 'bfa'", "element 1 is inf"),
        ("1,x", "family = 'bfa'", "'x' for '--values <X,Y,...>': not a number"),
        ("1", "family = 'bfq'", "unknown value `bfq`; did you mean `bfa`?"),
        ("1", "family = 'bfa', bitz = 3", "unknown key `bitz`; did you mean `bits`?"),
        ("1", "family = 'bfa', bits = 99", "quantizer field `bits` is 99: bfa allows 2..32"),
        ("1", "bits = 8", "there is no `family`"),
        ("1", "family = 'native'", "nothing to quantize"),
        ("1", "family = 'block', scheme = 'q8_0'", "1 elements are not a whole number of blocks of 32"),
        ("1", "family = 'symmetric', granularity = { channel = 3 }", "channel axis 3 is out of bounds"),
    ] {
        let said = quantize(values, spec, &[]).failed(2);
        assert!(said.contains(wanted), "{values} {spec}: {said}");
    }
    let shape = quantize("1,2,3", "family = 'bfa'", &["--shape", "2x2"]).failed(2);
    assert!(shape.contains("has 4 elements, but there are 3"), "{shape}");
    let wide = quantize("1,2", "family = 'bfa', bits = 17", &["--levels"]).failed(2);
    assert!(wide.contains("limited to 16 bits"), "{wide}");
    let none = run(&["quantize", "--spec", "family = 'bfa'"]).failed(2);
    assert!(none.contains("required"), "{none}");
    let missing = run(&["quantize", "missing.onnx", "--spec", "family = 'bfa'"]).failed(3);
    assert!(missing.contains("missing.onnx"), "{missing}");
    let file = model().to_string_lossy().into_owned();
    let block = run(&["quantize", &file, "--spec", "family = 'block', scheme = 'q4_0'"]).failed(2);
    assert!(
        block.contains("tensor `conv1.weight`: 144 elements are not a whole number of blocks"),
        "{block}"
    );
    let globs = run(&["quantize", &file, "--spec", "family = 'bfa'", "--select", "cnov*"]).failed(2);
    assert!(globs.contains("`cnov*` matches no tensor"), "{globs}");
}

#[test]
fn tensors_of_a_file() {
    let file = model().to_string_lossy().into_owned();
    let before = std::fs::read(&file).expect("the model");
    let show = |more: &[&str]| {
        run(&[&["quantize", &file, "--spec", "family = 'symmetric'"][..], more].concat()).ok()
    };
    insta::assert_snapshot!("file", show(&["--select", "conv*", "--select", "fc.*"]));
    let all: Value = serde_json::from_str(&show(&["--json"])).expect("JSON");
    let tensors = all["tensors"].as_array().expect("a list");
    let sum = |key: &str| tensors.iter().filter_map(|tensor| tensor[key].as_u64()).sum::<u64>();
    assert_eq!(
        (all["file_bits"].as_u64(), all["stored_bits"].as_u64()),
        (Some(sum("file_bits")), Some(sum("stored_bits")))
    );
    for tensor in tensors {
        let is_statistic = tensor["tensor"].as_str().expect("a name").contains("running");
        assert_eq!(tensor["stored"].is_null(), is_statistic, "{tensor}");
    }
    let conv: &Value = &tensors[0];
    assert_eq!(conv["stored_bits"], 144 * 8 + 32);
    // Half a step is the most that rounding is off; its mean square is near a twelfth.
    let error = &conv["stored"]["error"];
    assert!(error["max_lsb"].as_f64().expect("a number") <= 0.5 + 1e-6);
    assert!((error["rms_lsb"].as_f64().expect("a number") - (1.0_f64 / 12.0).sqrt()).abs() < 0.05, "{error}");
    let mean = show(&["--select", "bn1.running_mean"]);
    assert!(mean.contains("bn1.running_mean  i8"), "{mean}");
    assert!(std::fs::read(&file).expect("the model") == before);
}

/// The list that an error gives when `key` has an unknown value.
fn known(spec: &str) -> Vec<String> {
    let error = parse_quantizer(spec).expect_err("not known").to_string();
    let (_, list) = error.split_once("Known here: ").expect("a list");
    list.split(", ").map(str::to_owned).collect()
}

/// The first cells of the rows of the first table behind `<!-- NAME -->`, without backquotes.
fn first_column(page: &str, name: &str) -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let text = std::fs::read_to_string(path).expect("the page");
    let (_, rest) = text.split_once(&format!("<!-- {name} -->\n")).expect("the mark");
    let rows = rest.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.split('|').nth(1).expect("a cell").trim().trim_matches('`').to_owned()).collect()
}

#[test]
fn the_guide_has_every_field_and_family() {
    assert_eq!(
        first_column("quantizers.md", "fields"),
        known("{ ? = 1 }".replace('?', "no_such_field").as_str())
    );
    assert_eq!(first_column("quantizers.md", "families"), known("{ family = 'no such family' }"));
    let rows = known("{ family = 'no such family' }").into_iter().filter(|family| family != "native");
    let header = [
        "family",
        "`bits`",
        "`signed`",
        "`range`",
        "`clip`",
        "`rounding`",
        "`encoding`",
        "`granularity`",
        "stored beside, by default",
    ];
    assert_generated("quantizers.md", "families", &markdown(&header, rows.map(|family| family_row(&family))));
}

/// What a family takes, found by trying.
fn family_row(family: &str) -> Vec<String> {
    let block = if family == "block" { ", scheme = 'q4_1'" } else { "" };
    let takes = |fields: &str| parse_quantizer(&format!("{{ family = '{family}'{block}{fields} }}")).is_ok();
    let those = |candidates: &[(&str, &str)]| {
        let taken = candidates.iter().filter(|(_, fields)| takes(fields)).map(|(name, _)| *name);
        taken.collect::<Vec<_>>().join(", ")
    };
    let yes = |fields: &str| if takes(fields) { "yes" } else { "" }.to_owned();
    let widths: Vec<u32> = (1..=64).filter(|bits| takes(&format!(", bits = {bits}"))).collect();
    let bits = match widths.as_slice() {
        [only] => only.to_string(),
        [first, .., last] => format!("{first} to {last}"),
        [] => String::new(),
    };
    let grid = parse_quantizer(&format!("{{ family = '{family}'{block} }}"))
        .expect("defaults")
        .fit(&[0.5; 32], &[32]);
    let parts: Vec<&str> = grid.expect("fits").part_kinds().iter().map(|kind| kind.name()).collect();
    vec![
        format!("`{family}`"),
        bits,
        those(&[("true", ", signed = true"), ("false", ", signed = false")]),
        those(&[
            ("adaptive", ", range = 'adaptive'"),
            ("fixed", ", range = { fixed = 1 }"),
            ("lo, hi", ", range = { lo = -1, hi = 1 }"),
            ("sawb", ", range = 'sawb'"),
            ("mse", ", range = 'mse'"),
            ("noisy_mse", ", range = { noisy_mse = 0.01 }"),
            ("alpha", ", range = { alpha = 1 }"),
            ("step", ", range = { step = 1 }"),
        ]),
        yes(", clip = 1"),
        yes(", rounding = 'truncate'"),
        those(&[
            ("twos-complement", ", encoding = 'twos-complement'"),
            ("offset", ", encoding = 'offset'"),
            ("sign-magnitude", ", encoding = 'sign-magnitude'"),
            ("gray", ", encoding = 'gray'"),
        ]),
        if family == "qkeras" {
            "with an automatic `alpha`".to_owned()
        } else {
            yes(", granularity = { group = 8 }")
        },
        parts.join(", "),
    ]
}
