//! `bits`, `inspect`, `inject`, `diff`.

mod common;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use bitquake::fault::FaultPattern;
use common::{model, run, run_line};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn bits_shows_and_flips() {
    let text = run_line("bits 0.5 --flip 30").ok();
    assert_eq!(
        text,
        "0.01111110.00000000000000000000000  0x3f000000  0.5\n\
         0.11111110.00000000000000000000000  0x7f000000  1.7014118e38  flipped: 30; new/old = 3.40282e38\n"
    );
    let text = run_line("bits -3 0x7f --dtype i8 --flip 7").ok();
    assert!(text.starts_with("1.1111101  0xfd  -3\n0.1111101  0x7d  125  flipped: 7"), "{text}");
    let shown = json(&run_line("bits 1.5 nan --flip 30 --json").ok());
    assert_eq!(shown[0]["flipped"]["became_nan"], true);
    assert_eq!(shown[0]["flipped"]["value"], "NaN");
    assert_eq!(shown[1]["value"], "NaN");
}

#[test]
fn bits_refuses_what_does_not_fit() {
    for (line, wanted) in [
        ("bits 300 --dtype u8", "300"),
        ("bits x", "`x`"),
        ("bits 1 --dtype f33", "f33"),
        ("bits 1 --flip 32", "32"),
        ("bits 0x1ff --dtype i8", "0x1ff"),
        ("bits", "required"),
    ] {
        let said = run_line(line).failed(2);
        assert!(said.contains(wanted), "{line}: {said}");
    }
}

#[test]
fn inspect_tells_the_fault_space() {
    let file = model();
    let seen = json(&run(&["inspect".as_ref(), file.as_os_str(), "--json".as_ref()]).ok());
    assert_eq!(seen["words"], 66_522);
    assert_eq!(seen["bits"], 66_522 * 32);
    let first = &seen["tensors"][0];
    assert_eq!(
        (&first["format"], &first["role"], &first["selected"]),
        (&"f32".into(), &"weight".into(), &true.into())
    );
    let part = json(
        &run(&["inspect", &file.to_string_lossy(), "--select", "conv1*", "--bits", "sign", "--json"]).ok(),
    );
    assert_eq!(part["bits"], 144);
    let said = run(&["inspect", &file.to_string_lossy(), "--select", "cnov*"]).failed(2);
    assert!(said.contains("`cnov*` matches no tensor"), "{said}");
}

/// A file may have nothing that could be hit.
#[test]
fn inspect_lists_what_cannot_be_hit() {
    let file = tempfile::Builder::new().suffix(".npy").tempfile().expect("a file");
    let text = "{'descr': '|b1', 'fortran_order': False, 'shape': (1,)}\n";
    let header = [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), b"\x01"];
    fs::write(file.path(), header.concat()).expect("written");
    let seen = json(&run(&["inspect".as_ref(), file.path().as_os_str(), "--json".as_ref()]).ok());
    assert_eq!((&seen["bits"], &seen["tensors"][0]["format"]), (&0.into(), &"bool".into()));
    let said = run(&["inspect", &file.path().to_string_lossy(), "--select", "w"]).failed(2);
    assert!(said.contains("`w` matches no tensor"), "{said}");
}

#[test]
fn inspect_tells_how_a_memory_holds_the_tensors() {
    let file = model().to_string_lossy().into_owned();
    let storage = "{ family = 'symmetric', bits = 8, override = [{ select = ['fc.*'], bits = 4, granularity = { channel = 0 } }, { select = ['bn*'], family = 'native' }] }";
    let show = |more: &[&str]| run(&[&["inspect", &file, "--storage", storage][..], more].concat());
    insta::assert_snapshot!("inspect_storage", show(&[]).ok());
    let seen = json(&show(&["--json"]).ok());
    let conv = &seen["tensors"][0];
    assert_eq!((&conv["format"], &conv["stored"]["format"]), (&"f32".into(), &"i8".into()));
    assert_eq!((&conv["bits"], &conv["stored"]["bits"]), (&(144 * 8).into(), &(144 * 8 + 32).into()));
    let fc =
        seen["tensors"].as_array().expect("a list").iter().find(|tensor| tensor["tensor"] == "fc.weight");
    let part = &fc.expect("there")["stored"]["parts"][0];
    assert_eq!(
        (&part["tensor"], &part["elements"], &part["selected"]),
        (&"fc.weight@scale".into(), &10.into(), &false.into())
    );
    let with_scales = json(&show(&["--select", "fc.weight", "--select", "fc.weight@scale", "--json"]).ok());
    assert_eq!(with_scales["bits"], 5760 * 4 + 10 * 32);
    for (storage, wanted) in [
        ("family = 'symetric'", "did you mean `symmetric`?"),
        ("family = 'bfa', override = [{ bits = 4 }]", "missing field `select`"),
        ("family = 'bfa', override = [{ select = ['cnov*'], bits = 4 }]", "`cnov*` matches no tensor"),
        ("family = 'block', scheme = 'q4_0'", "tensor `conv1.weight`: 144 elements"),
    ] {
        let said = run(&["inspect", &file, "--storage", storage]).failed(2);
        assert!(said.contains(wanted), "{storage}: {said}");
    }
}

#[test]
fn types_that_are_no_number_format_are_told() {
    let temp = tempfile::tempdir().expect("a folder");
    let path = temp.path().join("mixed.safetensors").to_string_lossy().into_owned();
    let header = r#"{"mask":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]},"w":{"dtype":"I16","shape":[3],"data_offsets":[2,8]}}"#;
    let bytes =
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[1, 0, 1, 0, 2, 0, 0xff, 0xff]].concat();
    fs::write(&path, bytes).expect("written");
    let shown = run(&["inspect", &path]).ok();
    assert!(
        shown.lines().any(|line| line.starts_with("mask") && line.contains("- (no number format)")),
        "{shown}"
    );
    let rows = run(&["bits", "--file", &path]).ok();
    assert_eq!(
        rows.lines().last(),
        Some("2  1.111111111111111  0xffff  -1"),
        "the only tensor with a format"
    );
    let said = run(&["bits", "--file", &path, "--tensor", "mask"]).failed(2);
    assert!(said.contains("`mask` is bool, which is no number format"), "{said}");
    let kept = run(&["quantize", &path, "--spec", "family = 'bfa'"]).ok();
    assert!(kept.contains("w: i16 stays as it is: quantizers take f32, f16 and bf16"), "{kept}");
}

#[test]
fn inject_changes_the_flipped_bits_and_nothing_else_and_can_be_undone() {
    let temp = tempfile::tempdir().expect("a folder");
    let at = |name: &str| temp.path().join(name).to_string_lossy().into_owned();
    let file = model().to_string_lossy().into_owned();
    let (faulty, flips, restored) = (at("faulty.onnx"), at("flips.json"), at("restored.onnx"));
    let told = run(&[
        "inject",
        &file,
        "-o",
        &faulty,
        "--rate",
        "1e-4",
        "--seed",
        "7",
        "--pattern-out",
        &flips,
        "--json",
    ]);
    let told = json(&told.ok());
    let (before, after) = (fs::read(&file).expect("file"), fs::read(&faulty).expect("file"));
    let differing: u32 = before.iter().zip(&after).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!(before.len(), after.len());
    assert_eq!(told["flips"], differing);
    assert!(differing > 100);

    let difference = run(&["diff", &file, &faulty, "--json"]);
    let difference = json(&difference.ok());
    assert_eq!(difference["flips"], differing);
    assert_eq!(difference["identical"], false);
    assert_eq!(difference["by_bit"], told["by_bit"]);

    run(&["inject", &faulty, "-o", &restored, "--pattern", &flips]).ok();
    assert!(fs::read(&restored).expect("file") == before, "applying a pattern twice restores every byte");
    assert_eq!(json(&run(&["diff", &file, &restored, "--json"]).ok())["identical"], true);

    let again = at("again.onnx");
    run(&["inject", &file, "-o", &again, "--rate", "1e-4", "--seed", "7"]).ok();
    assert!(fs::read(&again).expect("file") == after, "the same seed gives the same flips");
}

#[test]
fn inject_hits_exactly_the_sites_named() {
    let temp = tempfile::tempdir().expect("a folder");
    let out = temp.path().join("one.onnx").to_string_lossy().into_owned();
    let file = model().to_string_lossy().into_owned();
    let sites = ["--site", "conv1.weight:17:30", "--site", "fc.bias:9:0"];
    run(&[&["inject", &file, "-o", &out][..], &sites].concat()).ok();
    let difference = json(&run(&["diff", &file, &out, "--json"]).ok());
    assert_eq!((&difference["flips"], &difference["words"]), (&2.into(), &2.into()));
    assert_eq!((&difference["by_bit"][0], &difference["by_bit"][30]), (&1.into(), &1.into()));
    assert_eq!(difference["tensors"][0]["tensor"], "conv1.weight");
}

#[test]
fn inject_refuses_and_writes_nothing() {
    let temp = tempfile::tempdir().expect("a folder");
    let out = temp.path().join("out.onnx").to_string_lossy().into_owned();
    let file = model().to_string_lossy().into_owned();
    let pattern = temp.path().join("pattern.json").to_string_lossy().into_owned();
    let other = r#"{"kind":"bitquake fault pattern","schema":1,"tensors":[{"tensor":"conv1.weight","format":"f32","elements":9,"flips":[[0,1]]}]}"#;
    fs::write(&pattern, other).expect("written");
    let cases: [(&[&str], i32, &str); 11] = [
        (&["--site", "conv1.weight:144:0"], 2, "element 144 is out of bounds, tensor `conv1.weight` has 144"),
        (&["--site", "conv1.weight:0:32"], 2, "bit 32 is not in the fault space"),
        (&["--site", "conv9.weight:0:0"], 2, "tensor `conv9.weight` is not in the fault space"),
        (&["--site", "conv1.weight:0:1", "--site", "conv1.weight:0:1"], 2, "named twice"),
        (&["--site", "conv1.weight"], 2, "TENSOR:INDEX:BIT"),
        (&["--rate", "1.5"], 2, "rate 1.5 is not a probability"),
        (&["--rate", "nan"], 2, "rate NaN is not a probability"),
        (&["--count", "99999999"], 2, "99999999 bits to hit, but the fault space has only 2128704"),
        (&["--rate", "0.1", "--select", "nothing*"], 2, "matches no tensor"),
        (&["--rate", "0.1", "--count", "1"], 2, "cannot be used with"),
        (&["--pattern", &pattern], 2, "with 9 elements, here it has 144"),
    ];
    for (args, code, wanted) in cases {
        let said = run(&[&["inject", &file, "-o", &out][..], args].concat()).failed(code);
        assert!(said.contains(wanted), "{args:?}: {said}");
        assert!(!Path::new(&out).exists(), "{args:?} left a file");
    }
    fs::write(&pattern, "{}").expect("written");
    let said = run(&["inject", &file, "-o", &out, "--pattern", &pattern]).failed(3);
    assert!(said.contains("not a fault pattern"), "{said}");
    let said = run(&["inject", &file, "-o", "/dev/null/out.onnx", "--rate", "0"]).failed(2);
    assert!(said.contains("/dev/null/out.onnx"), "{said}");
}

#[test]
fn files_that_are_not_models_are_named() {
    let temp = tempfile::tempdir().expect("a folder");
    let at = |name: &str, bytes: &[u8]| {
        let path = temp.path().join(name);
        fs::write(&path, bytes).expect("written");
        path.to_string_lossy().into_owned()
    };
    let whole = fs::read(model()).expect("the model");
    let cases = [
        (at("truncated.onnx", &whole[..whole.len() / 2]), "truncated"),
        (at("text.onnx", b"this is a text file, not a model\n"), "text"),
        (at("empty.onnx", b""), "empty"),
        (temp.path().join("missing.onnx").to_string_lossy().into_owned(), "missing.onnx"),
    ];
    for (file, wanted) in cases {
        let said = run(&["inspect", &file]).failed(3);
        assert!(said.contains(wanted) && said.contains(&file), "{said}");
    }
}

#[test]
fn closed_pipes_and_help_do_not_panic() {
    let shell = format!("{} completions bash | head -n 1", env!("CARGO_BIN_EXE_bitquake"));
    let done = common::Done::of(std::process::Command::new("sh").args(["-c", &shell]).output().expect("sh"));
    assert!(done.err.is_empty(), "{}", done.err);
    for command in [
        "bits",
        "inspect",
        "quantize",
        "inject",
        "diff",
        "run",
        "replay",
        "export",
        "report",
        "doctor",
        "completions",
    ] {
        assert!(run(&[command, "--help"]).ok().contains("Usage"), "{command}");
    }
    run_line("doctor").ok();
}

/// Every kind of file goes through the same door: listed, hit, compared, restored.
#[test]
fn files_of_every_kind_are_hit_and_restored() {
    let tensors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tensors/tests");
    let temp = tempfile::tempdir().expect("a folder");
    let at = |name: &str| temp.path().join(name).to_string_lossy().into_owned();
    for file in [
        "pytorch/zip_checkpoint.pt",
        "pytorch/legacy_checkpoint.pt",
        "gguf/types.gguf",
        "hdf5/v110.h5",
        "numpy/stored.npz",
        "numpy/fortran.npy",
    ] {
        let file = tensors.join(file).to_string_lossy().into_owned();
        let (faulty, restored, pattern) = (at("faulty"), at("restored"), at("pattern.json"));
        run(&["inject", &file, "-o", &faulty, "--count", "5", "--pattern-out", &pattern]).ok();
        let told: Value = serde_json::from_str(&run(&["diff", &file, &faulty, "--json"]).ok()).expect("JSON");
        assert_eq!(told["flips"], 5, "{file}");
        run(&["inject", &faulty, "-o", &restored, "--pattern", &pattern]).ok();
        assert_eq!(fs::read(&file).expect("there"), fs::read(&restored).expect("there"), "{file}");
    }
}

#[test]
fn tensors_without_a_number_format_are_called_so() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tensors/tests/gguf/types.gguf");
    let said = run(&["inspect", &file.to_string_lossy(), "--select", "t.q5_0"]).failed(2);
    assert!(said.contains("tensor `t.q5_0` is q5_0: its words can be listed"), "{said}");
}

#[test]
fn shapes_go_by_the_dimensions_of_the_file() {
    let temp = tempfile::tempdir().expect("a folder");
    let pattern = temp.path().join("pattern.json");
    let storage = temp.path().join("storage.toml");
    fs::write(&storage, "[storage]\nfamily = 'symmetric'\nbits = 8\n").expect("written");
    for (shape, tensor, words) in [
        ("channel", "fc.weight", 576),
        ("row", "fc.weight", 576),
        ("column", "fc.weight", 10),
        ("bullet-wake", "conv2.weight", 32),
    ] {
        let fault = format!("{{ model = 'shape', shape = '{shape}', counts = [1], bits_hit = 'all' }}");
        for (bits, more) in [(32, None), (8, Some(&storage))] {
            let mut args: Vec<OsString> =
                ["inject", "--select", tensor, "--fault", &fault].map(Into::into).into();
            args.extend([model().into(), "-o".into(), temp.path().join("x.onnx").into()]);
            args.extend(["--pattern-out".into(), pattern.clone().into()]);
            args.extend(more.into_iter().flat_map(|file| ["--storage".into(), file.clone().into()]));
            run(&args).ok();
            let flips =
                FaultPattern::from_json(&fs::read_to_string(&pattern).expect("text")).expect("a pattern");
            assert_eq!(flips.flips(), words * bits, "{shape} in {tensor}");
        }
    }
}
