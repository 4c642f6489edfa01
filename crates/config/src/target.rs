//! `target` and `persistence` of `[fault]`.

use serde::{Deserialize, Serialize};

/// Which state is exposed to faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// What is stored of the model.
    #[default]
    Weights,
    /// Values that nodes compute.
    Activations,
    /// The images as the model gets them.
    Inputs,
}

/// How long faults in activations and inputs last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// One inference: each image of a trial has faults of its own.
    #[default]
    Transient,
    /// The whole trial: all its images have the same faults.
    Permanent,
}
