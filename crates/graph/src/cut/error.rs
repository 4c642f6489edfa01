//! Why a model cannot be cut.

use bitquake_tensors::TensorsError;
use bitquake_tensors::wire::WireError;
use thiserror::Error;

/// Why a model, or a part of it, cannot be cut. A node is named by its name, else by its first output, else by its operator.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CutError {
    /// The model is malformed.
    #[error(transparent)]
    Model(#[from] TensorsError),
    /// The model is no protobuf message.
    #[error("the model in memory: {0}")]
    Wire(#[from] WireError),
    /// A node reads a value that nothing gives.
    #[error("node {node} reads the value {value}, which no node, input or initializer gives")]
    UnknownValue {
        /// The node.
        node: String,
        /// The value.
        value: String,
    },
    /// A node reads a value that the node itself or a later one gives.
    #[error(
        "node {node} reads the value {value} before a node gives it: the graph has a cycle or is not sorted"
    )]
    NotSorted {
        /// The node.
        node: String,
        /// The value.
        value: String,
    },
    /// Two inputs, initializers or outputs of nodes have one name.
    #[error("the value {value} is given twice")]
    Duplicate {
        /// The value.
        value: String,
    },
    /// An output of the model is a value that nothing gives.
    #[error("the output {value} of the model is given by no node, input or initializer")]
    UnknownOutput {
        /// The value.
        value: String,
    },
    /// The places are no stretch of the model.
    #[error("from node {from} to node {to} is no stretch of a graph of {nodes} nodes")]
    Places {
        /// The first place.
        from: usize,
        /// The last place.
        to: usize,
        /// The number of nodes.
        nodes: usize,
    },
    /// Nothing that is needed later is computed there.
    #[error("the nodes from {from} to {to} compute nothing that is needed after them")]
    Empty {
        /// The first place.
        from: usize,
        /// The last place.
        to: usize,
    },
    /// The type of a value that a segment takes is not known.
    #[error("the type of the value {value}, which is needed to cut there, is not known")]
    NoKind {
        /// The value.
        value: String,
    },
}
