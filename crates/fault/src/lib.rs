//! Fault spaces, fault models and fault patterns.
//!
//! A [`FaultSpace`] is what may be hit: tensors, and the bits of their words. A [`FaultModel`] says which faults occur with
//! what probability. Drawing it with a key gives a [`FaultPattern`]: a value that can be saved, explained, applied to any
//! [`WordStore`](bitquake_bits::WordStore), and undone by applying it again.
//!
//! ```
//! use bitquake_bits::{BitSelection, Format};
//! use bitquake_fault::{Candidate, FaultModel, FaultSpace, Flips, Selector};
//! use bitquake_sample::{Rate, StreamKey};
//!
//! let tensors = [Candidate { name: "fc.weight", format: Format::F32, elements: 1000, by_name_only: false }];
//! let space = FaultSpace::select(tensors, &Selector::all(), BitSelection::All)?;
//! assert_eq!(space.bits(), 32_000);
//! let model = FaultModel::BitFlip(Flips::Rate(Rate::new(1e-3)?));
//! let pattern = model.draw(&space, &StreamKey { seed: 42, point: 0, trial: 0 })?;
//! assert_eq!(pattern.flips(), pattern.tensors()[0].addresses.len() as u64);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod explain;
mod file;
mod inplace;
mod model;
mod pattern;
mod selector;
mod site;
mod space;

pub use explain::{Explanation, FlipCounts, TensorExplanation};
pub use file::PatternFileError;
pub use inplace::flip_at_rate;
pub use model::{DrawError, FaultModel, Flips};
pub use pattern::{FaultPattern, PatternError, TensorFlips};
pub use selector::{Selector, SelectorError};
pub use site::{Site, SiteError};
pub use space::{Candidate, FaultSpace, SpaceError, SpaceTensor};
