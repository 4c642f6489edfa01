//! Why nothing could be drawn.

use bitquake_bits::{Format, NotRepresentable};
use bitquake_sample::SubsetError;

use crate::pattern::PatternError;
use crate::region::SiteRange;
use crate::space::SpaceTensor;

/// Why nothing could be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DrawError {
    /// More to hit than there is.
    #[error("{} {what} to hit, but the fault space has only {}", .error.count, .error.population)]
    TooMany {
        /// What was to be hit: bits, elements, bursts ...
        what: &'static str,
        /// How many were asked for, and how many there are.
        error: SubsetError,
    },
    /// A site names a tensor outside the space.
    #[error("site {site}: tensor `{}` is not in the fault space", site.tensor)]
    NoTensor {
        /// The site.
        site: SiteRange,
    },
    /// A site names an element that does not exist.
    #[error("site {site}: element {index} is out of bounds, tensor `{}` has {elements}", site.tensor)]
    NoElement {
        /// The site.
        site: SiteRange,
        /// The element.
        index: u64,
        /// The tensor's number of elements.
        elements: u64,
    },
    /// A range of bits ends behind the tensor.
    #[error("site {site}: the range is empty or ends behind the last bit, tensor `{}` has {bits} bits", site.tensor)]
    NoRange {
        /// The site.
        site: SiteRange,
        /// The tensor's number of bits.
        bits: u64,
    },
    /// A site names a bit that does not exist or is not in the space.
    #[error("site {site}: bit {bit} is not in the fault space, tensor `{}` is {} with bits 0..{}{}", site.tensor, tensor.format, tensor.format.width() - 1, restriction(tensor))]
    NoBit {
        /// The site.
        site: SiteRange,
        /// The bit.
        bit: u32,
        /// The tensor.
        tensor: SpaceTensor,
    },
    /// A site is named twice.
    #[error(
        "bit {bit} of element {index} of tensor `{tensor}` is named twice: the second flip would undo the first"
    )]
    Twice {
        /// The tensor.
        tensor: String,
        /// The element.
        index: u64,
        /// The bit.
        bit: u32,
    },
    /// A list of one rate for each bit of the word does not fit a tensor.
    #[error("{rates} rates by bit position, but tensor `{tensor}` is {format} with {} bits", format.width())]
    PositionRates {
        /// The tensor.
        tensor: String,
        /// Its format.
        format: Format,
        /// How many rates there are.
        rates: usize,
    },
    /// A word to store is wider than the tensor's words.
    #[error("the word {word:#x} does not fit tensor `{tensor}`: {format} has {} bits", format.width())]
    Word {
        /// The tensor.
        tensor: String,
        /// Its format.
        format: Format,
        /// The word.
        word: u64,
    },
    /// A number to store does not exist in the tensor's format.
    #[error("tensor `{tensor}`: {source}")]
    Number {
        /// The tensor.
        tensor: String,
        /// What its format lacks.
        source: NotRepresentable,
    },
    /// Lengths of bursts that are no distribution.
    #[error(
        "burst length {length} with weight {weight}: lengths must be at least 1, weights finite, not negative and not all 0"
    )]
    Lengths {
        /// The length; 0 when there is none at all.
        length: u64,
        /// Its weight.
        weight: f64,
    },
    /// A burst finds no place.
    #[error("a burst of {length} neighbouring bits fits nowhere in the fault space")]
    NoWindow {
        /// The length.
        length: u64,
    },
    /// A shape without words.
    #[error("the shape `{shape}` has size 0: it would hit nothing")]
    EmptyShape {
        /// The shape's name.
        shape: &'static str,
    },
    /// A mixture within a mixture.
    #[error("the mixture is nested: part {part} is itself a mixture; write its parts out")]
    NestedMixture {
        /// The part, from 0.
        part: usize,
    },
    /// At least one hit was demanded of a model that never hits.
    #[error(
        "at least one fault is demanded, but the model has none: its rates or counts are 0, or nothing is selected"
    )]
    NeverHits,
    /// At least one hit was demanded of a model for which that is not offered.
    #[error(
        "at_least = 1 is not available for the fault model `{model}`, whose cells have probabilities of their own"
    )]
    NotConditionable {
        /// The model's name.
        model: &'static str,
    },
    /// A map without its voltage, or a voltage without thresholds.
    #[error("{reason}")]
    Voltage {
        /// What is missing.
        reason: &'static str,
    },
    /// The tensors do not fit the memory.
    #[error("the tensors take {needed} bits, but the memory has only {capacity}")]
    MemoryTooSmall {
        /// Bits that the tensors take, gaps included.
        needed: u64,
        /// Bits of the memory.
        capacity: u64,
    },
    /// An alignment of nothing, or one beyond reason.
    #[error("an alignment of {align} bytes: it must be 1 to 2^30")]
    Alignment {
        /// Bytes.
        align: u64,
    },
    /// The DRAM is none.
    #[error(transparent)]
    Geometry(#[from] crate::memory::GeometryError),
    /// The pattern cannot be made.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Faults that depend on stored bits where only flips were expected.
    #[error(transparent)]
    NeedsBits(#[from] crate::faults::NeedsBits),
}

fn restriction(tensor: &SpaceTensor) -> String {
    if tensor.is_whole() { String::new() } else { format!(", of which the selection has {:#x}", tensor.mask) }
}
