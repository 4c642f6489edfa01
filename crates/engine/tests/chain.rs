//! Chains of links against plain evaluation of the whole model.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::sync::Arc;

use bitquake_bits::BitSelection;
use bitquake_data::Dataset;
use bitquake_engine::{
    ChainPlan, CutRequest, EngineError, Evaluator, GoldenRun, Model, RowFaults, RowValues, Stop, Threads,
};
use bitquake_fault::{Candidate, FaultPattern, FaultSpace, Hits, Selector};
use bitquake_graph::resnet::resnet20;
use bitquake_sample::{Rate, StreamKey};
use bitquake_tensors::{Role, TensorFile};
use bitquake_testing::SplitMix64;

const ALL: usize = usize::MAX;

fn resnet() -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resnet20.onnx");
    std::fs::write(&path, resnet20(1)).unwrap();
    Model::new(TensorFile::open(&path).unwrap()).unwrap()
}

fn fashion() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/fashion_cnn.onnx");
    Model::new(TensorFile::open(&path).unwrap()).unwrap()
}

fn images(shape: &[usize], count: usize) -> Dataset {
    let mut random = SplitMix64::new(3);
    let pixels = (0..count * shape.iter().product::<usize>()).map(|_| random.normal() as f32).collect();
    Dataset::new(pixels, shape.to_vec(), (0..count as u32).map(|label| label % 10).collect()).unwrap()
}

fn chained<'d>(model: &Model, data: &'d Dataset, request: &CutRequest) -> Evaluator<'d> {
    let plan = ChainPlan::new(model, data, request).unwrap();
    Evaluator::chained(model.clone(), Arc::new(plan), data, 16, Threads::Caller).unwrap()
}

fn links(links: usize) -> CutRequest {
    CutRequest { links, ..CutRequest::default() }
}

fn pattern(model: &Model, rate: f64, trial: u64) -> FaultPattern {
    let candidates = model.tensors().iter().filter_map(|tensor| {
        Some(Candidate {
            name: &tensor.name,
            format: tensor.dtype.format()?,
            elements: tensor.elements(),
            by_name_only: tensor.role == Role::Attribute,
        })
    });
    let space = FaultSpace::select(candidates, &Selector::all(), BitSelection::All).unwrap();
    Hits::Rate(Rate::new(rate).unwrap()).flips(&space, &StreamKey { seed: 5, point: 0, trial }).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn a_chain_gives_what_the_whole_model_gives() {
    for (model, shape) in [(fashion(), vec![1, 28, 28]), (resnet(), vec![3, 32, 32])] {
        let data = images(&shape, 20);
        let whole = Evaluator::new(model.clone(), &data, 16, Threads::Caller).unwrap().golden(0).unwrap();
        for count in [1, 2, 5, 40] {
            let mut chain = chained(&model, &data, &links(count));
            let golden = chain.golden(ALL).unwrap();
            let furthest =
                golden.golden.outputs.iter().zip(&whole.golden.outputs).map(|(a, b)| (a - b).abs());
            let furthest = furthest.fold(0.0, f32::max);
            let cut = chain.plan().links();
            assert!(furthest < 1e-4 && (count == 1) == (cut == 1), "{cut} of {count} links: {furthest}");
        }
    }
}

/// Outputs of all images for a pattern in the weights.
fn outputs(evaluator: &mut Evaluator<'_>, pattern: &FaultPattern, golden: &GoldenRun) -> Vec<f32> {
    let images: Vec<u32> = (0..evaluator.data().len() as u32).collect();
    let classes = golden.golden.outputs.len() / images.len();
    let mut all = golden.golden.outputs.clone();
    evaluator
        .run(&images, pattern, &bitquake_engine::NoFaults, golden, &mut |row, output| {
            if let Some(output) = output {
                all[row * classes..(row + 1) * classes].copy_from_slice(output);
            }
        })
        .unwrap();
    all
}

#[test]
fn reuse_changes_no_bit() {
    for (model, shape) in [(fashion(), vec![1, 28, 28]), (resnet(), vec![3, 32, 32])] {
        let data = images(&shape, 20);
        for budget in [ALL, 3 << 20, 0] {
            let mut chain = chained(&model, &data, &links(9));
            let golden = chain.golden(budget).unwrap();
            let mut plain = chained(&model, &data, &links(9)).letting_go(false);
            let nothing_kept = plain.golden(0).unwrap();
            for (rate, trial) in [(0.0, 0), (1e-7, 1), (1e-7, 2), (1e-6, 3), (1e-6, 4), (1e-5, 5), (1e-3, 6)]
            {
                let pattern = pattern(&model, rate, trial);
                let reused = outputs(&mut chain, &pattern, &golden);
                let plain = outputs(&mut plain, &pattern, &nothing_kept);
                assert_eq!(bits(&reused), bits(&plain), "budget {budget}, rate {rate}, trial {trial}");
                let whole = chain.outputs(&pattern, data.len()).unwrap();
                assert_eq!(bits(&reused), bits(&whole), "budget {budget}, rate {rate}, trial {trial}");
            }
            assert_eq!(
                bits(&chain.outputs(&FaultPattern::empty(), 20).unwrap()),
                bits(&golden.golden.outputs)
            );
        }
    }
}

/// In each row, one element of one value gets a new word.
struct OneElement {
    stops: Vec<Stop>,
    sites: Vec<(String, usize, u32)>,
}

impl RowFaults for OneElement {
    fn stops(&self, row: usize) -> &[Stop] {
        &self.stops[row..=row]
    }

    fn apply(&self, row: usize, _boundary: usize, values: &mut RowValues<'_>) -> Result<(), EngineError> {
        let (name, element, flip) = &self.sites[row];
        let value = &mut values.get_mut(name).expect("alive")[*element];
        *value = f32::from_bits(value.to_bits() ^ flip);
        Ok(())
    }
}

#[test]
fn faults_in_activations_hit_their_row_alone() {
    let (model, data) = (resnet(), images(&[3, 32, 32], 24));
    let names: Vec<String> = {
        let chain = chained(&model, &data, &links(40));
        chain.plan().values().iter().map(|value| value.name.clone()).collect()
    };
    let request = CutRequest { links: 1, values: names, ..CutRequest::default() };
    let mut random = SplitMix64::new(9);
    for budget in [ALL, 2 << 20] {
        let mut chain = chained(&model, &data, &request);
        let golden = chain.golden(budget).unwrap();
        let values = chain.plan().values().to_vec();
        let last = chain.plan().links();
        let mut faults = OneElement { stops: Vec::new(), sites: Vec::new() };
        for row in 0..24 {
            let value = &values[row % values.len()];
            let boundary = chain.plan().boundary_of(&value.name).unwrap();
            faults.stops.push(Stop { boundary, looks_back: false });
            let element = (random.next_u64() % value.elements() as u64) as usize;
            faults.sites.push((value.name.clone(), element, 1 << (random.next_u64() % 32)));
        }
        let images: Vec<u32> = (0..24).rev().collect();
        let mut reused = vec![None; 24];
        chain
            .run(&images, &FaultPattern::empty(), &faults, &golden, &mut |row, output| {
                reused[row] = output.map(bits);
            })
            .unwrap();
        let mut plain = chained(&model, &data, &request).letting_go(false);
        let nothing = plain.golden(0).unwrap();
        plain
            .run(&images, &FaultPattern::empty(), &faults, &nothing, &mut |row, output| {
                assert_eq!(
                    reused[row],
                    output.map(bits),
                    "row {row}: {:?} {:?}",
                    faults.sites[row],
                    faults.stops[row]
                );
            })
            .unwrap();
        assert!(reused.iter().flatten().count() > 5 && reused.iter().any(Option::is_none));
        assert!(faults.stops.iter().any(|stop| stop.boundary == last) || last > 0);
    }
}
