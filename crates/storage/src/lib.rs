//! What a memory holds of a model.
//!
//! A [`StorageSpec`] says how tensors are stored: as the file has them, or as the codes of a quantizer. [`Memory`] quantizes
//! them once. Faults hit the words of the memory ([`Memory::view`]); [`Memory::translate`] decodes every word that was hit,
//! once, and gives the flips of the floats that the network computes with. No value is quantized again after a fault.
//!
//! [`Memory::protect`] lets error-correcting codes and range guards do their work on the flips of a trial first; check bits can
//! be hit like all others.
//!
//! Parts that are stored beside the codes of a tensor are tensors of their own: `TENSOR@scale`, `TENSOR@zero_point`,
//! `TENSOR@min`, `TENSOR@check`, ...

mod coded;
mod error;
mod hamming;
mod memory;
mod plan;
mod protect;
mod spec;
mod view;

pub use coded::{Coded, FlipScratch};
pub use error::StorageError;
pub use hamming::{HammingSearch, LossAndSlopes};
pub use memory::Memory;
pub use plan::StoragePlan;
pub use protect::{GuardRule, ProtectRule};
pub use spec::{Override, StorageSpec};
pub use view::View;
