//! Watched values against what the operators say.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;

use bitquake_data::Dataset;
use bitquake_engine::{EngineError, Model, ValueRange, watch, watch_variant};
use bitquake_graph::build::{BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_tensors::TensorFile;

/// y = relu(x w) for rows of two features, and the places of its greatest elements.
fn model(batch: BuildDim<'_>, w: f32) -> Vec<u8> {
    let row = [batch, BuildDim::Fixed(2)];
    let mut model = ModelBuilder::new("small");
    let graph = model.graph();
    graph.input("x", ElemType::F32, &row).initializer(TensorSpec::f32("w", &[2], &[w, w]));
    graph.node("Mul", &["x", "w"], &["h"], &[]).node("Relu", &["h"], &["y"], &[]);
    graph.node("ArgMax", &["y"], &["top"], &[]).output("y", ElemType::F32, &row);
    model.finish()
}

fn open(bytes: Vec<u8>) -> Model {
    Model::new(TensorFile::from_onnx_bytes(bytes).unwrap()).unwrap()
}

fn data() -> Dataset {
    let pixels = vec![1.0, -2.0, 3.0, f32::INFINITY, -0.5, 0.25];
    Dataset::new(pixels, vec![2], vec![0; 3]).unwrap()
}

/// All that is seen of each value; none for what is no float32.
fn seen(model: &Model, values: &[&str], batch: u64) -> BTreeMap<String, Option<Vec<f32>>> {
    let mut all: BTreeMap<String, Option<Vec<f32>>> = BTreeMap::new();
    watch(model, values, &data(), batch, &mut |(name, elements)| match elements {
        Some(elements) => {
            let known = all.entry(name.into()).or_insert_with(|| Some(Vec::new()));
            known.get_or_insert_default().extend_from_slice(elements);
        }
        None => drop(all.insert(name.into(), None)),
    })
    .unwrap();
    all
}

#[test]
fn values_and_outputs_are_seen_whatever_the_batch() {
    let model = open(model(BuildDim::Named("n"), 2.0));
    for batch in [1, 2, 3, 100] {
        let found = seen(&model, &["h", "top"], batch);
        assert_eq!(found["h"].as_deref(), Some(&[2.0, -4.0, 6.0, f32::INFINITY, -1.0, 0.5][..]));
        assert_eq!(found["y"].as_deref(), Some(&[2.0, 0.0, 6.0, f32::INFINITY, 0.0, 0.5][..]));
        assert_eq!((found["top"].as_ref(), found.len()), (None, 3));
    }
}

/// No made-up image gets into the ranges.
#[test]
fn a_fixed_batch_is_filled_with_the_last_image() {
    let model = open(model(BuildDim::Fixed(2), -2.0));
    let found = seen(&model, &["h"], 32);
    let wanted = [-2.0, 4.0, -6.0, f32::NEG_INFINITY, 1.0, -0.5, 1.0, -0.5];
    assert_eq!(found["h"].as_deref(), Some(&wanted[..]));
    let mut range = ValueRange::default();
    range.add(&wanted);
    assert_eq!(range, ValueRange { ends: Some([-6.0, 4.0]), elements: 8, non_finite: 1 });
}

#[test]
fn a_variant_runs_in_place_of_the_model() {
    let small = open(model(BuildDim::Named("n"), 2.0));
    let mut outputs = Vec::new();
    let other = model(BuildDim::Named("n"), 0.5);
    watch_variant(&small, &other, &data(), 2, &mut |(_, elements)| {
        outputs.extend_from_slice(elements.unwrap())
    })
    .unwrap();
    assert_eq!(outputs, [0.5, 0.0, 1.5, f32::INFINITY, 0.0, 0.125]);
}

#[test]
fn what_cannot_be_watched_is_told() {
    let model = open(model(BuildDim::Named("n"), 2.0));
    let nothing = |_: (&str, Option<&[f32]>)| ();
    let failed = watch(&model, &["none"], &data(), 2, &mut { nothing });
    assert!(matches!(failed, Err(EngineError::Load { .. })), "{failed:?}");
    let wide = Dataset::new(vec![0.0; 3], vec![3], vec![0]).unwrap();
    assert!(matches!(watch(&model, &[], &wide, 2, &mut { nothing }), Err(EngineError::Shape { .. })));
}
