//! Operators that make values, and change their type.

use crate::axes::count;
use crate::call::{Call, Value, one, one_ints};
use crate::float::Float;
use crate::seam::Kernels;
use bitquake_graph::plan::Ints;
use bitquake_graph::plan::Stored;

type Results<B> = Result<Vec<Value<B>>, String>;

pub(super) fn constant_of_shape<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let sizes = call.ints(0)?;
    let shape =
        sizes.values.iter().map(|&size| usize::try_from(size).map_err(|_| format!("a size of {size}")));
    let shape = shape.collect::<Result<Vec<usize>, _>>()?;
    let count = count(&shape)?;
    match call.attributes().tensor("value") {
        None => one(Float::full(0.0, &shape, call.device)),
        Some(Stored::Floats(values, _)) if values.len() == 1 => {
            one(Float::full(values[0], &shape, call.device))
        }
        Some(Stored::Ints(ints)) if ints.values.len() == 1 => {
            one_ints(Ints { shape, values: vec![ints.values[0]; count] })
        }
        Some(_) => Err("attribute `value` has not one element".to_owned()),
    }
}

/// Between f32, integers and truth values.
pub(super) fn cast<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let to = call.attributes().int("to", 0)?;
    let (least, most) = match to {
        1 => return one(call.as_float(0)?),
        2 => (0, i64::from(u8::MAX)),
        3 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        6 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        7 => (i64::MIN, i64::MAX),
        9 => {
            return one_ints(
                whole(&call, |value| i64::from(value != 0.0))?.map(|value| i64::from(value != 0)),
            );
        }
        other => return Err(format!("to type {other}; f32, i8, u8, i32, i64 and bool are supported")),
    };
    let ints = whole(&call, cut)?;
    match ints.values.iter().find(|&&value| value < least || value > most) {
        Some(value) => Err(format!("{value} is not within {least}..={most}")),
        None => one_ints(ints),
    }
}

/// To floats if the second input has floats, else to whole numbers.
pub(super) fn cast_like<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    match call.value(1)? {
        Value::Float(_) => one(call.as_float(0)?),
        Value::Ints(_) => one_ints(whole(&call, cut)?),
    }
}

/// The first input as whole numbers; floats are fetched and changed.
fn whole<B: Kernels>(call: &Call<'_, B>, change: impl Fn(f32) -> i64) -> Result<Ints, String> {
    match call.value(0)? {
        Value::Ints(ints) => Ok(ints),
        Value::Float(float) => {
            let (shape, values) = (float.shape(), float.detach().to_host()?);
            Ok(Ints { shape, values: values.into_iter().map(change).collect() })
        }
    }
}

/// Cut towards 0.
fn cut(value: f32) -> i64 {
    value as i64
}

pub(super) fn range<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let too_many = || "the range has no or too many elements".to_owned();
    if let Value::Ints(_) = call.value(0)? {
        let one = |place: usize| {
            let ints = call.ints(place)?;
            ints.values.first().copied().ok_or_else(|| format!("input {place} is empty"))
        };
        let (start, limit, delta) = (one(0)?, one(1)?, one(2)?);
        if delta == 0 {
            return Err("a step of 0".to_owned());
        }
        let span = i128::from(limit) - i128::from(start);
        let steps = (span / i128::from(delta) + i128::from(span % i128::from(delta) != 0)).max(0);
        let steps = i64::try_from(steps).ok().filter(|&steps| steps < 1 << 24).ok_or_else(too_many)?;
        let steps = if (span < 0) == (delta < 0) { steps } else { 0 };
        return one_ints(Ints::list((0..steps).map(|step| start + step * delta).collect()));
    }
    let (start, limit, delta) = (call.number(0)?, call.number(1)?, call.number(2)?);
    let steps = ((limit - start) / delta).ceil();
    if !(1.0..1e7).contains(&steps) {
        return Err(too_many());
    }
    let values: Vec<f32> = (0..steps as usize).map(|step| start + step as f32 * delta).collect();
    let shape = [values.len()];
    one(Float::from_host(values, &shape, call.device))
}
