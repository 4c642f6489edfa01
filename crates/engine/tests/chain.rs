//! Chains of links against plain evaluation of the whole model.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::sync::Arc;

use bitquake_bits::BitSelection;
use bitquake_data::Dataset;
use bitquake_engine::{
    ChainPlan, CutRequest, EngineError, Evaluator, GoldenRun, Model, RowFaults, RowValues, Stop, Threads,
    activations,
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

/// In each row, elements of values change at one or more boundaries.
#[derive(Default)]
struct Sites {
    stops: Vec<Vec<Stop>>,
    sites: Vec<Vec<Site>>,
}

/// An element and the word that is set there, or the mask of the bits that flip.
struct Site {
    value: String,
    element: usize,
    change: Change,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Flip(u32),
    Set(f32),
}

impl Sites {
    /// A row with these faults; of two at one boundary the last counts.
    fn push(&mut self, plan: &ChainPlan, mut sites: Vec<Site>) {
        let boundary = |site: &Site| plan.boundary_of(&site.value).unwrap();
        sites.sort_by_key(boundary);
        sites.dedup_by_key(|site| boundary(site));
        let stop = |site| Stop { boundary: boundary(site), looks_back: false };
        self.stops.push(sites.iter().map(stop).collect());
        self.sites.push(sites);
    }
}

impl RowFaults for Sites {
    fn stops(&self, row: usize) -> &[Stop] {
        &self.stops[row]
    }

    fn apply(&self, row: usize, boundary: usize, values: &mut RowValues<'_>) -> Result<(), EngineError> {
        let at = self.stops[row].iter().position(|stop| stop.boundary == boundary).expect("a stop");
        let site = &self.sites[row][at];
        // A word in its row or alone: both must do the same.
        let value = if (row / 3).is_multiple_of(2) {
            &mut values.get_mut(&site.value).expect("alive")[site.element]
        } else {
            values.element_mut(&site.value, site.element).expect("an element")
        };
        *value = match site.change {
            Change::Flip(mask) => f32::from_bits(value.to_bits() ^ mask),
            Change::Set(word) => word,
        };
        Ok(())
    }
}

/// Rows with up to three faults in any values: flipped bits and words that are hard to compute with.
fn sites(plan: &ChainPlan, rows: usize, seed: u64) -> Sites {
    const WORDS: [f32; 8] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-42, 3e38, -3e38];
    let mut random = SplitMix64::new(seed);
    let mut faults = Sites::default();
    for row in 0..rows {
        let mut site = || {
            // Each value once at least.
            let value = &plan.values()[(row + random.below(2) as usize * 7) % plan.values().len()];
            let change = match random.below(3) {
                0 => Change::Set(WORDS[random.below(8) as usize]),
                _ => Change::Flip(1 << random.below(32)),
            };
            let element = random.below(value.elements() as u64) as usize;
            Site { value: value.name.clone(), element, change }
        };
        let sites = (0..1 + row % 3).map(|_| site()).collect();
        faults.push(plan, sites);
    }
    faults
}

/// The bits of a row; a NaN is a NaN, since which of two goes on is no matter of order alone.
fn known_bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }).collect()
}

#[test]
fn faults_in_activations_hit_their_row_alone() {
    const ROWS: usize = 150;
    for (model, shape) in [(fashion(), vec![1, 28, 28]), (resnet(), vec![3, 32, 32])] {
        let data = images(&shape, 24);
        let all = activations(&model, &data).unwrap();
        let names: Vec<String> = all.into_iter().map(|activation| activation.value.name).collect();
        // All values, and only some: then links of several nodes are followed.
        for (names, budget) in [(&names[..], ALL), (&names[..], 2 << 20), (&names[names.len() / 2..], ALL)] {
            let request = CutRequest { links: 1, values: names.to_vec(), ..CutRequest::default() };
            let mut chain = chained(&model, &data, &request);
            let golden = chain.golden(budget).unwrap();
            if cfg!(target_arch = "x86_64") && budget == ALL && shape[0] == 3 {
                assert!(golden.walked() > 20, "{} links are walked", golden.walked());
            }
            let faults = sites(chain.plan(), ROWS, 9);
            let images: Vec<u32> = (0..ROWS as u32).rev().map(|row| row % 24).collect();
            let mut reused = vec![None; ROWS];
            let each: bitquake_engine::EachRow<'_> =
                &mut |row, output| reused[row] = Some(output.map(known_bits));
            chain.run(&images, &FaultPattern::empty(), &faults, &golden, each).unwrap();
            assert!(reused.iter().all(Option::is_some), "each row is heard of");

            let mut plain = chained(&model, &data, &request).letting_go(false);
            let nothing = plain.golden(0).unwrap();
            plain
                .run(&images, &FaultPattern::empty(), &faults, &nothing, &mut |row, output| {
                    let (found, stops) = (reused[row].as_ref().unwrap(), &faults.stops[row]);
                    assert_eq!(*found, output.map(known_bits), "row {row}, budget {budget}: {stops:?}");
                })
                .unwrap();
            let changed = reused.iter().flatten().flatten().count();
            assert!(changed > ROWS / 10 && changed < ROWS, "{changed} rows changed");
        }
    }
}
