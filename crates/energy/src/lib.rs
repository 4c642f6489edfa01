//! Energy: what the accesses of an inference cost at a bit error rate, and what accuracy is left for it.
//!
//! A [`Curve`] says what an access costs at a bit error rate or a supply voltage, relative to an access that is reliable. A
//! [`Contender`] is a network in a memory: how many bits an inference reads, which of them see bit errors, and the test errors that a
//! campaign measured. [`Trade::new`] places the measured points of all contenders by their energy, finds the front of those that no
//! other beats, and the lowest energy of each contender within a loss budget ([`Trade::lowest`]).

mod budget;
mod config;
mod contender;
mod csv;
mod curve;
mod error;
mod front;

pub use budget::{Crossing, Lowest};
pub use config::{
    AccessConfig, BudgetConfig, CurveConfig, EnergyFile, EnergyOutput, LossFrom, ModelEntry, Reads,
    read_energy,
};
pub use contender::{Contender, Measured, Reading};
pub use csv::{CurveCsvError, read_curve};
pub use curve::{Curve, CurvePoint};
pub use error::EnergyError;
pub use front::{Placed, Trade};
