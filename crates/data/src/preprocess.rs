//! What is done to stored values before a model sees them.

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::ConfigError;

/// The order of the axes of stored images with four dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Image, channel, row, column.
    #[default]
    Nchw,
    /// Image, row, column, channel.
    Nhwc,
}

/// `x / scale`, then `(x - mean) / std`, in that order and in `f32`: each of the three operations rounds once, and
/// the divisions are divisions, not multiplications by a reciprocal.
///
/// Stored values become `f32` first: bytes, 16-bit integers, f16 and f32 exactly, f64 by rounding to nearest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocess {
    /// The divisor, finite and not 0; default 1.
    pub scale: f32,
    /// Subtracted from each channel: one value for all channels or one for each; default none.
    #[serde(deserialize_with = "one_or_several")]
    pub mean: Vec<f32>,
    /// Each channel is divided by this, finite and above 0: one value for all channels or one for each; default none.
    #[serde(deserialize_with = "one_or_several")]
    pub std: Vec<f32>,
    /// How the files order the axes of images with four dimensions. Loaded images are NCHW in any case.
    pub layout: Layout,
}

/// A number, or a list of numbers.
fn one_or_several<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number, or a list of numbers")]
    enum Given {
        One(f32),
        Several(Vec<f32>),
    }
    Ok(match Given::deserialize(from)? {
        Given::One(number) => vec![number],
        Given::Several(numbers) => numbers,
    })
}

impl Default for Preprocess {
    fn default() -> Preprocess {
        Preprocess { scale: 1.0, mean: Vec::new(), std: Vec::new(), layout: Layout::Nchw }
    }
}

impl Preprocess {
    /// Checks the values that do not depend on the number of channels.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.scale.is_finite() || self.scale == 0.0 {
            return Err(ConfigError::Scale { value: self.scale });
        }
        if let Some((index, &value)) = self.mean.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(ConfigError::Mean { index, value });
        }
        let is_bad = |value: &f32| !value.is_finite() || *value <= 0.0;
        if let Some((index, &value)) = self.std.iter().enumerate().find(|(_, value)| is_bad(value)) {
            return Err(ConfigError::Std { index, value });
        }
        Ok(())
    }

    /// The same without the mean and the deviation: what training loads, because augmentation comes before those.
    #[must_use]
    pub fn scale_alone(&self) -> Preprocess {
        Preprocess { mean: Vec::new(), std: Vec::new(), ..self.clone() }
    }

    /// What is left to do after [`scale_alone`](Self::scale_alone), for images of `channels` channels.
    ///
    /// # Errors
    /// [`ConfigError`], if a value is wrong, or if there are neither one nor as many as channels.
    pub fn normalization(&self, channels: usize) -> Result<Normalization, ConfigError> {
        let operations = self.per_channel(channels)?;
        let (mean, std) =
            (0..channels).map(|channel| operations.of(channel)).map(|of| (of.mean, of.std)).unzip();
        Ok(Normalization { mean, std })
    }

    /// The operations of each channel, of which `channels` are declared. Nothing is kept for each: there may be none
    /// of them.
    pub(crate) fn per_channel(&self, channels: usize) -> Result<PerChannel<'_>, ConfigError> {
        self.validate()?;
        check_count("preprocess.mean", self.mean.len(), channels)?;
        check_count("preprocess.std", self.std.len(), channels)?;
        Ok(PerChannel(self))
    }
}

/// The operations of each channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerChannel<'a>(&'a Preprocess);

impl PerChannel<'_> {
    /// Those of one channel, which exists.
    pub(crate) fn of(self, channel: usize) -> Normalize {
        // Subtracting 0 and dividing by 1 change no value, so keys left out need no case of their own.
        let of = |values: &[f32], none: f32| match values {
            [] => none,
            [all] => *all,
            each => each[channel],
        };
        Normalize { scale: self.0.scale, mean: of(&self.0.mean, 0.0), std: of(&self.0.std, 1.0) }
    }
}

fn check_count(key: &'static str, found: usize, channels: usize) -> Result<(), ConfigError> {
    match found <= 1 || found == channels {
        true => Ok(()),
        false => Err(ConfigError::ChannelCount { key, found, channels }),
    }
}

/// What is done to every value of one channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normalize {
    scale: f32,
    mean: f32,
    std: f32,
}

impl Normalize {
    pub(crate) fn apply(self, value: f32) -> f32 {
        (value / self.scale - self.mean) / self.std
    }
}

/// `(x - mean) / std` for each channel, in `f32`, each of the two operations rounded once: the second half of
/// [`Preprocess`], to the bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalization {
    /// From a mean and a deviation for each channel.
    ///
    /// # Errors
    /// [`ConfigError`], if a value is not finite, a deviation is not above 0, or there are not as many of both.
    pub fn new(mean: Vec<f32>, std: Vec<f32>) -> Result<Normalization, ConfigError> {
        let channels = mean.len();
        if std.len() != channels {
            return Err(ConfigError::ChannelCount { key: "preprocess.std", found: std.len(), channels });
        }
        Preprocess { mean, std, ..Preprocess::default() }.normalization(channels)
    }

    /// The mean of each channel.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The deviation of each channel, above 0.
    pub fn std(&self) -> &[f32] {
        &self.std
    }

    /// Changes images in place, one after another in NCHW order, each of `image_len` values.
    ///
    /// # Panics
    /// If `image_len` is no multiple of the number of channels, or 0.
    pub fn apply(&self, images: &mut [f32], image_len: usize) {
        assert!(image_len > 0 && image_len.is_multiple_of(self.mean.len()), "{image_len} values in an image");
        let pixels = image_len / self.mean.len();
        for image in images.chunks_mut(image_len) {
            for ((plane, &mean), &std) in image.chunks_mut(pixels).zip(&self.mean).zip(&self.std) {
                plane.iter_mut().for_each(|value| *value = (*value - mean) / std);
            }
        }
    }
}
