//! What a memory holds of a model.
//!
//! A [`StorageSpec`] says how tensors are stored: as the file has them, or as the codes of a quantizer. [`Memory`] quantizes
//! them once. Faults hit the words of the memory ([`Memory::view`]); [`Memory::translate`] decodes every word that was hit,
//! once, and gives the flips of the floats that the network computes with. No value is quantized again after a fault.
//!
//! Parts that are stored beside the codes of a tensor are tensors of their own: `TENSOR@scale`, `TENSOR@zero_point`,
//! `TENSOR@min`, ...

mod coded;
mod error;
mod memory;
mod spec;
mod view;

pub use coded::Coded;
pub use error::StorageError;
pub use memory::Memory;
pub use spec::{Override, StorageSpec};
pub use view::View;
