//! Every built-in network in ONNX Runtime.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use bitquake_bits::WordStore;
use bitquake_data::Dataset;
use bitquake_engine::{Evaluator, Model, Runtime, Threads};
use bitquake_fault::FaultPattern;
use bitquake_graph::architecture::{Activation, Architecture, FAMILIES, FamilyRow, Norm, Whitening};
use bitquake_graph::cut::Cuts;
use bitquake_tensors::TensorFile;
use bitquake_testing::SplitMix64;
use ort::session::Session;
use ort::value::Tensor;

const CIFAR: [u64; 3] = [3, 32, 32];
const MNIST: [u64; 3] = [1, 28, 28];
const CLASSES: u64 = 7;

/// Pixels from 0 to 1.
fn images(shape: [u64; 3], count: usize) -> Dataset {
    let mut random = SplitMix64::new(5);
    let shape = shape.map(|size| size as usize);
    let pixels = (0..count * shape.iter().product::<usize>()).map(|_| random.unit() as f32).collect();
    Dataset::new(pixels, shape.to_vec(), vec![0; count]).unwrap()
}

fn open(bytes: &[u8]) -> TensorFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, bytes).unwrap();
    TensorFile::open(&path).unwrap()
}

fn logits(architecture: &Architecture, count: usize) -> Vec<f32> {
    let data = images(architecture.input.unwrap(), count);
    let model = Model::new(open(&architecture.build(1).unwrap())).unwrap();
    let mut evaluator = Evaluator::new(model, &data, count as u64, Threads::Caller).unwrap();
    evaluator.outputs(&FaultPattern::empty(), count).unwrap()
}

/// A family with few channels, so that tests are fast.
fn narrow(row: &FamilyRow) -> Architecture {
    let architecture = Architecture::new(row.name, row.published_input, CLASSES);
    Architecture { channels: row.channels.map(|_| 4), ..architecture }
}

fn root_mean_square(values: &[f32]) -> f64 {
    (values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn every_network_runs_with_every_norm() {
    for row in FAMILIES {
        for norm in Norm::ALL {
            let architecture = Architecture { norm: Some(norm), ..narrow(row) };
            if row.name == "mlp" && norm.name().ends_with("gn") {
                assert!(architecture.build(1).is_err());
                continue;
            }
            let logits = logits(&architecture, 3);
            assert_eq!(logits.len() as u64, 3 * CLASSES, "{} {norm}", row.name);
            assert!(logits.iter().all(|logit| logit.is_finite()), "{} {norm}: {logits:?}", row.name);
            let size = root_mean_square(&logits);
            // A residual network doubles the variance with every block if nothing normalizes, and batch normalization does
            // not before it has seen a batch: its running statistics begin as 0 and 1.
            let grows = row.name.contains("resnet") || row.name.contains("wrn");
            let is_ordinary = grows && !norm.name().ends_with("gn") || (0.02..20.0).contains(&size);
            assert!(is_ordinary, "{} {norm}: {size}", row.name);
            assert_ne!(logits[..7], logits[7..14], "{} {norm}: images make no difference", row.name);
        }
    }
}

#[test]
fn the_smallest_images_run() {
    for row in FAMILIES {
        let side = row.smallest;
        let input = [2, side, side];
        let smallest = Architecture { input: Some(input), norm: Some(Norm::Bn), ..narrow(row) };
        assert!(logits(&smallest, 2).iter().all(|logit| logit.is_finite()), "{}", row.name);
        // Below that, there is nothing to pool or convolve; the message says so before the runtime does.
        if side > 1 {
            let below = Architecture { input: Some([2, side - 1, side]), ..smallest };
            assert!(below.build(1).unwrap_err().to_string().contains("input"), "{}", row.name);
        }
    }
}

#[test]
fn every_activation_runs() {
    let activations = [
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Pact { bits: 1, alpha: 10.0 },
        Activation::Pact { bits: 8, alpha: 6.0 },
        Activation::Dorefa { bits: 4 },
    ];
    for name in ["lenet5", "simplenet", "resnet20", "wrn28-10", "mlp"] {
        let row = FAMILIES.iter().find(|row| row.name == name).unwrap();
        for activation in activations {
            let logits = logits(&Architecture { activation, norm: Some(Norm::Bn), ..narrow(row) }, 2);
            assert!(logits.iter().all(|logit| logit.is_finite()), "{name} {activation:?}: {logits:?}");
        }
    }
}

/// A stored scale of 0 is an effective one of 1, exactly.
#[test]
fn reparameterised_norms_begin_as_the_plain_ones() {
    for name in ["simplenet", "resnet20", "resnet50", "wrn28-10"] {
        let row = FAMILIES.iter().find(|row| row.name == name).unwrap();
        for (plain, reparameterised, zero) in
            [(Norm::Bn, Norm::Rebn, false), (Norm::Gn, Norm::Regn, false), (Norm::Bn, Norm::Rebn, true)]
        {
            let zero_residuals = row.zero_residuals.map(|_| zero);
            let run = |norm| logits(&Architecture { norm: Some(norm), zero_residuals, ..narrow(row) }, 2);
            let bits = |norm| run(norm).into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(plain), bits(reparameterised), "{name} {plain}");
        }
    }
}

/// What ONNX Runtime gives for the value `<layer>.out`.
fn value(bytes: &[u8], layer: &str, data: &Dataset) -> Vec<f32> {
    let image = open(bytes).into_engine_image_lending(usize::MAX).unwrap();
    let name = format!("{layer}.out");
    let model = Cuts::new(&image).unwrap().with_outputs(&[&name]);
    let builder = Session::builder(Runtime::load().unwrap().environment()).unwrap();
    let mut session = builder.with_intra_threads(1).unwrap().commit_from_memory(&model).unwrap();
    let shape = [&[data.len()], data.image_shape()].concat();
    let images = Tensor::from_array((shape, data.images(0..data.len()).to_vec())).unwrap();
    let outputs = session.run(ort::inputs![images]).unwrap();
    outputs[name.as_str()].try_extract_tensor::<f32>().unwrap().1.to_vec()
}

/// Against the definition, in f64.
#[test]
fn group_normalization_is_that_of_its_definition() {
    let mut architecture = Architecture::new("simplenet", CIFAR, CLASSES);
    (architecture.channels, architecture.norm) = (Some(12), Some(Norm::Gn));
    let (data, bytes) = (images(CIFAR, 2), architecture.build(4).unwrap());
    let [before, after] = ["conv1", "norm1"].map(|layer| value(&bytes, layer, &data));
    // Half of 12 channels is 6 groups of 2.
    let group = 2 * 32 * 32;
    for (before, after) in before.chunks_exact(group).zip(after.chunks_exact(group)) {
        let mean = before.iter().map(|&x| f64::from(x)).sum::<f64>() / group as f64;
        let variance = before.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / group as f64;
        for (&x, &y) in before.iter().zip(after) {
            let wanted = (f64::from(x) - mean) / (variance + 1e-5).sqrt();
            assert!((wanted - f64::from(y)).abs() < 1e-4, "{x} became {y}, not {wanted}");
        }
    }
    let groups = before.len() / group;
    assert_eq!((groups, after.len()), (12, before.len()));
}

#[test]
fn preprocessing_is_in_the_documented_order() {
    let whiten = Whitening { mean: vec![0.5, 0.25, 0.0], std: vec![0.25, 0.5, 2.0] };
    let options = Architecture::new("mlp", [3, 1, 1], 2);
    let options = Architecture { whiten: Some(whiten), rescale: true, hidden: Some(vec![]), ..options };
    let pixels = vec![-1.0, 0.5, 2.0, 1.0, 0.0, 0.5];
    let data = Dataset::new(pixels, vec![3, 1, 1], vec![0, 0]).unwrap();
    // Clamped to 0, .5, 1 and 1, 0, .5; whitened to -2, .5, .5 and 2, -.5, .25; doubled, less 1.
    assert_eq!(value(&options.build(1).unwrap(), "flatten", &data), [-5.0, 0.0, 0.0, 3.0, -2.0, -0.5]);
    let plain = Architecture { clamp: false, whiten: None, rescale: false, ..options };
    assert_eq!(value(&plain.build(1).unwrap(), "flatten", &data), [-1.0, 0.5, 2.0, 1.0, 0.0, 0.5]);
}

#[test]
fn the_logit_scale_is_a_factor() {
    let plain = Architecture::new("lenet5", MNIST, CLASSES);
    let scaled = Architecture { logit_scale: Some(4.0), ..plain.clone() };
    let quadruple: Vec<f32> = logits(&plain, 2).into_iter().map(|logit| 4.0 * logit).collect();
    assert_eq!(logits(&scaled, 2), quadruple);
}

/// PACT at a few bits gives `2^bits` levels from 0 to alpha, and never more.
#[test]
fn quantized_activations_have_their_levels() {
    for (activation, limit, highest) in [
        (Activation::Pact { bits: 4, alpha: 0.7 }, 0.7, 15),
        (Activation::Pact { bits: 1, alpha: 0.3 }, 0.3, 1),
        (Activation::Pact { bits: 8, alpha: 0.5 }, 0.5, 255),
        (Activation::Dorefa { bits: 2 }, 1.0, 3),
    ] {
        // Wide initial weights, so that many values are beyond the limit.
        let options = Architecture { activation, gain: Some(6.0), ..Architecture::new("mlp", MNIST, 2) };
        let options = Architecture { hidden: Some(vec![100]), ..options };
        let values = value(&options.build(1).unwrap(), "act1", &images(MNIST, 20));
        let step = limit / highest as f32;
        let codes: Vec<i64> = values.iter().map(|&value| (value / step).round() as i64).collect();
        let exact = values.iter().zip(&codes).all(|(value, &code)| (value - code as f32 * step).abs() < 1e-6);
        assert!(exact, "{activation:?}");
        assert_eq!(codes.iter().min().zip(codes.iter().max()), Some((&0, &highest)), "{activation:?}");
    }
}

/// The alpha that is stored decides, not one that the runtime folded away.
#[test]
fn a_changed_alpha_changes_the_limit() {
    let options = Architecture {
        activation: Activation::Pact { bits: 4, alpha: 1.0 },
        gain: Some(6.0),
        hidden: Some(vec![50]),
        ..Architecture::new("mlp", MNIST, 2)
    };
    let mut file = open(&options.build(1).unwrap());
    // 1.0 is 0x3f800000: without bit 23 it is 0.5.
    file.words_mut("act1.alpha").unwrap().flip(23).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    file.save(&path).unwrap();
    let values = value(&std::fs::read(&path).unwrap(), "act1", &images(MNIST, 5));
    assert_eq!(values.iter().fold(0.0, |most: f32, &value| most.max(value)), 0.5);
}
