//! Arithmetic: floats on the device, whole numbers on the host. Inputs are broadcast to each other.

use burn_backend::tensor::FloatTensor;

use crate::axes::{broadcast, places, strides};
use crate::call::{Call, Value, one, one_ints};
use crate::float::{Float, bool_dtype, device_bools};
use crate::seam::Kernels;
use bitquake_graph::plan::Ints;

type Results<B> = Result<Vec<Value<B>>, String>;

pub(super) fn add<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    binary(call, B::float_add, i64::checked_add)
}

pub(super) fn sub<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    binary(call, B::float_sub, i64::checked_sub)
}

pub(super) fn mul<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    binary(call, B::float_mul, i64::checked_mul)
}

/// Whole numbers are cut towards 0.
pub(super) fn div<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    binary(call, B::float_div, i64::checked_div)
}

pub(super) fn pow<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    if let (Value::Ints(a), Value::Ints(b)) = (call.value(0)?, call.value(1)?) {
        let power = |a: i64, b: i64| u32::try_from(b).ok().and_then(|b| a.checked_pow(b));
        return one_ints(zip(&a, &b, power)?);
    }
    let x = call.as_float(0)?;
    // A constant exponent needs no logarithm of a base that may be negative.
    let power = match call.constant(1)? {
        Some(1.0) => x,
        Some(2.0) => x.clone().mul(x)?,
        Some(3.0) => x.clone().mul(x.clone())?.mul(x)?,
        Some(0.5) => x.map(B::float_sqrt),
        // The backend looks whether it is a whole number, which an infinite or very large one does not let it.
        Some(exponent) if exponent.abs() < 1e6 => x.map(|x| B::float_powf_scalar(x, exponent.into())),
        _ => {
            let exponent = call.as_float(1)?;
            let shape = broadcast(&x.shape(), &exponent.shape())?;
            x.expand(&shape).pair(exponent.expand(&shape), B::float_powf)?
        }
    };
    one(power)
}

/// The largest of all inputs; NaN if one is.
pub(super) fn max<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    extremes(call, B::float_greater, i64::max)
}

/// The smallest of all inputs; NaN if one is.
pub(super) fn min<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    extremes(call, B::float_lower, i64::min)
}

/// The sum of all inputs.
pub(super) fn sum<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(fold(&call, Float::add)?)
}

fn fold<B: Kernels>(
    call: &Call<'_, B>,
    operation: impl Fn(Float<B>, Float<B>) -> Result<Float<B>, String>,
) -> Result<Float<B>, String> {
    (1..call.inputs.len()).try_fold(call.float(0)?, |result, place| operation(result, call.float(place)?))
}

fn extremes<B: Kernels>(
    call: Call<'_, B>,
    is_beyond: fn(
        FloatTensor<B>,
        FloatTensor<B>,
        burn_backend::BoolDType,
    ) -> burn_backend::tensor::BoolTensor<B>,
    of_numbers: fn(i64, i64) -> i64,
) -> Results<B> {
    if let Value::Ints(first) = call.value(0)? {
        let rest = 1..call.inputs.len();
        let pick = |a: i64, b: i64| Some(of_numbers(a, b));
        return one_ints(rest.into_iter().try_fold(first, |a, place| zip(&a, &call.ints(place)?, pick))?);
    }
    let result = fold(&call, |a, b| {
        let shape = broadcast(&a.shape(), &b.shape())?;
        let (a, b) = (a.expand(&shape), b.expand(&shape));
        let bools = bool_dtype::<B>(&a.device());
        // The second where it is beyond the first or NaN; a NaN in the first stays, for no comparison with it holds.
        let [x, y] = [a.primitive(), b.primitive()].map(Clone::clone);
        let is_nan = B::float_not_equal(y.clone(), y.clone(), bools);
        let takes = B::bool_or(is_beyond(y, x, bools), is_nan);
        Ok(a.map(|a| B::float_mask_where(a, takes, b.into_primitive())))
    })?;
    one(result)
}

/// An operation on two inputs, both floats or both whole numbers.
fn binary<B: Kernels>(
    call: Call<'_, B>,
    floats: impl FnOnce(FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>,
    numbers: impl Fn(i64, i64) -> Option<i64>,
) -> Results<B> {
    match (call.value(0)?, call.value(1)?) {
        (Value::Ints(a), Value::Ints(b)) => one_ints(zip(&a, &b, numbers)?),
        _ => one(call.float(0)?.pair(call.float(1)?, floats)?),
    }
}

/// An operation on whole numbers that are broadcast to each other; `None` is an overflow or a division by 0.
fn zip(a: &Ints, b: &Ints, operation: impl Fn(i64, i64) -> Option<i64>) -> Result<Ints, String> {
    let shape = broadcast(&a.shape, &b.shape)?;
    let (a_steps, b_steps) = (spread(&a.shape, &shape), spread(&b.shape, &shape));
    let pairs = places(&shape, &a_steps).zip(places(&shape, &b_steps));
    let result = |(i, j): (usize, usize)| {
        let (x, y) = (a.values[i], b.values[j]);
        operation(x, y).ok_or_else(|| format!("{x} and {y} give no 64-bit number"))
    };
    let values = pairs.map(result).collect::<Result<_, _>>()?;
    Ok(Ints { shape, values })
}

/// The steps through a tensor of shape `from` that repeat it to the shape `to`.
pub(super) fn spread(from: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(from);
    let step = |axis: usize| match (axis + from.len()).checked_sub(to.len()) {
        Some(place) if from[place] != 1 => own[place],
        _ => 0,
    };
    (0..to.len()).map(step).collect()
}

pub(super) fn neg<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    match call.value(0)? {
        Value::Ints(ints) => one_ints(ints.map(i64::wrapping_neg)),
        Value::Float(x) => one(x.map(B::float_neg)),
    }
}

pub(super) fn abs<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    match call.value(0)? {
        Value::Ints(ints) => one_ints(ints.map(i64::wrapping_abs)),
        Value::Float(x) => one(x.map(B::float_abs)),
    }
}

pub(super) fn sqrt<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(call.float(0)?.map(B::float_sqrt))
}

pub(super) fn exp<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(call.float(0)?.map(B::float_exp))
}

pub(super) fn log<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(call.float(0)?.map(B::float_log))
}

pub(super) fn erf<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(call.float(0)?.map(B::float_erf))
}

pub(super) fn reciprocal<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(call.float(0)?.map(B::float_recip))
}

/// The gradient is 0.
pub(super) fn floor<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(call.float(0)?.map(B::float_floor))
}

/// The gradient is 0.
pub(super) fn ceil<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(call.float(0)?.map(B::float_ceil))
}

pub(super) fn equal<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    compare(&call, |a, b| a == b, |a, b| a == b)
}

pub(super) fn greater<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    compare(&call, |a, b| a > b, |a, b| a > b)
}

pub(super) fn less<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    compare(&call, |a, b| a < b, |a, b| a < b)
}

/// Truth values live on the host, so floats are fetched: comparisons of floats are slow, and have no gradient.
fn compare<B: Kernels>(
    call: &Call<'_, B>,
    numbers: impl Fn(i64, i64) -> bool,
    floats: impl Fn(f32, f32) -> bool,
) -> Results<B> {
    if let (Value::Ints(a), Value::Ints(b)) = (call.value(0)?, call.value(1)?) {
        return one_ints(zip(&a, &b, |a, b| Some(i64::from(numbers(a, b))))?);
    }
    let (a, b) = (call.float(0)?, call.float(1)?);
    let shape = broadcast(&a.shape(), &b.shape())?;
    let [a, b] = [a, b].map(|x| x.detach().expand(&shape).to_host());
    let values = a?.into_iter().zip(b?).map(|(a, b)| i64::from(floats(a, b))).collect();
    one_ints(Ints { shape, values })
}

pub(super) fn not<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one_ints(call.ints(0)?.map(|value| i64::from(value == 0)))
}

/// `Where`: the second input where the first is set, else the third.
pub(super) fn choose<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let condition = call.ints(0)?;
    if let (Value::Ints(a), Value::Ints(b)) = (call.value(1)?, call.value(2)?) {
        let shape = broadcast(&condition.shape, &broadcast(&a.shape, &b.shape)?)?;
        let repeat = |ints: &Ints| ints.pick(shape.clone(), places(&shape, &spread(&ints.shape, &shape)));
        let [condition, a, b] =
            [&condition, &a, &b].map(|ints| repeat(ints).map_or(Vec::new(), |ints| ints.values));
        let pairs = condition.iter().zip(a.iter().zip(&b));
        let values = pairs.map(|(&is_set, (&a, &b))| if is_set != 0 { a } else { b }).collect();
        return one_ints(Ints { shape, values });
    }
    let (a, b) = (call.as_float(1)?, call.as_float(2)?);
    let shape = broadcast(&condition.shape, &broadcast(&a.shape(), &b.shape())?)?;
    let wide = condition.pick(shape.clone(), places(&shape, &spread(&condition.shape, &shape)));
    let mask = device_bools::<B>(&wide.ok_or("the condition does not broadcast")?, call.device);
    let (a, b) = (a.expand(&shape), b.expand(&shape));
    one(b.map(|b| B::float_mask_where(b, mask, a.into_primitive())))
}
