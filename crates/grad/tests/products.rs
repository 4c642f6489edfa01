//! Hessian products of the project's own kernels: against burn's double backward, and by what they must satisfy.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_grad::{Device, HessianMethod, HessianProduct, Mode, Network, Objective, Pass};
use bitquake_graph::architecture::Architecture;
use support::architectures::networks;
use support::graphs::{GRAPHS, small};
use support::pairs::{both, is_native, pixels, shrunk, weights};
use support::{distance, normal};

fn directions(network: &Network, parameters: &[usize], seed: u64) -> Vec<Vec<f32>> {
    let one = |&index: &usize| normal(seed + index as u64, network.parameters()[index].elements());
    parameters.iter().map(one).collect()
}

fn largest(lists: &[Vec<f32>]) -> f32 {
    lists.iter().flatten().fold(0.0, |most, value| most.max(value.abs()))
}

/// What lies apart, relative to the largest number of each kind; that of each parameter by itself too, with less care. Numbers that cancel to
/// nothing (those of a bias before a normalization) are compared with a hundredth of the largest of a product of more parameters, `whole`.
fn apart(
    name: &str,
    found: &HessianProduct,
    wanted: &HessianProduct,
    whole: &HessianProduct,
    limit: f32,
) -> Vec<String> {
    assert_eq!(found.method, HessianMethod::ForwardOverReverse, "{name}");
    assert_eq!(wanted.method, HessianMethod::DoubleBackward, "{name}");
    let loss = distance(&[found.loss as f32], &[wanted.loss as f32]);
    let mut far = vec![("loss".to_owned(), loss, limit)];
    for (what, found, wanted, whole) in [
        ("gradients", &found.gradients, &wanted.gradients, &whole.gradients),
        ("products", &found.products, &wanted.products, &whole.products),
    ] {
        let least = [1e-2 * largest(whole)];
        let mut push = |what: String, found: &[f32], wanted: &[f32], limit: f32| {
            far.push((what, distance(&[found, &least].concat(), &[wanted, &least].concat()), limit));
        };
        push(what.to_owned(), &found.concat(), &wanted.concat(), limit);
        for (place, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            push(format!("{what} {place}"), found, wanted, 10.0 * limit);
        }
    }
    let wrong = far.into_iter().filter(|(_, far, limit)| *far >= *limit);
    wrong.map(|(what, far, _)| format!("{name}: {what} {far}")).collect()
}

/// Compares with burn: one of a few batches must agree, as some may have values within rounding of a kink.
fn compare(
    name: &str,
    networks: &[Network; 2],
    batch: usize,
    parameters: &[usize],
    limit: f32,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for seed in 0..6 {
        let images = pixels(seed, batch, &networks[0]);
        let labels: Vec<u32> = (0..batch as u32).map(|image| image % 4).collect();
        let pass = Pass {
            images: &images,
            batch,
            objective: Objective::CrossEntropy { labels: &labels, smoothing: 0.1 },
            mode: Mode::Evaluate,
            parameters,
            values: &[],
        };
        let direction = directions(&networks[0], parameters, 100 * seed);
        let [found, wanted] = [0, 1].map(|place| networks[place].hessian_product(&pass, &direction).unwrap());
        wrong = apart(name, &found, &wanted, &wanted, limit);
        if wrong.is_empty() {
            break;
        }
    }
    wrong
}

#[test]
fn architectures_agree_with_burn() {
    let mut wrong = Vec::new();
    for architecture in networks().filter(is_native) {
        let name = format!("{} {:?}", architecture.architecture, architecture.norm);
        let networks = both(&shrunk(&architecture).build(1).unwrap());
        // Few values that are normalized together are divided by small deviations, which both round.
        let limit = if name.contains("Gn") || name.contains("Regn") { 1e-4 } else { 3e-5 };
        wrong.extend(compare(&name, &networks, 3, &weights(&networks[0]), limit));
    }
    let first: Vec<&String> = wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "{} numbers: {first:#?}", wrong.len());
}

/// All parameters (running statistics and numbers of channels too) of small graphs, together and one by one.
#[test]
fn small_graphs_agree_with_burn() {
    let mut wrong = Vec::new();
    for (name, build) in GRAPHS {
        let networks = both(&small(build));
        let batch = 3;
        let images = normal(12, batch * 120);
        let is_bound =
            |&index: &usize| ["low", "high"].contains(&networks[0].parameters()[index].name.as_str());
        let all: Vec<usize> = (0..networks[0].parameters().len()).filter(|index| !is_bound(index)).collect();
        let outputs = networks[0].forward(&images, batch, Mode::Evaluate).unwrap();
        let factors = normal(13, outputs.len());
        let products = |parameters: &[usize]| {
            let objective = Objective::Cotangent(&factors);
            let pass =
                Pass { images: &images, batch, objective, mode: Mode::Evaluate, parameters, values: &[] };
            let direction = directions(&networks[0], parameters, 60);
            [0, 1].map(|place| networks[place].hessian_product(&pass, &direction).unwrap())
        };
        let limit = if name.contains("group norms") { 1e-4 } else { 1e-5 };
        let whole = products(&all);
        wrong.extend(apart(name, &whole[0], &whole[1], &whole[1], limit));
        for &index in &all {
            let [found, wanted] = products(&[index]);
            wrong.extend(apart(&format!("{name} {index}"), &found, &wanted, &whole[1], 10.0 * limit));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a program has no products of stays with burn: norms by statistics of the batch, and bounds.
#[test]
fn what_stays_with_burn_is_told() {
    let products = |graph: &str, mode: Mode, parameter: &str| {
        let (_, build) = GRAPHS.iter().find(|(name, _)| name.starts_with(graph)).unwrap();
        let networks = both(&small(build));
        let images = normal(12, 2 * 120);
        let outputs = networks[0].forward(&images, 2, mode).unwrap();
        let factors = normal(13, outputs.len());
        let index = networks[0].parameters().iter().position(|known| known.name == parameter).unwrap();
        let parameters = [index];
        let objective = Objective::Cotangent(&factors);
        let pass = Pass { images: &images, batch: 2, objective, mode, parameters: &parameters, values: &[] };
        let direction = directions(&networks[0], &parameters, 5);
        let [found, wanted] = [0, 1].map(|place| networks[place].hessian_product(&pass, &direction).unwrap());
        let is_burns = (&found.products, &found.gradients) == (&wanted.products, &wanted.gradients);
        (found.method, is_burns)
    };
    let (burn, native) = (HessianMethod::DoubleBackward, HessianMethod::ForwardOverReverse);
    assert_eq!(products("a norm of features", Mode::Train, "w"), (burn, true));
    assert_eq!(products("a norm of features", Mode::Evaluate, "w").0, native);
    assert_eq!(products("a clip", Mode::Evaluate, "low"), (burn, true));
    assert_eq!(products("a clip", Mode::Train, "w").0, native, "no norm measures the batch");
}

/// The gradients beside a product are those of a pass without one, but for the order of sums.
#[test]
fn gradients_beside_products_are_the_gradients() {
    let architecture = Architecture { channels: Some(8), ..Architecture::new("resnet20", [3, 9, 7], 4) };
    let network = Network::from_onnx(&architecture.build(2).unwrap(), Device::Cpu).unwrap();
    let batch = 17;
    let (images, labels) = (pixels(1, batch, &network), vec![1; batch]);
    let parameters = weights(&network);
    let pass = Pass {
        images: &images,
        batch,
        objective: Objective::CrossEntropy { labels: &labels, smoothing: 0.0 },
        mode: Mode::Evaluate,
        parameters: &parameters,
        values: &[],
    };
    let plain = network.gradients(&pass).unwrap();
    let found = network.hessian_product(&pass, &directions(&network, &parameters, 3)).unwrap();
    assert_eq!(found.loss, plain.loss);
    assert!(distance(&found.gradients.concat(), &plain.parameters.concat()) < 1e-5);
}
