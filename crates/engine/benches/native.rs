//! The project's own kernels against ONNX Runtime.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::time::Instant;

use bitquake_engine::Runtime;
use bitquake_graph::plan::Plan;
use bitquake_graph::program::lower;
use bitquake_graph::resnet::resnet20;
use bitquake_kernels::program::Inference;
use bitquake_tensors::TensorFile;
use bitquake_testing::SplitMix64;
use ort::session::Session;
use ort::value::TensorRef;

const IMAGES: usize = 1000;
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let bytes = resnet20(1);
    let threads: usize = std::env::var("BQ_T").ok().and_then(|v| v.parse().ok()).unwrap_or(2);
    let (plan, parameters) = Plan::new(&TensorFile::from_onnx_bytes(bytes.clone())?)?;
    let lowered = lower(&plan)?;
    let mut own = Inference::new(&lowered.program, lowered.output, parameters);
    let mut random = SplitMix64::new(2);
    let pixels: Vec<f32> = (0..IMAGES * 3 * 32 * 32).map(|_| random.normal() as f32).collect();
    let mut outputs = vec![0.0; IMAGES * 10];
    let builder = Session::builder(Runtime::load()?.environment())?;
    let mut plain = builder.with_intra_threads(threads)?.commit_from_memory(&bytes)?;
    let batches = [16, 32, 64, 250];
    let mut times = vec![Vec::new(); batches.len() + 1];
    for _ in 0..ROUNDS {
        for (place, batch) in batches.into_iter().enumerate() {
            times[place].push(ms(|| run_plain(&mut plain, &pixels, batch))?);
        }
        times[batches.len()].push(ms(|| {
            for (images, outputs) in pixels.chunks(250 * 3072).zip(outputs.chunks_mut(2500)) {
                own.forward(images, outputs, threads);
            }
            Ok(())
        })?);
    }
    for times in times {
        println!("{:.1} images/s", IMAGES as f64 / median(times) * 1e3);
    }
    Ok(())
}

fn run_plain(session: &mut Session, pixels: &[f32], batch: usize) -> Result<(), Box<dyn Error>> {
    for images in pixels.chunks(batch * 3072) {
        let shape = [(images.len() / 3072) as i64, 3, 32, 32];
        let input = TensorRef::from_array_view((shape, images))?;
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
