//! Augmentation that cannot be done.

use thiserror::Error;

/// A step with a wrong value, or one that does not fit the images.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum AugmentError {
    /// A table that is not one step.
    #[error(
        "a step of augment has exactly one of crop, flip, cutout and autoaugment; this one has {}",
        list_or_none(.found)
    )]
    NotOneStep {
        /// Those that are there.
        found: Vec<&'static str>,
    },
    /// A fill where nothing is filled.
    #[error("fill has no meaning beside flip, which leaves no gap")]
    FillNotUsed,
    /// Plain features, which have no rows and columns.
    #[error("augment needs images [C, H, W], and the data have shape {shape:?}")]
    NoImages {
        /// The shape of one row of the data.
        shape: Vec<usize>,
    },
    /// A padding or a side that is 0 or longer than the image.
    #[error("{key} is {value}; for these images it must be 1 to {largest} pixels")]
    Side {
        /// The step.
        key: &'static str,
        /// Its value.
        value: u32,
        /// The largest value that makes sense: the smaller of height and width.
        largest: usize,
    },
    /// A number that is no probability.
    #[error("flip is {value}; a probability is 0 to 1")]
    Probability {
        /// The number.
        value: f64,
    },
    /// A colour for other images.
    #[error("fill has {found} values, but the images have {channels} channel(s)")]
    FillChannels {
        /// The number of values.
        found: usize,
        /// The number of channels.
        channels: usize,
    },
    /// A colour with NaN or an infinity.
    #[error("fill has the value {value}; it must be finite")]
    FillValue {
        /// The value.
        value: f32,
    },
    /// Images that are neither grey nor coloured.
    #[error("autoaugment needs 1 or 3 channels, and the images have {channels}")]
    PolicyChannels {
        /// The number of channels.
        channels: usize,
    },
    /// A colour that no 8-bit image has.
    #[error("the fill of autoaugment has the value {value}; it must be 0 to 1")]
    PolicyFill {
        /// The value.
        value: f32,
    },
    /// Values that are no shares of white.
    #[error(
        "autoaugment works on values from 0 to 1, and image {row} has {value}; set data.preprocess.scale, 255 for bytes"
    )]
    PolicyRange {
        /// The image.
        row: usize,
        /// The value.
        value: f32,
    },
}

fn list_or_none(found: &[&str]) -> String {
    if found.is_empty() { "none".to_owned() } else { found.join(", ") }
}
