//! What a trial costs beyond plain inference.
//!
//! ResNet-20 with random float32 weights and batch-norm unfolded, 1,000 images of 3x32x32, all cores. Unit: milliseconds for
//! the whole data set (median). Goal: a trial (draw, apply, build the session, evaluate, undo) costs at most 1.10 times plain
//! ONNX Runtime inference: one session built once, default optimisations, the same threads.
//!
//! Two ways to use the cores are measured: one evaluator a core, each running its own trial with one engine thread, and one
//! evaluator with all threads inside the engine. Campaigns use the first for models up to 32 MiB.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use bitquake_bits::BitSelection;
use bitquake_data::Dataset;
use bitquake_engine::{Evaluator, GoldenRun, Model, Runtime, Threads};
use bitquake_fault::{Candidate, FaultSpace, Hits, Selector};
use bitquake_graph::build::resnet20;
use bitquake_sample::{Rate, StreamKey};
use bitquake_tensors::{Role, TensorFile};
use bitquake_testing::SplitMix64;
use ort::session::Session;
use ort::value::TensorRef;

const IMAGES: usize = 1000;
const BATCH: u64 = 16;
const ROUNDS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let bytes = resnet20(1);
    let mut file = tempfile::Builder::new().suffix(".onnx").tempfile()?;
    file.write_all(&bytes)?;
    let model = Model::new(TensorFile::open(file.path())?)?;
    let mut random = SplitMix64::new(2);
    let pixels = (0..IMAGES * 3 * 32 * 32).map(|_| random.normal() as f32).collect();
    let data = Dataset::new(pixels, vec![3, 32, 32], vec![0; IMAGES])?;
    let threads = std::thread::available_parallelism()?.get();

    let space = space(&model)?;
    let mut together = Evaluator::new(model.clone(), &data, BATCH, Threads::Engine(threads))?;
    let golden = together.golden(0)?;
    let mut apart = (0..threads)
        .map(|_| Evaluator::new(model.clone(), &data, BATCH, Threads::Caller))
        .collect::<Result<Vec<_>, _>>()?;
    let mut plain = plain_session(&bytes, threads)?;
    let (mut inference, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        inference.push(ms(|| run_plain(&mut plain, &data))?);
        one.push(ms(|| trial(&mut together, &space, &golden, round))?);
        many.push(ms(|| trials(&mut apart, &space, &golden, round))? / threads as f64);
    }
    let baseline = median(inference);
    println!("ResNet-20, {IMAGES} images, {threads} threads, ms a pass over the data (median of {ROUNDS})");
    println!("plain inference, one session          {baseline:8.1}");
    for (name, times) in [("trial, one evaluator, all threads", one), ("trial, one evaluator a thread", many)]
    {
        let time = median(times);
        println!("{name:37} {time:8.1}  ratio {:.2}", time / baseline);
    }
    Ok(())
}

fn space(model: &Model) -> Result<FaultSpace, Box<dyn Error>> {
    let candidates = model.tensors().iter().filter_map(|tensor| {
        let by_name_only = tensor.role == Role::Attribute;
        Some(Candidate {
            name: &tensor.name,
            format: tensor.dtype.format()?,
            elements: tensor.elements(),
            by_name_only,
        })
    });
    Ok(FaultSpace::select(candidates, &Selector::all(), BitSelection::All)?)
}

fn trial(
    evaluator: &mut Evaluator<'_>,
    space: &FaultSpace,
    golden: &GoldenRun,
    trial: u64,
) -> Result<(), Box<dyn Error>> {
    let model = Hits::Rate(Rate::new(1e-5)?);
    let pattern = model.flips(space, &StreamKey { seed: 1, point: 0, trial })?;
    evaluator.trial(&pattern, golden)?;
    Ok(())
}

/// One trial on each evaluator at the same time.
fn trials(
    evaluators: &mut [Evaluator<'_>],
    space: &FaultSpace,
    golden: &GoldenRun,
    round: u64,
) -> Result<(), Box<dyn Error>> {
    let count = evaluators.len() as u64;
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let running: Vec<_> = evaluators
            .iter_mut()
            .zip(0..)
            .map(|(evaluator, lane)| {
                scope.spawn(move || {
                    trial(evaluator, space, golden, round * count + lane).map_err(|error| error.to_string())
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into())))
            .collect()
    });
    Ok(results.into_iter().collect::<Result<(), String>>()?)
}

fn plain_session(bytes: &[u8], threads: usize) -> Result<Session, Box<dyn Error>> {
    let builder = Session::builder(Runtime::load()?.environment())?;
    Ok(builder.with_intra_threads(threads)?.commit_from_memory(bytes)?)
}

fn run_plain(session: &mut Session, data: &Dataset) -> Result<(), Box<dyn Error>> {
    for start in (0..IMAGES).step_by(BATCH as usize) {
        let end = IMAGES.min(start + BATCH as usize);
        let shape = [(end - start) as i64, 3, 32, 32];
        let input = TensorRef::from_array_view((shape, data.images(start..end)))?;
        let outputs = session.run(ort::inputs![input])?;
        std::hint::black_box(outputs[0].try_extract_tensor::<f32>()?);
    }
    Ok(())
}

fn ms(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
