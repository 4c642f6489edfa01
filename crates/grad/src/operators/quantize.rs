//! Quantizers, differentiable straight through.
//!
//! Codes are floats that hold whole numbers. `QuantizeLinear` passes the gradient of the rounded quotient to the quotient
//! where the code is within its range (Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons"
//! (2013)), and 0 outside. Scales and zero points get no gradient.

use bitquake_bits::Format;

use crate::axes::axis;
use crate::call::{Call, Value, one};
use crate::float::{Float, bool_dtype};
use crate::seam::Kernels;

type Results<B> = Result<Vec<Value<B>>, String>;

pub(super) fn quantize<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let x = call.float(0)?;
    let shape = x.shape();
    let scale = per_channel(&call, call.float(1)?.detach(), &shape)?;
    let (least, most) = code_range(&call)?;
    let quotient = x.div(scale)?;
    let rounded = quotient.clone().detach().map(B::float_round);
    let mut code = quotient.map(|quotient| B::straight_through(quotient, rounded.into_primitive()));
    if call.has(2) {
        code = code.add(per_channel(&call, call.as_float(2)?, &shape)?)?;
    }
    let bools = bool_dtype::<B>(&code.device());
    // No code is NaN: ONNX Runtime stores the smallest for it.
    let low = B::bool_not(B::float_greater_equal_elem(code.primitive().clone(), least.into(), bools));
    let high = B::float_greater_elem(code.primitive().clone(), most.into(), bools);
    one(code.fill(low, least).fill(high, most))
}

pub(super) fn dequantize<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let mut code = call.as_float(0)?;
    let shape = code.shape();
    let scale = per_channel(&call, call.float(1)?.detach(), &shape)?;
    if call.has(2) {
        code = code.sub(per_channel(&call, call.as_float(2)?, &shape)?)?;
    }
    one(code.mul(scale)?)
}

/// A scale or zero point, of one element or one for each place of the node's axis, in a shape that broadcasts.
fn per_channel<B: Kernels>(
    call: &Call<'_, B>,
    values: Float<B>,
    shape: &[usize],
) -> Result<Float<B>, String> {
    if call.attributes().int("block_size", 0)? != 0 {
        return Err("has blocks; one scale, or one for each place of an axis, are supported".to_owned());
    }
    if values.elements() == 1 {
        return Ok(values.reshape(&[]));
    }
    let along = axis(call.attributes().int("axis", 1)?, shape.len())?;
    if values.shape() != [shape[along]] {
        return Err(format!("{:?} scales or zero points for axis {along} of {shape:?}", values.shape()));
    }
    let mut dims = vec![1; shape.len()];
    dims[along] = shape[along];
    Ok(values.reshape(&dims))
}

/// The smallest and the largest code: of the zero point's type, else of the attribute's, else of u8.
fn code_range<B: Kernels>(call: &Call<'_, B>) -> Result<(f64, f64), String> {
    let said = call.attributes().int("output_dtype", 0)?;
    let format = match (call.has(2), said) {
        (true, _) => call.format(2).ok_or("a computed zero point is not supported; a stored one is")?,
        (false, 0 | 2) => Format::U8,
        (false, 3) => Format::I8,
        (false, 4) => Format::U16,
        (false, 5) => Format::I16,
        (false, other) => return Err(format!("codes of type {other}; u8, i8, u16 and i16 are supported")),
    };
    let supported = [Format::U8, Format::I8, Format::U16, Format::I16];
    if !supported.contains(&format) {
        return Err(format!("codes of {}; u8, i8, u16 and i16 are supported", format.name()));
    }
    let half = 1_i64 << (format.width() - 1);
    let is_signed = format == Format::I8 || format == Format::I16;
    let (least, most) = if is_signed { (-half, half - 1) } else { (0, 2 * half - 1) };
    Ok((least as f64, most as f64))
}
