//! Networks in the project's own kernels and on burn.

use bitquake_grad::{Device, Executor, Network, ParameterRole};
use bitquake_graph::architecture::{Activation, Architecture};

use super::normal;

/// The same network in the project's own kernels and on burn.
pub fn both(model: &[u8]) -> [Network; 2] {
    let open = || Network::from_onnx(model, Device::Cpu).unwrap();
    let native = open();
    assert_eq!(*native.executor(), Executor::Native);
    let burn = open().on_burn().unwrap();
    assert!(matches!(burn.executor(), Executor::Burn { .. }));
    [native, burn]
}

/// Whether the own kernels compute an architecture.
pub fn is_native(architecture: &Architecture) -> bool {
    architecture.activation == Activation::Relu
}

/// Pixels of which some are outside [0, 1], where they are clamped.
pub fn pixels(seed: u64, batch: usize, network: &Network) -> Vec<f32> {
    let elements: usize = network.input_shape()[1..].iter().map(|size| size.unwrap()).product();
    normal(seed, batch * elements).into_iter().map(|x| 0.5 + 0.3 * x).collect()
}

/// The parameters that are weights.
pub fn weights(network: &Network) -> Vec<usize> {
    let is_weight = |&index: &usize| network.parameters()[index].role == ParameterRole::Weight;
    (0..network.parameters().len()).filter(is_weight).collect()
}

/// The architecture with few values, so that few lie at a kink.
pub fn shrunk(architecture: &Architecture) -> Architecture {
    let name = architecture.architecture.as_str();
    let mut small = architecture.clone();
    let has_three_stages = ["resnet20", "resnet32", "resnet44", "resnet56", "wrn28"];
    if has_three_stages.iter().any(|known| name.contains(known)) {
        small.input = Some([3, 8, 8]);
    } else if name.contains("resnet") {
        small.input = Some([3, 16, 16]);
    }
    if ["wrn", "resnet50", "resnet34"].iter().any(|known| name.contains(known)) {
        small.channels = Some(2);
    }
    small
}
