//! Every built-in network: values of ONNX Runtime, and a gradient for every parameter.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_grad::{Device, Mode, Network, Objective, ParameterRole, Pass};
use bitquake_graph::architecture::{Activation, Architecture};
use bitquake_tensors::Role;
use support::architectures::networks;
use support::{distance, normal, runtime};

const BATCH: usize = 3;

fn images(architecture: &Architecture) -> (Vec<f32>, Vec<usize>) {
    let shape = [vec![BATCH], architecture.input.unwrap().map(|size| size as usize).to_vec()].concat();
    // Some pixels are outside [0, 1], where they are clamped.
    let pixels = normal(3, shape.iter().product()).into_iter().map(|x| 0.5 + 0.3 * x).collect();
    (pixels, shape)
}

#[test]
fn values_agree_with_onnx_runtime() {
    let mut wrong = Vec::new();
    for architecture in networks() {
        let (images, shape) = images(&architecture);
        let model = architecture.build(1).unwrap();
        let network = Network::from_onnx(&model, Device::Cpu).unwrap();
        let found = network.forward(&images, BATCH, Mode::Evaluate).unwrap();
        let far = distance(&found, &runtime(&model, &images, &shape));
        if far >= limit(&architecture) {
            wrong.push(format!("{architecture:?}: {far}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How far values may lie apart, relative to the largest.
fn limit(architecture: &Architecture) -> f32 {
    match architecture.activation {
        // A quantized activation may fall to the other side of a tie.
        Activation::Pact { .. } | Activation::Dorefa { .. } => 3e-2,
        _ => 1e-5,
    }
}

#[test]
fn every_planned_weight_is_a_parameter_with_a_gradient() {
    for architecture in networks() {
        let (images, _) = images(&architecture);
        let network = Network::from_onnx(&architecture.build(1).unwrap(), Device::Cpu).unwrap();
        let named = |role: ParameterRole| {
            let of_role =
                network.parameters().iter().enumerate().filter(move |(_, parameter)| parameter.role == role);
            of_role
                .map(|(index, parameter)| (index, parameter.name.clone()))
                .unzip::<_, _, Vec<usize>, Vec<String>>()
        };
        let planned = |role: Role| {
            let tensors = architecture.tensors().unwrap();
            tensors
                .into_iter()
                .filter(|tensor| tensor.role == role)
                .map(|tensor| tensor.name)
                .collect::<Vec<_>>()
        };
        let (weights, names) = named(ParameterRole::Weight);
        assert_eq!(names, planned(Role::Weight), "{architecture:?}");
        assert_eq!(named(ParameterRole::Statistic).1, planned(Role::Statistic), "{architecture:?}");
        let objective = Objective::CrossEntropy { labels: &[0, 1, 2], smoothing: 0.0 };
        let pass = Pass {
            images: &images,
            batch: BATCH,
            objective,
            mode: Mode::Train,
            parameters: &weights,
            values: &[],
        };
        let gradients = network.gradients(&pass).unwrap();
        for (name, gradient) in names.iter().zip(&gradients.parameters) {
            // What a normalization subtracts, or divides by, has a gradient of rounding errors alone.
            let finite = gradient.iter().all(|slope| slope.is_finite());
            let some = gradient.iter().any(|&slope| slope != 0.0);
            assert!(finite && some, "{architecture:?}: {name}: {gradient:?}");
        }
    }
}
