//! Data of one spatial axis, as of two.

use burn_backend::Backend;

use crate::float::Float;

/// An image of 1 spatial axis as one of 2, by an axis of size 1 before the last; more than 2 are refused.
pub(super) fn as_image<B: Backend>(x: Float<B>, what: &str) -> Result<Float<B>, String> {
    let shape = x.shape();
    match shape.len() {
        3 => Ok(x.reshape(&[shape[0], shape[1], 1, shape[2]])),
        4 => Ok(x),
        rank => Err(format!("{what} has {} spatial axes; 1 and 2 are supported", rank.saturating_sub(2))),
    }
}
