//! `bitquake bits`.

mod common;
#[path = "common/docs.rs"]
mod docs;

use bitquake::bits::{Format, pattern};
use common::{Done, bitquake, model, run, run_line};
use docs::{assert_generated, markdown};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A number as binary32: the JSON reader of this test is not exact in the last digit of binary64.
fn single(value: &Value) -> Value {
    value.as_f64().map_or_else(|| value.clone(), |number| Value::from(number as f32))
}

fn coloured(args: &[&str]) -> Done {
    Done::of(
        bitquake().args(args).env("CLICOLOR_FORCE", "1").env_remove("NO_COLOR").output().expect("starts"),
    )
}

/// SPEC 1.2.
#[test]
fn words_of_binary32() {
    let cases: [(i32, &str, f64, &str); 9] = [
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
    for (integer, hex, value, bits) in cases {
        let as_float = json(&run(&["bits", &format!("0x{hex}"), "--json"]).ok());
        assert_eq!(
            (&as_float[0]["hex"], single(&as_float[0]["value"])),
            (&hex.into(), Value::from(value as f32))
        );
        assert_eq!(as_float[0]["pattern"].as_str().expect("text").replace('.', ""), bits);
        let as_integer = json(&run(&["bits", &integer.to_string(), "--dtype", "i32", "--json"]).ok());
        assert_eq!((&as_integer[0]["hex"], &as_integer[0]["integer"]), (&hex.into(), &integer.into()));
    }
}

/// SPEC 1.2.
#[test]
fn flips_of_binary32() {
    let number = |value: f64| Value::from(value);
    let cases = [
        ("0x3cd56816", 24, number(0.10420243442058563)),
        ("0.5", 0, number(0.5000000596046448)),
        ("0.5", 12, number(0.500244140625)),
        ("0.5", 22, number(0.75)),
        ("0.5", 23, number(1.0)),
        ("0.5", 24, number(0.125)),
        ("0.5", 29, number(2.710505431213761e-20)),
        ("0.5", 30, number(1.7014118346046923e38)),
        ("0.5", 31, number(-0.5)),
        ("1.0", 30, "inf".into()),
        ("1.5", 30, "NaN".into()),
        ("0.0", 30, number(2.0)),
        ("0.0", 31, number(-0.0)),
    ];
    for (value, bit, wanted) in cases {
        let shown = json(&run(&["bits", value, "--flip", &bit.to_string(), "--table", "--json"]).ok());
        let (flipped, row) = (&shown[0]["flipped"], &shown[0]["flips"][bit]);
        let wanted = single(&wanted);
        assert_eq!(
            (single(&flipped["value"]), single(&row["value"])),
            (wanted.clone(), wanted.clone()),
            "{value} bit {bit}"
        );
        assert_eq!((&row["bit"], &row["hex"]), (&bit.into(), &flipped["hex"]));
        assert_eq!(flipped["became_nan"], wanted == "NaN", "{value} bit {bit}");
        assert_eq!(flipped["became_infinite"], wanted == "inf", "{value} bit {bit}");
    }
    let shown = json(&run_line("bits 0x3cd56816 --flip 24 --json").ok());
    assert_eq!(
        (&shown[0]["flipped"]["ratio"], &shown[0]["flipped"]["hex"]),
        (&4.0.into(), &"3dd56816".into())
    );
    let shown = json(&run_line("bits 1.5 --flip 30 --json").ok());
    assert_eq!((&shown[0]["flipped"]["ratio"], &shown[0]["flipped"]["change"]), (&Value::Null, &Value::Null));
}

/// SPEC 3.3, cells 19 to 23, and 2.1, 5.1, 7.1: codes are shown as they are stored.
#[test]
fn codes_of_any_width_and_encoding() {
    for (value, format, shown_pattern, flip, becomes) in [
        ("-16", "i5", "1.0000", 4, 0.0),
        ("4", "i5", "0.0100", 4, -12.0),
        ("-0.625", "i5.3-sign-magnitude", "1.0101", 4, 0.625),
        ("0", "i8-offset", "1.0000000", 7, -128.0),
        ("0", "i8-gray", "1.1000000", 7, -1.0),
        ("0", "i8-sign-magnitude", "0.0000000", 7, -0.0),
        ("21", "i8", "0.0010101", 7, -107.0),
        ("5", "u4-gray", "0111", 3, 10.0),
        ("-8", "i6.-2", "1.11110", 5, 120.0),
        ("0.5", "u12.8", "000010000000", 11, 8.5),
    ] {
        let line = ["bits", value, "--dtype", format, "--flip", &flip.to_string(), "--json"];
        let shown = json(&run(&line).ok());
        assert_eq!(shown[0]["pattern"], shown_pattern, "{format}");
        assert_eq!(shown[0]["flipped"]["value"], becomes, "{format}");
    }
    let shown = json(&run_line("bits 18446744073709551615 --dtype u64 --json").ok());
    assert_eq!(shown[0]["integer"], u64::MAX);
}

#[test]
fn what_flips_make_of_a_number() {
    insta::assert_snapshot!("table_f32", run_line("bits 0.5 --table").ok());
    insta::assert_snapshot!("table_i8", run_line("bits -3 100 --dtype i8 --flip all --flip 6").ok());
    insta::assert_snapshot!("table_special", run_line("bits 1.5 0 inf --dtype f8e5m2 --table").ok());
    insta::assert_snapshot!("table_f64", run_line("bits 0.1 --dtype f64 --table").ok());
}

#[test]
fn colours_mark_the_fields() {
    let done = coloured(&["bits", "1.5", "--dtype", "f8e4m3", "--table"]);
    assert!(done.err.contains("sign 7") && done.err.contains("mantissa 2..0"), "{}", done.err);
    insta::assert_snapshot!("colours", done.ok().replace('\u{1b}', "^"));
    let quiet = coloured(&["--quiet", "bits", "1"]);
    assert!(quiet.err.is_empty() && quiet.out.contains('\u{1b}'), "{quiet:?}");
    let plain = run_line("bits 1");
    assert!(plain.err.is_empty() && !plain.out.contains('\u{1b}'), "{plain:?}");
}

#[test]
fn formats_are_listed() {
    let done = run_line("bits --formats");
    assert!(done.err.contains("fixed point"), "{}", done.err);
    insta::assert_snapshot!("formats", done.ok());
    let help = run_line("bits --help").ok();
    for row in bitquake::bits::FORMATS {
        assert!(help.contains(&format!(" {}", row.name)), "{}", row.name);
    }
}

#[test]
fn elements_of_a_tensor() {
    let file = model().to_string_lossy().into_owned();
    let show = |more: &[&str]| run(&[&["bits", "--file", &file][..], more].concat());
    let rows = show(&["--tensor", "conv1.weight", "--index", "3..5", "--flip", "30"]);
    insta::assert_snapshot!("elements", rows.ok());

    let few = show(&["--tensor", "conv1.weight"]);
    assert_eq!(few.out.lines().count(), 32);
    assert!(few.err.contains("112 more; --all prints them"), "{}", few.err);
    assert_eq!(show(&["--tensor", "conv1.weight", "--all"]).ok().lines().count(), 144);
    assert_eq!(show(&["--tensor", "bn1.bias", "--all"]).ok().lines().count(), 16);

    let told = json(&show(&["--tensor", "conv1.weight", "--index", "17", "--json"]).ok());
    assert_eq!((&told["dtype"], &told["elements"]), (&"f32".into(), &144.into()));
    let row = &told["rows"][0];
    assert_eq!(row["indices"], serde_json::json!([1, 0, 2, 2]), "element 17 of 16x1x3x3");
    let again = json(&run(&["bits", &format!("0x{}", row["hex"].as_str().expect("hex")), "--json"]).ok());
    assert_eq!(again[0]["value"], row["value"]);
}

#[test]
fn elements_that_are_not_there() {
    let file = model().to_string_lossy().into_owned();
    let show = |more: &[&str]| run(&[&["bits", "--file", &file][..], more].concat());
    for (args, wanted) in [
        (&[][..], "has 22 tensors: name one, such as --tensor conv1.weight"),
        (&["--tensor", "conv9"], "`conv9` matches no tensor; there are `conv1.weight`"),
        (&["--tensor", "fc.bias", "--index", "9..10"], "element 10 is out of bounds, there are 10"),
        (&["--tensor", "fc.bias", "--index", "9..3"], "9 is behind 3"),
        (&["--tensor", "fc.bias", "--dtype", "f16"], "cannot be used with"),
        (&["--tensor", "fc.bias", "--flip", "32"], "f32 has no bit 32"),
        (&["--tensor", "fc.bias", "1.0"], "cannot be used with"),
    ] {
        let said = show(args).failed(2);
        assert!(said.contains(wanted), "{args:?}: {said}");
    }
    let said = run_line("bits --file missing.onnx").failed(3);
    assert!(said.contains("missing.onnx"), "{said}");
    let said = run_line("bits 1 --index 3").failed(2);
    assert!(said.contains("--file"), "{said}");
}

#[test]
fn the_guide_has_every_format() {
    let rows = json(&run_line("bits --formats --json").ok());
    let rows = rows.as_array().expect("a list").iter().map(|row| {
        let text = |key: &str| row[key].as_str().expect("text").to_owned();
        let fields = row["fields"].as_object().expect("fields").iter();
        let fields: Vec<String> = fields.map(|(field, width)| format!("{field} {width}")).collect();
        vec![
            format!("`{}`", text("name")),
            row["width"].to_string(),
            fields.join(", "),
            text("low"),
            text("high"),
            text("special"),
            text("about"),
        ]
    });
    let header = ["name", "bits", "fields", "least", "greatest", "special", "what it is"];
    assert_generated("formats.md", "formats", &markdown(&header, rows));
}

#[test]
fn the_guide_has_every_encoding() {
    let formats: Vec<Format> = ["i3", "i3-offset", "i3-sign-magnitude", "i3-gray", "u3", "u3-gray"]
        .map(|name| name.parse().expect("a format"))
        .to_vec();
    let header: Vec<String> = std::iter::once("word".to_owned())
        .chain(formats.iter().map(|format| format!("`{format}`")))
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let rows = (0..8).map(|word| {
        let numbers = formats.iter().map(|format| format.decode(word).to_string());
        std::iter::once(format!("`{}`", pattern(Format::unsigned(3), word))).chain(numbers).collect()
    });
    assert_generated("formats.md", "encodings", &markdown(&header, rows));
}

#[test]
fn numbers_beyond_a_format_are_noted() {
    let noted = |args: &[&str]| {
        let done = run(&[&["bits"], args].concat());
        done.err.contains("is beyond the finite numbers of")
    };
    assert!(noted(&["70000", "--dtype", "f16"]) && noted(&["1e9", "--dtype", "f8e4m3"]));
    for fine in [
        &["65504", "--dtype", "f16"][..],
        &["inf"],
        &["nan"],
        &["0x7f800000"],
        &["0b11111111", "--dtype", "f8e4m3"],
    ] {
        assert!(!noted(fine), "{fine:?}");
    }
}
