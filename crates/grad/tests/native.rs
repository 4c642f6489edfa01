//! The project's own kernels against burn: two implementations of the same networks.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_grad::{Device, Executor, Gradients, Mode, Network, Objective, Pass};
use bitquake_graph::architecture::Architecture;
use support::architectures::networks;
use support::graphs::{GRAPHS, small};
use support::pairs::{both, is_native, pixels, shrunk, weights};
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
        assert_eq!(
            (found.mean, found.variance, found.momentum),
            (wanted.mean, wanted.variance, wanted.momentum)
        );
        check(format!("mean {}", found.mean), &found.batch_mean, &wanted.batch_mean, 1e-6, limit);
        check(format!("variance {}", found.mean), &found.batch_variance, &wanted.batch_variance, 1e-6, limit);
    }
    wrong
}

/// Compares a training pass, or an evaluating one, over all weights and some values.
///
/// What lies within rounding of a kink (a ReLU's 0, two equal maxima) may fall to one side here and to the other there, and the gradients
/// then differ by what one value contributes. So one of a few batches must agree, which a wrong gradient never does.
fn compare(name: &str, model: &[u8], batch: usize, mode: Mode) -> Vec<String> {
    const BATCHES: u64 = 6;
    let networks = both(model);
    let mut wrong = Vec::new();
    for seed in 0..BATCHES {
        wrong = compare_batch(&format!("{name} {mode:?} {batch}"), &networks, batch, mode, seed);
        if wrong.is_empty() {
            break;
        }
    }
    wrong
}

fn compare_batch(name: &str, networks: &[Network; 2], batch: usize, mode: Mode, seed: u64) -> Vec<String> {
    let images = pixels(seed, batch, &networks[0]);
    let labels: Vec<u32> = (0..batch as u32).map(|image| image % 4).collect();
    let parameters = weights(&networks[0]);
    let values = networks[0].values();
    // The middle, the last but one, the output.
    let names =
        [values.len() / 2, values.len() - 2, values.len() - 1].map(|place| values[place].name.as_str());
    let pass = Pass {
        images: &images,
        batch,
        objective: Objective::CrossEntropy { labels: &labels, smoothing: 0.1 },
        mode,
        parameters: &parameters,
        values: &names,
    };
    let [found, wanted] = [0, 1].map(|place| networks[place].gradients(&pass).unwrap());
    // Few values that are normalized together are divided by small deviations, which both round.
    let is_sharp = name.contains("Gn") || name.contains("Regn") || mode == Mode::Train;
    apart(name, &found, &wanted, if is_sharp { 3e-5 } else { 1e-5 })
}

#[test]
fn architectures_agree_with_burn() {
    let mut wrong = Vec::new();
    for architecture in networks().filter(is_native) {
        let name = format!("{} {:?}", architecture.architecture, architecture.norm);
        let model = shrunk(&architecture).build(1).unwrap();
        for mode in [Mode::Evaluate, Mode::Train] {
            wrong.extend(compare(&name, &model, 3, mode));
        }
    }
    let first: Vec<&String> = wrong.iter().take(20).collect();
    assert!(wrong.is_empty(), "{} numbers: {first:#?}", wrong.len());
}

#[test]
fn odd_batches_agree_with_burn() {
    let resnet = Architecture {
        channels: Some(8),
        input: Some([3, 9, 7]),
        ..Architecture::new("resnet20", [3, 9, 7], 4)
    };
    let mut wrong = Vec::new();
    for (name, model) in [("resnet20", resnet.build(2).unwrap()), ("fashion", fashion())] {
        for batch in [1, 17, 40] {
            for mode in [Mode::Evaluate, Mode::Train] {
                wrong.extend(compare(name, &model, batch, mode));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Soft targets, and a given gradient of the output.
#[test]
fn other_objectives_agree_with_burn() {
    let networks = both(&fashion());
    let images = pixels(3, 2, &networks[0]);
    let numbers = normal(4, 20);
    let parameters: Vec<usize> = weights(&networks[0]);
    for objective in [Objective::SoftTargets(&numbers), Objective::Cotangent(&numbers)] {
        let pass = Pass {
            images: &images,
            batch: 2,
            objective,
            mode: Mode::Evaluate,
            parameters: &parameters,
            values: &[],
        };
        let names: Vec<String> = networks[0].values().into_iter().map(|value| value.name).collect();
        let values = [names[0].as_str(), names[names.len() - 1].as_str()];
        let pass = Pass { values: &values, ..pass };
        let [found, wanted] = [0, 1].map(|place| networks[place].gradients(&pass).unwrap());
        assert_eq!(apart("fashion", &found, &wanted, 1e-5), Vec::<String>::new(), "{objective:?}");
    }
}

/// Gradients of every parameter and of every value.
#[test]
fn small_graphs_agree_with_burn() {
    let mut wrong = Vec::new();
    for (name, build) in GRAPHS {
        let networks = both(&small(build));
        let batch = 3;
        let images = normal(12, batch * 120);
        let parameters: Vec<usize> = (0..networks[0].parameters().len())
            .filter(|&index| !["low", "high"].contains(&networks[0].parameters()[index].name.as_str()))
            .collect();
        let names: Vec<String> = networks[0].values().into_iter().map(|value| value.name).collect();
        let mut values: Vec<&str> = names.iter().map(String::as_str).filter(|name| *name != "y").collect();
        values.push("x");
        for mode in [Mode::Evaluate, Mode::Train] {
            let outputs = networks[0].forward(&images, batch, mode).unwrap();
            let factors = normal(13, outputs.len());
            let objective = Objective::Cotangent(&factors);
            // Few are asked for, or all: plans of different shapes.
            for (parameters, values) in
                [(&parameters[..], &values[..]), (&parameters, &[]), (&[], &["x"]), (&[], &[])]
            {
                let pass = Pass { images: &images, batch, objective, mode, parameters, values };
                let [found, wanted] = [0, 1].map(|place| networks[place].gradients(&pass).unwrap());
                assert_eq!(found.outputs, outputs, "{name}");
                wrong.extend(apart(&format!("{name} {mode:?}"), &found, &wanted, 1e-5));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// NaN and infinities in the images and in each parameter: the same classes of outputs as burn's.
#[test]
fn nan_and_infinities_go_where_burn_has_them() {
    for (name, build) in GRAPHS {
        let mut networks = both(&small(build));
        let mut images = normal(12, 2 * 120);
        let classes = |network: &Network, images: &[f32], mode: Mode| {
            let outputs = network.forward(images, 2, mode).unwrap();
            outputs.into_iter().map(class).collect::<Vec<u8>>()
        };
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for mode in [Mode::Evaluate, Mode::Train] {
                images[37] = odd;
                let [found, wanted] = [0, 1].map(|place| classes(&networks[place], &images, mode));
                assert_eq!(found, wanted, "{name}: {odd} in an image, {mode:?}");
                let [found, wanted] =
                    [0, 1].map(|place| networks[place].first_nonfinite(&images, 2, mode).unwrap());
                assert_eq!((found.as_deref(), wanted.as_deref()), (Some("x"), Some("x")));
                images[37] = 0.5;
                for index in 0..networks[0].parameters().len() {
                    let start = networks[0].parameter(index).to_vec();
                    let mut values = start.clone();
                    values[0] = odd;
                    networks.iter_mut().for_each(|network| network.set_parameter(index, &values).unwrap());
                    let [found, wanted] = [0, 1].map(|place| classes(&networks[place], &images, mode));
                    let parameter = networks[0].parameters()[index].name.clone();
                    assert_eq!(found, wanted, "{name}: {odd} in {parameter}, {mode:?}");
                    let [found, wanted] =
                        [0, 1].map(|place| networks[place].first_nonfinite(&images, 2, mode).unwrap());
                    assert_eq!(found, wanted, "{name}: {odd} in {parameter}, {mode:?}");
                    networks.iter_mut().for_each(|network| network.set_parameter(index, &start).unwrap());
                }
            }
        }
    }
}

/// The gradient of a bound is burn's; the parameters are those of the last `set_parameter`.
#[test]
fn what_stays_with_burn_uses_the_current_parameters() {
    let (_, build) = GRAPHS.last().unwrap();
    let mut networks = both(&small(build));
    let images = normal(12, 120);
    let index = networks[0].parameters().iter().position(|parameter| parameter.name == "w").unwrap();
    let values = normal(40, networks[0].parameters()[index].elements());
    networks.iter_mut().for_each(|network| network.set_parameter(index, &values).unwrap());
    let all: Vec<usize> = (0..networks[0].parameters().len()).collect();
    let factors = normal(13, 5);
    let objective = Objective::Cotangent(&factors);
    let pass =
        Pass { images: &images, batch: 1, objective, mode: Mode::Evaluate, parameters: &all, values: &["b"] };
    let [found, wanted] = [0, 1].map(|place| networks[place].gradients(&pass).unwrap());
    assert_eq!(found, wanted);
}

#[test]
fn what_has_no_kernel_stays_with_burn_and_is_named() {
    for architecture in networks().filter(|architecture| !is_native(architecture)) {
        let network = Network::from_onnx(&architecture.build(1).unwrap(), Device::Cpu).unwrap();
        let Executor::Burn { because } = network.executor() else { panic!("{architecture:?}") };
        assert!(because.contains("node `act1"), "{because}");
    }
}
