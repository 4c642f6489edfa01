//! The section `[data]` of a campaign.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::preprocess::Preprocess;

/// The kind of the data files. `Display`, [`FromStr`] and serde use the lower-case name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DataFormat {
    /// IDX files of unsigned bytes, one of images and one of labels, plain or gzip (told by their content).
    Idx,
    /// NumPy arrays in zip archives.
    Npz,
    /// NumPy arrays, one file of images and one of labels, plain or gzip (told by their content).
    Npy,
}

/// Every name that a configuration may hold; those without a format are known but cannot be read yet.
const NAMES: [(&str, Option<DataFormat>); 7] = [
    ("idx", Some(DataFormat::Idx)),
    ("npz", Some(DataFormat::Npz)),
    ("npy", Some(DataFormat::Npy)),
    ("image-folder", None),
    ("cifar-binary", None),
    ("hdf5", None),
    ("safetensors", None),
];

/// The names of the formats that can be read, for messages.
pub(crate) fn supported_names() -> String {
    let names = NAMES.iter().filter(|(_, format)| format.is_some()).map(|(name, _)| *name);
    names.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for DataFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = NAMES.iter().filter(|(_, format)| format.as_ref() == Some(self));
        names.try_for_each(|(name, _)| f.pad(name))
    }
}

impl FromStr for DataFormat {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<DataFormat, ConfigError> {
        match NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, Some(format))) => Ok(*format),
            Some((_, None)) => Err(ConfigError::UnsupportedFormat { name: name.to_owned() }),
            None => Err(ConfigError::UnknownFormat { name: name.to_owned() }),
        }
    }
}

impl TryFrom<String> for DataFormat {
    type Error = ConfigError;

    fn try_from(name: String) -> Result<DataFormat, ConfigError> {
        name.parse()
    }
}

impl From<DataFormat> for String {
    fn from(format: DataFormat) -> String {
        format.to_string()
    }
}

/// Which images and labels to load, and how to preprocess them: the section `[data]` of a campaign file.
///
/// Unknown keys are refused. Paths are relative to the folder given to [`load`](crate::load).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The kind of the files.
    pub format: DataFormat,
    /// The file that holds the images. Arrays of 4 dimensions are `[N, C, H, W]` or, by `preprocess.layout`,
    /// `[N, H, W, C]`; 3 dimensions are grey images `[N, H, W]`; 2 dimensions are plain features `[N, F]`.
    pub images: PathBuf,
    /// The file that holds the labels, whole numbers from 0: an array `[N]` or `[N, 1]`. Required, but for npz, where
    /// the labels are looked for beside the images by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// The name of the images in an npz file; default `images`.
    #[serde(default = "default_images_key")]
    pub images_key: String,
    /// The name of the labels in an npz file; default `labels`.
    #[serde(default = "default_labels_key")]
    pub labels_key: String,
    /// Use the first so many images alone, at least 1 and at most as many as there are; default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What is done to the stored values; by default nothing.
    #[serde(default)]
    pub preprocess: Preprocess,
}

fn default_images_key() -> String {
    "images".to_owned()
}

fn default_labels_key() -> String {
    "labels".to_owned()
}

impl DataConfig {
    /// A configuration with every other key at its default.
    pub fn new(format: DataFormat, images: impl Into<PathBuf>, labels: Option<PathBuf>) -> DataConfig {
        DataConfig {
            format,
            images: images.into(),
            labels,
            images_key: default_images_key(),
            labels_key: default_labels_key(),
            limit: None,
            preprocess: Preprocess::default(),
        }
    }

    /// Checks everything that needs no file; [`load`](crate::load) does it first.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.labels_path()?;
        self.validate_images()
    }

    /// The same for images without labels; [`load_images`](crate::load_images) does it first.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key.
    pub fn validate_images(&self) -> Result<(), ConfigError> {
        if self.limit == Some(0) {
            return Err(ConfigError::ZeroLimit);
        }
        if self.format != DataFormat::Npz {
            self.refuse_npz_key("images_key", &self.images_key, &default_images_key())?;
            self.refuse_npz_key("labels_key", &self.labels_key, &default_labels_key())?;
        }
        self.preprocess.validate()
    }

    /// A key that would be ignored is a mistake somewhere.
    fn refuse_npz_key(&self, key: &'static str, value: &str, default: &str) -> Result<(), ConfigError> {
        match value == default {
            true => Ok(()),
            false => Err(ConfigError::KeyNotUsed { key, format: self.format }),
        }
    }

    /// The file of the labels, as written.
    pub(crate) fn labels_path(&self) -> Result<&Path, ConfigError> {
        match (&self.labels, self.format) {
            (Some(path), _) => Ok(path),
            (None, DataFormat::Npz) => Ok(&self.images),
            (None, format) => Err(ConfigError::MissingLabels { format }),
        }
    }
}

/// The files that a configuration reads, images first, each once, relative paths joined to `base`. Their bytes
/// decide the results of a campaign, so its id covers them. Whether they exist is not looked at.
pub fn source_files(config: &DataConfig, base: &Path) -> Vec<PathBuf> {
    let mut files = vec![base.join(&config.images)];
    files.extend(config.labels.as_ref().map(|labels| base.join(labels)));
    files.dedup();
    files
}
