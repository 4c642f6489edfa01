//! Outputs against PyTorch and ONNX Runtime's own Python package, made by `tools/fixtures/engine_oracles.py`.

use std::path::{Path, PathBuf};

use bitquake_bits::{Format, WordStore};
use bitquake_data::Dataset;
use bitquake_engine::{Evaluator, Model, Threads};
use bitquake_fault::{FaultPattern, TensorFlips};
use bitquake_tensors::{LENT_FROM, TensorFile};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn open(path: &Path) -> Model {
    open_lending(path, LENT_FROM)
}

fn open_lending(path: &Path, from: usize) -> Model {
    Model::lending(TensorFile::open(path).expect("the file"), from).expect("a model")
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A float32 C-order `.npy` of shape (n, c, h, w), as a data set whose labels are all 0.
fn images(name: &str) -> Dataset {
    let bytes = std::fs::read(fixtures().join(name)).expect("the images");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = String::from_utf8_lossy(&bytes[10..10 + header]).into_owned();
    let inside = text.split(['(', ')']).nth(1).expect("a shape");
    let shape: Vec<usize> = inside.split(',').filter_map(|dim| dim.trim().parse().ok()).collect();
    let pixels = bytes[10 + header..].as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
    Dataset::new(pixels, shape[1..].to_vec(), vec![0; shape[0]]).expect("a data set")
}

fn rows(case: &Value, key: &str) -> Vec<f32> {
    let rows = case[key].as_array().expect("rows").iter().flat_map(|row| row.as_array().expect("a row"));
    let word = |text: &Value| u32::from_str_radix(text.as_str().expect("hex"), 16).expect("hex");
    rows.map(|text| f32::from_bits(word(text))).collect()
}

/// The flips that turn a weight into the word of an edit.
fn pattern(model: &Model, case: &Value) -> FaultPattern {
    let flips = case["edits"].as_array().expect("edits").iter().map(|edit| {
        let tensor = edit["tensor"].as_str().expect("a name");
        let index = edit["index"].as_u64().expect("an index");
        let word = u64::from_str_radix(edit["word_hex"].as_str().expect("hex"), 16).expect("hex");
        let words = model.image().words(tensor).expect("the tensor");
        let change = word ^ words.get(index).expect("the element");
        TensorFlips {
            tensor: tensor.to_owned(),
            format: Format::F32,
            elements: words.elements(),
            addresses: (0..32).filter(|bit| change >> bit & 1 == 1).map(|bit| index * 32 + bit).collect(),
        }
    });
    FaultPattern::new(flips.collect()).expect("a pattern")
}

fn class(output: f32) -> &'static str {
    match output {
        x if x.is_nan() => "NaN",
        f32::INFINITY => "+Inf",
        f32::NEG_INFINITY => "-Inf",
        _ => "finite",
    }
}

#[test]
fn outputs_are_those_of_pytorch_and_onnx_runtime() {
    let text = std::fs::read_to_string(fixtures().join("engine_oracles.json")).expect("the fixtures");
    let oracles: Value = serde_json::from_str(&text).expect("JSON");
    let cases = oracles["cases"].as_array().expect("cases");
    assert!(cases.len() > 40);
    let mut wrong = Vec::new();
    for case in cases {
        let facts = &oracles["models"][case["model"].as_str().expect("a model")];
        let data = images(facts["images"].as_str().expect("images"));
        let path = root().join(facts["path"].as_str().expect("a path"));
        // As campaigns run it, with every weight read in place, and with none.
        for from in [LENT_FROM, 0, usize::MAX] {
            let model = open_lending(&path, from);
            let pattern = pattern(&model, case);
            let mut evaluator = Evaluator::new(model, &data, 256, Threads::Caller).expect("an evaluator");
            let found = evaluator.outputs(&pattern, data.len()).expect("outputs");
            let known_to_differ = case["differs"].as_array().expect("list").contains(&"ort_unfolded".into());
            compare(case, &found, "ort_unfolded", &mut wrong);
            if !known_to_differ {
                compare(case, &found, "torch", &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Classes must be equal, finite values within 1e-4 of the largest in the row.
fn compare(case: &Value, found: &[f32], oracle: &str, wrong: &mut Vec<String>) {
    let wanted = rows(case, oracle);
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().filter(|x| x.is_finite()).fold(0.0_f32, |a, b| a.max(b.abs()));
    for (place, (&found, &wanted)) in found.iter().zip(&wanted).enumerate() {
        let close = !wanted.is_finite() || (found - wanted).abs() <= 1e-4 * largest;
        if class(found) != class(wanted) || !close {
            let (name, model) = (&case["name"], &case["model"]);
            wrong.push(format!("{model} {name}, output {place}: {found}, {oracle} says {wanted}"));
        }
    }
}

#[test]
fn undoing_leaves_no_trace() {
    let model = open(&fixtures().join("tiny_cnn.onnx"));
    let before = model.image().clone();
    let data = images("tiny_images.npy");
    let mut evaluator = Evaluator::new(model, &data, 3, Threads::Caller).expect("an evaluator");
    let golden = evaluator.golden(0).expect("golden outputs");
    let edits =
        serde_json::json!({ "edits": [{ "tensor": "conv.weight", "index": 5, "word_hex": "7fc00000" }] });
    let broken = pattern(evaluator.model(), &edits);
    let outcome = evaluator.trial(&broken, &golden).expect("a trial");
    assert_eq!((outcome.images, outcome.nonfinite, outcome.loss()), (8, 8, None));
    assert!(evaluator.model().image().main() == before.main(), "every byte is restored");
    let again = evaluator.trial(&FaultPattern::empty(), &golden).expect("a trial");
    assert_eq!((again.golden_mismatch, again.nonfinite), (0, 0));
}

#[test]
fn batches_and_engine_threads_give_the_same_bits() {
    let data = images("fashion_images.npy");
    let outputs = |batch, threads| {
        let model = open(&root().join("examples/fashion-cnn/fashion_cnn.onnx"));
        let mut evaluator = Evaluator::new(model, &data, batch, threads).expect("an evaluator");
        let outputs = evaluator.golden(0).expect("golden outputs").golden.outputs;
        outputs.iter().map(|output| output.to_bits()).collect::<Vec<u32>>()
    };
    let golden = outputs(256, Threads::Caller);
    assert_eq!(golden, outputs(256, Threads::Engine(1)));
    assert_eq!(golden, outputs(256, Threads::Engine(2)));
}
