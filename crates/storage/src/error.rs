//! Why a model cannot be stored so.

use bitquake_fault::protect::ProtectError;
use bitquake_fault::{DrawError, PatternError, SelectorError};
use bitquake_quant::{QuantError, SpecError};

/// Why a model cannot be stored as asked, or a pattern not be translated.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The globs of an override.
    #[error("[storage.override]: {0}")]
    Selector(#[from] SelectorError),
    /// The globs of a protection or a guard.
    #[error("{place}: {source}")]
    Rule {
        /// The rule.
        place: String,
        /// What is wrong with its globs.
        source: SelectorError,
    },
    /// The range of a guard that clean words leave: the guard would change the network without any fault.
    #[error("{place}: {outside} of the clean words lie outside [{low}, {high}]")]
    GuardTooNarrow {
        /// The rule and the tensor.
        place: String,
        /// How many words.
        outside: u64,
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// A protection or a guard that cannot be.
    #[error("{place}: {source}")]
    Protect {
        /// The rule and the tensor.
        place: String,
        /// Why not.
        source: ProtectError,
    },
    /// The fields make no quantizer.
    #[error("{place}: {source}")]
    Spec {
        /// `[storage]`, or the override.
        place: String,
        /// What is wrong.
        source: SpecError,
    },
    /// A tensor is named as what belongs to the codes of another one would be.
    #[error(
        "tensor `{tensor}` has the name of a part of `{owner}`: what follows an @ is its scale, check bits and the like; rename it"
    )]
    NameOfPart {
        /// The tensor.
        tensor: String,
        /// The other one.
        owner: String,
    },
    /// The tensor's own format is not one that quantizers take.
    #[error(
        "tensor `{tensor}` is {dtype}: quantizers take f32, f16 and bf16; leave it out, or native by an override"
    )]
    NotFloat {
        /// The tensor.
        tensor: String,
        /// Its type.
        dtype: String,
    },
    /// The quantizer refuses the tensor's values.
    #[error("tensor `{tensor}`: {source}")]
    Quantize {
        /// The tensor.
        tensor: String,
        /// Why.
        source: QuantError,
    },
    /// A search over codes, in a tensor that is held as floats.
    #[error("tensor `{tensor}` is not quantized: the search flips bits of codes")]
    NotCoded {
        /// The tensor.
        tensor: String,
    },
    /// A gradient that is not of a tensor.
    #[error("gradient of tensor `{tensor}`: {got} values, {wanted} needed")]
    Slopes {
        /// The tensor.
        tensor: String,
        /// Values given.
        got: usize,
        /// Values needed.
        wanted: u64,
    },
    /// Random flips that cannot be drawn.
    #[error(transparent)]
    Draw(#[from] DrawError),
    /// The store lacks a tensor, or has another in its place.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}
