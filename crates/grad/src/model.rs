//! A plan with the values of its parameters.

use bitquake_graph::plan::Plan;

/// What every engine computes with.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) plan: Plan,
    /// Of each step the row of the table of operators.
    pub(crate) rows: Vec<usize>,
    /// Of each parameter its values, row-major.
    pub(crate) values: Vec<Vec<f32>>,
}
