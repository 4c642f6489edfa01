//! A model as a chain of links, so that a trial runs only what its faults can change.
//!
//! A [`ChainPlan`] says where the graph is cut: at *boundaries*, in whose values every image has a row of its own. The golden run
//! keeps the values at boundaries ([`GoldenRun`]); an [`Evaluator`](crate::Evaluator) takes up each row at the first boundary that its faults
//! touch, and lets it go at a boundary where its values equal the golden ones bit for bit.
//!
//! Golden and faulty runs use the same links, so that a row without faults reproduces the golden outputs bit for bit wherever
//! it is taken up. A plan of one link is plain evaluation of the whole model.

mod activations;
mod cost;
pub(crate) mod golden;
pub(crate) mod layout;
mod places;
pub(crate) mod plan;
mod probe;
pub(crate) mod rows;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod state;
pub(crate) mod value_map;
pub(crate) mod walk;

pub use activations::{Activation, activations};
pub use golden::GoldenRun;
pub use plan::{ChainPlan, CutRequest, Exposure, Value};
pub use rows::{NoFaults, RowFaults, RowValues, Stop};
pub use value_map::ValueMap;
