//! What can be wrong with the options of a network.

use super::families::names;

/// Why a network cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchitectureError {
    /// No family has this name.
    #[error("architecture = \"{name}\" is unknown; there are {}", names())]
    Unknown {
        /// The name.
        name: String,
    },
    /// An option without a default is not given.
    #[error("{key} is missing: {about}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What it means.
        about: &'static str,
    },
    /// A value is out of its bounds.
    #[error("{key} = {value}: must be {bound}")]
    OutOfBounds {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What it must be.
        bound: String,
    },
    /// The family does not take an option.
    #[error("{key} is not taken by \"{architecture}\", but by {takers}")]
    NotTaken {
        /// The key.
        key: &'static str,
        /// The family.
        architecture: &'static str,
        /// The families that take it.
        takers: String,
    },
    /// The options are of a network for other data.
    #[error("{key} = {has}, but the data have {data}")]
    OtherData {
        /// The key.
        key: &'static str,
        /// What the options say.
        has: String,
        /// What the data have.
        data: String,
    },
    /// No group count of the rule divides the channels of a layer.
    #[error(
        "norm = \"{norm}\": the {channels} channels of {layer} fall into no groups: one of 32, 24, 16, 8, or half the channels if \
         that is less, must divide them; other channels, or another norm"
    )]
    NoGroups {
        /// The normalization.
        norm: &'static str,
        /// The layer that would normalize.
        layer: String,
        /// Its channels.
        channels: u64,
    },
    /// A normalization of groups for values that have no height and width.
    #[error(
        "norm = \"{norm}\": {layer} normalizes features without height and width: none, bn, rebn or fixedbn"
    )]
    NormOfFeatures {
        /// The normalization.
        norm: &'static str,
        /// The layer that would normalize.
        layer: String,
    },
    /// More stored bytes than an ONNX file can hold.
    #[error(
        "the network has {parameters} stored numbers: an ONNX file holds at most {most}; fewer channels, or smaller images"
    )]
    TooLarge {
        /// The stored numbers.
        parameters: u64,
        /// The most that there can be.
        most: u64,
    },
}
