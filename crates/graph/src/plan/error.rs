//! Why a graph cannot be made ready to run.

use crate::GraphError;

/// Why a graph cannot be made ready to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The file has no graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The graph has not exactly one input to give images to, of a supported type and a known rank.
    #[error(
        "{problem}; networks with one f32 input of at least 2 dimensions, the first of them the batch, are supported"
    )]
    Input {
        /// What is wrong.
        problem: String,
    },
    /// The graph has no output.
    #[error("the graph has no output")]
    NoOutput,
    /// A stored tensor has elements of another type.
    #[error(
        "tensor `{tensor}` holds {dtype}; supported are f32, and integers of 8 to 64 bits as codes, shapes and indices"
    )]
    UnsupportedDtype {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: String,
    },
    /// A node uses a value that nothing before it computes.
    #[error(
        "node `{node}` uses value `{value}`, which no input, stored tensor or earlier node gives (a cycle, or a missing node)"
    )]
    MissingValue {
        /// The node, or `graph output`.
        node: String,
        /// The value.
        value: String,
    },
    /// Two nodes, inputs or stored tensors give the same value.
    #[error("value `{value}` is given twice, the second time by node `{node}`")]
    TwiceDefined {
        /// The second node.
        node: String,
        /// The value.
        value: String,
    },
}
