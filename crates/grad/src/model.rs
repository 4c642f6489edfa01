//! A plan with the values of its parameters.

use crate::plan::Plan;

/// What every engine computes with.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) plan: Plan,
    /// Of each parameter its values, row-major.
    pub(crate) values: Vec<Vec<f32>>,
}
