//! The half width with the least mean squared error, with and without bit flips (SPEC 4.1, 4.6 number 7).
//!
//! The error as a function of the half width is a chain of parabolas with many local minima in small tensors, so the
//! search is exhaustive first: 24 half widths an octave from twice the largest magnitude down over 14 octaves. Around the
//! best of them 32 more are tried, and the best one's neighbourhood is narrowed down to a millionth by golden sections. The
//! result is deterministic, and never worse than any of the points tried: at least as good as a simplex search from one
//! start, which finds the valley it starts in.

use crate::decoder::{Decoder, Form};
use crate::fit;
use crate::kernel;
use crate::quantizer::Quantizer;
use crate::round::Round;
use crate::rule::Rule;
use crate::statistics;
use crate::unit::Unit;

const AN_OCTAVE: u32 = 24;
const OCTAVES: u32 = 14;
const NEARBY: u32 = 32;
const TOLERANCE: f64 = 1e-6;

/// The best half width; 0 for zeros alone.
pub(crate) fn half_width(quantizer: &Quantizer, values: &[f32], rate: Option<f64>) -> f32 {
    let largest = statistics::largest(values).min(fit::WIDEST / 2.0);
    let Rule::Centred { divisor, .. } = quantizer.rule else { return largest };
    if largest == 0.0 {
        return 0.0;
    }
    let noise = rate.map(|rate| Noise::new(quantizer, rate));
    let error = |width: f64| {
        let unit = fit::centred(quantizer, width as f32, divisor);
        mean_error(quantizer, &unit, values, noise.as_ref())
    };
    least(error, f64::from(largest)) as f32
}

/// Where `error` is least, among widths from `2 * largest` down.
fn least(error: impl Fn(f64) -> f64, largest: f64) -> f64 {
    let ratio = libm::exp2(-1.0 / f64::from(AN_OCTAVE));
    let coarse = (0..=AN_OCTAVE * OCTAVES).map(|i| 2.0 * largest * libm::pow(ratio, f64::from(i)));
    let best = best_of(&error, coarse);
    let (low, high) = (best.0 * ratio, best.0 / ratio);
    let nearby = (0..=NEARBY).map(|i| low + (high - low) * f64::from(i) / f64::from(NEARBY));
    let best = lesser(best, best_of(&error, nearby));
    let reach = (high - low) / f64::from(NEARBY);
    let golden = golden_section(&error, best.0 - reach, best.0 + reach, TOLERANCE * best.0);
    lesser(best, golden).0
}

/// The argument with the least error, and that; the first of several.
fn best_of(error: impl Fn(f64) -> f64, widths: impl Iterator<Item = f64>) -> (f64, f64) {
    widths.map(|width| (width, error(width))).fold((0.0, f64::INFINITY), lesser)
}

fn lesser(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    if b.1 < a.1 { b } else { a }
}

/// Golden sections (Kiefer 1953) until the bracket is `tolerance` wide.
fn golden_section(error: impl Fn(f64) -> f64, mut low: f64, mut high: f64, tolerance: f64) -> (f64, f64) {
    let share = (5.0_f64.sqrt() - 1.0) / 2.0;
    let at = |width: f64| (width, error(width));
    let (mut left, mut right) = (at(high - share * (high - low)), at(low + share * (high - low)));
    while high - low > tolerance {
        if left.1 <= right.1 {
            (high, right) = (right.0, left);
            left = at(high - share * (high - low));
        } else {
            (low, left) = (left.0, right);
            right = at(low + share * (high - low));
        }
    }
    lesser(left, right)
}

/// For each code from the lowest on: the mean of the code's change and of its square, over every set of flipped bits with
/// its probability.
///
/// In encodings where the flips' changes add up, the mean squared error that follows is the closed form of SPEC 4.6,
/// `(e + p * sum d)^2 + p (1 - p) * sum d^2`; this one is exact in the others too.
struct Noise {
    lowest: i64,
    changes: Vec<(f64, f64)>,
}

impl Noise {
    fn new(quantizer: &Quantizer, rate: f64) -> Self {
        let codes = quantizer.codes;
        let words = 0..=codes.mask();
        let mut first: Vec<f64> = words.clone().map(|word| codes.code(word) as f64).collect();
        let mut second: Vec<f64> = first.iter().map(|code| code * code).collect();
        for bit in 0..codes.bits {
            mix(&mut first, 1 << bit, rate);
            mix(&mut second, 1 << bit, rate);
        }
        let change = |code: i64| {
            let (word, code) = (codes.word(code) as usize, code as f64);
            (first[word] - code, second[word] - 2.0 * code * first[word] + code * code)
        };
        Self { lowest: codes.low(), changes: (codes.low()..=codes.high()).map(change).collect() }
    }

    /// The mean squared error of a code with quantization error `error`, in levels `step` apart.
    fn expected(&self, code: i64, error: f64, step: f64) -> f64 {
        let (change, square) = self.changes[(code - self.lowest) as usize];
        error * error + 2.0 * error * step * change + step * step * square
    }
}

/// The expectation over one bit: each word's number becomes that of the word with the bit flipped, with the probability
/// `rate`.
fn mix(numbers: &mut [f64], bit: usize, rate: f64) {
    for pair in numbers.chunks_exact_mut(2 * bit) {
        let (clear, set) = pair.split_at_mut(bit);
        for (a, b) in clear.iter_mut().zip(set) {
            (*a, *b) = (*a + rate * (*b - *a), *b + rate * (*a - *b));
        }
    }
}

fn mean_error(quantizer: &Quantizer, unit: &Unit, values: &[f32], noise: Option<&Noise>) -> f64 {
    let step = f64::from(unit.scale);
    let sum = match noise {
        None if quantizer.is_wide() => values.iter().map(|&value| wide_square(quantizer, unit, value)).sum(),
        None => narrow_sum(quantizer, unit, values, |_, error| error * error),
        Some(noise) => narrow_sum(quantizer, unit, values, |code, error| noise.expected(code, error, step)),
    };
    sum / values.len() as f64
}

/// The squared error of one value. Rounding at random counts as rounding to the nearest.
fn wide_square(quantizer: &Quantizer, unit: &Unit, value: f32) -> f64 {
    let code = quantizer.code(unit, value, 0.5);
    let form = Form::Linear { zero: unit.zero, scale: unit.scale, min: unit.min };
    let level = Decoder { codes: quantizer.codes, form }.level_of_code(code);
    (f64::from(level) - f64::from(value)).powi(2)
}

/// The sum of `loss(code, error)` in eight interleaved sums, which keep the processor's adders busy; of codes of up to 16
/// bits.
fn narrow_sum(quantizer: &Quantizer, unit: &Unit, values: &[f32], loss: impl Fn(i64, f64) -> f64) -> f64 {
    match quantizer.round {
        Round::HalfEven | Round::Stochastic => sum_with(quantizer, unit, values, loss, kernel::half_even),
        round => sum_with(quantizer, unit, values, loss, |quotient| round.of_f32(quotient, 0.0)),
    }
}

fn sum_with(
    quantizer: &Quantizer,
    unit: &Unit,
    values: &[f32],
    loss: impl Fn(i64, f64) -> f64,
    round: impl Fn(f32) -> f32,
) -> f64 {
    let (least, most) = quantizer.produced;
    let (low, high) = ((least - unit.zero) as f32, (most - unit.zero) as f32);
    let loss_of = |value: f32| {
        let steps = round((value / unit.step).clamp(low, high));
        loss(i64::from(steps as i32) + unit.zero, f64::from(steps * unit.scale) - f64::from(value))
    };
    let mut sums = [0.0; 8];
    let chunks = values.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|&value| loss_of(value)).sum();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += loss_of(value);
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use bitquake_testing::SplitMix64;

    use super::*;
    use crate::spec::{CodeEncoding, Family, QuantizerSpec, Range};

    fn wcat(bits: u32, range: Range, encoding: CodeEncoding) -> Quantizer {
        let spec = QuantizerSpec {
            bits: Some(bits),
            range: Some(range),
            encoding: Some(encoding),
            ..QuantizerSpec::new(Family::Wcat)
        };
        Quantizer::from_spec(&spec).unwrap()
    }

    fn normal(count: usize) -> Vec<f32> {
        let mut random = SplitMix64::new(count as u64);
        (0..count).map(|_| random.normal() as f32 * 0.07).collect()
    }

    /// The mean squared error by the formula, in float64.
    fn slow_error(bits: u32, width: f64, values: &[f32]) -> f64 {
        let half = 2_f64.powi(bits as i32 - 1);
        let step = width / half;
        let square = |value: &f32| {
            let code = (f64::from(*value) / step).round_ties_even().clamp(-half, half - 1.0);
            (code * step - f64::from(*value)).powi(2)
        };
        values.iter().map(square).sum::<f64>() / values.len() as f64
    }

    /// The simplex search of Nelder and Mead (1965) in one dimension, from the start that SPEC 4.1 names; the first simplex
    /// is 5 % wide, as in `SciPy`.
    fn simplex(error: impl Fn(f64) -> f64, start: f64) -> f64 {
        let at = |width: f64| (error(width), width);
        let (mut best, mut worst) = (at(start), at(start * 1.05));
        for _ in 0..400 {
            if worst.0 < best.0 {
                (best, worst) = (worst, best);
            }
            if (worst.1 - best.1).abs() <= 1e-6 && (worst.0 - best.0).abs() <= 1e-6 * best.0 {
                break;
            }
            let step = best.1 - worst.1;
            let reflected = at(best.1 + step);
            worst = if reflected.0 < best.0 {
                let expanded = at(best.1 + 2.0 * step);
                if expanded.0 < reflected.0 { expanded } else { reflected }
            } else {
                let outside = at(best.1 + 0.5 * step);
                let inside = at(best.1 - 0.5 * step);
                if reflected.0 < worst.0 && outside.0 <= reflected.0 { outside } else { inside }
            };
        }
        if worst.0 < best.0 { worst.1 } else { best.1 }
    }

    #[test]
    fn never_worse_than_a_simplex_search_and_close_to_it_on_smooth_data() {
        for bits in [2, 3, 4, 8] {
            for count in [5, 50, 20_000] {
                let values = normal(count);
                let quantizer = wcat(bits, Range::Mse, CodeEncoding::TwosComplement);
                let got = f64::from(half_width(&quantizer, &values, None));
                let qp = 2_f64.powi(bits as i32 - 1) - 1.0;
                let start = 2.0 * statistics::mean_magnitude(&values) * qp.sqrt();
                let simplex = simplex(|width| slow_error(bits, width, &values), start);
                let (ours, theirs) = (slow_error(bits, got, &values), slow_error(bits, simplex, &values));
                assert!(
                    ours <= theirs * (1.0 + 1e-5),
                    "{bits} bits, {count}: {ours} at {got}, {theirs} at {simplex}"
                );
                if count == 20_000 && bits <= 4 {
                    assert!((got / simplex - 1.0).abs() < 0.02, "{bits} bits: {got}, {simplex}");
                }
            }
        }
    }

    #[test]
    fn a_dense_scan_finds_nothing_better() {
        for (bits, values) in [(2, normal(9)), (3, normal(33)), (4, normal(200)), (4, vec![0.3, -0.3, 100.0])]
        {
            let largest = f64::from(statistics::largest(&values));
            let quantizer = wcat(bits, Range::Mse, CodeEncoding::TwosComplement);
            let got = slow_error(bits, f64::from(half_width(&quantizer, &values, None)), &values);
            let scan = (1..100_000).map(|i| slow_error(bits, 2.0 * largest * f64::from(i) / 1e5, &values));
            let least = scan.fold(f64::INFINITY, f64::min);
            // Small tensors have narrow valleys: the search may miss one that is hardly deeper.
            assert!(got <= least * 1.02 + 1e-15, "{bits} bits: {got}, {least}");
        }
    }

    /// Against every one of the `2^m` flip masks, for every code and encoding; and against the closed form of SPEC 4.6
    /// where the flips' changes add up.
    #[test]
    fn the_noisy_error_is_the_mean_over_all_masks() {
        let encodings = [
            CodeEncoding::TwosComplement,
            CodeEncoding::Offset,
            CodeEncoding::Gray,
            CodeEncoding::SignMagnitude,
        ];
        let (rate, step, error) = (0.07, 0.3, 0.11);
        for (bits, encoding) in (2..=6).flat_map(|bits| encodings.map(|encoding| (bits, encoding))) {
            let quantizer = wcat(bits, Range::NoisyMse(rate), encoding);
            let codes = quantizer.codes;
            let noise = Noise::new(&quantizer, rate);
            for code in codes.low()..=codes.high() {
                let change = |mask: u64| (codes.code(codes.word(code) ^ mask) - code) as f64;
                let of_mask = |mask: u64| {
                    let flips = mask.count_ones() as i32;
                    let weight = rate.powi(flips) * (1.0 - rate).powi(bits as i32 - flips);
                    weight * (error + change(mask) * step).powi(2)
                };
                let wanted: f64 = (0..1 << bits).map(of_mask).sum();
                let got = noise.expected(code, error, step);
                assert!((got - wanted).abs() < 1e-11, "{encoding:?} {code}: {got}, {wanted}");
                if matches!(encoding, CodeEncoding::TwosComplement | CodeEncoding::Offset) {
                    let singles: Vec<f64> = (0..bits).map(|bit| change(1 << bit) * step).collect();
                    let mean = error + rate * singles.iter().sum::<f64>();
                    let spread = rate * (1.0 - rate) * singles.iter().map(|d| d * d).sum::<f64>();
                    let closed = mean * mean + spread;
                    assert!((got - closed).abs() < 1e-11, "{encoding:?} {code}: {got}, {closed}");
                }
            }
        }
    }

    #[test]
    fn without_noise_the_noisy_range_is_the_other_and_noise_narrows_it() {
        let values = normal(3_000);
        let width = |rate| {
            let quantizer = wcat(4, Range::NoisyMse(rate), CodeEncoding::TwosComplement);
            half_width(&quantizer, &values, Some(rate))
        };
        let plain = half_width(&wcat(4, Range::Mse, CodeEncoding::TwosComplement), &values, None);
        assert!((width(0.0) / plain - 1.0).abs() < 1e-5);
        assert!(
            width(0.001) < plain && width(0.05) < 0.9 * width(0.001),
            "{plain} {} {}",
            width(0.001),
            width(0.05)
        );
        assert_eq!(half_width(&wcat(4, Range::Mse, CodeEncoding::Gray), &[0.0; 9], None), 0.0);
    }
}
