//! What a method costs in a training step, without the network: quantizing the weights, injecting bit errors, combining gradients.
//!
//! Unit: microseconds (median). Goal (issue 5): storing and injecting together cost less than 3 % of a `RandBET` step, which takes
//! 9.2 ms for LeNet-5 and 226 ms for ResNet-20 in PyTorch at its best: 276 and 6,780 microseconds.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bitquake_train::method::{Half, Method, MethodConfig, Room, StepLosses, WeightTensor, Weights};

/// Weights and biases of LeNet-5 (SPEC 4.2).
const LENET: [&[usize]; 10] =
    [&[6, 1, 5, 5], &[6], &[16, 6, 5, 5], &[16], &[120, 400], &[120], &[84, 120], &[84], &[10, 84], &[10]];

const METHODS: [(&str, &str); 3] = [
    (
        "rquant 8",
        "w_max = 0.1\nquantization = { family = \"asymmetric\", bits = 8, signed = false }\n\
         bit_errors = { rate = 0.01, curriculum = \"always\" }",
    ),
    (
        "rquant 4",
        "w_max = 0.1\nquantization = { family = \"asymmetric\", bits = 4, signed = false }\n\
         bit_errors = { rate = 0.01, curriculum = \"always\" }",
    ),
    (
        "wcat 4",
        "tensors = \"kernels\"\nquantization = { family = \"wcat\", bits = 4 }\nranges = { rule = \"learn\" }\n\
         bit_errors = { rate = 0.01, curriculum = \"always\" }",
    ),
];

/// Kernels, norm scales and shifts of ResNet-20: 272,474 parameters (SPEC 4.2).
fn resnet() -> Vec<Vec<usize>> {
    let mut shapes = vec![vec![16, 3, 3, 3], vec![16], vec![16]];
    let mut before = 16;
    for channels in [16, 32, 64] {
        for block in 0..3 {
            for kernel in [vec![channels, before, 3, 3], vec![channels, channels, 3, 3]] {
                shapes.extend([kernel, vec![channels], vec![channels]]);
                before = channels;
            }
            if block == 0 && channels > 16 {
                shapes.extend([vec![channels, channels / 2, 1, 1], vec![channels], vec![channels]]);
            }
        }
    }
    shapes.extend([vec![10, 64], vec![10]]);
    shapes
}

fn weights(shapes: impl IntoIterator<Item = Vec<usize>>) -> Weights {
    let tensor = |(at, shape): (usize, Vec<usize>)| {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| ((i * 7919 + at * 104_729) % 20_011) as f32 / 1e5 - 0.1).collect();
        WeightTensor { name: format!("layer{at}.weight"), shape, values }
    };
    Weights { tensors: shapes.into_iter().enumerate().map(tensor).collect() }
}

fn main() -> Result<(), Box<dyn Error>> {
    let networks = [("LeNet-5", weights(LENET.map(<[usize]>::to_vec))), ("ResNet-20", weights(resnet()))];
    println!(
        "network    method     weights     flips   store  perturbed  combine  project+finish  (microseconds)"
    );
    for (network, weights) in &networks {
        for (name, table) in METHODS {
            line(network, name, table, weights)?;
        }
    }
    Ok(())
}

fn line(network: &str, name: &str, table: &str, weights: &Weights) -> Result<(), Box<dyn Error>> {
    let mut weights = weights.clone();
    let mut method = Method::new(&toml::from_str::<MethodConfig>(table)?, &weights, 1)?;
    let count: usize = weights.tensors.iter().map(|tensor| tensor.values.len()).sum();
    let stored = method.store(&weights)?;
    let flips = method.perturbed(&stored, &weights, 0, 0)?.flips;
    let gradients: Vec<Vec<f32>> = stored.levels().tensors.clone();
    let half = Half { loss: 1.0, gradients, statistics: Vec::new() };

    let mut room = Room::default();
    let store = median_us(|| {
        if let Ok(stored) = black_box(method.store_in(&weights, &mut room)) {
            room.keep_stored(stored);
        }
    });
    let mut step = 0;
    let perturbed = median_us(|| {
        step += 1;
        if let Ok(levels) = black_box(method.perturbed_in(&stored, &weights, step, 0, &mut room)) {
            room.keep_levels(levels);
        }
    });
    let mut gradients = half.gradients.clone();
    let combine = median_us(|| {
        let last = Half { gradients: std::mem::take(&mut gradients), ..Half::default() };
        if let Ok(update) = black_box(method.combine(std::slice::from_ref(&half), last, &stored, &weights)) {
            gradients = update.gradients;
        }
    });
    let rest = median_us(|| {
        method.project(&mut weights);
        method.finish_step(StepLosses { clean: Some(1.0), perturbed: Some(1.0) }, &mut weights);
    });
    println!(
        "{network:10} {name:9} {count:8} {flips:9} {store:7.0} {perturbed:10.0} {combine:8.0} {rest:15.0}"
    );
    Ok(())
}

fn median_us(mut work: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < 20 || (began.elapsed() < Duration::from_secs(1) && times.len() < 1000) {
        let start = Instant::now();
        work();
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
