//! Operators that change shapes and keep all values.

use crate::axes::axis;
use crate::call::{Call, Value};
use crate::ints::Ints;
use crate::seam::Kernels;

pub(super) fn reshape<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    let value = call.value(0)?;
    let wanted = call.list(1, "shape")?.ok_or("input 1 (the shape) is missing")?;
    let keeps_zero = call.attributes().int("allowzero", 0)? != 0;
    let shape = target(&value.shape(), &wanted, keeps_zero)?;
    Ok(vec![reshaped(value, &shape)])
}

/// The shape that `Reshape` makes: 0 copies a size, -1 is what is left.
fn target(from: &[usize], wanted: &[i64], keeps_zero: bool) -> Result<Vec<usize>, String> {
    let elements: usize = from.iter().product();
    let failed = || format!("{from:?} cannot become {wanted:?}");
    let size = |(axis, &size): (usize, &i64)| match size {
        -1 => Ok(1),
        0 if !keeps_zero => from.get(axis).copied().ok_or_else(failed),
        size => usize::try_from(size).map_err(|_| failed()),
    };
    let mut shape = wanted.iter().enumerate().map(size).collect::<Result<Vec<usize>, _>>()?;
    let known =
        shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size)).ok_or_else(failed)?;
    let mut open = (0..wanted.len()).filter(|&axis| wanted[axis] == -1);
    match (open.next(), open.next()) {
        (Some(axis), None) if known > 0 && elements % known == 0 => shape[axis] = elements / known,
        (None, None) if known == elements => {}
        _ => return Err(failed()),
    }
    Ok(shape)
}

pub(super) fn flatten<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    let value = call.value(0)?;
    let shape = value.shape();
    let split = call.attributes().int("axis", 1)?;
    let split = if split == shape.len() as i64 { shape.len() } else { axis(split, shape.len())? };
    let (rows, columns) = shape.split_at(split);
    let shape = [rows.iter().product(), columns.iter().product()];
    Ok(vec![reshaped(value, &shape)])
}

/// The value in another shape of as many elements.
pub(super) fn reshaped<B: Kernels>(value: Value<B>, shape: &[usize]) -> Value<B> {
    match value {
        Value::Float(float) => Value::Float(float.reshape(shape)),
        Value::Ints(ints) => Value::Ints(Ints { shape: shape.to_vec(), values: ints.values }),
    }
}
