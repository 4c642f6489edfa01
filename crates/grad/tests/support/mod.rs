//! What several tests of networks need.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test program uses some of it")]

pub mod architectures;
pub mod cases;
pub mod graphs;
pub mod pairs;

use std::path::Path;

use bitquake_engine::Runtime;
use bitquake_testing::SplitMix64;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;

/// The first output of ONNX Runtime, as the file has the graph.
pub fn runtime(model: &[u8], images: &[f32], shape: &[usize]) -> Vec<f32> {
    let builder = Session::builder(Runtime::load().unwrap().environment()).unwrap();
    let builder = builder.with_intra_threads(1).unwrap();
    let mut builder = builder.with_optimization_level(GraphOptimizationLevel::Disable).unwrap();
    let mut session = builder.commit_from_memory(model).unwrap();
    let dims: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    let input = Tensor::from_array((dims, images.to_vec())).unwrap();
    let outputs = session.run(ort::inputs![input]).unwrap();
    outputs[0].try_extract_tensor::<f32>().unwrap().1.to_vec()
}

/// Normal numbers from a seed.
pub fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..count).map(|_| random.normal() as f32).collect()
}

/// Finite, NaN, or an infinity with its sign.
pub fn class(value: f32) -> u8 {
    if value.is_nan() {
        3
    } else if value.is_infinite() {
        1 + u8::from(value > 0.0)
    } else {
        0
    }
}

/// The largest difference of finite values over the largest of `wanted`; infinite if classes differ.
pub fn distance(found: &[f32], wanted: &[f32]) -> f32 {
    if found.len() != wanted.len() || found.iter().zip(wanted).any(|(a, b)| class(*a) != class(*b)) {
        return f32::INFINITY;
    }
    let finite = |values: &mut dyn Iterator<Item = f32>| {
        values.filter(|value| value.is_finite()).fold(0.0_f32, |most, value| most.max(value.abs()))
    };
    let scale = finite(&mut wanted.iter().copied());
    let difference = finite(&mut found.iter().zip(wanted).map(|(a, b)| a - b));
    difference / scale.max(1e-6)
}

/// The shipped network.
pub fn fashion() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/fashion_cnn.onnx");
    std::fs::read(path).unwrap()
}
