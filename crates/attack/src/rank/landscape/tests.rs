//! Networks whose derivatives are known in closed form, or by differences in float64.

use bitquake_bits::BitSelection;
use bitquake_data::Dataset;
use bitquake_grad::{Device, Network};
use bitquake_graph::build::{BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_sample::StreamKey;
use bitquake_storage::StorageSpec;
use bitquake_tensors::TensorFile;
use bitquake_testing::SplitMix64;

use super::*;
use crate::rank::pass::numbered_bits;
use crate::rank::{BitScores, Demand, gauss_newton_diagonal, hutchinson, power_iteration, score_bits};
use crate::stored::Stored;
use crate::words::AttackedWords;

#[test]
fn classes_by_their_probabilities() {
    let logits = [1.0_f32, 2.0, 3.0].map(|share| share.ln() + 500.0);
    for (outputs, is_softmax) in [(logits, false), ([0.1, 0.2, 0.3], true)] {
        let weights = weights(&outputs, is_softmax);
        let shares: Vec<f64> = (0..6).map(|sixth| (f64::from(sixth) + 0.5) / 6.0).collect();
        let classes: Vec<u32> = shares.iter().map(|&share| drawn(&weights, share)).collect();
        assert_eq!(classes, [0, 1, 1, 2, 2, 2]);
    }
    assert_eq!(drawn(&[1.0, 0.0], 1.0), 1);
}

const INPUTS: usize = 3;
const CLASSES: usize = 3;
const IMAGES: usize = 21;

/// `logits = x W + b`, with a softmax at the end or without.
fn linear(with_softmax: bool) -> ModelBuilder {
    let mut random = SplitMix64::new(4);
    let mut values = |count: usize| (0..count).map(|_| random.normal() as f32).collect::<Vec<f32>>();
    let mut model = ModelBuilder::new("linear");
    model.graph().input("x", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(INPUTS as u64)]);
    model.graph().initializer(TensorSpec::f32(
        "w",
        &[INPUTS as u64, CLASSES as u64],
        &values(INPUTS * CLASSES),
    ));
    model.graph().initializer(TensorSpec::f32("b", &[CLASSES as u64], &values(CLASSES)));
    model.graph().node("MatMul", &["x", "w"], &["product"], &[]);
    model.graph().node("Add", &["product", "b"], &["logits"], &[]);
    if with_softmax {
        model.graph().node("Softmax", &["logits"], &["y"], &[]);
    }
    let output = if with_softmax { "y" } else { "logits" };
    model.graph().output(output, ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(CLASSES as u64)]);
    model
}

fn data() -> Dataset {
    let mut random = SplitMix64::new(6);
    let images = (0..IMAGES * INPUTS).map(|_| random.normal() as f32).collect();
    let labels = (0..IMAGES).map(|_| random.below(CLASSES as u64) as u32).collect();
    Dataset::new(images, vec![1, 1, INPUTS], labels).expect("a data set")
}

/// The parameters of the linear network, W before b, and of each of them the input that it takes and the class that it goes to.
fn parameters(subject: &Subject) -> (Vec<f64>, Vec<(Option<usize>, usize)>) {
    let values =
        (0..2).flat_map(|place| subject.values(place).iter().map(|&value| f64::from(value))).collect();
    let of_w = (0..INPUTS * CLASSES).map(|i| (Some(i / CLASSES), i % CLASSES));
    (values, of_w.chain((0..CLASSES).map(|class| (None, class))).collect())
}

fn input(row: &[f32], place: Option<usize>) -> f64 {
    place.map_or(1.0, |place| f64::from(row[place]))
}

/// The probabilities of the classes of one image.
fn softmax(parameters: &[f64], places: &[(Option<usize>, usize)], row: &[f32]) -> Vec<f64> {
    let mut logits = [0.0; CLASSES];
    parameters
        .iter()
        .zip(places)
        .for_each(|(value, &(place, class))| logits[class] += value * input(row, place));
    let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit.exp() / total).collect()
}

/// The loss, the gradient and the Hessian of the mean cross-entropy: of one image `x_i (p_c - y_c)` and `x_i x_j (p_c [c = d] - p_c p_d)`.
fn exactly(subject: &Subject, data: &Dataset) -> (f64, Vec<f64>, Vec<Vec<f64>>) {
    let (values, places) = parameters(subject);
    let size = values.len();
    let (mut loss, mut gradient, mut hessian) = (0.0, vec![0.0; size], vec![vec![0.0; size]; size]);
    for (image, &label) in data.labels().iter().enumerate() {
        let row = data.images(image..image + 1);
        let p = softmax(&values, &places, row);
        loss -= p[label as usize].ln() / IMAGES as f64;
        for (i, &(place, class)) in places.iter().enumerate() {
            let is = |a: usize, b: usize| f64::from(u8::from(a == b));
            gradient[i] += input(row, place) * (p[class] - is(class, label as usize)) / IMAGES as f64;
            for (j, &(other, of)) in places.iter().enumerate() {
                let bend = p[class] * is(class, of) - p[class] * p[of];
                hessian[i][j] += input(row, place) * input(row, other) * bend / IMAGES as f64;
            }
        }
    }
    (loss, gradient, hessian)
}

fn subject(model: ModelBuilder) -> Subject {
    stored(model, &StorageSpec::default()).0
}

fn stored(model: ModelBuilder, storage: &StorageSpec) -> (Subject, AttackedWords) {
    let file = TensorFile::from_onnx_bytes(model.finish()).expect("a model");
    let stored = Stored::new(file, storage, 1, &["*".to_owned()], BitSelection::All).expect("a memory");
    let network = Network::from_file(&stored.model, Device::Cpu).expect("a network");
    (Subject::new(network, &stored.words).expect("a classifier"), stored.words)
}

fn landscape<'a>(subject: &'a Subject, data: &Dataset, batch: usize) -> NetworkLandscape<'a> {
    let rows: Vec<u64> = (0..IMAGES as u64).collect();
    NetworkLandscape::new(subject, data, data.labels(), &rows, batch)
}

fn key() -> PartKey {
    PartKey::from(StreamKey { seed: 2, point: 0, trial: 0 })
}

/// Batches of 4, the last one of 1, count by their size.
#[test]
fn slopes_and_products_of_a_linear_network() {
    let data = data();
    for with_softmax in [false, true] {
        let subject = subject(linear(with_softmax));
        let (loss, gradient, hessian) = exactly(&subject, &data);
        let mut landscape = landscape(&subject, &data, 4);
        let (found, slopes) = landscape.slopes().unwrap();
        assert!((found - loss).abs() < 1e-6, "{found} {loss}");
        assert!(
            slopes.concat().iter().zip(&gradient).all(|(a, b)| (a - b).abs() < 1e-6),
            "{slopes:?} {gradient:?}"
        );
        for (place, row) in hessian.iter().enumerate() {
            let mut unit = vec![0.0; hessian.len()];
            unit[place] = 1.0;
            let rest = unit.split_off(INPUTS * CLASSES);
            let column = landscape.product(&vec![unit, rest]).unwrap().concat();
            assert!(column.iter().zip(row).all(|(a, b)| (a - b).abs() < 1e-6), "{place}: {column:?} {row:?}");
        }
    }
}

#[test]
fn trace_and_eigenpairs_of_a_linear_network() {
    let (data, subject) = (data(), subject(linear(false)));
    let (_, _, hessian) = exactly(&subject, &data);
    let mut landscape = landscape(&subject, &data, 8);
    let trace: f64 = (0..hessian.len()).map(|i| hessian[i][i]).sum();
    let found = hutchinson(&mut landscape, 400, 0.0, &key(), |_, _| ()).unwrap();
    assert!((found.trace - trace).abs() < 5.0 * found.standard_error.unwrap(), "{found:?} {trace}");
    let pairs = power_iteration(&mut landscape, 3, 500, 1e-7, &key(), |_| ()).unwrap();
    for (i, pair) in pairs.iter().enumerate() {
        let vector = pair.vector.concat();
        for (row, value) in hessian.iter().zip(&vector) {
            let product: f64 = row.iter().zip(&vector).map(|(h, v)| h * v).sum();
            assert!((product - pair.value * value).abs() < 1e-2 * pairs[0].value, "{i}: {product} {value}");
        }
        for other in &pairs[..i] {
            let product: f64 = vector.iter().zip(other.vector.concat()).map(|(a, b)| a * b).sum();
            assert!(product.abs() < 1e-4, "{i}: {product}");
        }
    }
}

/// The Gauss-Newton matrix of a linear network is its Hessian, whatever the labels and the sizes of batches are.
#[test]
fn the_gauss_newton_diagonal_of_a_linear_network() {
    let data = data();
    for (with_softmax, batch) in [(false, 21), (true, 21), (false, 4)] {
        let subject = subject(linear(with_softmax));
        let (_, _, hessian) = exactly(&subject, &data);
        let mut landscape = landscape(&subject, &data, batch);
        let draws = 3000;
        let found = gauss_newton_diagonal(&mut landscape, draws, &key()).unwrap().concat();
        // A square of a sum of many has a standard deviation of about 1.4 of its mean, that of a few up to 3 here; the bound is 5.5 of
        // them at 3, so over seeds it fails in less than 1 of 10^6.
        let bound = 5.5 * 3.0 / f64::from(draws).sqrt();
        for (i, found) in found.into_iter().enumerate() {
            assert!((found / hessian[i][i] - 1.0).abs() < bound, "{i}: {found} {}", hessian[i][i]);
        }
    }
}

/// The expected change of the loss when a bit of a code flips is the true one to third order, which is computed in float64.
#[test]
fn the_expected_change_of_a_flip_is_the_true_one() {
    let storage: StorageSpec = toml::from_str("family = 'symmetric'\nbits = 10\nencoding = 'gray'").unwrap();
    let data = data();
    let (subject, words) = stored(linear(false), &storage);
    let (values, places) = parameters(&subject);
    let loss = |values: &[f64]| -> f64 {
        let of = |(image, &label): (usize, &u32)| {
            -softmax(values, &places, data.images(image..image + 1))[label as usize].ln()
        };
        data.labels().iter().enumerate().map(of).sum::<f64>() / IMAGES as f64
    };
    let (clean, (_, _, hessian)) = (loss(&values), exactly(&subject, &data));
    let (_, slopes) = landscape(&subject, &data, 8).slopes().unwrap();
    let mut bend: Vec<f64> = (0..hessian.len()).map(|i| hessian[i][i]).collect();
    let rest = bend.split_off(INPUTS * CLASSES);
    let bend = vec![bend, rest];
    let numbers: Vec<u64> = (0..words.bits()).collect();
    let sites = numbered_bits(&words, &numbers);
    let [first, second] = [None, Some(&bend)].map(|curvature| {
        let scores = BitScores::Change { slopes: &slopes, curvature };
        score_bits(&words, &scores, Demand { top: 1, sample: &sites }, None).unwrap().sampled
    });
    let mut better = 0;
    for (number, site) in sites.iter().enumerate() {
        let tensor = &words.tensors()[site.tensor];
        let word = tensor.word(site.element);
        let place = site.tensor * INPUTS * CLASSES + site.element as usize;
        let mut other = values.clone();
        other[place] = tensor.level(site.element, word ^ 1 << site.bit).into();
        let (change, truth) = ((other[place] - values[place]).abs(), loss(&other) - clean);
        let far = (truth - second[number]).abs();
        assert!(far < 0.5 * change.powi(3) + 1e-7, "{site:?}, change {change}: {truth} {}", second[number]);
        better += usize::from(far < 0.5 * (truth - first[number]).abs());
    }
    assert!(better > sites.len() / 2, "{better} of {}", sites.len());
}

/// With the statistics of the batch, single images would all be normalized to zero.
#[test]
fn batch_norms_use_their_running_statistics() {
    let mut model = ModelBuilder::new("normed");
    let mut random = SplitMix64::new(9);
    let w: Vec<f32> = (0..INPUTS * CLASSES).map(|_| random.normal() as f32).collect();
    model.graph().input("x", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(INPUTS as u64)]);
    model.graph().initializer(TensorSpec::f32("w", &[INPUTS as u64, CLASSES as u64], &w));
    for (name, value) in [("scale", 1.5), ("shift", 0.2), ("mean", 0.3), ("variance", 2.0)] {
        model.graph().initializer(TensorSpec::f32(name, &[CLASSES as u64], &[value; CLASSES]));
    }
    model.graph().node("MatMul", &["x", "w"], &["product"], &[]);
    let inputs = ["product", "scale", "shift", "mean", "variance"];
    model.graph().node("BatchNormalization", &inputs, &["y"], &[]);
    model.graph().output("y", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(CLASSES as u64)]);
    let (data, subject) = (data(), subject(model));
    assert_eq!(subject.network().batch_norm_parameters().len(), 4);
    let [one, many] = [1, IMAGES].map(|batch| landscape(&subject, &data, batch).slopes().unwrap());
    assert!((one.0 - many.0).abs() < 1e-6, "{} {}", one.0, many.0);
    let near = one.1.concat().iter().zip(many.1.concat()).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near && one.1.concat().iter().any(|slope| slope.abs() > 1e-2), "{one:?} {many:?}");
}
