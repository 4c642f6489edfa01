//! Fault spaces, fault models and fault patterns.
//!
//! A [`FaultSpace`] is what may be hit: tensors, and the bits of their words. A [`FaultModel`] says which faults occur with
//! what probability. Drawing it with a key gives [`Faults`]: flips, stuck bits, bits that flip in one direction. Resolving those
//! against the stored words gives a [`FaultPattern`]: the bits that change, a value that can be saved, explained, applied to
//! any [`WordStore`](bitquake_bits::WordStore), and undone by applying it again.
//!
//! ```
//! use bitquake_bits::{BitSelection, Format};
//! use bitquake_fault::{Candidate, FaultModel, FaultSpace, Hits, Selector};
//! use bitquake_sample::{Rate, StreamKey};
//!
//! let tensors = [Candidate { name: "fc.weight", format: Format::F32, elements: 1000, by_name_only: false }];
//! let space = FaultSpace::select(tensors, &Selector::all(), BitSelection::All)?;
//! assert_eq!(space.bits(), 32_000);
//! let model = FaultModel::BitFlip(Hits::Rate(Rate::new(1e-3)?));
//! let faults = model.draw(&space, &StreamKey { seed: 42, point: 0, trial: 0 })?;
//! let pattern = faults.into_flips()?; // or `faults.resolve(&store)?.pattern`, for faults that depend on the bits
//! assert_eq!(pattern.flips(), pattern.tensors()[0].addresses.len() as u64);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dims;
mod draw_error;
mod effect;
mod explain;
mod faults;
mod file;
mod inplace;
mod memory;
mod model;
mod pattern;
pub mod protect;
mod region;
mod saturate;
mod selector;
mod shape;
mod site;
mod space;

pub use dims::{channel_of, channels, coordinates, element_at};
pub use effect::Effect;
pub use explain::{Explanation, FlipCounts, TensorExplanation};
pub use faults::{Faults, NeedsBits, Resolved, TensorFaults};
pub use file::PatternFileError;
pub use inplace::{flip_at_rate, flip_bits_at_rate};
pub use memory::{
    CellFault, ChipArrays, ChipCell, ChipCsvError, ChipMap, CsvProblem, DramFault, DramGeometry, DramPlace,
    GeometryError, Level, MapError, MapFaults, Offset, Scope, Structure, SyntheticChip, SyntheticChipError,
};
pub use model::{
    Amount, Burst, Conditioned, DrawError, ElementSite, Elements, FaultModel, FaultyRegion, Hits, MODELS,
    ModelKey, ModelRow, Neighbours, Sampler, Value,
};
pub use pattern::{FaultPattern, PatternError, TensorFlips};
pub use region::{Place, SiteRange, SiteRangeError};
pub use selector::{Name, Selector, SelectorError};
pub use shape::{
    Axis, BitsHit, BitsHitError, Choice, Extent, PatternClass, PatternPart, PatternValue, Shape, ShapeFaults,
    Span, SpatialPattern, SpatialPatternError, WORD_EFFECTS, WordEffect,
};
pub use site::{Site, SiteError};
pub use space::{Candidate, FaultSpace, ProtectedBits, SpaceError, SpaceTensor};
