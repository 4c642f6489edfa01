//! What can go wrong, with the place and the values.

use std::fmt;
use std::io;
use std::path::PathBuf;

use bitquake_tensors::npy::HeaderError;
use bitquake_tensors::{FileKind, TensorsError};
use thiserror::Error;

use crate::augment::AugmentError;
use crate::batches::BatchError;
use crate::config::{DataFormat, format_names};
use crate::image_folder::MAX_SIDE;
use crate::split::{PartName, SplitError};

/// A file, or a member of an archive. Shown as `data.npz` or `data.npz[images]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The name of the array within an npz file.
    pub member: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.member.iter().try_for_each(|member| write!(f, "[{member}]"))
    }
}

/// A key of `[data]` that is wrong, whatever the files hold.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ConfigError {
    /// A data format that nobody knows.
    #[error("unknown data format `{name}`; supported: {}", format_names())]
    UnknownFormat {
        /// The name.
        name: String,
    },
    /// No file of labels.
    #[error("data.labels is missing; format {format} needs a file of labels")]
    MissingLabels {
        /// The data format.
        format: DataFormat,
    },
    /// A key that would have no effect.
    #[error("data.{key} has no meaning for format {format}")]
    KeyNotUsed {
        /// The key.
        key: &'static str,
        /// The data format.
        format: DataFormat,
    },
    /// A kind of CIFAR labels that does not exist.
    #[error(
        "data.labels_key is `{value}`; of format cifar-binary it is `labels` (CIFAR-10), or `fine` or `coarse` (CIFAR-100)"
    )]
    CifarLabels {
        /// The value.
        value: String,
    },
    /// A size that no image has.
    #[error("data.resize is {size:?}; it is [height, width], each from 1 to {MAX_SIDE}")]
    Resize {
        /// Height and width.
        size: [u32; 2],
    },
    /// A number of channels that image files do not have.
    #[error("data.channels is {channels}; it must be 1 (grey) or 3 (RGB)")]
    Channels {
        /// The number.
        channels: u32,
    },
    /// A limit that leaves nothing.
    #[error("data.limit is 0; it must be at least 1")]
    ZeroLimit,
    /// A limit beyond the data.
    #[error("data.limit is {limit}, but {place} holds only {available} images{}", after(*.skip))]
    LimitTooLarge {
        /// The limit asked for.
        limit: u64,
        /// The images that are skipped before.
        skip: u64,
        /// The number of images.
        available: u64,
        /// Where the images are.
        place: Place,
    },
    /// Skipping that leaves nothing.
    #[error("data.skip is {skip}, but {place} holds only {available} images")]
    SkipTooLarge {
        /// The images to skip.
        skip: u64,
        /// The number of images.
        available: u64,
        /// Where the images are.
        place: Place,
    },
    /// A divisor that is 0, infinite or NaN.
    #[error("data.preprocess.scale is {value}; it must be finite and not 0")]
    Scale {
        /// The divisor.
        value: f32,
    },
    /// A mean that is infinite or NaN.
    #[error("data.preprocess.mean[{index}] is {value}; it must be finite")]
    Mean {
        /// The place in the list, from 0.
        index: usize,
        /// The mean.
        value: f32,
    },
    /// A standard deviation that is no positive finite number.
    #[error("data.preprocess.std[{index}] is {value}; it must be finite and above 0")]
    Std {
        /// The place in the list, from 0.
        index: usize,
        /// The standard deviation.
        value: f32,
    },
    /// A list that is neither for all channels nor for each.
    #[error(
        "data.{key} has {found} values, but the images have {channels} channel(s); give one value, one a channel, or none"
    )]
    ChannelCount {
        /// The key.
        key: &'static str,
        /// The number of values.
        found: usize,
        /// The number of channels.
        channels: usize,
    },
}

/// Data that cannot be loaded.
#[derive(Debug, Error)]
pub enum DataError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that does not open.
    #[error("cannot open {}", .file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file that opens but fails while it is read, or whose compressed data is damaged.
    #[error("cannot read {place}")]
    Read {
        /// Where.
        place: Place,
        /// The reason.
        source: io::Error,
    },
    /// A file that is no zip archive, or one that needs something unsupported.
    #[error("{} is no npz file that can be read (a zip archive, stored or deflated)", .file.display())]
    Archive {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// An archive without the array asked for.
    #[error("{} has no array `{member}`; it has: {}", .file.display(), .members.join(", "))]
    MissingMember {
        /// The file.
        file: PathBuf,
        /// The array asked for.
        member: String,
        /// The members of the archive, at most 32 of them.
        members: Vec<String>,
    },
    /// An IDX file that is none, or that is of another kind.
    #[error("{place} starts with 0x{found:08x}, which is not the mark of IDX {what}: {}", hex_list(.wanted))]
    Magic {
        /// The file.
        place: Place,
        /// The first four bytes, big-endian.
        found: u32,
        /// What was looked for.
        what: &'static str,
        /// The marks accepted.
        wanted: &'static [u32],
    },
    /// An IDX file that ends within its header.
    #[error("{place} is cut short: {actual} bytes are there, and this part of an IDX header has {expected}")]
    NoIdxHeader {
        /// The file.
        place: Place,
        /// The number of bytes of the mark, or of the dimensions after it.
        expected: u64,
        /// The number of those bytes that are there.
        actual: u64,
    },
    /// An npy header that cannot be understood.
    #[error("{place} has no valid npy header: {problem}")]
    Header {
        /// Where.
        place: Place,
        /// What is wrong with it.
        problem: HeaderError,
    },
    /// An npy array of an element type that is not supported here.
    #[error("{place} has elements of type `{found}`; {wanted}")]
    ElementType {
        /// Where.
        place: Place,
        /// NumPy's name of the type.
        found: String,
        /// The types supported.
        wanted: &'static str,
    },
    /// An array of the wrong number of dimensions.
    #[error("{place} has shape {shape:?}, but {wanted}")]
    Dimensions {
        /// Where.
        place: Place,
        /// The shape.
        shape: Vec<u64>,
        /// What is needed.
        wanted: &'static str,
    },
    /// An array without elements.
    #[error("{place} has shape {shape:?}: it is empty")]
    Empty {
        /// Where.
        place: Place,
        /// The shape.
        shape: Vec<u64>,
    },
    /// A shape that no computer could hold.
    #[error("{place} declares shape {shape:?}, which is too large to be real")]
    TooLarge {
        /// Where.
        place: Place,
        /// The shape.
        shape: Vec<u64>,
    },
    /// Data that ends too early.
    #[error("{place} is cut short: its header declares {expected} bytes of data, and {actual} are there")]
    Truncated {
        /// Where.
        place: Place,
        /// The number of bytes that should follow.
        expected: u64,
        /// The number of bytes that do.
        actual: u64,
    },
    /// Data that goes on after its end. Reading stops there, so `actual` is a lower bound.
    #[error(
        "{place} is too long: its header declares {expected} bytes of data, and at least {actual} are there"
    )]
    Excess {
        /// Where.
        place: Place,
        /// The number of bytes that should follow.
        expected: u64,
        /// The number of bytes that do, at least.
        actual: u64,
    },
    /// As many labels as images there are not.
    #[error("{images_place} has {images} images, but {labels_place} has {labels} labels")]
    CountMismatch {
        /// Where the images are.
        images_place: Place,
        /// The number of images.
        images: u64,
        /// Where the labels are.
        labels_place: Place,
        /// The number of labels.
        labels: u64,
    },
    /// A label that is negative or larger than a `u32`.
    #[error("{place} has label {label} at index {index}; labels run from 0 to {}", u32::MAX)]
    BadLabel {
        /// Where.
        place: Place,
        /// The position in the array, from 0.
        index: u64,
        /// The label.
        label: i128,
    },
    /// A label that the model has no class for.
    #[error("image {index} has label {label}, but there are {classes} classes, 0 to {}", .classes.saturating_sub(1))]
    LabelOutOfBounds {
        /// The image, from 0.
        index: usize,
        /// Its label.
        label: u32,
        /// The number of classes.
        classes: u64,
    },
    /// Values that do not make as many images as there are labels.
    #[error("{values} values do not make {labels} images of shape {image_shape:?}")]
    ShapeMismatch {
        /// The number of values.
        values: usize,
        /// The shape of one image.
        image_shape: Vec<usize>,
        /// The number of labels.
        labels: usize,
    },
    /// A file of records that ends within one.
    #[error("{place} is cut short: record {record} has {expected} bytes, and {actual} are there")]
    PartialRecord {
        /// Where.
        place: Place,
        /// The record, from 0.
        record: u64,
        /// The bytes of a record.
        expected: usize,
        /// Those of it that are there.
        actual: usize,
    },
    /// A label that the data set does not have; the records are perhaps of another kind.
    #[error("{place} has label {label} in record {record}; {kind} has labels from 0 to {}", .classes - 1)]
    CifarLabel {
        /// Where.
        place: Place,
        /// The record, from 0.
        record: u64,
        /// The label.
        label: u8,
        /// The labels looked for.
        kind: &'static str,
        /// The number of classes.
        classes: u8,
    },
    /// A file without any records.
    #[error("{place} is empty")]
    NoRecords {
        /// Where.
        place: Place,
    },
    /// A tensor file that cannot be read.
    #[error(transparent)]
    Tensors(#[from] TensorsError),
    /// A tensor file of another kind than the format says.
    #[error("{} is a file of kind {found}, and data.format is {wanted}", .file.display())]
    FileKind {
        /// The file.
        file: PathBuf,
        /// What it is.
        found: FileKind,
        /// What it should be.
        wanted: DataFormat,
    },
    /// Something in an image folder that should not be there, or is missing.
    #[error("{}: {problem}", .file.display())]
    Folder {
        /// The folder, or what is in it.
        file: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// An image file that cannot be decoded, or is too large.
    #[error("{} is no PNG or JPEG image that can be read", .file.display())]
    Image {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An image of a kind of pixels that is not read.
    #[error("{} has pixels of kind {found}; images are grey or RGB, 8 bits a channel, without transparency", .file.display())]
    Pixels {
        /// The file.
        file: PathBuf,
        /// The kind.
        found: String,
    },
    /// Images that are not alike.
    #[error(
        "{} is {found:?} (height, width, channels), but {} is {wanted:?}; data.resize and data.channels make them alike",
        .file.display(), .first.display()
    )]
    ImageShape {
        /// The file.
        file: PathBuf,
        /// Its height, width and number of channels.
        found: [usize; 3],
        /// The first file.
        first: PathBuf,
        /// Those of the first file.
        wanted: [usize; 3],
    },
    /// Parts that cannot be made.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// Batches that cannot be made.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Augmentation that cannot be done.
    #[error("augment: {0}")]
    Augment(#[from] AugmentError),
    /// Parts whose images do not fit one network.
    #[error("the images for {part} have shape {shape:?}, but those for training {training:?}")]
    PartShape {
        /// The part.
        part: PartName,
        /// The shape of its images.
        shape: Vec<usize>,
        /// The shape of the images for training.
        training: Vec<usize>,
    },
    /// A part without images.
    #[error("no images are selected")]
    NoRows,
    /// A row that does not exist.
    #[error("image {row} is selected, but there are {rows}")]
    RowOutOfBounds {
        /// The row, from 0.
        row: usize,
        /// The number of rows.
        rows: usize,
    },
    /// A value that has no mean.
    #[error("image {row} has the value {value}, which has no mean")]
    NotFinite {
        /// The image.
        row: usize,
        /// The value: NaN or an infinity.
        value: f32,
    },
    /// A channel that no factor spreads.
    #[error("channel {channel} is {value} in every pixel, so it cannot be whitened")]
    ConstantChannel {
        /// The channel.
        channel: usize,
        /// Its only value.
        value: f64,
    },
}

impl DataError {
    /// Whether the configuration is at fault (exit code 2), and not a file (exit code 3).
    pub fn is_configuration(&self) -> bool {
        use DataError::{Augment, Batch, Config, Split};
        matches!(self, Config(_) | Split(_) | Batch(_) | Augment(_))
    }
}

fn after(skip: u64) -> String {
    if skip == 0 { String::new() } else { format!(", and the first {skip} are skipped") }
}

fn hex_list(marks: &[u32]) -> String {
    marks.iter().map(|mark| format!("0x{mark:08x}")).collect::<Vec<_>>().join(" or ")
}
