//! Outputs recomputed in part against ONNX Runtime, and against naive loops in f64.

#[path = "direct/cases.rs"]
mod cases;
#[path = "direct/engine.rs"]
mod engine;
#[path = "direct/reference.rs"]
mod reference;

use std::borrow::Cow;

use bitquake_engine::{DirectError, DirectNode, Operand, Scratch, Touched};
use bitquake_tensors::onnx::Node;
use bitquake_testing::{SplitMix64, assert_cases};

use cases::{Case, IMAGES, Stored, all, ints, text, unsupported};

/// Finite results may differ from the engine's, and from the reference, by this share of the sum of the products' sizes.
const TOLERANCE: f64 = 4e-6;

fn recomputed(direct: &DirectNode, touched: &Touched, input: &[f32], stored: &Stored, golden: &[f32]) -> Vec<f32> {
    let values = |tensor: &str| {
        let found = stored.iter().find(|(name, _)| name == tensor)?;
        Some(Cow::Borrowed(found.1.as_slice()))
    };
    let mut out = golden.to_vec();
    let mut scratch = Scratch::default();
    let images = input.chunks_exact(input.len() / IMAGES).zip(out.chunks_exact_mut(golden.len() / IMAGES));
    for (input, out) in images {
        direct.recompute(touched, input, &values, out, &mut scratch).expect("values that fit");
    }
    out
}

fn class(value: f32) -> &'static str {
    match value {
        x if x.is_nan() => "NaN",
        f32::INFINITY => "+Inf",
        f32::NEG_INFINITY => "-Inf",
        _ => "finite",
    }
}

/// One fault of any kind and up to two small ones (two huge ones could cancel, which depends on the order of adding).
fn faults(random: &mut SplitMix64, len: usize, old: &[f32]) -> Vec<(u64, f32)> {
    let kinds = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e38, -3e38, 1e-38, 0.0, -0.0];
    let mut faults: Vec<(u64, f32)> = Vec::new();
    for count in 0..1 + random.below(3) {
        let at = random.below(len as u64);
        let kind = random.below(16) as usize;
        let new = match kinds.get(kind).filter(|_| count == 0) {
            Some(&kind) => kind,
            None if kind < 12 => f32::from_bits(old[at as usize].to_bits() ^ 1 << random.below(23)),
            None => random.normal() as f32,
        };
        faults.push((at, new));
    }
    faults
}

/// What is wrong with the direct computation of one case, and how many touched outputs had the engine's very bits.
fn compare(case: &Case, trials: usize) -> (Vec<String>, [usize; 2]) {
    let mut random = SplitMix64::new(case.seed());
    let (input, golden_stored) = case.values(&mut random);
    let direct = DirectNode::new(&case.node(), &case.lookup()).expect("supported");
    let golden = engine::run(case, &input, &golden_stored);
    assert_eq!(golden.len(), IMAGES * direct.output_len(), "{}", case.name);
    let (mut wrong, mut same) = (Vec::new(), [0, 0]);
    for trial in 0..trials {
        let mut stored = golden_stored.clone();
        let (tensor, values) = &mut stored[trial % golden_stored.len()];
        let faults = faults(&mut random, values.len(), values);
        faults.iter().for_each(|&(at, new)| values[at as usize] = new);
        let elements: Vec<u64> = faults.iter().map(|fault| fault.0).collect();
        let touched = direct.touched(tensor, &elements).expect("elements that are there");
        let wanted = engine::run(case, &input, &stored);
        let found = recomputed(&direct, &touched, &input, &stored, &golden);
        let (reference, sizes) = reference::run(case, &input, &stored);
        let ranges = direct.ranges(&touched);
        for at in 0..golden.len() {
            let place = at % direct.output_len();
            let inside = ranges.iter().any(|range| range.contains(&place));
            let (found, wanted, golden) = (found[at], wanted[at], golden[at]);
            let close = |other: f64| {
                !other.is_finite() || !found.is_finite() || (f64::from(found) - other).abs() <= TOLERANCE * sizes[at]
            };
            let right = match inside {
                false => wanted.to_bits() == golden.to_bits() && found.to_bits() == golden.to_bits(),
                true => class(found) == class(wanted) && close(wanted.into()) && close(reference[at]),
            };
            same[0] += usize::from(inside && found.to_bits() == wanted.to_bits());
            same[1] += usize::from(inside && !wanted.is_nan());
            if !right && wrong.len() < 3 {
                let reference = reference[at];
                wrong.push(format!(
                    "{} {} {faults:?}, output {at}: {found}, engine {wanted}, f64 {reference}, golden {golden}, touched {inside}",
                    case.name, stored[trial % stored.len()].0
                ));
            }
        }
    }
    (wrong, same)
}

#[test]
fn recomputed_outputs_are_those_of_the_engine() {
    let mut wrong = Vec::new();
    for case in all() {
        let (new, same) = compare(&case, 12);
        println!("{:30} {:6} of {:6} touched outputs have the engine's bits", case.name, same[0], same[1]);
        wrong.extend(new);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
