//! Labelled data sets, read and preprocessed for campaigns and for training.
//!
//! A [`DataConfig`] (the section `[data]` of a campaign file) names the files; [`load`] gives a [`Dataset`]: images as
//! `f32` in NCHW order, preprocessed, with their labels. [`DataFormat`] lists the files that are read.
//!
//! For training, [`Parts`] divides data into what is learnt from, what chooses checkpoints and what judges; a
//! [`Feed`] gives its batches in a random order, changed by an [`Augmentation`] and normalized. Every random choice
//! is keyed: parts by the seed, orders by (seed, epoch), changes of an image by (seed, epoch, row).
//!
//! Files are not trusted: memory grows with the bytes that really arrive, never with what a header declares, and data
//! that is shorter or longer than declared is an error.
//!
//! ```
//! use bitquake_data::{DataConfig, load, write_idx};
//!
//! let folder = tempfile::tempdir()?;
//! write_idx(&folder.path().join("images"), &[2, 1, 2], &[0, 51, 102, 255])?;
//! write_idx(&folder.path().join("labels"), &[2], &[7, 3])?;
//!
//! let config: DataConfig = toml::from_str(
//!     r#"
//!     format = "idx"
//!     images = "images"
//!     labels = "labels"
//!     preprocess = { scale = 255.0 }
//!     "#,
//! )?;
//! let data = load(&config, folder.path())?;
//! assert_eq!(data.image_shape(), [1, 1, 2]); // channels, height, width
//! assert_eq!(data.images(1..2), [0.4, 1.0]);
//! assert_eq!(data.labels(), [7, 3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod array;
mod augment;
mod batch;
mod batches;
mod cifar;
mod config;
mod dataset;
mod element;
mod error;
mod feed;
mod idx;
mod image_folder;
mod images;
mod labels;
mod load;
mod npy;
mod npz;
mod open;
mod parts;
mod preprocess;
mod shuffle;
mod source;
mod split;
mod statistics;
mod tensor_file;

pub use augment::{AugmentError, Augmentation, Fill, FillName, Policy, Step};
pub use batch::Batch;
pub use batches::{BatchError, Batches, LastBatch};
pub use config::{DataConfig, DataFormat};
pub use dataset::Dataset;
pub use error::{ConfigError, DataError, Place};
pub use feed::{Epoch, Feed};
pub use idx::write_idx;
pub use load::{load, load_images, load_scaled};
pub use parts::{Part, Parts};
pub use preprocess::{Layout, Normalization, Preprocess};
pub use source::{source_digests, source_files};
pub use split::{Amount, Held, PartName, Split, SplitConfig, SplitError};
pub use statistics::ChannelStatistics;
