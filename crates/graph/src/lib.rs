//! An ONNX graph: look at it, build one, cut one.
//!
//! [`Graph`] is a thin view of the graph in a [`TensorFile`](bitquake_tensors::TensorFile): inputs, outputs, nodes,
//! and what they tell about the model. [`build`] writes small ONNX models for tests and benches, and [`resnet`] a
//! whole network with it. [`cut`] makes of a model a chain of smaller ones.

pub mod build;
pub mod cut;
mod folded;
pub mod resnet;
mod view;

pub use folded::FoldedEvidence;
pub use view::{Graph, GraphError};
