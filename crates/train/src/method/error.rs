//! Why a method cannot be used, or a step not be made.

use bitquake_bits::BitSelectionError;
use bitquake_fault::{DrawError, PatternError, SpaceError};
use bitquake_quant::{Family, QuantError, SpecError};
use bitquake_storage::StorageError;

/// Why a method cannot be used, or a step not be made.
#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    /// A text that is no table of a method.
    #[error("[method] {0}")]
    Table(String),
    /// A number of the table that cannot be.
    #[error("[method] {field}: {wanted}")]
    Value {
        /// The key.
        field: &'static str,
        /// What it must be.
        wanted: String,
    },
    /// `bits` of the errors.
    #[error("[method.bit_errors] bits: {0}")]
    Bits(BitSelectionError),
    /// The table of faults.
    #[error("[method.bit_errors.fault] {0}")]
    Fault(String),
    /// The storage of the weights.
    #[error("[method.quantization] {0}")]
    Storage(#[from] StorageError),
    /// What may be hit.
    #[error("[method.bit_errors] {0}")]
    Space(#[from] SpaceError),
    /// Drawing the faults.
    #[error("[method.bit_errors] {0}")]
    Draw(#[from] DrawError),
    /// Faults that do not fit the weights.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A quantizer made of a range that training gave.
    #[error("tensor `{tensor}`: {source}")]
    Spec {
        /// The tensor.
        tensor: String,
        /// What is wrong with the range.
        source: SpecError,
    },
    /// Values, or a range, that the quantizer does not take.
    #[error("tensor `{tensor}`: {source}")]
    Quantize {
        /// The tensor.
        tensor: String,
        /// Why.
        source: QuantError,
    },
    /// Ranges of a rule that no tensor can have.
    #[error("[method.ranges] rule `{rule}`: no tensor is quantized with {wanted}")]
    NoRange {
        /// The rule.
        rule: &'static str,
        /// The families that it is for.
        wanted: &'static str,
    },
    /// A range that cannot be trained, or kept.
    #[error("[method.ranges] tensor `{tensor}` of family `{family}`: {reason}")]
    Range {
        /// The tensor.
        tensor: String,
        /// Its quantizer.
        family: Family,
        /// Why not.
        reason: &'static str,
    },
    /// Nothing is quantized, so there are no codes to search.
    #[error("[method.bit_errors.attack] tensor `{tensor}` is not quantized: an attack flips bits of codes")]
    NotCoded {
        /// The tensor.
        tensor: String,
    },
    /// The trainer called for something that the plan of the step does not have.
    #[error("{0}")]
    Call(&'static str),
    /// Gradients or statistics that do not fit the weights.
    #[error("{what} {index}: {got} values, {wanted} needed")]
    Length {
        /// What was given.
        what: &'static str,
        /// Its place.
        index: usize,
        /// Its length.
        got: usize,
        /// The length needed.
        wanted: usize,
    },
    /// A snapshot of another method or another network.
    #[error("the saved state of the method does not fit: {0}")]
    State(String),
    /// The gradient that an attack asked for.
    #[error("gradient of an attack: {0}")]
    Gradient(Box<dyn std::error::Error + Send + Sync>),
}
