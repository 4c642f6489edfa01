//! Outputs recomputed in part against ONNX Runtime, and against naive loops in f64.

#[path = "direct/cases.rs"]
mod cases;
#[path = "direct/engine.rs"]
mod engine;
#[path = "direct/reference.rs"]
mod reference;

use std::borrow::Cow;

use bitquake_engine::{DirectError, DirectNode, RUNTIME_VERSION, Runtime, Scratch, Touched};
use bitquake_testing::{SplitMix64, assert_cases};

use cases::{Case, IMAGES, Stored, all, large, unsupported};

/// Finite results may differ from the engine's, and from the reference, by this share of the sum of the products' sizes.
const TOLERANCE: f64 = 4e-6;

fn recomputed(
    direct: &DirectNode,
    touched: &Touched,
    input: &[f32],
    stored: &Stored,
    golden: &[f32],
) -> Vec<f32> {
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

/// Which outputs of an image the ranges name.
fn mask(direct: &DirectNode, touched: &Touched) -> Vec<bool> {
    let mut mask = vec![false; direct.output_len()];
    let mut end = 0;
    for range in direct.ranges(touched) {
        assert!(
            range.start < range.end && (range.start > end || end == 0),
            "sorted, disjoint, not adjoining"
        );
        mask[range.clone()].fill(true);
        end = range.end;
    }
    mask
}

/// Whether a finite value is as near as rounding allows; a value that is not finite is compared by its class.
fn is_close(found: f32, other: f64, size: f64) -> bool {
    let apart = (f64::from(found) - other).abs();
    !other.is_finite() || !found.is_finite() || apart <= TOLERANCE * size + f64::from(f32::MIN_POSITIVE)
}

/// What is wrong with the direct computation of one case.
fn compare(case: &Case, trials: usize) -> Vec<String> {
    let mut random = SplitMix64::new(case.seed());
    let (input, golden_stored) = case.values(&mut random);
    let direct = DirectNode::new(&case.node(), &case.lookup()).expect("supported");
    let golden = engine::run(case, &input, &golden_stored);
    assert_eq!(golden.len(), IMAGES * direct.output_len(), "{}", case.name);
    let mut wrong = Vec::new();
    for trial in 0..trials {
        let mut stored = golden_stored.clone();
        let (tensor, values) = &mut stored[trial % golden_stored.len()];
        let faults = faults(&mut random, values.len(), values);
        faults.iter().for_each(|&(at, new)| values[at as usize] = new);
        let elements: Vec<u64> = faults.iter().map(|fault| fault.0).collect();
        let touched = direct.touched(tensor, &elements).expect("elements that are there");
        let mask = mask(&direct, &touched);
        let wanted = engine::run(case, &input, &stored);
        let found = recomputed(&direct, &touched, &input, &stored, &golden);
        let (reference, sizes) = reference::run(case, &input, &stored);
        for at in 0..golden.len() {
            let inside = mask[at % mask.len()];
            let (found, wanted, golden) = (found[at], wanted[at], golden[at]);
            let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            let right = match inside {
                false => same(wanted, golden) && same(found, golden),
                true => {
                    class(found) == class(wanted)
                        && is_close(found, wanted.into(), sizes[at])
                        && is_close(found, reference[at], sizes[at])
                        && (same(found, wanted) || !order_is_known() || !case.is_exact())
                }
            };
            if !right && wrong.len() < 3 {
                let (name, reference) = (case.name, reference[at]);
                wrong.push(format!(
                    "{name}, {faults:?}, output {at}: {found}, engine {wanted}, f64 {reference}, golden {golden}, touched {inside}"
                ));
            }
        }
    }
    wrong
}

/// Whether this is the kind of machine, and the version of the engine, whose order of adding was looked at.
#[cfg(target_arch = "x86_64")]
fn order_is_known() -> bool {
    is_x86_feature_detected!("avx512f") && Runtime::load().expect("the runtime").version() == RUNTIME_VERSION
}

#[cfg(not(target_arch = "x86_64"))]
fn order_is_known() -> bool {
    let _ = (Runtime::load(), RUNTIME_VERSION);
    false
}

#[test]
fn recomputed_outputs_are_those_of_the_engine() {
    let wrong: Vec<String> = all().iter().flat_map(|case| compare(case, 12)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "half a minute: cargo test -p bitquake-engine --test direct -- --ignored"]
fn recomputed_outputs_of_large_convolutions_are_those_of_the_engine() {
    let wrong: Vec<String> = large().iter().flat_map(|case| compare(case, 12)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A NaN shows in every output that can change and in no other, over an image and its negative (a `PRelu` looks at the sign).
#[test]
fn touched_outputs_are_exactly_those_that_a_nan_reaches() {
    for case in all() {
        let mut random = SplitMix64::new(case.seed());
        let (input, golden) = case.values(&mut random);
        let direct = DirectNode::new(&case.node(), &case.lookup()).expect("supported");
        for tensor in 0..golden.len() {
            let mut stored = golden.clone();
            let (name, values) = &mut stored[tensor];
            let at = random.below(values.len() as u64);
            values[at as usize] = f32::NAN;
            let mask = mask(&direct, &direct.touched(name, &[at]).expect("an element"));
            let mut reached = vec![false; mask.len()];
            for image in engine::run(&case, &input, &stored).chunks_exact(mask.len()) {
                reached.iter_mut().zip(image).for_each(|(reached, value)| *reached |= value.is_nan());
            }
            assert_eq!(mask, reached, "{}, input {tensor}, element {at}", case.name);
        }
    }
}

#[test]
fn what_is_not_supported_is_left_to_the_engine() {
    let rows = unsupported().into_iter().map(|case| (case.name, case, true));
    assert_cases(rows, |case| DirectNode::new(&case.node(), &case.lookup()).is_none());
    let good = &all()[0];
    let other = |change: fn(&mut bitquake_tensors::onnx::Node)| {
        let mut node = good.node();
        change(&mut node);
        DirectNode::new(&node, &good.lookup()).is_none()
    };
    assert!(!other(|_| ()));
    assert!(other(|node| node.domain = "com.microsoft".into()));
    assert!(other(|node| node.outputs.push("more".into())));
    assert!(other(|node| node.inputs[1] = "x".into()), "two activations");
    assert!(other(|node| node.inputs.truncate(1)));
    assert!(DirectNode::new(&good.node(), &|_| None).is_none());
}

#[test]
fn faults_of_several_tensors_are_joined() {
    let case = all().into_iter().find(|case| case.name == "blocks, bias").expect("the case");
    let (input, mut stored) = case.values(&mut SplitMix64::new(5));
    let golden = engine::run(&case, &input, &stored);
    let direct = DirectNode::new(&case.node(), &case.lookup()).expect("supported");
    stored[0].1[576] = 4.0;
    stored[1].1[9] = -2.0;
    let mut touched = direct.touched("w", &[576]).expect("an element");
    touched.join(direct.touched("b", &[9]).expect("an element"));
    // The first place of the window of channel 1 misses the first row and column, where padding is not multiplied: not so,
    // as far as is known, on other machines.
    let is_reached = |at: usize| match at / 64 {
        1 => cfg!(not(target_arch = "x86_64")) || (at % 64 >= 8 && at % 8 >= 1),
        channel => channel == 9,
    };
    let reached: Vec<bool> = (0..direct.output_len()).map(is_reached).collect();
    assert_eq!(mask(&direct, &touched), reached);
    let wanted = engine::run(&case, &input, &stored);
    let (_, sizes) = reference::run(&case, &input, &stored);
    let found = recomputed(&direct, &touched, &input, &stored, &golden);
    assert!((0..found.len()).all(|at| is_close(found[at], wanted[at].into(), sizes[at])));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let case = all().into_iter().find(|case| case.name == "gemm").expect("the case");
    let direct = DirectNode::new(&case.node(), &case.lookup()).expect("supported");
    let error = direct.touched("w", &[3, 84]).unwrap_err();
    assert_eq!(error.to_string(), "tensor `w` has 84 elements, so there is no element 84");
    assert!(direct.touched("another", &[1000]).expect("no input").is_empty());

    let touched = direct.touched("w", &[3]).expect("an element");
    let run = |input: usize, weight: usize, out: usize| -> Result<(), DirectError> {
        let values = |name: &str| match (name, weight) {
            ("w", 0) => None,
            ("w", _) => Some(Cow::Owned(vec![1.0; weight])),
            _ => Some(Cow::Owned(vec![1.0; 7])),
        };
        let mut out = vec![0.0; out];
        direct.recompute(&touched, &vec![1.0; input], &values, &mut out, &mut Scratch::default())
    };
    let message = |result: Result<(), DirectError>| result.err().map(|error| error.to_string());
    assert_eq!(message(run(12, 84, 7)), None);
    assert_eq!(message(run(11, 84, 7)).as_deref(), Some("the input has 11 values, wanted are 12"));
    assert_eq!(message(run(12, 84, 8)).as_deref(), Some("the output has 8 values, wanted are 7"));
    assert_eq!(message(run(12, 80, 7)).as_deref(), Some("w has 80 values, wanted are 84"));
    assert_eq!(message(run(12, 0, 7)).as_deref(), Some("the values of tensor `w` are missing"));
}
