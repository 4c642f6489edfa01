//! Ranks every bit of a network of 5.5 million weights at 8 bits, after the gradients.
//!
//! Unit: seconds, medians of 3. Goal (issue 7): the ranking of all 44 million bits by the expected change of the loss within 10 s on two
//! cores, with the best 1000, all strata, 200,000 sampled bits, and the scores of all bits written to a file.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

#[expect(dead_code, reason = "shared with tests")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use bitquake_attack::rank::{BitScores, Demand, Vector, by_gradient, places, score_bits};
use bitquake_attack::{AttackError, AttackedWords, BitSite};
use bitquake_testing::SplitMix64;

/// The kernels of a plain convolutional network.
const SIZES: [usize; 12] =
    [1728, 73_728, 147_456, 147_456, 147_456, 294_912, 589_824, 589_824, 589_824, 1_179_648, 1_769_472, 2560];
const GOAL: f64 = 10.0;
const STORAGES: [(&str, &str); 3] = [
    ("symmetric, by tensor", "family = 'symmetric'\nbits = 8"),
    ("affine, groups of 64", "family = 'affine'\nbits = 8\ngranularity = { group = 64 }"),
    ("float32 (32 bits a weight)", "family = 'native'"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut random = SplitMix64::new(1);
    let tensors: Vec<Vec<f32>> =
        SIZES.iter().map(|&size| (0..size).map(|_| 0.05 * random.normal() as f32).collect()).collect();
    let mut vector = || -> Vector { SIZES.map(|size| (0..size).map(|_| random.normal()).collect()).to_vec() };
    let (slopes, bend) = (vector(), vector());
    println!("{} threads; seconds; goal for the first: {GOAL}", rayon::current_num_threads());
    println!("storage                     bits        expected  with scores written  msb-first");
    for (name, storage) in STORAGES {
        let words = support::stored(storage, &tensors);
        let sample: Vec<BitSite> =
            (0..200_000).map(|i| BitSite { tensor: 9, element: 5 * i, bit: 3 }).collect();
        let demand = Demand { top: 1000, sample: &sample };
        let change = BitScores::Change { slopes: &slopes, curvature: Some(&bend) };
        let expected = seconds(|| score_bits(&words, &change, demand, None).map(drop))?;
        let written = seconds(|| write(&words, &change, demand))?;
        let msb_first = seconds(|| {
            let places = places(&by_gradient(&slopes));
            score_bits(&words, &BitScores::MsbFirst { places: &places }, demand, None).map(drop)
        })?;
        println!("{name:26} {:10} {expected:10.2} {written:20.2} {msb_first:10.2}", words.bits());
    }
    Ok(())
}

fn write(words: &AttackedWords, scores: &BitScores<'_>, demand: Demand<'_>) -> Result<(), AttackError> {
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = BufWriter::new(File::create(dir.path().join("scores")).expect("a file"));
    let mut save = |scores: &[f32]| {
        let bytes: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
        file.write_all(&bytes).expect("room for the scores");
        Ok(())
    };
    score_bits(words, scores, demand, Some(&mut save)).map(drop)
}

fn seconds(mut work: impl FnMut() -> Result<(), AttackError>) -> Result<f64, AttackError> {
    let mut times = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[1])
}
