//! The three functions of a convolution on one thread, against a product of matrices in the same run.
//!
//! Unit: GFLOP/s (two for each product of an output, an input channel and a place of the kernel, padded or not, though 3x3 with a stride of 1
//! is computed with fewer), a median over rounds in which everything takes its turn once; the best round beside it. An image is computed again
//! and again, so it lies in the second-level cache, as it does between the layers of a network. Goal for the shapes of ResNet-20: 180, by the
//! best round, because other work disturbs medians. Baseline: the crate `gemm`, 384 x 384 x 384.
//!
//! A name as an argument measures the shapes that contain it only; `--isa=AVX2` (or `AVX-512`, `portable`) another instruction set.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::time::Instant;

use bitquake_kernels::{AlignedBuffer, Convolution, Isa, Window};
use bitquake_testing::SplitMix64;

const ROUNDS: usize = 31;
/// Work of a measurement: long against the clock's resolution, short against the disturbances of a busy machine.
const FLOP: f64 = 2e7;
const GOAL: f64 = 180.0;

struct Shape {
    name: &'static str,
    channels: [usize; 2],
    groups: usize,
    image: usize,
    kernel: usize,
    stride: usize,
    is_first: bool,
}

const fn shape(
    name: &'static str,
    channels: [usize; 2],
    image: usize,
    kernel: usize,
    stride: usize,
) -> Shape {
    Shape { name, channels, groups: 1, image, kernel, stride, is_first: false }
}

const SHAPES: [Shape; 22] = [
    Shape { is_first: true, ..shape("resnet20 first", [3, 16], 32, 3, 1) },
    shape("resnet20 16", [16, 16], 32, 3, 1),
    shape("resnet20 16-32 /2", [16, 32], 32, 3, 2),
    shape("resnet20 32", [32, 32], 16, 3, 1),
    shape("resnet20 32-64 /2", [32, 64], 16, 3, 2),
    shape("resnet20 64", [64, 64], 8, 3, 1),
    shape("resnet20 1x1 /2", [16, 32], 32, 1, 2),
    Shape { is_first: true, ..shape("simplenet first", [3, 64], 32, 3, 1) },
    shape("simplenet 64 32x32", [64, 64], 32, 3, 1),
    shape("simplenet 64-128 16x16", [64, 128], 16, 3, 1),
    shape("simplenet 128 4x4", [128, 128], 4, 3, 1),
    Shape { is_first: true, ..shape("lenet5 first", [1, 6], 28, 5, 1) },
    shape("lenet5 second", [6, 16], 14, 5, 1),
    Shape { is_first: true, ..shape("resnet18 first", [3, 64], 224, 7, 2) },
    shape("resnet18 64 56x56", [64, 64], 56, 3, 1),
    shape("resnet18 256 14x14", [256, 256], 14, 3, 1),
    shape("resnet18 512 7x7", [512, 512], 7, 3, 1),
    shape("resnet18 64-128 1x1 /2", [64, 128], 56, 1, 2),
    shape("resnet50 64-256 1x1", [64, 256], 56, 1, 1),
    shape("resnet50 1024-256 1x1", [1024, 256], 14, 1, 1),
    Shape { groups: 96, ..shape("depthwise 96", [96, 96], 56, 3, 1) },
    Shape { groups: 144, ..shape("depthwise 144 /2", [144, 144], 56, 3, 2) },
];

/// A function to measure, and what it does in one call.
struct Work {
    name: String,
    flop: f64,
    run: Box<dyn FnMut()>,
    /// GFLOP/s by round.
    rates: Vec<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let isa = match std::env::args().find(|argument| argument.starts_with("--isa=")) {
        Some(argument) => Isa::ALL
            .into_iter()
            .find(|isa| argument.ends_with(&isa.to_string()))
            .ok_or("--isa=AVX-512, AVX2 or portable")?,
        None => Isa::best(),
    };
    let mut all = vec![matrices()];
    for shape in SHAPES.iter().filter(|shape| shape.name.contains(&only)) {
        all.extend(functions(shape, isa)?);
    }
    for round in 0..=ROUNDS {
        for work in &mut all {
            let calls = (FLOP / work.flop).ceil();
            let start = Instant::now();
            for _ in 0..calls as usize {
                (work.run)();
            }
            // The first round warms up.
            if round > 0 {
                work.rates.push(work.flop * calls / start.elapsed().as_secs_f64() / 1e9);
            }
        }
    }
    println!("{isa}, GFLOP/s on one thread: median of {ROUNDS} rounds (best)");
    for work in &mut all {
        work.rates.sort_by(f64::total_cmp);
        let (median, best) = (work.rates[ROUNDS / 2], work.rates[ROUNDS - 1]);
        let verdict = if work.name.starts_with("resnet20") && best < GOAL { "  below the goal" } else { "" };
        println!("{:34} {median:6.1} ({best:6.1}){verdict}", work.name);
    }
    Ok(())
}

fn matrices() -> Work {
    const SIZE: usize = 384;
    let (left, right) = (random(SIZE * SIZE, 1), random(SIZE * SIZE, 2));
    let mut result = AlignedBuffer::zeroed(SIZE * SIZE);
    let run = move || multiply(SIZE, &left, &right, &mut result);
    Work { name: "gemm".into(), flop: 2.0 * (SIZE as f64).powi(3), run: Box::new(run), rates: Vec::new() }
}

#[expect(unsafe_code, reason = "the crate `gemm` takes pointers")]
fn multiply(size: usize, left: &[f32], right: &[f32], result: &mut [f32]) {
    let pitch = size as isize;
    // SAFETY: three square matrices of `size` rows, which the callers' buffers hold.
    unsafe {
        gemm::gemm(
            size,
            size,
            size,
            result.as_mut_ptr(),
            pitch,
            1,
            false,
            left.as_ptr(),
            pitch,
            1,
            right.as_ptr(),
            pitch,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn functions(shape: &Shape, isa: Isa) -> Result<Vec<Work>, Box<dyn Error>> {
    let pad = if shape.name == "lenet5 second" { 0 } else { shape.kernel / 2 };
    let window = Window { stride: [shape.stride; 2], pads: [[pad; 2]; 2], ..Window::new([shape.kernel; 2]) };
    let image = [shape.image; 2];
    let new = || match shape.is_first {
        true => Convolution::new_first(shape.channels, image, window, isa),
        false => Convolution::new(shape.channels, shape.groups, image, window, isa),
    };
    let convolution = new()?;
    let flop = 2.0 * (convolution.weights_len() * convolution.output().iter().product::<usize>()) as f64;
    let work = |function: &str, run: Box<dyn FnMut()>| Work {
        name: format!("{} {function}", shape.name),
        flop,
        run,
        rates: Vec::new(),
    };
    let mut all = vec![work("forward", forward(new()?)), work("weights", weight_gradient(new()?))];
    if !shape.is_first {
        all.insert(1, work("data", data_gradient(new()?)));
    }
    Ok(all)
}

fn forward(convolution: Convolution) -> Box<dyn FnMut()> {
    let mut packed = AlignedBuffer::zeroed(convolution.forward_weights_len());
    convolution.pack_forward(&random(convolution.weights_len(), 1), &mut packed);
    let x = random(convolution.input_len(), 2);
    let mut y = AlignedBuffer::zeroed(convolution.output_len());
    let mut scratch = AlignedBuffer::zeroed(convolution.scratch_len());
    Box::new(move || convolution.forward(&packed, None, &x, &mut y, &mut scratch))
}

fn data_gradient(convolution: Convolution) -> Box<dyn FnMut()> {
    let mut packed = AlignedBuffer::zeroed(convolution.data_weights_len());
    convolution.pack_data(&random(convolution.weights_len(), 1), &mut packed);
    let dy = random(convolution.output_len(), 2);
    let mut dx = AlignedBuffer::zeroed(convolution.input_len());
    let mut scratch = AlignedBuffer::zeroed(convolution.scratch_len());
    Box::new(move || convolution.data_gradient(&packed, &dy, &mut dx, &mut scratch))
}

fn weight_gradient(convolution: Convolution) -> Box<dyn FnMut()> {
    let x = random(convolution.input_len(), 1);
    let dy = random(convolution.output_len(), 2);
    let mut sum = AlignedBuffer::zeroed(convolution.weight_gradient_len());
    let mut scratch = AlignedBuffer::zeroed(convolution.scratch_len());
    Box::new(move || convolution.weight_gradient(&x, &dy, &mut sum, &mut scratch))
}

fn random(len: usize, seed: u64) -> AlignedBuffer {
    let mut random = SplitMix64::new(seed);
    let mut buffer = AlignedBuffer::zeroed(len);
    // Small, as weights are: huge ones are not computed in tiles.
    buffer.iter_mut().for_each(|value| *value = 0.1 * random.normal() as f32);
    buffer
}
