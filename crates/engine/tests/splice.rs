//! Rows with faulty weights of their own, spliced, against plain evaluation of each faulty model.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use bitquake_bits::BitSelection;
use bitquake_data::Dataset;
use bitquake_engine::{
    ChainPlan, CutRequest, Evaluator, Model, SpliceMemory, SplicedFaults, SplicedRows, Splicer, Threads,
};
use bitquake_fault::{Candidate, FaultPattern, FaultSpace, Hits, Selector};
use bitquake_graph::resnet::resnet20;
use bitquake_sample::{Rate, StreamKey};
use bitquake_tensors::{Role, TensorFile};
use bitquake_testing::SplitMix64;

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

fn space(model: &Model) -> FaultSpace {
    let candidates = model.tensors().iter().filter_map(|tensor| {
        Some(Candidate {
            name: &tensor.name,
            format: tensor.dtype.format()?,
            elements: tensor.elements(),
            by_name_only: tensor.role == Role::Attribute,
        })
    });
    FaultSpace::select(candidates, &Selector::all(), BitSelection::All).unwrap()
}

fn class(value: f32) -> u8 {
    if value.is_nan() {
        3
    } else if value.is_infinite() {
        1 + u8::from(value > 0.0)
    } else {
        0
    }
}

/// Whether outputs agree: the same class, and if finite, equal but for rounding of the largest.
fn agree(a: &[f32], b: &[f32]) -> bool {
    let largest = a.iter().filter(|x| x.is_finite()).fold(1e-3, |most: f32, x| most.max(x.abs()));
    a.iter()
        .zip(b)
        .all(|(a, b)| class(*a) == class(*b) && (class(*a) != 0 || (a - b).abs() <= 1e-3 * largest))
}

#[test]
fn spliced_rows_come_out_as_faulty_models_do() {
    for (model, shape) in [(fashion(), vec![1, 28, 28]), (resnet(), vec![3, 32, 32])] {
        let data = images(&shape, 6);
        let space = space(&model);
        let around = space.tensors().iter().map(|tensor| tensor.name.clone()).collect();
        let request = CutRequest { links: 1, around, ..CutRequest::default() };
        let plan = Arc::new(ChainPlan::new(&model, &data, &request).unwrap());
        let splicer = Splicer::new(&model, &plan);
        assert_eq!(splicer.tensors(), space.tensors().len(), "every weight of these networks can be spliced");
        let draw = |hits: Hits, trial| hits.flips(&space, &StreamKey { seed: 7, point: 0, trial }).unwrap();
        let rate = |rate| Hits::Rate(Rate::new(rate).unwrap());
        let patterns: Vec<FaultPattern> = (0..90)
            .map(|trial| draw(if trial % 3 == 2 { rate(2e-6) } else { Hits::Count(1 + trial % 3) }, trial))
            .collect();
        let faults: Vec<SplicedFaults> =
            patterns.iter().map(|pattern| splicer.faults(pattern).unwrap().unwrap()).collect();
        for budget in [usize::MAX, 1 << 18] {
            let mut chain =
                Evaluator::chained(model.clone(), Arc::clone(&plan), &data, 16, Threads::Caller).unwrap();
            let golden = chain.golden(budget).unwrap();
            let images: Vec<u32> = (0..patterns.len() as u32).map(|row| row * 5 % 6).collect();
            let memory = RefCell::new(SpliceMemory::new(&splicer, &model).unwrap());
            let rows = faults.iter().collect();
            let rows = SplicedRows { splicer: &splicer, rows, memory: &memory };
            let mut spliced: Vec<Option<Vec<f32>>> = vec![None; patterns.len()];
            chain
                .run(&images, &FaultPattern::empty(), &rows, &golden, &mut |row, output| {
                    spliced[row] = output.map(<[f32]>::to_vec);
                })
                .unwrap();
            let mut plain = Evaluator::new(model.clone(), &data, 16, Threads::Caller).unwrap();
            let (mut exact, mut changed) = (0, 0);
            for (row, pattern) in patterns.iter().enumerate() {
                let image = images[row] as usize;
                let all = plain.outputs(pattern, 6).unwrap();
                let wanted = &all[image * 10..(image + 1) * 10];
                let golden = &golden.golden.outputs[image * 10..(image + 1) * 10];
                let found = spliced[row].as_deref().unwrap_or(golden);
                assert!(agree(wanted, found), "row {row}: {wanted:?} {found:?}");
                changed += usize::from(spliced[row].is_some());
                // In a chain of the same links there is nothing to be rounded otherwise.
                let linked = chain.outputs(pattern, 6).unwrap();
                exact += usize::from(
                    linked[image * 10..(image + 1) * 10]
                        .iter()
                        .zip(found)
                        .all(|(a, b)| a.to_bits() == b.to_bits()),
                );
            }
            assert_eq!(exact, patterns.len(), "the direct sums are added in the engine's order");
            assert!(changed > 20 && changed < patterns.len(), "{changed}");
        }
    }
}
