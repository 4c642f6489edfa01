//! Limited memory: the same bits, or an error that says what would do.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_grad::{Device, Executor, GradError, Gradients, Mode, Network, Objective, Pass};
use support::architectures::networks;
use support::graphs::{GRAPHS, small};
use support::pairs::{is_native, pixels, shrunk, weights};

const LABELS: [u32; 4] = [3, 0, 2, 2];

/// A training pass over all weights.
fn pass(network: &Network, images: &[f32], threads: usize) -> Result<Gradients, GradError> {
    let objective = Objective::CrossEntropy { labels: &LABELS, smoothing: 0.1 };
    let (parameters, batch) = (&weights(network)[..], LABELS.len());
    let pass = Pass { images, batch, objective, mode: Mode::Train, parameters, values: &[] };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| network.gradients(&pass))
}

/// All bits of a pass.
fn words(found: &Gradients) -> (u64, Vec<Vec<u32>>) {
    let statistics = found.statistics.iter().flat_map(|found| [&found.batch_mean, &found.batch_variance]);
    let lists = [&found.outputs].into_iter().chain(&found.parameters).chain(statistics);
    let lists = lists.map(|list| list.iter().map(|float| float.to_bits()).collect());
    (found.loss.to_bits(), lists.collect())
}

/// The least that would do, as an error tells it.
fn least(network: &mut Network, images: &[f32]) -> usize {
    network.set_memory_limit(Some(1)).unwrap();
    match pass(network, images, 1) {
        Err(GradError::MemoryLimit { batch: 4, needed, limit: 1 }) => needed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_limit_that_suffices_gives_the_same_bits() {
    for architecture in networks().filter(is_native) {
        let model = shrunk(&architecture).build(1).unwrap();
        let mut network = Network::from_onnx(&model, Device::Cpu).unwrap();
        let mut images = pixels(7, LABELS.len(), &network);
        for is_finite in [true, false] {
            if !is_finite {
                images[5] = f32::NAN;
            }
            network.set_memory_limit(None).unwrap();
            let wanted = words(&pass(&network, &images, 2).unwrap());
            let least = least(&mut network, &images);
            for (limit, threads) in [(least, 1), (least, 2), (least + least / 8, 2), (least + least / 3, 2)] {
                network.set_memory_limit(Some(limit)).unwrap();
                let found = words(&pass(&network, &images, threads).unwrap());
                assert!(found == wanted, "{architecture:?}: {limit} of {least} bytes, {threads} threads");
            }
            network.set_memory_limit(Some(least - 1)).unwrap();
            assert!(matches!(pass(&network, &images, 2), Err(GradError::MemoryLimit { .. })));
        }
    }
}

/// What burn computes cannot be limited, and says so.
#[test]
fn a_limit_that_cannot_be_kept_is_an_error() {
    for architecture in networks().filter(|architecture| !is_native(architecture)) {
        let mut network = Network::from_onnx(&architecture.build(1).unwrap(), Device::Cpu).unwrap();
        assert!(matches!(network.executor(), Executor::Burn { .. }));
        let message = network.set_memory_limit(Some(1 << 30)).unwrap_err().to_string();
        assert!(
            message.starts_with("memory cannot be limited: burn computes the network, since"),
            "{message}"
        );
        network.set_memory_limit(None).unwrap();
    }
    // The gradient of a bound is burn's.
    let (_, build) = GRAPHS.last().unwrap();
    let mut network = Network::from_onnx(&small(build), Device::Cpu).unwrap();
    let all: Vec<usize> = (0..network.parameters().len()).collect();
    let (images, factors) = (support::normal(12, 120), support::normal(13, 5));
    let (objective, mode) = (Objective::Cotangent(&factors), Mode::Evaluate);
    let pass = Pass { images: &images, batch: 1, objective, mode, parameters: &all, values: &["b"] };
    assert!(network.gradients(&pass).is_ok());
    network.set_memory_limit(Some(1 << 30)).unwrap();
    assert!(matches!(network.gradients(&pass), Err(GradError::NoMemoryLimit { .. })));
    // Products with the Hessian keep all.
    let weights: Vec<usize> = weights(&network);
    let pass = Pass { parameters: &weights[..1], values: &[], ..pass };
    let direction = [vec![1.0; network.parameters()[weights[0]].elements()]];
    assert!(network.hessian_product(&pass, &direction).is_ok());
    network.set_memory_limit(Some(1)).unwrap();
    assert!(matches!(network.hessian_product(&pass, &direction), Err(GradError::MemoryLimit { .. })));
}
