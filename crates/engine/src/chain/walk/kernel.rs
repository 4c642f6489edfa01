//! Outputs of a convolution, channels side by side.
//!
//! A lane is an output channel and adds its own products one after the other, in the engine's order: a sum is never reordered
//! for speed. Several outputs are computed at once, because one alone waits for every addition.

/// Output channels computed together.
pub(super) const LANES: usize = 16;

/// The weights that some lanes have for one input.
pub(super) type Lanes = [f32; LANES];

/// Inputs that lie one after the other and are multiplied one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Where the first lies, from the first input of the output's window on.
    pub(super) offset: usize,
    /// How many: [`LANES`], 4 or 1.
    pub(super) len: usize,
    /// Whether the sum so far is added to the total, to begin anew.
    pub(super) ends: bool,
}

/// What adding begins with where the engine begins with the first sum itself: `-0.0 + x` is `x` for every `x`.
const NOTHING: f32 = -0.0;

/// `V` vectors of lanes of the outputs whose windows begin at `bases`: `each(output, its lanes)`.
///
/// `weights` has `V` vectors for each input in the order of `runs`.
#[inline(always)]
fn outputs_of<const V: usize, const FUSED: bool>(
    source: &[f32],
    bases: &[usize],
    runs: &[Run],
    weights: &[Lanes],
    out: &mut [[Lanes; V]],
) {
    let mut at = 0;
    while at < bases.len() {
        let rest = &bases[at..];
        let out = &mut out[at..];
        // As many at a time as keep the adders busy: fewer take as long.
        at += match (V, rest.len()) {
            (1, 9..) => group::<12, V, FUSED>(source, rest, runs, weights, out),
            (1, _) => group::<8, V, FUSED>(source, rest, runs, weights, out),
            (_, 5..) => group::<6, V, FUSED>(source, rest, runs, weights, out),
            (2, _) | (_, 3..) => group::<4, V, FUSED>(source, rest, runs, weights, out),
            _ => group::<2, V, FUSED>(source, rest, runs, weights, out),
        };
    }
}

/// Up to `P` outputs; returns how many.
#[inline(always)]
fn group<const P: usize, const V: usize, const FUSED: bool>(
    source: &[f32],
    bases: &[usize],
    runs: &[Run],
    weights: &[Lanes],
    out: &mut [[Lanes; V]],
) -> usize {
    let last = bases.len() - 1;
    // Where there are fewer, the last is computed again.
    let bases: [usize; P] = std::array::from_fn(|output| bases[output.min(last)]);
    let mut total = [[[NOTHING; LANES]; V]; P];
    let mut sum = [[[0.0; LANES]; V]; P];
    let mut at = 0;
    for run in runs {
        let weights = &weights[at * V..(at + run.len) * V];
        match run.len {
            LANES => add::<LANES, P, V, FUSED>(source, &bases, run.offset, weights, &mut sum),
            4 => add::<4, P, V, FUSED>(source, &bases, run.offset, weights, &mut sum),
            _ => add::<1, P, V, FUSED>(source, &bases, run.offset, weights, &mut sum),
        }
        at += run.len;
        if run.ends {
            for output in 0..P {
                for vector in 0..V {
                    for lane in 0..LANES {
                        total[output][vector][lane] += sum[output][vector][lane];
                    }
                }
            }
            sum = [[[0.0; LANES]; V]; P];
        }
    }
    let count = P.min(last + 1);
    out[..count].copy_from_slice(&total[..count]);
    count
}

/// Adds the products of `N` inputs.
#[inline(always)]
fn add<const N: usize, const P: usize, const V: usize, const FUSED: bool>(
    source: &[f32],
    bases: &[usize; P],
    offset: usize,
    weights: &[Lanes],
    sum: &mut [[Lanes; V]; P],
) {
    // The lengths are checked once for all products.
    let inputs: [&[f32; N]; P] =
        bases.map(|base| source[base + offset..].first_chunk().expect("a window in the source"));
    let weights: &[[Lanes; V]] = weights.as_chunks().0;
    let mut sums = *sum;
    for (input, weights) in weights[..N].iter().enumerate() {
        let weights = *weights;
        for output in 0..P {
            let value = inputs[output][input];
            for vector in 0..V {
                for lane in 0..LANES {
                    let (weight, sum) = (weights[vector][lane], &mut sums[output][vector][lane]);
                    *sum = if FUSED { weight.mul_add(value, *sum) } else { weight * value + *sum };
                }
            }
        }
    }
    *sum = sums;
}

/// Whether the portable loops fuse: where every machine of the target can.
const PORTABLE_FUSES: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// [`outputs_of`], compiled for what the machine has.
pub(super) fn outputs<const V: usize>(
    source: &[f32],
    bases: &[usize],
    runs: &[Run],
    weights: &[Lanes],
    out: &mut [[Lanes; V]],
) {
    #[cfg(target_arch = "x86_64")]
    if x86::outputs(source, bases, runs, weights, out) {
        return;
    }
    outputs_of::<V, PORTABLE_FUSES>(source, bases, runs, weights, out);
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "functions compiled for features are called where these were found")]
mod x86 {
    use super::{Lanes, Run, outputs_of};

    #[target_feature(enable = "avx512f")]
    fn wide<const V: usize>(
        source: &[f32],
        bases: &[usize],
        runs: &[Run],
        weights: &[Lanes],
        out: &mut [[Lanes; V]],
    ) {
        outputs_of::<V, true>(source, bases, runs, weights, out);
    }

    #[target_feature(enable = "avx2,fma")]
    fn narrow<const V: usize>(
        source: &[f32],
        bases: &[usize],
        runs: &[Run],
        weights: &[Lanes],
        out: &mut [[Lanes; V]],
    ) {
        outputs_of::<V, true>(source, bases, runs, weights, out);
    }

    /// Whether the machine has what one of them needs.
    pub(super) fn outputs<const V: usize>(
        source: &[f32],
        bases: &[usize],
        runs: &[Run],
        weights: &[Lanes],
        out: &mut [[Lanes; V]],
    ) -> bool {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the feature was just found; the function is safe code otherwise.
            unsafe { wide(source, bases, runs, weights, out) };
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features were just found; the function is safe code otherwise.
            unsafe { narrow(source, bases, runs, weights, out) };
        } else {
            return false;
        }
        true
    }
}
