//! The project's own kernels against ONNX Runtime: plain inference, and trials.
//!
//! Inference, in images a second (median of rounds in which both take turns): ResNet-20 at 32x32, 250 images at a time, and networks of
//! ImageNet's sizes, 8 at a time; all cores. ONNX Runtime has one session with default optimisations, and the batch of those given that it is
//! fastest with. Goals: 1.2 times ONNX Runtime for ResNet-20, 1.0 for the others.
//!
//! Trials, in milliseconds (median likewise), on one core: bits flipped at a rate of 1e-5 in ResNet-20, 1, 16 and 1,000 images
//! evaluated and judged, the flips undone. ONNX Runtime builds a session for each. Goal: faster.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

#[path = "native/networks.rs"]
mod networks;

use std::error::Error;
use std::time::Instant;

use bitquake_bits::BitSelection;
use bitquake_data::Dataset;
use bitquake_engine::{Evaluator, Model, Native, NoFaults, Runtime, Threads};
use bitquake_fault::{Candidate, FaultSpace, Hits, Selector};
use bitquake_graph::plan::Plan;
use bitquake_graph::program::lower;
use bitquake_graph::resnet::resnet20;
use bitquake_kernels::program::Inference;
use bitquake_sample::{Rate, StreamKey};
use bitquake_tensors::{Role, TensorFile};
use bitquake_testing::SplitMix64;
use ort::session::Session;
use ort::value::TensorRef;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let threads = std::thread::available_parallelism()?.get();
    println!("images a second, {threads} threads, medians");
    infer("ResNet-20", &resnet20(1), [3, 32, 32], 1000, 250, &[16, 32, 64, 250], threads)?;
    let large = [3, 224, 224];
    infer("MobileNet-V2", &networks::mobilenet_v2(), large, 8, 8, &[1, 4, 8], threads)?;
    infer("ResNet-18", &networks::resnet("resnet18", [2; 4], 1), large, 8, 8, &[1, 4, 8], threads)?;
    infer("ResNet-50", &networks::resnet("resnet50", [3, 4, 6, 3], 4), large, 8, 8, &[1, 4, 8], threads)?;
    trials()
}

fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..count).map(|_| random.normal() as f32).collect()
}

/// Compares plain inference.
fn infer(
    name: &str,
    bytes: &[u8],
    shape: [usize; 3],
    count: usize,
    batch: usize,
    batches: &[usize],
    threads: usize,
) -> Result<(), Failure> {
    const ROUNDS: usize = 9;
    let (plan, parameters) = Plan::new(&TensorFile::from_onnx_bytes(bytes.to_vec())?)?;
    let lowered = lower(&plan)?;
    let mut own = Inference::new(&lowered.program, lowered.output, parameters);
    let image = shape.iter().product::<usize>();
    let (pixels, classes) = (random(2, count * image), own.output_shape().elements());
    let mut outputs = vec![0.0; count * classes];
    let builder = Session::builder(Runtime::load()?.environment())?;
    let mut session = builder.with_intra_threads(threads)?.commit_from_memory(bytes)?;
    let (mut of_own, mut of_runtime) = (Vec::new(), vec![Vec::new(); batches.len()]);
    for round in 0..=ROUNDS {
        let own = ms(|| {
            let images = pixels.chunks(batch * image).zip(outputs.chunks_mut(batch * classes));
            images.for_each(|(images, outputs)| own.forward(images, outputs, threads));
            Ok(())
        })?;
        let runtime = batches.iter().map(|&batch| ms(|| run(&mut session, &pixels, shape, batch)));
        let runtime = runtime.collect::<Result<Vec<f64>, _>>()?;
        // The first round warms up.
        if round > 0 {
            of_own.push(own);
            of_runtime.iter_mut().zip(runtime).for_each(|(times, time)| times.push(time));
        }
    }
    let a_second = |times: Vec<f64>| count as f64 / median(times) * 1e3;
    let own = a_second(of_own);
    let of_batches: Vec<f64> = of_runtime.into_iter().map(a_second).collect();
    let best = of_batches.iter().copied().fold(0.0, f64::max);
    let of_batches: Vec<String> =
        batches.iter().zip(of_batches).map(|(batch, speed)| format!("{batch}: {speed:.0}")).collect();
    println!(
        "{name:13} native {own:7.0}  ONNX Runtime {best:7.0}  ratio {:.2}  ({})",
        own / best,
        of_batches.join(", ")
    );
    Ok(())
}

fn run(session: &mut Session, pixels: &[f32], shape: [usize; 3], batch: usize) -> Result<(), Failure> {
    let image = shape.iter().product::<usize>();
    for images in pixels.chunks(batch * image) {
        let [channels, height, width] = shape.map(|size| size as i64);
        let shape = [(images.len() / image) as i64, channels, height, width];
        let input = TensorRef::from_array_view((shape, images))?;
        let outputs = session.run(ort::inputs![input])?;
        std::hint::black_box(outputs[0].try_extract_tensor::<f32>()?);
    }
    Ok(())
}

/// Compares trials.
fn trials() -> Result<(), Failure> {
    const IMAGES: usize = 1000;
    let model = Model::new(TensorFile::from_onnx_bytes(resnet20(1))?)?;
    let data = Dataset::new(random(2, IMAGES * 3 * 32 * 32), vec![3, 32, 32], vec![0; IMAGES])?;
    let native = Native::new(&model, data.image_shape())?;
    let mut evaluators = [
        Evaluator::native(model.clone(), native, &data, Threads::Caller)?,
        Evaluator::new(model.clone(), &data, 16, Threads::Caller)?,
    ];
    let golden = [evaluators[0].golden(0)?, evaluators[1].golden(0)?];
    let space = space(&model)?;
    println!("milliseconds a trial of ResNet-20, flips at 1e-5, 1 thread, medians");
    for (count, rounds) in [(1, 200), (16, 60), (IMAGES, 7)] {
        let images: Vec<u32> = (0..count as u32).collect();
        let mut times = [Vec::new(), Vec::new()];
        for trial in 0..=rounds {
            let flips = Hits::Rate(Rate::new(1e-5)?);
            let pattern = flips.flips(&space, &StreamKey { seed: 1, point: 0, trial })?;
            for ((evaluator, golden), times) in evaluators.iter_mut().zip(&golden).zip(&mut times) {
                let time = ms(|| {
                    std::hint::black_box(evaluator.judge(&images, &pattern, &NoFaults, golden)?);
                    Ok(())
                })?;
                if trial > 0 {
                    times.push(time);
                }
            }
        }
        let [own, runtime] = times.map(median);
        println!(
            "{count:5} images  native {own:8.3}  ONNX Runtime {runtime:8.3}  ratio {:.2}",
            runtime / own
        );
    }
    Ok(())
}

fn space(model: &Model) -> Result<FaultSpace, Failure> {
    let candidates = model.tensors().iter().filter_map(|tensor| {
        Some(Candidate {
            name: &tensor.name,
            format: tensor.dtype.format()?,
            elements: tensor.elements(),
            by_name_only: tensor.role == Role::Attribute,
        })
    });
    Ok(FaultSpace::select(candidates, &Selector::all(), BitSelection::All)?)
}

fn ms(work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
