//! Normalizations.

use crate::Mode;
use crate::axes::axis;
use crate::call::{Call, Measured, Value, one};
use crate::float::Float;
use crate::seam::Kernels;

pub(super) fn batch<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    let x = call.float(0)?;
    let shape = x.shape();
    let channels = *shape.get(1).ok_or_else(|| format!("data of shape {shape:?} have no channels"))?;
    let mut along = vec![1; shape.len()];
    along[1] = channels;
    let channel = |place: usize| {
        let values = call.float(place)?;
        match values.shape().as_slice() {
            [count] if *count == channels => Ok(values.reshape(&along)),
            found => Err(format!("input {place} of shape {found:?} for {channels} channels")),
        }
    };
    let [scale, bias, mean, variance] = [channel(1)?, channel(2)?, channel(3)?, channel(4)?];
    let epsilon = f64::from(call.attributes().float("epsilon", 1e-5)?);
    if call.mode == Mode::Evaluate {
        let factor = scale.div(variance.shift(epsilon).map(B::float_sqrt))?;
        let summand = bias.sub(mean.mul(factor.clone())?)?;
        return one(x.mul(factor)?.add(summand)?);
    }
    let axes: Vec<usize> = (0..shape.len()).filter(|&axis| axis != 1).collect();
    let momentum = call.attributes().float("momentum", 0.9)?;
    let standardized = B::standardize(x.into_primitive(), &axes, epsilon);
    if let [Some(mean), Some(variance)] = [call.step.inputs[3], call.step.inputs[4]] {
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        // A single value has no unbiased variance.
        let unbiased = if count > 1 { count as f64 / (count - 1) as f64 } else { 1.0 };
        let measured = Measured {
            running: [mean, variance],
            momentum,
            mean: Float::new(standardized.mean),
            variance: Float::<B>::new(standardized.variance).scale(unbiased),
        };
        call.measured.push(measured);
    }
    one(Float::new(standardized.values).mul(scale)?.add(bias)?)
}

pub(super) fn layer<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    let x = call.float(0)?;
    let first = axis(call.attributes().int("axis", -1)?, x.rank())?;
    let axes: Vec<usize> = (first..x.rank()).collect();
    let epsilon = f64::from(call.attributes().float("epsilon", 1e-5)?);
    let shape = x.shape();
    let mut y = standardize(x, &axes, epsilon).mul(call.float(1)?)?;
    if let Some(bias) = call.optional_float(2)? {
        y = y.add(bias)?;
    }
    if y.shape() != shape {
        return Err(format!("the scale or the bias does not broadcast to the data of shape {shape:?}"));
    }
    one(y)
}

pub(super) fn group<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    let shape = call.float(0)?.shape();
    let groups = call.attributes().int("num_groups", 0)?;
    let channels = shape.get(1).copied().unwrap_or(0);
    match usize::try_from(groups) {
        Ok(groups) if groups > 0 && shape.len() >= 3 && channels % groups == 0 => grouped(call, groups),
        _ => Err(format!("attribute `num_groups` {groups} on data of shape {shape:?}")),
    }
}

pub(super) fn instance<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    let shape = call.float(0)?.shape();
    match shape.as_slice() {
        [_, channels, _, ..] => grouped(call, *channels),
        _ => Err(format!("data of shape {shape:?} have no spatial axes")),
    }
}

/// Standardized over groups of channels and all spatial axes; scale and bias have one value a channel, or a group.
fn grouped<B: Kernels>(call: Call<'_, B>, groups: usize) -> Result<Vec<Value<B>>, String> {
    let x = call.float(0)?;
    let shape = x.shape();
    let (images, channels) = (shape[0], shape[1]);
    let rest = shape[1..].iter().product::<usize>() / groups.max(1);
    let epsilon = f64::from(call.attributes().float("epsilon", 1e-5)?);
    let y = standardize(x.reshape(&[images, groups, rest]), &[2], epsilon);
    let affine = |place: usize| {
        let values = call.float(place)?;
        let count = values.elements();
        match values.rank() {
            1 if count == channels => Ok((values, channels)),
            1 if count == groups => Ok((values, groups)),
            _ => Err(format!("input {place} of shape {:?} for {channels} channels", values.shape())),
        }
    };
    let ((scale, parts), (bias, bias_parts)) = (affine(1)?, affine(2)?);
    if parts != bias_parts {
        return Err(format!("{parts} scales and {bias_parts} biases"));
    }
    let y = y.reshape(&[images, parts, shape[1..].iter().product::<usize>() / parts]);
    let y = y.mul(scale.reshape(&[1, parts, 1]))?.add(bias.reshape(&[1, parts, 1]))?;
    one(y.reshape(&shape))
}

fn standardize<B: Kernels>(x: Float<B>, axes: &[usize], epsilon: f64) -> Float<B> {
    Float::new(B::standardize(x.into_primitive(), axes, epsilon).values)
}
