//! From the values of a unit to its range, scale and zero point.

use crate::error::QuantError;
use crate::quantizer::Quantizer;
use crate::round::Round;
use crate::rule::{Ends, Rule};
use crate::spec::Range;
use crate::unit::Unit;
use crate::{block, compat, least_error, qkeras, statistics};

/// The widest range, and the largest magnitude in it: a level one step outside, in the narrowest code, stays finite.
pub(crate) const WIDEST: f32 = f32::MAX / 4.0;

/// The numbers of one unit.
pub(crate) fn unit(quantizer: &Quantizer, values: &[f32]) -> Result<Unit, QuantError> {
    let zero = quantizer.zero;
    match quantizer.rule {
        Rule::Centred { range, clip, divisor } => {
            let range = half_width(quantizer, range, clip, values)?;
            Ok(centred(quantizer, range, divisor))
        }
        Rule::Step { step } => {
            let step = step.map_or_else(|| initial_step(quantizer, values), Ok)?;
            Ok(of_step(quantizer, step, step))
        }
        Rule::Interval { ends, clip } => {
            let (low, high) = ends_of(quantizer, ends, clip, values)?;
            interval(quantizer, low, high)
        }
        Rule::Affine { ends, clip } => {
            let (low, high) = ends_of(quantizer, ends, clip, values)?;
            affine(quantizer, low.min(0.0), high.max(0.0))
        }
        Rule::Constant { step, factor } => Ok(of_step(quantizer, step, factor * step)),
        Rule::Auto { power_of_two, unit } => {
            check_width(-statistics::largest(values), statistics::largest(values))?;
            let step = qkeras::step(values, unit, quantizer.produced.1, power_of_two);
            Ok(of_step(quantizer, step, step))
        }
        Rule::Sign { factor } => {
            let scale = factor.unwrap_or_else(|| statistics::mean_magnitude(values) as f32);
            check_width(-scale, scale)?;
            Ok(Unit { scale, ..Unit::centred(1.0, 0, -scale, scale) })
        }
        Rule::Dorefa => Ok(dorefa(values)),
        Rule::Block(scheme) => block::unit(scheme, values),
        Rule::Compat { asymmetric, ends, clip } => {
            let (low, high) = match ends {
                Ends::Given { lo, hi } => (lo, hi),
                _ => compat::ends(asymmetric, clip, values),
            };
            check_width(low, high)?;
            Ok(compat::unit(quantizer, asymmetric, ends != Ends::Values, low, high, zero))
        }
    }
}

/// A unit whose stored values are yet to come.
pub(crate) fn unit_without_values(quantizer: &Quantizer) -> Result<Unit, QuantError> {
    match (quantizer.rule, quantizer.spec().family) {
        (Rule::Dorefa, Some(family)) => Err(QuantError::NeedsValues { family }),
        (Rule::Constant { step, factor }, _) => Ok(of_step(quantizer, step, factor * step)),
        (Rule::Compat { asymmetric, ends, .. }, _) => {
            Ok(compat::unit(quantizer, asymmetric, ends != Ends::Values, 0.0, 0.0, quantizer.zero))
        }
        (Rule::Sign { factor }, _) => Ok(Unit { scale: factor.unwrap_or(0.0), step: 1.0, ..Unit::default() }),
        _ => Ok(Unit::centred(0.0, quantizer.zero, 0.0, 0.0)),
    }
}

/// Quantizing with what is stored. Gives back a number that it cannot be done with.
pub(crate) fn adopt(quantizer: &Quantizer, unit: &mut Unit) -> Result<(), f32> {
    if let Rule::Compat { .. } = quantizer.rule {
        return check_width(unit.low, unit.high).map_err(|_| unit.high);
    }
    let is_block = matches!(quantizer.rule, Rule::Block(_));
    if !unit.scale.is_finite() || (unit.scale < 0.0 && !is_block) {
        return Err(unit.scale);
    }
    if !unit.min.is_finite() {
        return Err(unit.min);
    }
    unit.offset = unit.min;
    match quantizer.rule {
        Rule::Constant { .. } | Rule::Sign { .. } => {}
        Rule::Block(_) => unit.step = if unit.scale == 0.0 { 0.0 } else { 1.0 / unit.scale },
        _ => unit.step = unit.scale,
    }
    let level = |code: i64| (code - unit.zero) as f32 * unit.scale + unit.min;
    let (low, high) = (level(quantizer.produced.0), level(quantizer.produced.1));
    (unit.low, unit.high) = (low.min(high), low.max(high));
    Ok(())
}

/// Refuses a range too wide for float32 arithmetic.
pub(crate) fn check_width(low: f32, high: f32) -> Result<(), QuantError> {
    let is_sane = low >= -WIDEST && high <= WIDEST && low <= high;
    if is_sane { Ok(()) } else { Err(QuantError::RangeTooWide { low, high, format: "f32" }) }
}

/// The half width that a rule gives, clipped.
fn half_width(
    quantizer: &Quantizer,
    range: Range,
    clip: Option<f32>,
    values: &[f32],
) -> Result<f32, QuantError> {
    let width = match range {
        Range::Fixed(width) | Range::Alpha(width) => width,
        Range::Sawb => positive("sawb", sawb(quantizer.bits(), values), values)?,
        Range::Mse => least_error::half_width(quantizer, values, None),
        Range::NoisyMse(rate) => least_error::half_width(quantizer, values, Some(rate)),
        Range::Adaptive | Range::Interval { .. } | Range::Step(_) => statistics::largest(values),
    };
    let width = clip.map_or(width, |clip| width.min(clip));
    check_width(-width, width)?;
    Ok(width)
}

/// A range that a formula gave. Zeros alone have the range 0; anything else must have a positive one.
fn positive(rule: &'static str, range: f64, values: &[f32]) -> Result<f32, QuantError> {
    if statistics::largest(values) == 0.0 {
        return Ok(0.0);
    }
    let is_sane = range > 0.0 && range <= f64::from(f32::MAX);
    if is_sane {
        return Ok(range as f32);
    }
    Err(QuantError::NoRange { rule, range, elements: values.len() as u64 })
}

/// SAWB: `std / z0 - z1 / z0 * mean|w|` (SPEC 4.1).
fn sawb(bits: u32, values: &[f32]) -> f64 {
    let (z0, z1) = match bits {
        2 => (0.311, 0.678),
        4 => (0.077, 1.013),
        _ => (0.027, 1.114),
    };
    statistics::deviation(values) / z0 - z1 / z0 * statistics::mean_magnitude(values)
}

/// The unit of a centred range of half width `range`.
pub(crate) fn centred(quantizer: &Quantizer, range: f32, divisor: f64) -> Unit {
    let step = step(f64::from(range), range, divisor, quantizer.round);
    let low = if quantizer.codes.signed || quantizer.zero != 0 { -range } else { 0.0 };
    Unit::centred(step, quantizer.zero, low, range)
}

/// `width / divisor`, but neither below the least normal number nor, where fractions are dropped, so large that `top`
/// misses the highest code by a rounding error.
fn step(width: f64, top: f32, divisor: f64, round: Round) -> f32 {
    if width == 0.0 {
        return 0.0;
    }
    let step = ((width / divisor) as f32).max(f32::MIN_POSITIVE);
    let falls_short = step > f32::MIN_POSITIVE && top / step < divisor as f32;
    if round.drops_fractions() && falls_short { step.next_down() } else { step }
}

/// `2 * mean|w| / sqrt(Qp)` (SPEC 4.1 W3).
fn initial_step(quantizer: &Quantizer, values: &[f32]) -> Result<f32, QuantError> {
    let step = 2.0 * statistics::mean_magnitude(values) / (quantizer.codes.high() as f64).sqrt();
    positive("lsq", step, values)
}

/// Codes at multiples of `step` that decode to multiples of `scale`.
fn of_step(quantizer: &Quantizer, step: f32, scale: f32) -> Unit {
    let (low, high) = quantizer.produced;
    Unit { scale, ..Unit::centred(step, quantizer.zero, low as f32 * scale, high as f32 * scale) }
}

fn ends_of(
    quantizer: &Quantizer,
    ends: Ends,
    clip: Option<f32>,
    values: &[f32],
) -> Result<(f32, f32), QuantError> {
    let (low, high) = match ends {
        Ends::Given { lo, hi } => (lo, hi),
        Ends::Values => statistics::ends(values),
        Ends::UpToLargest => (0.0, statistics::ends(values).1.max(0.0)),
        Ends::Around(range) => {
            let width = half_width(quantizer, range, None, values)?;
            (-width, width)
        }
    };
    let clip = clip.unwrap_or(f32::INFINITY);
    let (low, high) = (low.clamp(-clip, clip), high.clamp(-clip, clip));
    check_width(low, high)?;
    Ok((low, high))
}

fn interval(quantizer: &Quantizer, low: f32, high: f32) -> Result<Unit, QuantError> {
    let steps = (quantizer.codes.high() - quantizer.codes.low()) as f64;
    let step = step(f64::from(high) - f64::from(low), high - low, steps, quantizer.round);
    Ok(Unit { step, offset: low, zero: quantizer.zero, scale: step, min: low, low, high })
}

/// Scale and zero point of ONNX `DynamicQuantizeLinear`: `scale = (high - low) / (qmax - qmin)`, the zero point is
/// `qmin - low / scale`, rounded half to even and saturated. Float32 up to 16 bits, float64 above.
fn affine(quantizer: &Quantizer, low: f32, high: f32) -> Result<Unit, QuantError> {
    let (least, most) = quantizer.produced;
    if high == low {
        return Ok(Unit::centred(0.0, 0_i64.clamp(least, most), low, high));
    }
    let steps = (most - least) as f64;
    let scale = ((high - low) / steps as f32).max(f32::MIN_POSITIVE);
    let zero = if quantizer.is_wide() {
        (least as f64 - f64::from(low) / f64::from(scale)).round_ties_even()
    } else {
        f64::from((least as f32 - low / scale).round_ties_even())
    };
    Ok(Unit::centred(scale, (zero as i64).clamp(least, most), low, high))
}

/// The largest `|tanh(w)|`; levels go from -1 to 1.
fn dorefa(values: &[f32]) -> Unit {
    let step = values.iter().map(|&value| tanh(value).abs()).fold(0.0, f32::max);
    Unit { step, low: -1.0, high: 1.0, ..Unit::default() }
}

/// The hyperbolic tangent, the same on every machine.
pub(crate) fn tanh(value: f32) -> f32 {
    libm::tanh(f64::from(value)) as f32
}

/// The ranges of PLCLIP (SPEC 4.1 W5): `c * max(0.2, max|w_l| / max over all layers)` for each layer `l`, given the largest
/// magnitude of each. Quantize layer `l` with family `wcat` and the range `{ fixed = R_l }`.
///
/// If all layers are zero every range is `0.2 * c`.
///
/// ```
/// let ranges = bitquake_quant::plclip_ranges(0.1, &[0.8, 0.4, 0.1]);
/// assert_eq!(ranges, [0.1, 0.05, 0.02]);
/// ```
#[must_use]
pub fn plclip_ranges(c: f32, largest: &[f32]) -> Vec<f32> {
    let most = largest.iter().copied().fold(0.0, f32::max);
    let share = |largest: f32| if most > 0.0 { f64::from(largest) / f64::from(most) } else { 0.0 };
    largest.iter().map(|&largest| (f64::from(c) * share(largest).max(0.2)) as f32).collect()
}
