//! Arithmetic on values that are broadcast to each other: floats on the device, whole numbers on the host.

use burn_backend::tensor::FloatTensor;

use crate::axes::{broadcast, places, strides};
use crate::call::{Call, Value, one, one_ints};
use crate::ints::Ints;
use crate::seam::Kernels;

pub(super) fn add<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    binary(call, B::float_add, |a, b| a.checked_add(b))
}

/// An operation on two inputs, both floats or both whole numbers.
fn binary<B: Kernels>(
    call: Call<'_, B>,
    floats: impl FnOnce(FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>,
    numbers: impl Fn(i64, i64) -> Option<i64>,
) -> Result<Vec<Value<B>>, String> {
    match (call.value(0)?, call.value(1)?) {
        (Value::Ints(a), Value::Ints(b)) => one_ints(zip(&a, &b, numbers)?),
        _ => one(call.float(0)?.pair(call.float(1)?, floats)?),
    }
}

/// An operation on whole numbers that are broadcast to each other; `None` is an overflow or a division by 0.
pub(super) fn zip(a: &Ints, b: &Ints, operation: impl Fn(i64, i64) -> Option<i64>) -> Result<Ints, String> {
    let shape = broadcast(&a.shape, &b.shape)?;
    let (a_places, b_places) = (spread(&a.shape, &shape), spread(&b.shape, &shape));
    let pairs = places(&shape, &a_places).zip(places(&shape, &b_places));
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
