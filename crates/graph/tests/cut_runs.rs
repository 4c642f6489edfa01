//! Cut models in ONNX Runtime: the chain gives the bits of the whole.

mod support;

use std::collections::HashMap;

use bitquake_bits::WordStore;
use bitquake_engine::Runtime;
use bitquake_graph::build::resnet20;
use bitquake_graph::cut::{Cuts, ValueKind};
use bitquake_tensors::EngineImage;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Tensor, TensorElementType};
use support::{chain, fashion_cnn, image, knot};

/// What a value is: shape and bytes.
type Bits = (Vec<i64>, Vec<u8>);

fn run(
    model: &[u8],
    level: GraphOptimizationLevel,
    feeds: &HashMap<String, DynValue>,
) -> HashMap<String, DynValue> {
    let builder = Session::builder(Runtime::load().unwrap().environment()).unwrap();
    let builder = builder.with_optimization_level(level).unwrap().with_intra_threads(1).unwrap();
    let mut session = { builder }.commit_from_memory(model).unwrap();
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
    cuts: &Cuts<'_>,
    level: GraphOptimizationLevel,
    feeds: &HashMap<String, DynValue>,
) -> HashMap<String, DynValue> {
    let values = cuts.values();
    let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
    run(&cuts.with_outputs(&names), level, feeds)
}

fn kind(value: &DynValue) -> ValueKind {
    let elem_type = if *value.data_type() == TensorElementType::Bool { 9 } else { 1 };
    ValueKind { elem_type, dims: value.shape().iter().skip(1).map(|&dim| dim as u64).collect() }
}

/// Runs the chain of the segments between these places; every value that a segment gives.
fn run_chain(
    cuts: &Cuts<'_>,
    places: &[usize],
    level: GraphOptimizationLevel,
    (feeds, kinds): (HashMap<String, DynValue>, &HashMap<String, DynValue>),
) -> HashMap<String, DynValue> {
    let mut known = feeds;
    for segment in chain(cuts, places, &|value| kinds.get(value).map(kind)) {
        known.extend(run(&segment.bytes, level, &known));
    }
    known
}

#[track_caller]
fn assert_same(chain: &HashMap<String, DynValue>, whole: &HashMap<String, DynValue>, names: &[String]) {
    for name in names {
        assert!(bits(&chain[name]) == bits(&whole[name]), "{name} differs");
    }
}

fn models() -> [(EngineImage, &'static str, Vec<i64>); 3] {
    let [knot, cnn, resnet] = [knot(), fashion_cnn(), resnet20(5)].map(|bytes| image(&bytes, usize::MAX));
    [(knot, "x", vec![3, 2]), (cnn, "images", vec![2, 1, 28, 28]), (resnet, "images", vec![2, 3, 32, 32])]
}

#[test]
fn every_node_by_itself_gives_the_bits_of_the_whole() {
    for (image, input, shape) in models() {
        let cuts = Cuts::new(&image).unwrap();
        let level = GraphOptimizationLevel::Disable;
        let kinds = all_values(&cuts, level, &feed(input, &shape));
        let places: Vec<usize> = (0..=cuts.nodes().len()).collect();
        let known = run_chain(&cuts, &places, level, (feed(input, &shape), &kinds));
        let end = cuts.boundary(cuts.nodes().len()).live;
        let feeds = feed(input, &shape);
        assert_same(&known, &run(image.main(), level, &feeds), &end);
    }
}

#[test]
fn two_parts_give_the_bits_of_the_whole() {
    for (image, input, shape) in models() {
        let cuts = Cuts::new(&image).unwrap();
        let level = GraphOptimizationLevel::Disable;
        let kinds = all_values(&cuts, level, &feed(input, &shape));
        let feeds = feed(input, &shape); // an output may be the input's own memory
        let whole = run(image.main(), level, &feeds);
        let nodes = cuts.nodes().len();
        for place in (1..nodes).step_by(1 + nodes / 12) {
            let known = run_chain(&cuts, &[0, place, nodes], level, (feed(input, &shape), &kinds));
            assert_same(&known, &whole, &cuts.boundary(nodes).live);
        }
    }
}

/// With all optimizations: cut after rectifiers, where nothing is fused with what follows.
#[test]
fn optimized_parts_give_the_bits_of_the_optimized_whole() {
    for (image, input, shape) in models().into_iter().skip(1) {
        let cuts = Cuts::new(&image).unwrap();
        let level = GraphOptimizationLevel::All;
        let kinds = all_values(&cuts, GraphOptimizationLevel::Disable, &feed(input, &shape));
        let feeds = feed(input, &shape); // an output may be the input's own memory
        let whole = run(image.main(), level, &feeds);
        let nodes = cuts.nodes().len();
        let is_narrow = |&place: &usize| {
            cuts.nodes()[place - 1].op_type == "Relu" && cuts.boundary(place).live.len() == 1
        };
        let narrow: Vec<usize> = (1..nodes).filter(is_narrow).collect();
        let places = [&[0], &narrow[..], &[nodes]].concat();
        assert!(places.len() > 4, "{places:?}");
        let known = run_chain(&cuts, &places, level, (feed(input, &shape), &kinds));
        assert_same(&known, &whole, &cuts.boundary(nodes).live);
    }
}

/// A fault written into the words of a segment is the fault of the whole model.
#[test]
fn a_fault_in_a_segment_is_the_fault_of_the_whole() {
    let mut image = image(&fashion_cnn(), usize::MAX);
    let (input, shape, level) = ("images", [1, 1, 28, 28], GraphOptimizationLevel::Disable);
    let names: Vec<String> =
        image.words_index().keys().filter(|name| name.ends_with("weight")).cloned().collect();
    let cuts = Cuts::new(&image).unwrap();
    let kinds = all_values(&cuts, level, &feed(input, &shape));
    let golden = run(image.main(), level, &feed(input, &shape));
    let nodes = cuts.nodes().len();
    let cut_at: Vec<usize> = names.iter().map(|name| cuts.consumers(name)[0]).collect();
    let parts: Vec<_> = cut_at
        .iter()
        .map(|&place| chain(&cuts, &[0, place.max(1), nodes], &|value| kinds.get(value).map(kind)))
        .collect();
    let mut changed = 0; // some faults are masked
    for (name, mut parts) in names.iter().zip(parts) {
        image.words_mut(name).unwrap().flip(30).unwrap();
        let faulty = run(image.main(), level, &feed(input, &shape));
        let mut known = feed(input, &shape);
        for part in &mut parts {
            for (tensor, range) in part.inline.iter().filter(|(tensor, _)| tensor == name) {
                part.bytes[range.clone()].copy_from_slice(image.words(tensor).unwrap().bytes());
            }
            known.extend(run(&part.bytes, level, &known));
        }
        assert_same(&known, &faulty, &["logits".to_owned()]);
        changed += usize::from(bits(&golden["logits"]) != bits(&faulty["logits"]));
        image.words_mut(name).unwrap().flip(30).unwrap();
    }
    assert!(changed > names.len() / 2, "{changed} of {}", names.len());
}
