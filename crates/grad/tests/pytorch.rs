//! Values, losses, gradients and running statistics against PyTorch: fixtures of `tools/make_grad_fixtures.py`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::{Path, PathBuf};

use bitquake_bits::{Format, WordStore};
use bitquake_grad::{Device, Executor, Gradients, Mode, Network, Objective, ParameterRole, Pass};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_tensors::TensorFile;
use support::distance;

const FIXTURES: [&str; 9] = [
    "residual-train",
    "residual-evaluate",
    "mobile",
    "efficient",
    "dense",
    "transformer",
    "convolutions",
    "pools",
    "quantized",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The arrays of a fixture.
struct Arrays(TensorFile);

impl Arrays {
    fn open(name: &str) -> Arrays {
        Arrays(TensorFile::open(&folder().join(format!("{name}.npz"))).unwrap())
    }

    fn get(&self, name: &str) -> Option<Vec<f32>> {
        let words = self.0.words(name)?;
        let format = words.format();
        let value =
            |word: u64| if format == Format::I64 { word as i64 as f32 } else { format.decode(word) as f32 };
        Some(words.iter().map(value).collect())
    }

    fn is_train(&self) -> bool {
        self.get("train").unwrap() == [1.0]
    }
}

fn network(name: &str) -> Network {
    let file = TensorFile::open(&folder().join(format!("{name}.onnx"))).unwrap();
    Network::from_file(&file, Device::Cpu).unwrap()
}

/// The pass of a fixture, for its weights.
fn with_pass<T>(arrays: &Arrays, network: &Network, work: impl FnOnce(&Pass<'_>) -> T) -> T {
    let images = arrays.get("images").unwrap();
    let targets = arrays.get("targets");
    let labels: Vec<u32> =
        arrays.get("labels").unwrap_or_default().iter().map(|&label| label as u32).collect();
    let objective = match &targets {
        Some(targets) => Objective::SoftTargets(targets),
        None => Objective::CrossEntropy { labels: &labels, smoothing: arrays.get("smoothing").unwrap()[0] },
    };
    let of_torch =
        |index: &usize| arrays.get(&format!("grad/{}", network.parameters()[*index].name)).is_some();
    let parameters: Vec<usize> = (0..network.parameters().len()).filter(of_torch).collect();
    let mode = if arrays.is_train() { Mode::Train } else { Mode::Evaluate };
    let batch = images.len() / (3 * 8 * 8);
    work(&Pass { images: &images, batch, objective, mode, parameters: &parameters, values: &[] })
}

#[test]
fn gradients_agree_with_pytorch() {
    for name in FIXTURES {
        let (arrays, network) = (Arrays::open(name), network(name));
        with_pass(&arrays, &network, |pass| {
            let found = network.gradients(pass).unwrap();
            let far = distance(&found.outputs, &arrays.get("outputs").unwrap());
            assert!(far < 1e-5, "{name}: outputs {far}");
            let loss = arrays.get("loss").unwrap()[0];
            assert!(
                (found.loss - f64::from(loss)).abs() < 1e-5 * f64::from(loss),
                "{name}: {} {loss}",
                found.loss
            );
            let of_torch = arrays.0.tensors().iter().filter(|info| info.name.starts_with("grad/")).count();
            assert_eq!(pass.parameters.len(), of_torch, "{name}: every parameter of PyTorch's is one here");
            for (&index, gradient) in pass.parameters.iter().zip(&found.parameters) {
                let parameter = &network.parameters()[index].name;
                let wanted = arrays.get(&format!("grad/{parameter}")).unwrap();
                // Gradients that cancel to nothing (a bias before a normalization) are compared by their absolute size.
                let far = distance_from(gradient, &wanted, 1e-3);
                assert!(far < 1e-4, "{name}: {parameter} {far}: {gradient:?} is not {wanted:?}");
            }
            check_statistics(name, &arrays, &network, &found);
        });
    }
}

/// The residual network as the own kernels take it: without what the exporter computes from shapes.
fn plain_residual(exported: &Network) -> Network {
    let mut model = ModelBuilder::new("residual");
    let sizes = [BuildDim::Named("batch"), BuildDim::Fixed(3), BuildDim::Fixed(8), BuildDim::Fixed(8)];
    let graph = model.graph();
    graph.input("images", ElemType::F32, &sizes);
    for (index, parameter) in exported.parameters().iter().enumerate() {
        let shape: Vec<u64> = parameter.shape.iter().map(|&size| size as u64).collect();
        graph.initializer(TensorSpec::f32(&parameter.name, &shape, exported.parameter(index)));
    }
    let layers =
        [("conv0", "bn0", 1, 1), ("conv1", "bn1", 2, 1), ("conv2", "bn2", 1, 1), ("down", "bn3", 2, 0)];
    for ((layer, norm, stride, pad), from) in layers.into_iter().zip(["images", "a", "b", "a"]) {
        let of = |name: &str| format!("{norm}.{name}");
        let attributes =
            [("strides", AttrValue::Ints(vec![stride; 2])), ("pads", AttrValue::Ints(vec![pad; 4]))];
        graph.node("Conv", &[from, &format!("{layer}.weight")], &[layer], &attributes);
        let [scale, shift, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map(of);
        graph.node("BatchNormalization", &[layer, &scale, &shift, &mean, &variance], &[norm], &[]);
        match layer {
            "conv0" => graph.node("Relu", &[norm], &["a"], &[]),
            "conv1" => graph.node("Relu", &[norm], &["b"], &[]),
            _ => graph,
        };
    }
    graph.node("Add", &["bn2", "bn3"], &["c"], &[]).node("Relu", &["c"], &["d"], &[]);
    graph.node("GlobalAveragePool", &["d"], &["e"], &[]).node("Flatten", &["e"], &["f"], &[]);
    let transposed = [("transB", AttrValue::Int(1))];
    graph.node("Gemm", &["f", "fc.weight", "fc.bias"], &["logits"], &transposed);
    graph.output("logits", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(5)]);
    Network::from_onnx(&model.finish(), Device::Cpu).unwrap()
}

/// Products of the Hessian of all parameters, in evaluation: burn's, and those of the own kernels.
#[test]
fn hessian_products_agree_with_pytorch() {
    let burn = ["residual-evaluate", "convolutions", "pools"].map(|name| (name, network(name)));
    let native = ("residual-evaluate", plain_residual(&burn[0].1));
    assert_eq!(*native.1.executor(), Executor::Native);
    for (name, network) in burn.into_iter().chain([native]) {
        let arrays = Arrays::open(name);
        with_pass(&arrays, &network, |pass| {
            let array = |kind: &str, index: usize| {
                arrays.get(&format!("{kind}/{}", network.parameters()[index].name)).unwrap()
            };
            let direction: Vec<Vec<f32>> =
                pass.parameters.iter().map(|&index| array("direction", index)).collect();
            let found = network.hessian_product(pass, &direction).unwrap();
            for (&index, product) in pass.parameters.iter().zip(&found.products) {
                let wanted = array("product", index);
                let far = distance_from(product, &wanted, 1e-2);
                assert!(far < 1e-4, "{name}: {index} {far}: {product:?} is not {wanted:?}");
            }
        });
    }
}

/// The largest difference over the largest wanted, or over `least` if that is larger.
fn distance_from(found: &[f32], wanted: &[f32], least: f32) -> f32 {
    let scale = wanted.iter().fold(least, |most, value| most.max(value.abs()));
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

/// Running statistics after the step, as the parameters' roles and the momentum say.
fn check_statistics(name: &str, arrays: &Arrays, network: &Network, found: &Gradients) {
    let running: Vec<usize> = (0..network.parameters().len())
        .filter(|&index| network.parameters()[index].role == ParameterRole::Statistic)
        .collect();
    let expected = if arrays.is_train() { running.len() } else { 0 };
    assert_eq!(2 * found.statistics.len(), expected, "{name}");
    for statistics in &found.statistics {
        let of =
            [(statistics.mean, &statistics.batch_mean), (statistics.variance, &statistics.batch_variance)];
        for (index, batch) in of {
            let before = network.parameter(index).iter().zip(batch);
            let momentum = statistics.momentum;
            let after: Vec<f32> = before.map(|(r, b)| r * momentum + b * (1.0 - momentum)).collect();
            let parameter = &network.parameters()[index].name;
            let far = distance(&after, &arrays.get(&format!("running/{parameter}")).unwrap());
            assert!(far < 1e-5, "{name}: {parameter} {far}");
        }
    }
}

/// Two passes over the same network, and over one on another number of threads, give the same bits.
#[test]
fn equal_calls_give_equal_bits() {
    for name in FIXTURES {
        let arrays = Arrays::open(name);
        let network = network(name);
        with_pass(&arrays, &network, |pass| {
            let first = network.gradients(pass).unwrap();
            assert_eq!(network.gradients(pass).unwrap(), first, "{name}");
        });
    }
}
