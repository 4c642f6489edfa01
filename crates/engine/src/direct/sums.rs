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

/// Outputs computed at a time; runs are rounded up to a multiple of the smallest.
const WIDE: usize = 64;
const NARROW: usize = 16;

/// What the length of a run of outputs must be rounded up to.
pub(super) fn padded(len: usize) -> usize {
    len.next_multiple_of(NARROW)
}

/// `totals[i]` becomes the sum over all taps of `weight * source[offset + i]`.
///
/// The length of `totals` is a multiple of what [`padded`] rounds to, and `source` reaches as far for each tap.
#[inline(always)]
fn runs_of<const FUSED: bool>(source: &[f32], taps: &[Tap], blocks: Blocks<'_>, totals: &mut [f32]) {
    let mut at = 0;
    while at < totals.len() {
        let left = totals.len() - at;
        if left >= WIDE {
            run::<WIDE, FUSED>(&source[at..], taps, blocks, &mut totals[at..at + WIDE]);
            at += WIDE;
        } else if left >= 2 * NARROW {
            run::<{ 2 * NARROW }, FUSED>(&source[at..], taps, blocks, &mut totals[at..at + 2 * NARROW]);
            at += 2 * NARROW;
        } else {
            run::<NARROW, FUSED>(&source[at..], taps, blocks, &mut totals[at..]);
            at += NARROW;
        }
    }
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
