//! A loaded graph, differentiable: gradients of weights and values, Hessian products.
//!
//! [`Network`] computes the project's ONNX graph: on the CPU in the project's own kernels, where all its operators have some; else node by
//! node on [burn](https://burn.dev) backends, the CPU, and GPUs with the features `cuda` and `wgpu` ([`Executor`] tells). Both stay inside:
//! callers speak slices and names.
//!
//! - `plan` makes a graph ready: names resolved, order checked, stored tensors read.
//! - `native` makes a program of it for `bitquake-kernels`.
//! - `interpreter` runs it, generic over the backend; a backend that records ([`burn_autodiff::Autodiff`]) gives gradients, one
//!   that records on another that records gives Hessian products.
//! - `operators` is the table of what nodes may do ([`operators()`]).
//! - `seam` is what a backend brings beside burn's own operations: where faster convolutions come in.
//!
//! NaN and infinities go through operators as IEEE 754, PyTorch and ONNX Runtime have it. Where the last two differ (maxima of a window or
//! along axes, in which ONNX Runtime passes over a NaN at some places), a NaN stays a NaN, as in PyTorch.

mod axes;
mod call;
mod device;
mod error;
mod float;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod gpu;
mod interpreter;
mod ints;
mod loss;
mod model;
mod native;
mod network;
mod operators;
mod parameter;
mod pass;
mod plan;
mod runner;
mod seam;
mod stored;

pub use device::{Device, DeviceParseError};
pub use error::GradError;
pub use network::{Executor, Network};
pub use operators::operators;
pub use parameter::{Parameter, ParameterRole};
pub use pass::{BatchStatistics, Gradients, HessianMethod, HessianProduct, Mode, Objective, Pass, ValueInfo};
