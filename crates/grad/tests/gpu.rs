//! GPUs against the CPU. Each feature has its own test; the machine must have such a device (a software one will do: Debian's
//! `mesa-vulkan-drivers` for wgpu): `cargo test -p bitquake-grad --features wgpu --test gpu`.

#![cfg(any(feature = "cuda", feature = "wgpu"))]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_grad::{Device, Gradients, Mode, Network, Objective, ParameterRole, Pass};
use bitquake_graph::architecture::{Architecture, Norm};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder};
use support::{class, distance, normal};

#[cfg(feature = "cuda")]
#[test]
fn cuda_agrees_with_the_cpu() {
    agree(Device::Cuda(0));
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu_agrees_with_the_cpu() {
    agree(Device::Wgpu(0));
}

const BATCH: usize = 3;

fn agree(device: Device) {
    for (name, norm) in
        [("lenet5", Norm::None), ("lenet5", Norm::Bn), ("resnet20", Norm::Bn), ("simplenet", Norm::Regn)]
    {
        let architecture = Architecture { norm: Some(norm), ..Architecture::new(name, [1, 32, 32], 10) };
        same_passes(&architecture, device);
    }
    same_maxima(device);
}

/// Values, gradients and a Hessian product are those of the CPU.
fn same_passes(architecture: &Architecture, device: Device) {
    let model = architecture.build(1).unwrap();
    let networks = [Device::Cpu, device].map(|device| Network::from_onnx(&model, device).unwrap());
    let weights: Vec<usize> = (0..networks[0].parameters().len())
        .filter(|&index| networks[0].parameters()[index].role == ParameterRole::Weight)
        .collect();
    let images: Vec<f32> = normal(3, BATCH * 32 * 32).into_iter().map(|x| 0.5 + 0.3 * x).collect();
    let objective = Objective::CrossEntropy { labels: &[0, 4, 9], smoothing: 0.1 };
    let pass = Pass {
        images: &images,
        batch: BATCH,
        objective,
        mode: Mode::Train,
        parameters: &weights,
        values: &[],
    };
    let [cpu, gpu] = [&networks[0], &networks[1]].map(|network| network.gradients(&pass).unwrap());
    assert!(distance(&gpu.outputs, &cpu.outputs) < 1e-4, "{architecture:?}");
    near(&gpu, &cpu, architecture);
    let direction: Vec<Vec<f32>> =
        weights.iter().map(|&index| normal(7, networks[0].parameter(index).len())).collect();
    let products =
        [&networks[0], &networks[1]].map(|network| network.hessian_product(&pass, &direction).unwrap());
    let flat = |product: &[Vec<f32>]| product.concat();
    let far = distance(&flat(&products[1].products), &flat(&products[0].products));
    assert!(far < 1e-2, "{architecture:?}: Hessian products differ by {far}");
}

fn near(gpu: &Gradients, cpu: &Gradients, architecture: &Architecture) {
    let far = distance(&gpu.parameters.concat(), &cpu.parameters.concat());
    assert!(far < 1e-3, "{architecture:?}: gradients differ by {far}");
    for (gpu, cpu) in gpu.statistics.iter().zip(&cpu.statistics) {
        assert!(distance(&gpu.batch_variance, &cpu.batch_variance) < 1e-4, "{architecture:?}");
    }
}

/// A NaN in a window of max pooling stays, as it does on the CPU.
fn same_maxima(device: Device) {
    let mut model = ModelBuilder::new("pool");
    let dims = [BuildDim::Named("batch"), BuildDim::Fixed(1), BuildDim::Fixed(4), BuildDim::Fixed(4)];
    model.graph().input("x", ElemType::F32, &dims);
    let sizes = [("kernel_shape", AttrValue::Ints(vec![2, 2])), ("strides", AttrValue::Ints(vec![2, 2]))];
    model.graph().node("MaxPool", &["x"], &["pooled"], &sizes);
    model.graph().node("Relu", &["pooled"], &["y"], &[]);
    model.graph().output("y", ElemType::F32, &[dims[0], dims[1], BuildDim::Fixed(2), BuildDim::Fixed(2)]);
    let bytes = model.finish();
    let mut images = normal(5, 16);
    images[5] = f32::NAN;
    images[8] = f32::INFINITY;
    let [cpu, gpu] = [Device::Cpu, device].map(|device| {
        let network = Network::from_onnx(&bytes, device).unwrap();
        network.forward(&images, 1, Mode::Evaluate).unwrap()
    });
    assert!(cpu[0].is_nan());
    for (found, wanted) in gpu.iter().zip(&cpu) {
        assert!(class(*found) == class(*wanted) && (found == wanted || wanted.is_nan()), "{gpu:?} {cpu:?}");
    }
}
