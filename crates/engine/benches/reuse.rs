//! What trials cost when only what faults can change is run, against PyTorch in the same run.
//!
//! ResNet-20 at 32x32 with He weights and calibrated batch normalisation, 1,000 images, all cores. Unit: milliseconds (median over
//! rounds, in which ours and PyTorch's take turns). Goals, as PyTorch's time over ours:
//!
//! - a bit-error trial in the weights, all images: 1.0 against `torch.compile` with frozen weights;
//! - an upset for each image, each in a random bit of a random element of all node outputs: 4.0 against forward hooks;
//! - one such upset for all images: 3.0 against forward hooks;
//! - one upset in a weight, all images, exact: 2.5 against a full evaluation, the faster of eager and compiled.
//!
//! PyTorch runs in the Python of `BITQUAKE_PYTHON` (or `python3`; it needs torch, numpy and onnx): `benches/torch_baseline.py`,
//! channels last, without gradients, the fastest of four batches for each row, memory kept by malloc.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

#[path = "reuse/ours.rs"]
mod ours;
#[path = "reuse/torch.rs"]
mod torch;

use std::error::Error;
use std::time::Instant;

use bitquake_data::Dataset;
use bitquake_engine::Model;
use bitquake_graph::resnet::resnet20;
use bitquake_tensors::TensorFile;
use bitquake_testing::SplitMix64;

use ours::Ours;
use torch::Torch;

type Failure = Box<dyn Error>;

const IMAGES: usize = 1000;
const ROUNDS: u64 = 9;

/// What is measured: a name, PyTorch's tasks (the fastest counts), the goal for the ratio, ours.
struct Row {
    name: &'static str,
    tasks: &'static [&'static str],
    goal: f64,
    ours: fn(&mut Ours<'_>, u64) -> Result<f64, Failure>,
}

const ROWS: [Row; 4] = [
    Row {
        name: "bit errors in weights (1e-5)",
        tasks: &["frozen"],
        goal: 1.0,
        ours: |ours, round| ours.bit_errors(round),
    },
    Row {
        name: "an upset for each image",
        tasks: &["hooks-each"],
        goal: 4.0,
        ours: |ours, round| ours.upset_each(round),
    },
    Row {
        name: "one upset for all images",
        tasks: &["hooks-one"],
        goal: 3.0,
        ours: |ours, round| ours.upset_all(round),
    },
    Row {
        name: "one upset in a weight",
        tasks: &["weight-eager", "weight-compiled"],
        goal: 2.5,
        ours: |ours, round| ours.weight_upset(round),
    },
];

fn main() -> Result<(), Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let folder = tempfile::tempdir()?;
    let (path, pixels) = (folder.path().join("resnet20.onnx"), folder.path().join("images.f32"));
    std::fs::write(&path, resnet20(1))?;
    let mut random = SplitMix64::new(2);
    let images: Vec<f32> = (0..IMAGES * 3 * 32 * 32).map(|_| random.normal() as f32).collect();
    std::fs::write(&pixels, images.iter().flat_map(|pixel| pixel.to_le_bytes()).collect::<Vec<u8>>())?;

    // Also calibrates the model.
    let mut torch = Torch::start(&path, &pixels, threads)?;
    println!("{:.0} % of ReLU outputs are not zero", 100.0 * torch.relu_share);
    let model = Model::new(TensorFile::open(&path)?)?;
    let data = Dataset::new(images, vec![3, 32, 32], vec![0; IMAGES])?;
    let mut ours = Ours::new(&model, &data, threads)?;
    println!("ResNet-20, {IMAGES} images, {threads} threads, ms a task: median of {ROUNDS} (least)");
    for row in ROWS.iter().filter(|row| is_wanted(row.name)) {
        measure(row, &mut ours, &mut torch)?;
    }
    Ok(())
}

/// Whether an argument asks for a row, or none asks for any.
fn is_wanted(name: &str) -> bool {
    let mut wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    wanted.peek().is_none() || wanted.any(|part| name.contains(&part))
}

fn measure(row: &Row, ours: &mut Ours<'_>, torch: &mut Torch) -> Result<(), Failure> {
    let mut own = Vec::new();
    let mut of_torch = vec![Vec::new(); row.tasks.len()];
    for task in row.tasks {
        // Finds the best batch.
        torch.ms(task)?;
    }
    (row.ours)(ours, 0)?;
    for round in 1..=ROUNDS {
        own.push((row.ours)(ours, round)?);
        for (task, times) in row.tasks.iter().zip(&mut of_torch) {
            times.push(torch.ms(task)?);
        }
    }
    let (own, own_least) = median_and_least(own);
    let of_tasks = row.tasks.iter().zip(of_torch.into_iter().map(median_and_least));
    let (task, (best, least)) = of_tasks.min_by(|a, b| a.1.0.total_cmp(&b.1.0)).ok_or("no task")?;
    let (name, ratio, of_least, goal) = (row.name, best / own, least / own_least, row.goal);
    println!(
        "{name:30} {own:8.1} ({own_least:.1})  torch {task:16} {best:8.1} ({least:.1})  ratio {ratio:5.2} ({of_least:.2})  goal {goal:.1}"
    );
    Ok(())
}

fn ms(work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn median_and_least(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}
