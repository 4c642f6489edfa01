//! Quantizes float32 to 8 bits and fewer, and back, against the machine's rates in the same run.
//!
//! Unit: billions of elements a second, medians, one thread. Goal: at least 70 % of the lesser of two rates: the in-place
//! xor of the same float bytes (what memory allows), and the in-place division (for quantizing) or multiplication (for
//! decoding) of as many floats (what arithmetic allows beside memory). Two sizes: one that memory bounds, one that the
//! second-level cache holds.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bitquake_quant::{Grid, Quantizer, QuantizerSpec};

const SIZES: [(&str, usize); 2] = [("16M floats", 16 << 20), ("64k floats", 64 << 10)];

/// Name, fields, and whether the goal is meant for it.
const CASES: [(&str, &str, bool); 11] = [
    ("symmetric i8", r#"{"family":"symmetric"}"#, true),
    ("symmetric u8", r#"{"family":"symmetric","signed":false}"#, true),
    ("asymmetric u8", r#"{"family":"asymmetric","signed":false}"#, true),
    ("affine i8", r#"{"family":"affine"}"#, true),
    ("channels i8", r#"{"family":"symmetric","granularity":{"channel":0}}"#, true),
    ("symmetric i4", r#"{"family":"symmetric","bits":4}"#, true),
    ("asymmetric u3", r#"{"family":"asymmetric","bits":3,"signed":false}"#, true),
    ("gray i8", r#"{"family":"symmetric","encoding":"gray"}"#, false),
    ("groups of 32 i4", r#"{"family":"symmetric","bits":4,"granularity":{"group":32}}"#, false),
    ("compat u8", r#"{"family":"asymmetric","signed":false,"compat":true}"#, false),
    ("wcat i16", r#"{"family":"wcat","bits":16}"#, false),
];

fn main() -> Result<(), Box<dyn Error>> {
    for (size, elements) in SIZES {
        let values: Vec<f32> = (0..elements).map(|i| ((i * 7919) % 20_011) as f32 * 1e-4 - 1.0).collect();
        println!(
            "{size}: G/s      fit  quantize  ratio  dequantize  ratio  (goal 0.70 with *)   xor  divide  multiply"
        );
        for (name, fields, has_goal) in CASES {
            let spec: QuantizerSpec = serde_json::from_str(fields)?;
            let quantizer = Quantizer::from_spec(&spec)?;
            let shape = [64, elements as u64 / 64];
            let fit = rate(elements, || drop(black_box(quantizer.fit(&values, &shape))));
            let grid = quantizer.fit(&values, &shape)?;
            let (quantize, dequantize) = rates(&grid, &values)?;
            // Beside each case, so that what else the machine does hits both.
            let bases = Bases::measure(&values);
            println!(
                "{name:15} {}{fit:7.2} {quantize:9.2} {:6.2} {dequantize:11.2} {:6.2} {:24.2} {:7.2} {:9.2}",
                if has_goal { '*' } else { ' ' },
                quantize / bases.xor.min(bases.divide),
                dequantize / bases.xor.min(bases.multiply),
                bases.xor,
                bases.divide,
                bases.multiply,
            );
        }
    }
    Ok(())
}

fn rates(grid: &Grid, values: &[f32]) -> Result<(f64, f64), Box<dyn Error>> {
    let mut words = grid.quantize(values)?;
    let mut levels = grid.dequantize(&words)?;
    let mut failed = false;
    let quantize =
        rate(values.len(), || failed |= grid.quantize_into(black_box(values), &mut words).is_err());
    let dequantize =
        rate(values.len(), || failed |= grid.dequantize_into(black_box(&words), &mut levels).is_err());
    if failed { Err("quantizing failed".into()) } else { Ok((quantize, dequantize)) }
}

/// What the machine does at best, in elements a second.
struct Bases {
    xor: f64,
    divide: f64,
    multiply: f64,
}

impl Bases {
    fn measure(values: &[f32]) -> Self {
        let mut floats = values.to_vec();
        let mut words: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        let n = values.len();
        let by = black_box(1.000_000_1_f32);
        Self {
            xor: rate(n, || black_box(&mut words).iter_mut().for_each(|word| *word ^= 0x0100_0001)),
            divide: rate(n, || black_box(&mut floats).iter_mut().for_each(|value| *value /= by)),
            multiply: rate(n, || black_box(&mut floats).iter_mut().for_each(|value| *value *= by)),
        }
    }
}

/// Billions of elements a second, from the median time.
fn rate(elements: usize, mut work: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < 5 || (began.elapsed() < Duration::from_millis(200) && times.len() < 2_000) {
        let start = Instant::now();
        work();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    elements as f64 / times[times.len() / 2] / 1e9
}
