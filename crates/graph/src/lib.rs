//! An ONNX graph: look at it, build one, cut one.
//!
//! [`Graph`] is a thin view of the graph in a [`TensorFile`](bitquake_tensors::TensorFile): inputs, outputs, nodes,
//! and what they tell about the model. [`architecture`] makes the networks that are trained, by name and options.
//! [`build`] writes ONNX models node by node, and [`resnet`] one fixed network with it, for tests and benches.
//! [`cut`] makes of a model a chain of smaller ones, [`guard`] puts guards on its values. [`plan`] makes a graph ready to be run, and [`program`] makes a program for the project's
//! own kernels of it.

mod about_normal;
pub mod architecture;
pub mod build;
pub mod cut;
mod folded;
pub mod guard;
pub mod plan;
pub mod program;
pub mod resnet;
mod view;
pub mod window;

pub use folded::FoldedEvidence;
pub use view::{Graph, GraphError};
