//! What trials cost when only what faults can change is run. (being built)

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use bitquake_data::Dataset;
use bitquake_engine::Value;
use bitquake_engine::*;
use bitquake_fault::{Candidate, FaultPattern, FaultSpace, Hits, Selector};
use bitquake_graph::build::resnet20;
use bitquake_sample::{Rate, StreamKey};
use bitquake_tensors::{Role, TensorFile};
use bitquake_testing::SplitMix64;

struct One {
    stops: Vec<Stop>,
    sites: Vec<(String, usize, u32)>,
}
impl RowFaults for One {
    fn stops(&self, row: usize) -> &[Stop] {
        &self.stops[row..=row]
    }
    fn apply(&self, row: usize, _: usize, values: &mut RowValues<'_>) -> Result<(), EngineError> {
        let (name, element, flip) = &self.sites[row];
        let value = &mut values.get_mut(name).unwrap()[*element];
        *value = f32::from_bits(value.to_bits() ^ flip);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let bytes = resnet20(1);
    let mut file = tempfile::Builder::new().suffix(".onnx").tempfile()?;
    file.write_all(&bytes)?;
    let model = Model::new(TensorFile::open(file.path())?)?;
    let n = 256;
    let mut random = SplitMix64::new(2);
    let pixels = (0..n * 3 * 32 * 32).map(|_| random.normal() as f32).collect();
    let data = Dataset::new(pixels, vec![3, 32, 32], vec![0; n])?;
    let candidates = model.tensors().iter().filter_map(|t| {
        Some(Candidate {
            name: &t.name,
            format: t.dtype.format()?,
            elements: t.elements(),
            by_name_only: t.role == Role::Attribute,
        })
    });
    let space = FaultSpace::select(candidates, &Selector::all(), bitquake_bits::BitSelection::All)?;
    let all: Vec<u32> = (0..n as u32).collect();
    let bits = space.bits() as f64;
    let tensors: Vec<(String, f64)> =
        space.tensors().iter().map(|t| (t.name.clone(), t.bits() as f64 / bits)).collect();
    for batch in [16, 32] {
        for faults in [0.0, 1.0, 10.0, 100.0, 1000.0] {
            let exposure = Exposure { tensors: tensors.clone(), faults: vec![faults] };
            let plan = if faults == 0.0 {
                ChainPlan::whole(&model, data.image_shape())
            } else {
                ChainPlan::new(&model, &data, &CutRequest { exposure, ..Default::default() })?
            };
            println!(
                "faults {faults}: {:?}",
                (0..=plan.links())
                    .map(|b| plan.alive(b).map(|v| v.elements()).sum::<usize>())
                    .collect::<Vec<_>>()
            );
            let cut = plan.links();
            let mut e = Evaluator::chained(model.clone(), Arc::new(plan), &data, batch, Threads::Caller)?;
            let golden = e.golden(usize::MAX)?;
            let time = |f: &mut dyn FnMut()| {
                let t = Instant::now();
                f();
                t.elapsed().as_secs_f64() * 1e3 / n as f64
            };
            let full = |e: &mut Evaluator<'_>, rate: f64, rounds: u64| -> f64 {
                let mut total = 0.0;
                for round in 0..rounds {
                    let p = Hits::Rate(Rate::new(rate).unwrap())
                        .flips(&space, &StreamKey { seed: 1, point: 0, trial: round })
                        .unwrap();
                    total += time(&mut || {
                        e.trial(&p, &golden).unwrap();
                    });
                }
                total / rounds as f64
            };
            let heavy = full(&mut e, 1e-4, 2);
            let mut single = 0.0;
            let rounds = 12;
            for round in 0..rounds {
                let p = Hits::Count(1).flips(&space, &StreamKey { seed: 1, point: 0, trial: round }).unwrap();
                single += time(&mut || {
                    e.trial(&p, &golden).unwrap();
                }) / rounds as f64;
            }
            println!(
                "batch {batch} links {cut}: 1e-4 {heavy:.3} ms/image, one upset {single:.3} ms/image, golden {} MB",
                golden.bytes() >> 20
            );
        }
    }
    let probe = ChainPlan::new(&model, &data, &CutRequest { links: 1000, ..Default::default() })?;
    let names: Vec<String> = probe.values().iter().map(|v| v.name.clone()).collect();
    for batch in [16, 32, 64] {
        let plan = ChainPlan::new(
            &model,
            &data,
            &CutRequest { links: 1, values: names.clone(), ..Default::default() },
        )?;
        let cut = plan.links();
        let values = plan.values()[..plan.values().len() - 1].to_vec();
        let mut e = Evaluator::chained(model.clone(), Arc::new(plan), &data, batch, Threads::Caller)?;
        let golden = e.golden(usize::MAX)?;
        let total: usize = values.iter().map(Value::elements).sum();
        let mut f = One { stops: vec![], sites: vec![] };
        let mut random = SplitMix64::new(7);
        for _ in 0..n {
            let mut at = (random.next_u64() % total as u64) as usize;
            let v = values
                .iter()
                .find(|v| {
                    if at < v.elements() {
                        true
                    } else {
                        at -= v.elements();
                        false
                    }
                })
                .unwrap();
            f.stops.push(Stop { boundary: e.plan().boundary_of(&v.name).unwrap(), looks_back: false });
            f.sites.push((v.name.clone(), at, 1 << (random.next_u64() % 32)));
        }
        for _ in 0..3 {
            let t = Instant::now();
            let mut changed = 0;
            e.run(&all, &FaultPattern::empty(), &f, &golden, &mut |_, o| {
                changed += usize::from(o.is_some())
            })?;
            println!(
                "batch {batch} links {cut}: one activation fault an image {:.4} ms, changed {changed}/{n}, golden {} MB",
                t.elapsed().as_secs_f64() * 1e3 / n as f64,
                golden.bytes() >> 20
            );
        }
    }
    Ok(())
}
