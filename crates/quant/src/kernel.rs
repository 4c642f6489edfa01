//! The loops over whole tensors.
//!
//! Each loop is written once, in plain Rust, and compiled for the instruction sets that the machine may have; the best one
//! is chosen at run time. All of them give the same bits: the operations are the same single float32 operations.

use crate::quantizer::Quantizer;
use crate::unit::Unit;

/// What a value goes through to become a word of at most 8 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToWords {
    /// Subtracted first.
    pub(crate) offset: f32,
    /// Divided by then; not 0.
    pub(crate) step: f32,
    /// Lowest quotient, an integer.
    pub(crate) low: f32,
    /// Highest quotient, an integer.
    pub(crate) high: f32,
    /// Added to the rounded quotient, modulo 256.
    pub(crate) add: u8,
    /// The bits to keep.
    pub(crate) mask: u8,
}

/// What a word of at most 8 bits goes through to become a level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ToLevels {
    /// Bits flipped first: they turn two's complement into offset binary.
    pub(crate) flip: u8,
    /// Subtracted then.
    pub(crate) bias: i32,
    /// Multiplied by then.
    pub(crate) scale: f32,
    /// Added at last.
    pub(crate) min: f32,
}

/// 1.5 * 2^23. Adding it to a float32 of magnitude up to 2^22 rounds that to an integer, halves to even, because the sum has
/// no bits for a fraction; the low bits of the sum are the integer in two's complement.
const MAGIC: f32 = 12_582_912.0;

/// Rounds a magnitude of up to 2^22, halves to even, by additions, which every machine has as instructions.
#[inline(always)]
pub(crate) fn half_even(quotient: f32) -> f32 {
    (quotient + MAGIC) - MAGIC
}

/// Half-even codes of finite values. The slices have the same length.
#[inline(always)]
fn words_of(values: &[f32], how: ToWords, words: &mut [u8]) {
    for (word, &value) in words.iter_mut().zip(values) {
        let quotient = (value - how.offset) / how.step;
        // Written so that each is one instruction; the quotient is not NaN, since the value is finite and the step not 0.
        let quotient = if quotient > how.low { quotient } else { how.low };
        let quotient = if quotient < how.high { quotient } else { how.high };
        let rounded = (quotient + MAGIC).to_bits() as u8;
        *word = rounded.wrapping_add(how.add) & how.mask;
    }
}

#[inline(always)]
fn levels_of(words: &[u8], how: ToLevels, levels: &mut [f32]) {
    for (level, &word) in levels.iter_mut().zip(words) {
        let steps = i32::from(word ^ how.flip) - how.bias;
        *level = steps as f32 * how.scale + how.min;
    }
}

/// Words of any width, by any rule that needs no random numbers.
#[inline(always)]
fn words_by_rule_of(values: &[f32], quantizer: &Quantizer, unit: &Unit, words: &mut [u32]) {
    for (word, &value) in words.iter_mut().zip(values) {
        *word = quantizer.codes.word(quantizer.code(unit, value, 0.0)) as u32;
    }
}

#[inline(always)]
fn finite_of(values: &[f32]) -> bool {
    !crate::finite::any_not_finite(values)
}

/// The least and the greatest of finite values, in one pass; zeros of nothing. A zero may have either sign.
#[inline(always)]
fn ends_of(values: &[f32]) -> (f32, f32) {
    // So many independent folds that none waits for its own last comparison.
    const LANES: usize = 64;
    let Some(&first) = values.first() else { return (0.0, 0.0) };
    let (mut least, mut greatest) = ([first; LANES], [first; LANES]);
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for ((least, greatest), &value) in least.iter_mut().zip(&mut greatest).zip(chunk) {
            *least = if value < *least { value } else { *least };
            *greatest = if value > *greatest { value } else { *greatest };
        }
    }
    let least = least.iter().chain(rest).fold(first, |least, &value| least.min(value));
    (least, greatest.iter().chain(rest).fold(first, |greatest, &value| greatest.max(value)))
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod dispatch {
    use super::{Quantizer, ToLevels, ToWords, Unit};

    /// One loop, compiled three times. Invariant of the two `unsafe` calls: each is behind the test for just the features
    /// that the function called is compiled for. The functions have no other precondition: their bodies are safe code.
    macro_rules! dispatched {
        ($name:ident, $body:path, ($($arg:ident: $type:ty),*) $(-> $out:ty)?) => {
            #[inline]
            pub(crate) fn $name($($arg: $type),*) $(-> $out)? {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
                fn avx512($($arg: $type),*) $(-> $out)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) $(-> $out)? {
                    $body($($arg),*)
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                {
                    // SAFETY: the features were just found.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the feature was just found.
                    return unsafe { avx2($($arg),*) };
                }
                $body($($arg),*)
            }
        };
    }

    dispatched!(words, super::words_of, (values: &[f32], how: ToWords, words: &mut [u8]));
    dispatched!(levels, super::levels_of, (words: &[u8], how: ToLevels, levels: &mut [f32]));
    dispatched!(
        words_by_rule,
        super::words_by_rule_of,
        (values: &[f32], quantizer: &Quantizer, unit: &Unit, words: &mut [u32])
    );
    dispatched!(are_finite, super::finite_of, (values: &[f32]) -> bool);
    dispatched!(ends, super::ends_of, (values: &[f32]) -> (f32, f32));
}

#[cfg(not(target_arch = "x86_64"))]
mod dispatch {
    pub(crate) use super::{
        ends_of as ends, finite_of as are_finite, levels_of as levels, words_by_rule_of as words_by_rule,
        words_of as words,
    };
}

pub(crate) use dispatch::{are_finite, ends, levels, words, words_by_rule};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_round_as_the_instruction_does() {
        for k in -300_000..300_000 {
            let x = k as f32 * 0.25;
            for x in [x.next_down(), x, x.next_up()] {
                assert_eq!(half_even(x), x.round_ties_even(), "{x}");
            }
        }
    }

    /// What the machine chose against the plain loops, bit for bit, and the trick of rounding against the instruction.
    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let values: Vec<f32> =
            (0..70_001).map(|i| (i - 35_000) as f32 * 0.0037).flat_map(|v| [v, v.next_up()]).collect();
        for step in [1.0, 0.5, 0.0291, 3e-38, 1e30] {
            for (low, high) in [(-128.0, 127.0), (-127.0, 127.0), (0.0, 255.0), (-2.0, 1.0)] {
                let how = ToWords { offset: 0.25, step, low, high, add: 3, mask: 0xff };
                let (mut chosen, mut plain) = (vec![0; values.len()], vec![1; values.len()]);
                words(&values, how, &mut chosen);
                words_of(&values, how, &mut plain);
                assert_eq!(chosen, plain);
                for (&word, &value) in plain.iter().zip(&values) {
                    let code = ((value - 0.25) / step).clamp(low, high).round_ties_even() as i32;
                    assert_eq!(word, (code + 3) as u8, "{value} / {step}");
                }
            }
        }
        let all: Vec<u8> = (0..=255).cycle().take(1_003).collect();
        for flip in [0, 0x80, 8] {
            let how = ToLevels { flip, bias: 128, scale: 0.1, min: -0.3 };
            let (mut chosen, mut plain) = (vec![0.0; all.len()], vec![1.0; all.len()]);
            levels(&all, how, &mut chosen);
            levels_of(&all, how, &mut plain);
            assert_eq!(chosen, plain);
            assert_eq!(plain[200], (f32::from(200 ^ flip) - 128.0) * 0.1 - 0.3);
        }
        for count in [0, 1, 63, 64, 65, 1_003, values.len()] {
            for some in [&values[..count], &values[values.len() - count..]] {
                let (least, greatest) =
                    (some.iter().copied().reduce(f32::min), some.iter().copied().reduce(f32::max));
                assert_eq!(ends(some), (least.unwrap_or(0.0), greatest.unwrap_or(0.0)));
                assert_eq!(ends(some), ends_of(some));
            }
        }
        assert!(are_finite(&values));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 17, 1_000] {
                let mut some = values[..1_001].to_vec();
                some[at] = bad;
                assert!(!are_finite(&some));
            }
        }
    }
}
