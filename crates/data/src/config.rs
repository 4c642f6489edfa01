//! The section `[data]` of a campaign.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cifar;
use crate::error::ConfigError;
use crate::image_folder::MAX_SIDE;
use crate::preprocess::{Layout, Preprocess};

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
    /// The records of CIFAR-10 and CIFAR-100, plain or gzip: a label, or a coarse and a fine one, and 3 x 32 x 32
    /// bytes.
    CifarBinary,
    /// A folder with one folder of PNG and JPEG files for each class, numbered by name.
    ImageFolder,
    /// Datasets in HDF5 files.
    Hdf5,
    /// Tensors in safetensors files.
    Safetensors,
}

/// Where labels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Labels {
    /// In a file of their own, which must be named.
    Apart,
    /// Beside the images, unless another file is named.
    Beside,
    /// With each image: no file can be named.
    Within,
}

/// What is to know about a format.
struct Record {
    format: DataFormat,
    name: &'static str,
    labels: Labels,
    /// The optional keys that mean something.
    keys: &'static [&'static str],
}

/// The keys of formats whose files hold arrays by name.
const NAMED_ARRAYS: &[&str] = &["images_key", "labels_key", "preprocess.layout"];

const FORMATS: [Record; 7] = [
    Record { format: DataFormat::Idx, name: "idx", labels: Labels::Apart, keys: &["preprocess.layout"] },
    Record { format: DataFormat::Npz, name: "npz", labels: Labels::Beside, keys: NAMED_ARRAYS },
    Record { format: DataFormat::Npy, name: "npy", labels: Labels::Apart, keys: &["preprocess.layout"] },
    Record {
        format: DataFormat::CifarBinary,
        name: "cifar-binary",
        labels: Labels::Within,
        keys: &["labels_key", "more"],
    },
    Record {
        format: DataFormat::ImageFolder,
        name: "image-folder",
        labels: Labels::Within,
        keys: &["resize", "channels"],
    },
    Record { format: DataFormat::Hdf5, name: "hdf5", labels: Labels::Beside, keys: NAMED_ARRAYS },
    Record {
        format: DataFormat::Safetensors,
        name: "safetensors",
        labels: Labels::Beside,
        keys: NAMED_ARRAYS,
    },
];

/// The names of the formats, for messages.
pub(crate) fn format_names() -> String {
    FORMATS.map(|record| record.name).join(", ")
}

impl DataFormat {
    /// All formats.
    pub fn all() -> impl Iterator<Item = DataFormat> {
        FORMATS.iter().map(|record| record.format)
    }

    fn record(self) -> &'static Record {
        // Variants and records are in the same order; a test compares them.
        &FORMATS[self as usize]
    }
}

impl fmt::Display for DataFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.record().name)
    }
}

impl FromStr for DataFormat {
    type Err = ConfigError;

    fn from_str(name: &str) -> Result<DataFormat, ConfigError> {
        match FORMATS.iter().find(|record| record.name == name) {
            Some(record) => Ok(record.format),
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
    /// The file that holds the images, or the folder of an image folder. Arrays of 4 dimensions are `[N, C, H, W]`
    /// or, by `preprocess.layout`, `[N, H, W, C]`; 3 dimensions are grey images `[N, H, W]`; 2 dimensions are plain
    /// features `[N, F]`.
    pub images: PathBuf,
    /// Further files of CIFAR records, read after the first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<PathBuf>,
    /// The file that holds the labels, whole numbers from 0: an array `[N]` or `[N, 1]`. Required for idx and npy;
    /// for npz, hdf5 and safetensors the labels are looked for beside the images by default; cifar-binary and
    /// image-folder have them with each image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<PathBuf>,
    /// The name of the images in a file of named arrays (npz, hdf5, safetensors); default `images`.
    #[serde(default = "default_images_key")]
    pub images_key: String,
    /// The name of the labels in a file of named arrays; default `labels`. Of CIFAR records: `labels` for those of
    /// CIFAR-10, `fine` or `coarse` for those of CIFAR-100.
    #[serde(default = "default_labels_key")]
    pub labels_key: String,
    /// The height and width that the images of a folder are brought to, whatever theirs are; by default all must be
    /// alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<[u32; 2]>,
    /// The channels that the images of a folder are brought to, 1 (grey) or 3 (RGB); by default all must be alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u32>,
    /// Leave out the first so many images; default none. They take memory while the others are read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skip: u64,
    /// Use so many images alone, the first ones that are not skipped, at least 1 and at most as many as there are; default all.
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl DataConfig {
    /// A configuration with every other key at its default.
    pub fn new(format: DataFormat, images: impl Into<PathBuf>, labels: Option<PathBuf>) -> DataConfig {
        DataConfig {
            format,
            images: images.into(),
            more: Vec::new(),
            labels,
            images_key: default_images_key(),
            labels_key: default_labels_key(),
            resize: None,
            channels: None,
            skip: 0,
            limit: None,
            preprocess: Preprocess::default(),
        }
    }

    /// Checks everything that needs no file; [`load`](crate::load) does it first.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match (self.format.record().labels, &self.labels) {
            (Labels::Apart, None) => Err(ConfigError::MissingLabels { format: self.format }),
            (Labels::Within, Some(_)) => Err(ConfigError::KeyNotUsed { key: "labels", format: self.format }),
            _ => self.validate_images(),
        }
    }

    /// The same for images without labels; [`load_images`](crate::load_images) does it first.
    ///
    /// # Errors
    /// [`ConfigError`], which names the key.
    pub fn validate_images(&self) -> Result<(), ConfigError> {
        if self.limit == Some(0) {
            return Err(ConfigError::ZeroLimit);
        }
        self.refuse_unused_keys()?;
        if self.format == DataFormat::CifarBinary {
            cifar::Kind::of(&self.labels_key)?;
        }
        if let Some(size) = self.resize.filter(|size| size.iter().any(|side| !(1..=MAX_SIDE).contains(side)))
        {
            return Err(ConfigError::Resize { size });
        }
        if let Some(channels) = self.channels.filter(|channels| !matches!(channels, 1 | 3)) {
            return Err(ConfigError::Channels { channels });
        }
        self.preprocess.validate()
    }

    /// A key that would be ignored is a mistake somewhere.
    fn refuse_unused_keys(&self) -> Result<(), ConfigError> {
        let given = [
            ("images_key", self.images_key != default_images_key()),
            ("labels_key", self.labels_key != default_labels_key()),
            ("more", !self.more.is_empty()),
            ("resize", self.resize.is_some()),
            ("channels", self.channels.is_some()),
            ("preprocess.layout", self.preprocess.layout != Layout::default()),
        ];
        let keys = self.format.record().keys;
        match given.into_iter().find(|(key, is_given)| *is_given && !keys.contains(key)) {
            Some((key, _)) => Err(ConfigError::KeyNotUsed { key, format: self.format }),
            None => Ok(()),
        }
    }

    /// The file of the labels, as written; that of the images, if none is named.
    pub(crate) fn labels_path(&self) -> &Path {
        self.labels.as_ref().unwrap_or(&self.images)
    }

    /// The files of the images, the first one first; relative paths joined to `base`.
    pub(crate) fn image_files(&self, base: &Path) -> Vec<PathBuf> {
        std::iter::once(&self.images).chain(&self.more).map(|file| base.join(file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_finds_its_record() {
        for format in DataFormat::all() {
            assert_eq!(format.record().format, format);
            assert_eq!(format.to_string().parse(), Ok(format));
        }
    }
}
