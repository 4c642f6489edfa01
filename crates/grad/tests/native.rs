//! The project's own kernels against burn: two implementations of the same networks.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_grad::{Device, Executor, Gradients, Mode, Network, Objective, ParameterRole, Pass};
use bitquake_graph::architecture::{Activation, Architecture};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, GraphBuilder, ModelBuilder, TensorSpec};
use bitquake_graph::resnet::resnet20;
use support::architectures::networks;
use support::{class, fashion, normal};

/// The largest difference over the largest wanted, or over `least` if that is larger; infinite if one is finite and the other is not.
fn distance(found: &[f32], wanted: &[f32], least: f32) -> f32 {
    assert_eq!(found.len(), wanted.len());
    if found.iter().zip(wanted).any(|(a, b)| class(*a) != class(*b)) {
        return f32::INFINITY;
    }
    let scale = wanted.iter().fold(least, |most, value| most.max(value.abs()));
    found.iter().zip(wanted).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

fn both(model: &[u8]) -> [Network; 2] {
    let open = || Network::from_onnx(model, Device::Cpu).unwrap();
    let native = open();
    assert_eq!(*native.executor(), Executor::Native);
    let burn = open().on_burn().unwrap();
    assert!(matches!(burn.executor(), Executor::Burn { .. }));
    [native, burn]
}

fn is_native(architecture: &Architecture) -> bool {
    architecture.activation == Activation::Relu
}

/// Pixels of which some are outside [0, 1], where they are clamped.
fn pixels(seed: u64, batch: usize, network: &Network) -> Vec<f32> {
    let elements: usize = network.input_shape()[1..].iter().map(|size| size.unwrap()).product();
    normal(seed, batch * elements).into_iter().map(|x| 0.5 + 0.3 * x).collect()
}

fn weights(network: &Network) -> Vec<usize> {
    let is_weight = |&index: &usize| network.parameters()[index].role == ParameterRole::Weight;
    (0..network.parameters().len()).filter(is_weight).collect()
}

/// What lies apart in the results of a pass: relative to the largest of each kind of number.
fn apart(name: &str, found: &Gradients, wanted: &Gradients, limit: f32) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |what: String, found: &[f32], wanted: &[f32], least: f32, limit: f32| {
        let far = distance(found, wanted, least);
        if far >= limit {
            wrong.push(format!("{name}: {what} {far}"));
        }
    };
    check("outputs".to_owned(), &found.outputs, &wanted.outputs, 1e-6, limit);
    check("loss".to_owned(), &[found.loss as f32], &[wanted.loss as f32], 1e-6, limit);
    // Gradients that cancel to nothing (a bias before a normalization) are compared with the largest of all.
    let largest = wanted.parameters.iter().flatten().fold(0.0_f32, |most, value| most.max(value.abs()));
    for (place, (found, wanted)) in found.parameters.iter().zip(&wanted.parameters).enumerate() {
        check(format!("parameter {place}"), found, wanted, 1e-2 * largest, 10.0 * limit);
    }
    for (place, (found, wanted)) in found.values.iter().zip(&wanted.values).enumerate() {
        check(format!("value {place}"), found, wanted, 1e-6, 10.0 * limit);
    }
    assert_eq!(found.statistics.len(), wanted.statistics.len(), "{name}");
    for (found, wanted) in found.statistics.iter().zip(&wanted.statistics) {
        assert_eq!((found.mean, found.variance, found.momentum), (wanted.mean, wanted.variance, wanted.momentum));
        check(format!("mean {}", found.mean), &found.batch_mean, &wanted.batch_mean, 1e-6, limit);
        check(format!("variance {}", found.mean), &found.batch_variance, &wanted.batch_variance, 1e-6, limit);
    }
    wrong
}

/// Compares a training pass, or an evaluating one, over all weights and some values.
fn compare(name: &str, model: &[u8], batch: usize, mode: Mode, limit: f32) -> Vec<String> {
    let networks = both(model);
    let images = pixels(batch as u64, batch, &networks[0]);
    let labels: Vec<u32> = (0..batch as u32).map(|image| image % 4).collect();
    let parameters = weights(&networks[0]);
    let values = networks[0].values();
    // The middle, the last but one, the output.
    let names = [values.len() / 2, values.len() - 2, values.len() - 1].map(|place| values[place].name.as_str());
    let pass = Pass {
        images: &images,
        batch,
        objective: Objective::CrossEntropy { labels: &labels, smoothing: 0.1 },
        mode,
        parameters: &parameters,
        values: &names,
    };
    let [found, wanted] = networks.map(|network| network.gradients(&pass).unwrap());
    apart(&format!("{name} {mode:?} {batch}"), &found, &wanted, limit)
}

#[test]
fn architectures_agree_with_burn() {
    let mut wrong = Vec::new();
    for architecture in networks().filter(is_native) {
        let name = format!("{} {:?}", architecture.architecture, architecture.norm);
        let model = architecture.build(1).unwrap();
        let limit = if name.contains("gn") { 1e-4 } else { 2e-5 };
        for mode in [Mode::Evaluate, Mode::Train] {
            wrong.extend(compare(&name, &model, 3, mode, limit));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn odd_batches_agree_with_burn() {
    let mut wrong = Vec::new();
    for (name, model) in [("resnet20", resnet20(1)), ("fashion", fashion())] {
        for batch in [1, 17] {
            for mode in [Mode::Evaluate, Mode::Train] {
                wrong.extend(compare(name, &model, batch, mode, 2e-5));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_has_no_kernel_stays_with_burn_and_is_named() {
    for architecture in networks().filter(|architecture| !is_native(architecture)) {
        let network = Network::from_onnx(&architecture.build(1).unwrap(), Device::Cpu).unwrap();
        let Executor::Burn { because } = network.executor() else { panic!("{architecture:?}") };
        assert!(because.contains("node `act1"), "{because}");
    }
}
