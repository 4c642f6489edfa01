//! Why a model cannot be stored so.

use bitquake_fault::{PatternError, SelectorError};
use bitquake_quant::{QuantError, SpecError};

/// Why a model cannot be stored as asked, or a pattern not be translated.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The globs of an override.
    #[error("[storage.override]: {0}")]
    Selector(#[from] SelectorError),
    /// The fields make no quantizer.
    #[error("{place}: {source}")]
    Spec {
        /// `[storage]`, or the override.
        place: String,
        /// What is wrong.
        source: SpecError,
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
    /// The store lacks a tensor, or has another in its place.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}
