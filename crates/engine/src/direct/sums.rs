//! Sums of products, in the engine's order and with its rounding.
//!
//! The loops are plain Rust, compiled once for any machine and once for AVX2 with FMA. A sum is never reordered for speed:
//! lanes are different outputs, and each output adds its own products one after the other.

use std::ops::Range;

/// A weight and where the first of its run of inputs lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) offset: usize,
    pub(super) weight: f32,
}

/// How products become a sum: within a block they are added one after the other to 0, then `factor` times the block's sum is
/// added to the total, which begins with `start`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocks<'b> {
    /// Where each block ends, in taps; the last end is the number of taps.
    pub(super) ends: &'b [usize],
    pub(super) factor: f32,
    pub(super) start: f32,
}

/// What adding begins with where the engine begins with the first sum itself: `-0.0 + x` is `x` for every `x`.
pub(super) const NOTHING: f32 = -0.0;

/// `totals[i]` becomes the sum over all taps of `weight * source[offset + i]`.
///
/// Lanes are computed many at a time. A rest is computed together with outputs before it, which get the same values again.
#[inline(always)]
fn runs_of<const FUSED: bool>(source: &[f32], taps: &[Tap], blocks: Blocks<'_>, totals: &mut [f32]) {
    let (mut at, len) = (0, totals.len());
    while at < len {
        at += match len - at {
            64.. => lanes::<64, FUSED>(source, taps, blocks, totals, at),
            32.. => lanes::<32, FUSED>(source, taps, blocks, totals, at),
            16.. => lanes::<16, FUSED>(source, taps, blocks, totals, at),
            _ if len >= 16 => lanes::<16, FUSED>(source, taps, blocks, totals, len - 16),
            4.. => lanes::<4, FUSED>(source, taps, blocks, totals, at),
            _ if len >= 4 => lanes::<4, FUSED>(source, taps, blocks, totals, len - 4),
            _ => lanes::<1, FUSED>(source, taps, blocks, totals, at),
        };
    }
}

/// `N` outputs from `at` on; returns `N`.
#[inline(always)]
fn lanes<const N: usize, const FUSED: bool>(
    source: &[f32],
    taps: &[Tap],
    blocks: Blocks<'_>,
    totals: &mut [f32],
    at: usize,
) -> usize {
    run::<N, FUSED>(&source[at..], taps, blocks, &mut totals[at..at + N]);
    N
}

#[inline(always)]
fn run<const N: usize, const FUSED: bool>(
    source: &[f32],
    taps: &[Tap],
    blocks: Blocks<'_>,
    totals: &mut [f32],
) {
    let mut total = [blocks.start; N];
    let mut from = 0;
    for &end in blocks.ends {
        let mut sum = [0.0_f32; N];
        for tap in &taps[from..end] {
            // The length is checked once for all lanes.
            let values = &source[tap.offset..tap.offset + N];
            for lane in 0..N {
                sum[lane] = step::<FUSED>(tap.weight, values[lane], sum[lane]);
            }
        }
        for lane in 0..N {
            total[lane] = step::<FUSED>(sum[lane], blocks.factor, total[lane]);
        }
        from = end;
    }
    totals.copy_from_slice(&total);
}

/// `totals[i]` becomes the sum over k of `weights[k] * rows[i * weights.len() + k]`.
#[inline(always)]
fn rows_of<const FUSED: bool>(rows: &[f32], weights: &[f32], blocks: Blocks<'_>, totals: &mut [f32]) {
    const ROWS: usize = 8;
    let len = weights.len();
    let mut groups = totals.chunks_exact_mut(ROWS);
    let mut at = 0;
    for group in &mut groups {
        let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &rows[(at + row) * len..][..len]);
        let mut total = [blocks.start; ROWS];
        let mut from = 0;
        for &end in blocks.ends {
            let rows = rows.map(|row| &row[from..end]);
            let sum = side_by_side::<FUSED>(rows, &weights[from..end]);
            for row in 0..ROWS {
                total[row] = step::<FUSED>(sum[row], blocks.factor, total[row]);
            }
            from = end;
        }
        group.copy_from_slice(&total);
        at += ROWS;
    }
    for total in groups.into_remainder() {
        *total = one_row::<FUSED>(&rows[at * len..][..len], weights, blocks);
        at += 1;
    }
}

/// The sums of a few rows at once, as one alone waits for every addition.
#[inline(always)]
fn side_by_side<const FUSED: bool>(rows: [&[f32]; 8], weights: &[f32]) -> [f32; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let mut sum = [0.0_f32; 8];
    let halves = weights.iter().zip(a).zip(b).zip(c).zip(d).zip(e).zip(f).zip(g).zip(h);
    for ((((((((weight, a), b), c), d), e), f), g), h) in halves {
        for (sum, value) in sum.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *sum = step::<FUSED>(*weight, *value, *sum);
        }
    }
    sum
}

#[inline(always)]
fn one_row<const FUSED: bool>(row: &[f32], weights: &[f32], blocks: Blocks<'_>) -> f32 {
    let (mut total, mut from) = (blocks.start, 0);
    for &end in blocks.ends {
        let pairs = weights[from..end].iter().zip(&row[from..end]);
        let sum = pairs.fold(0.0, |sum, (&weight, &value)| step::<FUSED>(weight, value, sum));
        total = step::<FUSED>(sum, blocks.factor, total);
        from = end;
    }
    total
}

/// Sums of one channel where padding does not take part: `inside(tap, output)` is the place of the input, if there is one.
///
/// Slow, for the rare weight that is no number: its product with the zeros of the padding would be one neither.
pub(super) fn skipping(
    source: &[f32],
    taps: &[Tap],
    blocks: Blocks<'_>,
    inside: impl Fn(usize) -> Option<usize>,
) -> f32 {
    let (mut total, mut from) = (blocks.start, 0);
    for &end in blocks.ends {
        let places = (from..end).filter_map(|tap| Some((taps[tap].weight, source[inside(tap)?])));
        let sum = places.fold(0.0_f32, |sum, (weight, value)| weight.mul_add(value, sum));
        total = sum.mul_add(blocks.factor, total);
        from = end;
    }
    total
}

/// `weight * value + sum`, with one rounding if `FUSED`.
#[inline(always)]
fn step<const FUSED: bool>(weight: f32, value: f32, sum: f32) -> f32 {
    if FUSED { weight.mul_add(value, sum) } else { weight * value + sum }
}

/// The ends of blocks of `size` among `count` products, at least one block.
pub(super) fn even_blocks(count: usize, size: usize) -> Vec<usize> {
    blocks_in(0..count, size).collect()
}

fn blocks_in(range: Range<usize>, size: usize) -> impl Iterator<Item = usize> {
    let count = range.len().div_ceil(size);
    (1..=count).map(move |block| range.end.min(range.start + block * size))
}

/// Whether the portable loops fuse: where every machine of the target can.
const PORTABLE_FUSES: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod dispatch {
    use super::{Blocks, PORTABLE_FUSES, Tap};

    /// One loop, compiled twice. Invariant of the `unsafe` call: it is behind the test for just the features that the
    /// function called is compiled for. The function has no other precondition: its body is safe code.
    macro_rules! dispatched {
        ($name:ident, $body:ident, ($($arg:ident: $type:ty),*)) => {
            #[inline]
            pub(crate) fn $name($($arg: $type),*) {
                #[target_feature(enable = "avx2,fma")]
                fn fused($($arg: $type),*) {
                    super::$body::<true>($($arg),*)
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the features were just found.
                    return unsafe { fused($($arg),*) };
                }
                super::$body::<PORTABLE_FUSES>($($arg),*)
            }
        };
    }

    dispatched!(runs, runs_of, (source: &[f32], taps: &[Tap], blocks: Blocks<'_>, totals: &mut [f32]));
    dispatched!(rows, rows_of, (values: &[f32], weights: &[f32], blocks: Blocks<'_>, totals: &mut [f32]));
}

#[cfg(not(target_arch = "x86_64"))]
mod dispatch {
    use super::{Blocks, PORTABLE_FUSES, Tap};

    pub(crate) fn runs(source: &[f32], taps: &[Tap], blocks: Blocks<'_>, totals: &mut [f32]) {
        super::runs_of::<PORTABLE_FUSES>(source, taps, blocks, totals);
    }

    pub(crate) fn rows(values: &[f32], weights: &[f32], blocks: Blocks<'_>, totals: &mut [f32]) {
        super::rows_of::<PORTABLE_FUSES>(values, weights, blocks, totals);
    }
}

pub(super) use dispatch::{rows, runs};

#[cfg(test)]
mod tests {
    use super::*;
    use bitquake_testing::SplitMix64;

    fn random(len: usize, seed: u64) -> Vec<f32> {
        let mut random = SplitMix64::new(seed);
        (0..len).map(|_| random.normal() as f32).collect()
    }

    /// One product at a time, with the rounding of `step`.
    fn naive<const FUSED: bool>(terms: &[(f32, f32)], blocks: Blocks<'_>) -> f32 {
        let (mut total, mut from) = (blocks.start, 0);
        for &end in blocks.ends {
            let mut sum = 0.0;
            for &(weight, value) in &terms[from..end] {
                sum = step::<FUSED>(weight, value, sum);
            }
            total = step::<FUSED>(sum, blocks.factor, total);
            from = end;
        }
        total
    }

    fn check<const FUSED: bool>(count: usize, terms: usize) {
        let ends = even_blocks(terms, 5);
        let blocks = Blocks { ends: &ends, factor: 0.75, start: 0.5 };
        let weights = random(terms, 1);
        let taps: Vec<Tap> =
            weights.iter().zip(0..).map(|(&weight, tap)| Tap { offset: tap * 7 % 11, weight }).collect();
        let source = random(count + 10, 2);
        let mut totals = vec![0.0; count];
        runs_of::<FUSED>(&source, &taps, blocks, &mut totals);
        for (at, total) in totals.iter().enumerate() {
            let terms: Vec<_> = taps.iter().map(|tap| (tap.weight, source[tap.offset + at])).collect();
            assert_eq!(
                *total,
                naive::<FUSED>(&terms, blocks),
                "output {at} of {count}, {} terms",
                terms.len()
            );
        }

        let values = random(count * terms, 3);
        let mut totals = vec![0.0; count];
        rows_of::<FUSED>(&values, &weights, blocks, &mut totals);
        for (at, total) in totals.iter().enumerate() {
            let terms: Vec<_> = weights.iter().copied().zip(values[at * terms..].iter().copied()).collect();
            assert_eq!(*total, naive::<FUSED>(&terms, blocks), "row {at} of {count}, {} terms", terms.len());
        }
    }

    #[test]
    fn lanes_and_rows_add_as_one_output_alone_would() {
        for count in [1, 3, 4, 7, 8, 16, 17, 33, 64, 100, 130] {
            for terms in [1, 5, 12] {
                check::<false>(count, terms);
                check::<true>(count, terms);
            }
        }
    }

    #[test]
    fn the_machines_own_loops_are_the_fused_or_the_plain_ones() {
        let (weights, values) = (random(40, 4), random(40 * 9, 5));
        let blocks = Blocks { ends: &[16, 40], factor: 1.0, start: NOTHING };
        let mut found = vec![0.0; 9];
        rows(&values, &weights, blocks, &mut found);
        let (mut fused, mut plain) = (found.clone(), found.clone());
        rows_of::<true>(&values, &weights, blocks, &mut fused);
        rows_of::<false>(&values, &weights, blocks, &mut plain);
        assert_ne!(fused, plain, "the data tells them apart");
        assert!(found == fused || found == plain);
    }

    #[test]
    fn skipped_terms_do_not_take_part() {
        let taps = [f32::INFINITY, 2.0, 3.0].map(|weight| Tap { offset: 0, weight });
        let blocks = Blocks { ends: &[2, 3], factor: 1.0, start: NOTHING };
        assert_eq!(skipping(&[0.0, 10.0], &taps, blocks, |tap| (tap > 0).then_some(1)), 50.0);
        assert!(skipping(&[0.0, 10.0], &taps, blocks, |tap| Some(usize::from(tap > 0))).is_nan());
    }
}
