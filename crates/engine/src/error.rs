//! What can go wrong while running a model.

use std::path::PathBuf;

use bitquake_fault::PatternError;

/// Why a model could not be run.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The library is nowhere.
    #[error(
        "ONNX Runtime was not found (looked at {}); `cargo xtask setup` fetches it, or set ORT_DYLIB_PATH to libonnxruntime.so",
        .looked.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NoRuntime {
        /// The places looked at.
        looked: Vec<PathBuf>,
    },
    /// The library is there and does not load.
    #[error("{}: cannot load ONNX Runtime: {message}", path.display())]
    Runtime {
        /// The library's file.
        path: PathBuf,
        /// The loader's message.
        message: String,
    },
    /// The engine refused the model.
    #[error("{model}: ONNX Runtime cannot load the model: {message}")]
    Load {
        /// The model's file.
        model: String,
        /// The engine's own message, which names the node.
        message: String,
    },
    /// The engine failed while running.
    #[error("{model}: ONNX Runtime failed while running: {message}")]
    Run {
        /// The model's file.
        model: String,
        /// The engine's own message.
        message: String,
    },
    /// The model is not one that images can be fed to and classes read from.
    #[error("{model}: {reason}")]
    Unsupported {
        /// The model's file.
        model: String,
        /// What is unsupported, and what is supported.
        reason: String,
    },
    /// The images do not fit the model.
    #[error("{model}: input `{input}` wants images of shape {wanted}, the data set has {found}")]
    Shape {
        /// The model's file.
        model: String,
        /// The input's name.
        input: String,
        /// The shape of one image for the model, `?` where it may vary.
        wanted: String,
        /// The shape of one image of the data.
        found: String,
    },
    /// A label is not one of the model's classes.
    #[error("{model} gives {classes} classes: {message}")]
    Labels {
        /// The model's file.
        model: String,
        /// Its number of classes.
        classes: u64,
        /// Which image, which label.
        message: String,
    },
    /// The project's own kernels cannot do what is asked for.
    #[error("{model}: the engine \"native\" cannot run it: {reason}; \"onnxruntime\" may")]
    Native {
        /// The model's file.
        model: String,
        /// The node, the tensor or the faults, and what is supported.
        reason: String,
    },
    /// What a faulty weight reaches could not be computed.
    #[error(transparent)]
    Direct(#[from] crate::direct::DirectError),
    /// A value could not be changed as a [`ValueMap`](crate::ValueMap) wants it.
    #[error("value `{value}`: {reason}")]
    Value {
        /// The value.
        value: String,
        /// Why.
        reason: String,
    },
    /// The pattern does not fit the model.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl EngineError {
    /// Whether the engine refused the model or failed while running it, as a faulty model may make it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Load { .. } | Self::Run { .. } | Self::Unsupported { .. })
    }
}
