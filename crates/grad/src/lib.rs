//! A loaded graph, differentiable: gradients of weights and values, Hessian products.
//!
//! [`Network`] computes the project's ONNX graph: on the CPU in the project's own kernels, where all its operators have some; else node by
//! node on [burn](https://burn.dev) backends, the CPU, and GPUs with the features `cuda` and `wgpu` ([`Executor`] tells). Both stay inside:
//! callers speak slices and names.
//!
//! - [`bitquake_graph::plan`] makes a graph ready: names resolved, order checked, stored tensors read.
//! - `native` runs the program of `bitquake-kernels` that [`bitquake_graph::program`] makes of it; Hessian products are tangents of its gradients.
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
mod loss;
mod model;
mod native;
mod network;
mod operators;
mod pass;
mod runner;
mod seam;

pub use bitquake_graph::plan::{Parameter, ParameterRole, PlanError};
pub use bitquake_kernels::program::Edit;
pub use device::{Device, DeviceParseError};
pub use error::GradError;
pub use network::{Executor, Network};
pub use operators::operators;
pub use pass::{BatchStatistics, Gradients, HessianMethod, HessianProduct, Mode, Objective, Pass, ValueInfo};
