//! The RandBET release, to the code: float32 arithmetic, an epsilon added to ranges, one code unused (SPEC 2.2).

use crate::codes::Codes;
use crate::quantizer::Quantizer;
use crate::round::Round;
use crate::statistics;
use crate::unit::Unit;

/// Added to ranges, whatever their size.
pub(crate) const EPS: f32 = 0.001;

/// The adaptive range: the epsilon counts for the symmetric one alone.
pub(crate) fn ends(asymmetric: bool, clip: Option<f32>, values: &[f32]) -> (f32, f32) {
    let clip = clip.unwrap_or(f32::INFINITY);
    if asymmetric {
        let (low, high) = statistics::ends(values);
        return (low.clamp(-clip, clip), high.clamp(-clip, clip));
    }
    let range = (statistics::largest(values) + EPS).min(clip);
    (-range, range)
}

/// `step` is that of the symmetric quantizer, which for an asymmetric range works on `-1..1`.
pub(crate) fn unit(
    quantizer: &Quantizer,
    asymmetric: bool,
    is_fixed: bool,
    low: f32,
    high: f32,
    zero: i64,
) -> Unit {
    let range = if asymmetric { 1.0 } else { high };
    let step = step(quantizer.codes, range, asymmetric || is_fixed);
    Unit { step, offset: 0.0, zero, scale: step, min: 0.0, low, high }
}

/// `(R + EPS) / L` of a fixed range, `R / L` of one that has the epsilon in it.
fn step(codes: Codes, range: f32, is_fixed: bool) -> f32 {
    let highest = (codes.half() - 1) as f32;
    if is_fixed { (range + EPS) / highest } else { range / highest }
}

/// The code of a value. In a constant asymmetric range, where the release divides 0 by 0, it is that of the middle; every
/// code decodes to the same there.
#[inline(always)]
pub(crate) fn code(codes: Codes, round: Round, asymmetric: bool, unit: &Unit, value: f32) -> i64 {
    let value = value.clamp(unit.low, unit.high);
    if !asymmetric {
        return symmetric_code(codes, round, value / unit.step);
    }
    let share = 2.0 * (value - unit.low) / (unit.high - unit.low) - 1.0;
    let share = if share.is_nan() { 0.0 } else { share.clamp(-1.0, 1.0) };
    symmetric_code(codes, round, share / unit.step)
}

#[inline(always)]
fn symmetric_code(codes: Codes, round: Round, quotient: f32) -> i64 {
    let quotient = if codes.signed {
        quotient
    } else {
        // Saturated before rounding, as the release does.
        (quotient + codes.half() as f32).clamp(0.0, codes.high() as f32)
    };
    (round.of_f32(quotient, 0.0) as i64).clamp(codes.low(), codes.high())
}

/// The level of a code.
pub(crate) fn level(asymmetric: bool, unit: &Unit, code: i64) -> f32 {
    let inner = (code - unit.zero) as f32 * unit.step;
    if !asymmetric {
        return clamp(inner, unit.low, unit.high) + 0.0;
    }
    let share = inner.clamp(-1.0, 1.0);
    clamp((share + 1.0) / 2.0 * (unit.high - unit.low) + unit.low, unit.low, unit.high)
}

/// `max`, then `min`, as tensors libraries clamp: defined for any ends, which may be faulted.
fn clamp(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}
