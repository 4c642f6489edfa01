//! Losses under edits: to the bit those of networks that are edited for good, whatever is computed once for several sets; up to rounding where a
//! weight of one convolution is edited.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_grad::{Device, Edit, GradError, Mode, Network, Objective, Pass};
use bitquake_testing::SplitMix64;
use support::architectures::networks;
use support::normal;

struct Batch {
    images: Vec<f32>,
    labels: Vec<u32>,
}

impl Batch {
    fn new(network: &Network, count: usize) -> Batch {
        let elements: usize = network.input_shape()[1..].iter().map(|size| size.unwrap()).product();
        let images = normal(3, count * elements).into_iter().map(|x| 0.5 + 0.3 * x).collect();
        Batch { images, labels: (0..count as u32).map(|image| image % 4).collect() }
    }

    fn pass(&self, mode: Mode) -> Pass<'_> {
        Pass {
            images: &self.images,
            batch: self.labels.len(),
            objective: Objective::CrossEntropy { labels: &self.labels, smoothing: 0.0 },
            mode,
            parameters: &[],
            values: &[],
        }
    }
}

/// Edits of some parameters, the first and the last among them; some of two; none; and a number that is not finite.
fn edits(network: &Network, seed: u64) -> Vec<Vec<Edit>> {
    const MOST: usize = 4;
    let mut random = SplitMix64::new(seed);
    let count = network.parameters().len();
    let mut edit = |parameter: usize, value: f32| {
        let elements = network.parameter(parameter).len() as u64;
        Edit { parameter, element: (random.next_u64() % elements) as usize, value }
    };
    let places: Vec<usize> = (0..MOST).map(|place| place * (count - 1) / (MOST - 1)).collect();
    let mut sets: Vec<Vec<Edit>> = places.iter().map(|&place| vec![edit(place, 1.5)]).collect();
    sets.push(vec![edit(places[3], -0.7), edit(places[1], 0.4), edit(places[3], 0.9)]);
    sets.push(vec![]);
    sets.push(vec![edit(places[2], f32::INFINITY)]);
    sets
}

/// By networks that are edited for good.
fn apart(network: &mut Network, pass: &Pass<'_>, edits: &[Vec<Edit>]) -> Vec<f64> {
    let mut one = |edits: &Vec<Edit>| {
        let before: Vec<Vec<f32>> =
            (0..network.parameters().len()).map(|place| network.parameter(place).to_vec()).collect();
        for edit in edits {
            let mut values = network.parameter(edit.parameter).to_vec();
            values[edit.element] = edit.value;
            network.set_parameter(edit.parameter, &values).unwrap();
        }
        let loss = network.gradients(pass).unwrap().loss;
        before.iter().enumerate().for_each(|(place, values)| network.set_parameter(place, values).unwrap());
        loss
    };
    edits.iter().map(&mut one).collect()
}

fn check(network: &mut Network, name: &str, mode: Mode) {
    let batch = Batch::new(network, 2);
    let (pass, edits) = (batch.pass(mode), edits(network, 11));
    let wanted = apart(network, &pass, &edits);
    let found = network.losses(&pass, &edits).unwrap();
    for ((found, wanted), edits) in found.iter().zip(&wanted).zip(&edits) {
        let is_near = edits.len() == 1 && (found - wanted).abs() <= 1e-5 * wanted.abs();
        assert!(is_near || found.to_bits() == wanted.to_bits(), "{name}: {found}, {wanted} of {edits:?}");
    }
    let different = wanted.iter().filter(|&&loss| loss != wanted[wanted.len() - 2]).count();
    assert!(different > 2, "{name}: edits that change nothing test nothing");
    let bits = |losses: &[f64]| losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(
        bits(&apart(network, &pass, &edits[5..6])),
        bits(&wanted[5..6]),
        "{name}: the parameters stay"
    );
}

#[test]
fn they_are_those_of_edited_networks() {
    // Of all families and normalizations some: the two lists have no common period.
    for architecture in networks().step_by(3) {
        let name = format!("{} {:?}", architecture.architecture, architecture.norm);
        let mut network = Network::from_onnx(&architecture.build(1).unwrap(), Device::Cpu).unwrap();
        check(&mut network, &name, Mode::Evaluate);
    }
}

#[test]
fn where_nothing_is_shared_too() {
    let architecture = networks().find(|architecture| architecture.architecture == "resnet20").unwrap();
    let open = || Network::from_onnx(&architecture.build(1).unwrap(), Device::Cpu).unwrap();
    check(&mut open(), "statistics of the batch", Mode::Train);
    check(&mut open().on_burn().unwrap(), "burn", Mode::Evaluate);
}

#[test]
fn edits_of_what_is_not_there_are_errors() {
    let architecture = networks().next().unwrap();
    let mut network = Network::from_onnx(&architecture.build(1).unwrap(), Device::Cpu).unwrap();
    let batch = Batch::new(&network, 1);
    let (count, elements) = (network.parameters().len(), network.parameter(0).len());
    let mut losses = |parameter, element| {
        let edits = [vec![], vec![Edit { parameter, element, value: 0.0 }]];
        network.losses(&batch.pass(Mode::Evaluate), &edits)
    };
    assert!(matches!(losses(count, 0), Err(GradError::NoParameter { index, .. }) if index == count));
    let error = losses(0, elements).unwrap_err().to_string();
    assert!(error.contains(&format!("element {elements} of parameter")), "{error}");
    assert!(losses(0, elements - 1).is_ok());
    assert!(network.losses(&batch.pass(Mode::Evaluate), &[]).unwrap().is_empty());
    let wrong = Pass { images: &[0.0], ..batch.pass(Mode::Evaluate) };
    assert!(matches!(network.losses(&wrong, &[]), Err(GradError::Images { .. })));
}
