//! Activations. A NaN stays a NaN in all of them.

use burn_backend::tensor::FloatTensor;

use crate::axes::axis;
use crate::call::{Call, Value, one};
use crate::float::{Float, bool_dtype};
use crate::loss::log_softmax;
use crate::seam::Kernels;

type Results<B> = Result<Vec<Value<B>>, String>;

pub(super) fn relu<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(rectify(call.float(0)?))
}

/// 0 for values up to 0.
fn rectify<B: Kernels>(x: Float<B>) -> Float<B> {
    if B::MAXIMA_KEEP_NAN {
        return x.map(B::relu);
    }
    let low = below(&x, 0.0);
    x.fill(low, 0.0)
}

/// Where values are below a number.
fn below<B: Kernels>(x: &Float<B>, bound: f64) -> burn_backend::tensor::BoolTensor<B> {
    B::float_lower_elem(x.primitive().clone(), bound.into(), bool_dtype::<B>(&x.device()))
}

pub(super) fn leaky_relu<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let alpha = f64::from(call.attributes().float("alpha", 0.01)?);
    let x = call.float(0)?;
    let low = below(&x, 0.0);
    let scaled = x.clone().scale(alpha);
    one(x.map(|x| B::float_mask_where(x, low, scaled.into_primitive())))
}

pub(super) fn prelu<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let x = call.float(0)?;
    let low = below(&x, 0.0);
    let scaled = call.float(1)?.mul(x.clone())?;
    if scaled.shape() != x.shape() {
        return Err(format!("a slope that makes {:?} of {:?}", scaled.shape(), x.shape()));
    }
    one(x.map(|x| B::float_mask_where(x, low, scaled.into_primitive())))
}

pub(super) fn elu<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let alpha = f64::from(call.attributes().float("alpha", 1.0)?);
    let x = call.float(0)?;
    let low = below(&x, 0.0);
    // Where the value is not used, its exponential shall not overflow: that would make the gradient NaN.
    let high = B::bool_not(low.clone());
    let curve = x.clone().fill(high, 0.0).map(B::float_exp).shift(-1.0).scale(alpha);
    one(x.map(|x| B::float_mask_where(x, low, curve.into_primitive())))
}

pub(super) fn sigmoid<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(call.float(0)?.map(B::sigmoid))
}

pub(super) fn tanh<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    one(call.float(0)?.map(B::float_tanh))
}

/// `ln(1 + exp(x))`, as `max(x, 0) + ln(1 + exp(-|x|))`.
pub(super) fn softplus<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let x = call.float(0)?;
    let rest = x.clone().map(|x| B::float_log1p(B::float_exp(B::float_neg(B::float_abs(x)))));
    one(rectify(x).add(rest)?)
}

pub(super) fn hard_sigmoid<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let attributes = call.attributes();
    let (alpha, beta) = (attributes.float("alpha", 0.2)?, attributes.float("beta", 0.5)?);
    one(ramp(call.float(0)?, alpha.into(), beta.into()))
}

pub(super) fn hard_swish<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let x = call.float(0)?;
    one(ramp(x.clone(), 1.0 / 6.0, 0.5).mul(x)?)
}

/// `alpha * x + beta`, between 0 and 1.
fn ramp<B: Kernels>(x: Float<B>, alpha: f64, beta: f64) -> Float<B> {
    let line = x.scale(alpha).shift(beta);
    let low = below(&line, 0.0);
    let bools = bool_dtype::<B>(&line.device());
    let high = B::float_greater_elem(line.primitive().clone(), 1.0.into(), bools);
    line.fill(low, 0.0).fill(high, 1.0)
}

/// Bounds are tensors with a gradient: where a bound holds, it gets the value's, as PACT trains it (Choi et al., "PACT:
/// Parameterized Clipping Activation" (2018), equation 3).
pub(super) fn clip<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let x = call.float(0)?;
    let bools = bool_dtype::<B>(&x.device());
    let bound = |place: usize, attribute: &str| {
        if call.has(place) {
            let bound = call.float(place)?;
            return match bound.elements() {
                1 => Ok(Some(bound.reshape(&[]))),
                count => Err(format!("input {place} has {count} elements, not 1")),
            };
        }
        if !call.attributes().has(attribute) {
            return Ok(None);
        }
        let value = call.attributes().float(attribute, 0.0)?;
        Ok(Some(Float::full(value, &[], call.device)))
    };
    let (low, high) = (bound(1, "min")?, bound(2, "max")?);
    let shape = x.shape();
    let clipped = |x: Float<B>, bound: Option<Float<B>>, default: f32, is_beyond: Compare<B>| {
        // The specification has the largest finite numbers where a bound is left out.
        let bound = bound.unwrap_or_else(|| Float::full(default, &[], call.device)).expand(&shape);
        let beyond = is_beyond(x.primitive().clone(), bound.primitive().clone(), bools);
        x.map(|x| B::float_mask_where(x, beyond, bound.into_primitive()))
    };
    one(clipped(clipped(x, low, f32::MIN, B::float_lower), high, f32::MAX, B::float_greater))
}

type Compare<B> =
    fn(FloatTensor<B>, FloatTensor<B>, burn_backend::BoolDType) -> burn_backend::tensor::BoolTensor<B>;

/// Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016): `x * Phi(x)`, exact or with the tanh of their section 2.
pub(super) fn gelu<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let x = call.float(0)?;
    let inner = match call.attributes().text("approximate", "none")?.as_str() {
        "none" => x.clone().scale(std::f64::consts::FRAC_1_SQRT_2).map(B::float_erf),
        "tanh" => {
            let cube = x.clone().mul(x.clone())?.mul(x.clone())?;
            let factor = (2.0 / std::f64::consts::PI).sqrt();
            cube.scale(0.044715).add(x.clone())?.scale(factor).map(B::float_tanh)
        }
        other => return Err(format!("attribute `approximate` is {other}; none and tanh are supported")),
    };
    one(inner.shift(1.0).mul(x)?.scale(0.5))
}

pub(super) fn softmax<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    along_axis(&call, |x, axis| {
        let largest = x.clone().detach().map(|x| B::float_max_dim(x, axis));
        let powers = x.sub(largest)?.map(B::float_exp);
        powers.clone().div(powers.sum(&[axis]))
    })
}

pub(super) fn log_soft_max<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    along_axis(&call, log_softmax)
}

/// Applies a function along the axis of a softmax; before operator set 13 that was all axes from it on, taken as one.
fn along_axis<B: Kernels>(
    call: &Call<'_, B>,
    function: impl FnOnce(Float<B>, usize) -> Result<Float<B>, String>,
) -> Results<B> {
    let x = call.float(0)?;
    let shape = x.shape();
    if call.opset() >= 13 {
        let axis = axis(call.attributes().int("axis", -1)?, shape.len())?;
        return one(function(x, axis)?);
    }
    let axis = axis(call.attributes().int("axis", 1)?, shape.len())?;
    let matrix = [shape[..axis].iter().product(), shape[axis..].iter().product()];
    one(function(x.reshape(&matrix), 1)?.reshape(&shape))
}
