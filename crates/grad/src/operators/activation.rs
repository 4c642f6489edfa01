//! Activations. A NaN stays a NaN in all of them.

use crate::call::{Call, Value, one};
use crate::float::{Float, bool_dtype};
use crate::seam::Kernels;

pub(super) fn relu<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    one(rectify(call.float(0)?))
}

/// 0 for values up to 0.
pub(super) fn rectify<B: Kernels>(x: Float<B>) -> Float<B> {
    if B::MAXIMA_KEEP_NAN {
        return x.map(B::relu);
    }
    let bools = bool_dtype::<B>(&x.device());
    let low = B::float_lower_equal_elem(x.primitive().clone(), 0.0.into(), bools);
    x.fill(low, 0.0)
}
