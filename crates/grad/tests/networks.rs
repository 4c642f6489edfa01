//! Whole networks against ONNX Runtime.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_bits::WordStore;
use bitquake_grad::{Device, Gradients, Mode, Network, Objective, ParameterRole, Pass};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_graph::resnet::resnet20;
use bitquake_tensors::TensorFile;
use support::{class, distance, fashion, normal, runtime};

fn networks() -> [(&'static str, Vec<u8>, Vec<usize>); 2] {
    [("fashion", fashion(), vec![3, 1, 28, 28]), ("resnet20", resnet20(1), vec![2, 3, 32, 32])]
}

#[test]
fn values_agree_with_onnx_runtime() {
    for (name, model, shape) in networks() {
        let images = normal(3, shape.iter().product());
        let network = Network::from_onnx(&model, Device::Cpu).unwrap();
        let found = network.forward(&images, shape[0], Mode::Evaluate).unwrap();
        let far = distance(&found, &runtime(&model, &images, &shape));
        assert!(far < 1e-5, "{name}: {far}");
    }
}

/// The loss changes along a direction as its gradient says: central differences at two steps, extrapolated.
#[test]
fn gradients_agree_with_differences() {
    for (name, model, shape) in networks() {
        for mode in [Mode::Evaluate, Mode::Train] {
            let images = normal(4, shape.iter().product());
            let labels: Vec<u32> = (0..shape[0] as u32).collect();
            let mut network = Network::from_onnx(&model, Device::Cpu).unwrap();
            let parameters: Vec<usize> = (0..network.parameters().len()).collect();
            let objective = Objective::CrossEntropy { labels: &labels, smoothing: 0.1 };
            let pass = Pass {
                images: &images,
                batch: shape[0],
                objective,
                mode,
                parameters: &parameters,
                values: &[],
            };
            let gradients = network.gradients(&pass).unwrap();
            // The steepest direction has the clearest slope.
            let steep: f64 = gradients.parameters.iter().flatten().map(|&g| f64::from(g).powi(2)).sum();
            let start: Vec<Vec<f32>> =
                parameters.iter().map(|&index| network.parameter(index).to_vec()).collect();
            let mut loss = |step: f64| {
                for (&index, values) in parameters.iter().zip(&start) {
                    let moved = values.iter().zip(&gradients.parameters[index]);
                    let moved: Vec<f32> =
                        moved.map(|(&w, &g)| (f64::from(w) + step * f64::from(g)) as f32).collect();
                    network.set_parameter(index, &moved).unwrap();
                }
                network.gradients(&Pass { parameters: &[], ..pass }).unwrap().loss
            };
            let step = 3e-3 / steep.sqrt();
            let slope =
                |loss: &mut dyn FnMut(f64) -> f64, step: f64| (loss(step) - loss(-step)) / (2.0 * step);
            let (coarse, fine) = (slope(&mut loss, 2.0 * step), slope(&mut loss, step));
            let slope = (4.0 * fine - coarse) / 3.0;
            assert!((slope - steep).abs() < 2e-2 * steep, "{name} {mode:?}: {slope} is not {steep}");
        }
    }
}

/// A training pass over all weights, in a pool of this many threads.
fn pass_in_pool(network: &Network, images: &[f32], batch: usize, threads: usize) -> Gradients {
    let labels: Vec<u32> = (0..batch as u32).collect();
    let parameters: Vec<usize> = (0..network.parameters().len()).collect();
    let objective = Objective::CrossEntropy { labels: &labels, smoothing: 0.1 };
    let values = &["logits"];
    let pass = Pass { images, batch, objective, mode: Mode::Train, parameters: &parameters, values };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| network.gradients(&pass)).unwrap()
}

#[test]
fn equal_bits_on_any_number_of_threads() {
    for (name, model, shape) in networks() {
        let batch = 9;
        let images = normal(6, batch * shape[1..].iter().product::<usize>());
        let network = Network::from_onnx(&model, Device::Cpu).unwrap();
        let one = pass_in_pool(&network, &images, batch, 1);
        for threads in [1, 2, 3, 7] {
            assert_eq!(pass_in_pool(&network, &images, batch, threads), one, "{name} on {threads} threads");
        }
    }
}

/// What a faulty weight makes of the outputs: NaN, infinities and finite values where ONNX Runtime has them.
#[test]
fn faulty_weights_give_the_classes_of_onnx_runtime() {
    let (_, model, shape) = networks().into_iter().nth(1).unwrap();
    let images = normal(3, shape.iter().product());
    let folder = bitquake_testing::temp_dir();
    let path = folder.path().join("faulty.onnx");
    std::fs::write(&path, &model).unwrap();
    let mut kinds = Vec::new();
    for (tensor, element) in
        [("conv1.weight", 5), ("layer2.0.bn1.weight", 3), ("fc.weight", 70), ("layer3.0.conv2.weight", 9)]
    {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -2e30] {
            let mut file = TensorFile::open(&path).unwrap();
            file.words_mut(tensor).unwrap().set(element, odd.to_bits().into()).unwrap();
            let faulty = folder.path().join("edited.onnx");
            file.save(&faulty).unwrap();
            let faulty = std::fs::read(&faulty).unwrap();
            let network = Network::from_onnx(&faulty, Device::Cpu).unwrap();
            let found = network.forward(&images, shape[0], Mode::Evaluate).unwrap();
            let wanted = runtime(&faulty, &images, shape.as_slice());
            let classes = |values: &[f32]| values.iter().map(|&value| class(value)).collect::<Vec<u8>>();
            assert_eq!(classes(&found), classes(&wanted), "{tensor} {element} {odd}");
            kinds.extend(classes(&wanted));
            let first = network.first_nonfinite(&images, shape[0], Mode::Evaluate).unwrap();
            assert!(first.is_some() || odd.is_finite(), "{tensor} {odd}");
        }
    }
    assert!(kinds.contains(&0) && kinds.contains(&3), "both kinds of outputs were seen");
}

#[test]
fn the_first_value_that_is_not_finite_is_named() {
    let (_, model, shape) = networks().into_iter().nth(1).unwrap();
    let images = normal(3, shape.iter().product());
    let mut network = Network::from_onnx(&model, Device::Cpu).unwrap();
    assert_eq!(network.first_nonfinite(&images, shape[0], Mode::Train).unwrap(), None);
    let index =
        network.parameters().iter().position(|parameter| parameter.name == "layer2.1.bn1.weight").unwrap();
    let mut values = network.parameter(index).to_vec();
    values[0] = f32::INFINITY;
    network.set_parameter(index, &values).unwrap();
    let first = network.first_nonfinite(&images, shape[0], Mode::Train).unwrap();
    assert_eq!(first.as_deref(), Some("layer2.1.bn1.out"));
    let mut images = images;
    images[0] = f32::NAN;
    assert_eq!(network.first_nonfinite(&images, shape[0], Mode::Train).unwrap().as_deref(), Some("images"));
}

#[test]
fn parameters_have_roles_and_file_order() {
    let network = Network::from_onnx(&resnet20(1), Device::Cpu).unwrap();
    let of = |role| network.parameters().iter().filter(move |parameter| parameter.role == role);
    let trained: usize = of(ParameterRole::Weight).map(|parameter| parameter.elements()).sum();
    assert_eq!(trained, 272_474);
    assert_eq!(of(ParameterRole::Statistic).count(), 2 * 21);
    assert_eq!(of(ParameterRole::Setting).count(), 0);
    assert_eq!(network.parameters()[0].name, "conv1.weight");
    assert_eq!(network.parameters()[0].shape, [16, 3, 3, 3]);
    assert_eq!(network.input_shape(), [None, Some(3), Some(32), Some(32)]);
    let values = network.values();
    assert_eq!((values[0].name.as_str(), values[0].op_type.as_str()), ("conv1.out", "Conv"));
    assert_eq!(values.last().unwrap().name, "logits");
}

/// A linear classifier with a softmax at its end.
fn classifier(ends_in_softmax: bool) -> Vec<u8> {
    let mut model = ModelBuilder::new("classifier");
    model.graph().input("x", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(2)]);
    model.graph().initializer(TensorSpec::f32("w", &[2, 3], &[80.0, -60.0, 1.0, 5.0, 3.0, -90.0]));
    let last = if ends_in_softmax { "logits" } else { "y" };
    model.graph().node("MatMul", &["x", "w"], &[last], &[]);
    if ends_in_softmax {
        model.graph().node("Softmax", &["logits"], &["y"], &[("axis", AttrValue::Int(-1))]);
    }
    model.graph().output("y", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(3)]);
    model.finish()
}

/// Probabilities of 0 have no logarithm, but the loss is finite.
#[test]
fn a_softmax_at_the_end_is_taken_into_the_loss() {
    let pass = Pass {
        images: &[3.0, 1.0, -1.0, 2.0],
        batch: 2,
        objective: Objective::CrossEntropy { labels: &[1, 2], smoothing: 0.0 },
        mode: Mode::Evaluate,
        parameters: &[0],
        values: &[],
    };
    let [with, without] = [true, false].map(|ends_in_softmax| {
        let network = Network::from_onnx(&classifier(ends_in_softmax), Device::Cpu).unwrap();
        network.gradients(&pass).unwrap()
    });
    assert_eq!(with.outputs[1], 0.0);
    assert_eq!((with.loss, &with.parameters), (without.loss, &without.parameters));
    // By hand: logits (245, -177, -87) and (-70, 66, -181), so losses 422 and 247.
    assert!((with.loss - (422.0 + 247.0) / 2.0).abs() < 1e-4, "{}", with.loss);
}

/// Gradients of a value in the middle: of the logits, softmax minus targets.
#[test]
fn values_have_gradients() {
    let network = Network::from_onnx(&fashion(), Device::Cpu).unwrap();
    let images = normal(8, 2 * 784);
    let labels = [3, 7];
    let objective = Objective::CrossEntropy { labels: &labels, smoothing: 0.0 };
    let values = &["logits", "relu1.out", "logits"];
    let pass = Pass { images: &images, batch: 2, objective, mode: Mode::Evaluate, parameters: &[], values };
    let found = network.gradients(&pass).unwrap();
    for (image, label) in labels.into_iter().enumerate() {
        let logits = &found.outputs[image * 10..image * 10 + 10];
        let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        for (class, &logit) in logits.iter().enumerate() {
            let target = f64::from(u8::from(class == label as usize));
            let wanted = (f64::from(logit).exp() / total - target) / 2.0;
            assert!((f64::from(found.values[0][image * 10 + class]) - wanted).abs() < 1e-6);
        }
    }
    assert_eq!(found.values[0], found.values[2]);
    assert!(found.values[1].iter().any(|&gradient| gradient != 0.0));
    assert!(found.parameters.is_empty() && found.statistics.is_empty());
}
