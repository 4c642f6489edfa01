//! A method as the trainer uses it.

mod attack;
mod faults;
mod known_faults;
mod room;
mod steps;
mod storage;
mod tables;

use super::weights::tests::small;
use super::*;

fn config(text: &str) -> MethodConfig {
    toml::from_str(text).unwrap()
}

fn method(text: &str, weights: &Weights) -> Method {
    Method::new(&config(text), weights, 42).unwrap()
}

/// A pass whose gradients are all `gradient`.
fn half(weights: &Weights, loss: f64, gradient: f32) -> Half {
    let gradients = weights.tensors.iter().map(|tensor| vec![gradient; tensor.values.len()]).collect();
    Half { loss, gradients, statistics: Vec::new() }
}

/// The bits of all values.
fn bits(tensors: &[Vec<f32>]) -> Vec<Vec<u32>> {
    tensors.iter().map(|values| values.iter().map(|value| value.to_bits()).collect()).collect()
}

const RANDBET: &str = "w_max = 0.1
    quantization = { family = \"asymmetric\", bits = 8, signed = false }
    [bit_errors]
    rate = 0.01
    curriculum = \"always\"";
