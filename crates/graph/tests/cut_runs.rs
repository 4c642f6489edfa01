//! Cut models in ONNX Runtime: the chain gives the bits of the whole.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::HashMap;

use bitquake_bits::WordStore;
use bitquake_engine::{DISABLED_OPTIMISERS, Runtime};
use bitquake_graph::build::resnet20;
use bitquake_graph::cut::{Cuts, Segment, ValueKind};
use bitquake_tensors::EngineImage;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynValue, Tensor, TensorElementType};
use support::{chain, fashion_cnn, image, knot};

/// What a value is: shape and bytes.
type Bits = (Vec<i64>, Vec<u8>);

/// How ONNX Runtime may change what it runs.
#[derive(Clone, Copy)]
enum Setting {
    /// Not at all.
    AsIs,
    /// All optimizations but those that campaigns forbid, and but the blocked layout of channels (NCHWc), whose other kernels
    /// for normalization and pooling are taken only where a convolution is in the same model.
    Optimized,
}

fn session(setting: Setting) -> SessionBuilder {
    let builder = Session::builder(Runtime::load().unwrap().environment()).unwrap();
    let builder = builder.with_intra_threads(1).unwrap();
    match setting {
        Setting::AsIs => builder.with_optimization_level(GraphOptimizationLevel::Disable).unwrap(),
        Setting::Optimized => builder
            .with_optimization_level(GraphOptimizationLevel::All)
            .unwrap()
            .with_disabled_optimizers(format!("{DISABLED_OPTIMISERS};NchwcTransformer"))
            .unwrap(),
    }
}

/// Runs a model whose external data, if it has any, are those of `image`.
fn run(
    image: &EngineImage,
    model: &[u8],
    setting: Setting,
    feeds: &HashMap<String, DynValue>,
) -> HashMap<String, DynValue> {
    let mut builder = session(setting);
    let mut session = if image.externals().is_empty() {
        builder.commit_from_memory(model).unwrap()
    } else {
        let folder = tempfile::tempdir().unwrap();
        for part in image.externals() {
            std::fs::write(folder.path().join(&part.location), &*part.bytes).unwrap();
        }
        let path = folder.path().join("m.onnx");
        std::fs::write(&path, model).unwrap();
        builder.commit_from_file(&path).unwrap()
    };
    let names: Vec<String> = session.inputs().iter().map(|input| input.name().to_owned()).collect();
    let inputs: Vec<(&str, &DynValue)> = names.iter().map(|name| (name.as_str(), &feeds[name])).collect();
    let outputs = session.run(inputs).unwrap();
    outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn bits(value: &DynValue) -> Bits {
    let shape = value.shape().to_vec();
    if let Ok((_, elements)) = value.try_extract_tensor::<f32>() {
        return (shape, elements.iter().flat_map(|element| element.to_le_bytes()).collect());
    }
    let (_, elements) = value.try_extract_tensor::<bool>().unwrap();
    (shape, elements.iter().map(|&element| u8::from(element)).collect())
}

/// An input of this shape with values in [-1, 1) from a fixed linear congruence.
fn feed(name: &str, shape: &[i64]) -> HashMap<String, DynValue> {
    Runtime::load().unwrap(); // before the first value is made
    let count = shape.iter().product::<i64>() as usize;
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..count).map(|_| next()).collect();
    let tensor = Tensor::from_array((shape.to_vec(), values)).unwrap();
    HashMap::from([(name.to_owned(), tensor.into_dyn())])
}

/// All computed values of the whole model, which also tells their kinds.
fn all_values(
    image: &EngineImage,
    cuts: &Cuts<'_>,
    feeds: &HashMap<String, DynValue>,
) -> HashMap<String, DynValue> {
    let values = cuts.values();
    let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
    run(image, &cuts.with_outputs(&names), Setting::AsIs, feeds)
}

fn kind(value: &DynValue) -> ValueKind {
    let elem_type = if *value.data_type() == TensorElementType::Bool { 9 } else { 1 };
    ValueKind { elem_type, dims: value.shape().iter().skip(1).map(|&dim| dim as u64).collect() }
}

/// Runs these segments one after the other; every value that one of them gives.
fn run_chain(
    image: &EngineImage,
    segments: &[Segment],
    setting: Setting,
    feeds: HashMap<String, DynValue>,
) -> HashMap<String, DynValue> {
    let mut known = feeds;
    for segment in segments {
        known.extend(run(image, &segment.bytes, setting, &known));
    }
    known
}

/// Models with the name and the shape of their inputs.
fn models(lent: usize) -> [(EngineImage, &'static str, Vec<i64>); 3] {
    let [knot, cnn, resnet] = [knot(), fashion_cnn(), resnet20(5)].map(|bytes| image(&bytes, lent));
    [(knot, "x", vec![3, 2]), (cnn, "images", vec![2, 1, 28, 28]), (resnet, "images", vec![2, 3, 32, 32])]
}

/// Cuts each model at each of the lists of places that `places` makes for it; the outputs must be the whole's.
fn check(lent: usize, setting: Setting, places: impl Fn(usize) -> Vec<Vec<usize>>) {
    for (image, input, shape) in models(lent) {
        let cuts = Cuts::new(&image).unwrap();
        let feeds = feed(input, &shape); // kept, since an output may be the input's own memory
        let kinds = all_values(&image, &cuts, &feeds);
        let whole = run(&image, image.main(), setting, &feeds);
        let nodes = cuts.nodes().len();
        for places in places(nodes) {
            let segments = chain(&cuts, &places, &|value| kinds.get(value).map(kind));
            let known = run_chain(&image, &segments, setting, feed(input, &shape));
            for name in cuts.boundary(nodes).live {
                assert!(bits(&known[&name]) == bits(&whole[&name]), "{name} differs, cut at {places:?}");
            }
        }
    }
}

fn every_node(nodes: usize) -> Vec<Vec<usize>> {
    vec![(0..=nodes).collect()]
}

#[test]
fn every_node_by_itself_gives_the_bits_of_the_whole() {
    check(usize::MAX, Setting::AsIs, every_node);
}

#[test]
fn large_weights_stay_outside() {
    check(1, Setting::AsIs, every_node);
}

#[test]
fn two_parts_give_the_bits_of_the_whole() {
    let at = |nodes: usize| (1..nodes).step_by(1 + nodes / 12).map(|place| vec![0, place, nodes]).collect();
    check(usize::MAX, Setting::AsIs, at);
}

#[test]
fn optimized_parts_give_the_bits_of_the_optimized_whole() {
    check(usize::MAX, Setting::Optimized, |nodes| (1..nodes).map(|place| vec![0, place, nodes]).collect());
}

/// A fault written into the words of a segment is the fault of the whole model.
#[test]
fn a_fault_in_a_segment_is_the_fault_of_the_whole() {
    let clean = image(&fashion_cnn(), usize::MAX);
    let cuts = Cuts::new(&clean).unwrap();
    let feeds = || feed("images", &[1, 1, 28, 28]);
    let kinds = all_values(&clean, &cuts, &feeds());
    let logits = |values: &HashMap<String, DynValue>| bits(&values["logits"]);
    let golden = logits(&run(&clean, clean.main(), Setting::AsIs, &feeds()));
    let names: Vec<&String> = clean.words_index().keys().filter(|name| name.ends_with("weight")).collect();
    let mut changed = 0; // some faults are masked
    for name in &names {
        let mut image = clean.clone();
        image.words_mut(name).unwrap().flip(30).unwrap();
        let faulty = logits(&run(&image, image.main(), Setting::AsIs, &feeds()));
        let places = [0, cuts.consumers(name)[0].max(1), cuts.nodes().len()];
        let mut segments = chain(&cuts, &places, &|value| kinds.get(value).map(kind));
        for Segment { bytes, inline, .. } in &mut segments {
            for (tensor, range) in inline.iter().filter(|(tensor, _)| tensor == *name) {
                bytes[range.clone()].copy_from_slice(image.words(tensor).unwrap().bytes());
            }
        }
        assert!(logits(&run_chain(&image, &segments, Setting::AsIs, feeds())) == faulty, "{name}");
        changed += usize::from(faulty != golden);
    }
    assert!(changed > names.len() / 2, "{changed} of {}", names.len());
}
