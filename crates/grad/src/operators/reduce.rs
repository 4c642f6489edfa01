//! Reductions along axes.

use crate::axes::{axes, places, strides};
use crate::call::{Call, Value, one, one_ints};
use crate::float::{Float, bool_dtype};
use crate::seam::Kernels;
use bitquake_graph::plan::Ints;

type Results<B> = Result<Vec<Value<B>>, String>;

pub(super) fn mean<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    reduce(call, None, |x, axes| Ok(x.mean(axes)))
}

pub(super) fn sum<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    reduce(call, Some(i64::checked_add), |x, axes| Ok(x.sum(axes)))
}

pub(super) fn max<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    reduce(call, Some(|a, b| Some(a.max(b))), |x, axes| Ok(largest(x, axes)))
}

pub(super) fn min<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    reduce(call, Some(|a, b| Some(a.min(b))), |x, axes| {
        Ok(largest(x.map(B::float_neg), axes).map(B::float_neg))
    })
}

pub(super) fn prod<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    reduce(call, Some(i64::checked_mul), |x, axes| axes.iter().try_fold(x, |x, &axis| product(x, axis)))
}

/// The square root of the sum of squares.
pub(super) fn l2<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    reduce(call, None, |x, axes| Ok(x.clone().mul(x)?.sum(axes).map(B::float_sqrt)))
}

/// Multiplied up one after the other, so that a zero has a gradient.
fn product<B: Kernels>(x: Float<B>, axis: usize) -> Result<Float<B>, String> {
    let part = |place: usize| x.clone().narrow(axis, place, place + 1);
    (1..x.shape()[axis]).try_fold(part(0), |product, place| product.mul(part(place)))
}

/// The largest value along axes, which stay with size 1; NaN if there is one. The gradient goes to the first of equal ones.
pub(super) fn largest<B: Kernels>(x: Float<B>, axes: &[usize]) -> Float<B> {
    let reduce = |x: Float<B>| axes.iter().fold(x, |x, &axis| x.map(|x| B::float_max_dim(x, axis)));
    if B::MAXIMA_KEEP_NAN {
        return reduce(x);
    }
    let bools = bool_dtype::<B>(&x.device());
    let is_nan = B::float_not_equal(x.primitive().clone(), x.primitive().clone(), bools);
    let flags = Float::<B>::full(0.0, &x.shape(), &x.device()).fill(is_nan, 1.0).sum(axes);
    let has_nan = B::float_greater_elem(flags.into_primitive(), 0.5.into(), bools);
    reduce(x).fill(has_nan, f64::NAN)
}

fn reduce<B: Kernels>(
    call: Call<'_, B>,
    numbers: Option<fn(i64, i64) -> Option<i64>>,
    floats: impl FnOnce(Float<B>, &[usize]) -> Result<Float<B>, String>,
) -> Results<B> {
    let value = call.value(0)?;
    let shape = value.shape();
    let keeps = call.attributes().int("keepdims", 1)? != 0;
    let wanted = call.list(1, "axes")?.unwrap_or_default();
    if wanted.is_empty() && call.attributes().int("noop_with_empty_axes", 0)? != 0 {
        return Ok(vec![value]);
    }
    let wanted = if wanted.is_empty() { (0..shape.len()).collect() } else { axes(&wanted, shape.len())? };
    let result = (0..shape.len()).filter(|axis| keeps || !wanted.contains(axis));
    let result: Vec<usize> =
        result.map(|axis| if wanted.contains(&axis) { 1 } else { shape[axis] }).collect();
    if shape.contains(&0) {
        return Err(format!("data of shape {shape:?} are empty"));
    }
    match value {
        Value::Float(x) if shape.is_empty() => one(x),
        Value::Float(x) => one(floats(x, &wanted)?.reshape(&result)),
        Value::Ints(ints) => match numbers {
            Some(operation) => one_ints(Ints { values: fold(&ints, &wanted, operation)?, shape: result }),
            None => Err("input 0 holds whole numbers; floats are supported".to_owned()),
        },
    }
}

/// Whole numbers reduced along axes, row-major.
fn fold(ints: &Ints, axes: &[usize], operation: fn(i64, i64) -> Option<i64>) -> Result<Vec<i64>, String> {
    let kept: Vec<usize> =
        (0..ints.shape.len()).map(|axis| if axes.contains(&axis) { 1 } else { ints.shape[axis] }).collect();
    let own = strides(&kept);
    let steps: Vec<usize> =
        (0..kept.len()).map(|axis| if axes.contains(&axis) { 0 } else { own[axis] }).collect();
    let mut results: Vec<Option<i64>> = vec![None; kept.iter().product()];
    for (&value, place) in ints.values.iter().zip(places(&ints.shape, &steps)) {
        let result = results[place].map_or(Some(value), |before| operation(before, value));
        results[place] = Some(result.ok_or("the result is no 64-bit number")?);
    }
    results.into_iter().map(|result| result.ok_or_else(|| "nothing to reduce".to_owned())).collect()
}
