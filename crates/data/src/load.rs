//! From a configuration to a data set.

use std::path::Path;

use bitquake_tensors::FileKind;

use crate::array::Array;
use crate::config::{DataConfig, DataFormat};
use crate::dataset::Dataset;
use crate::error::{ConfigError, DataError, Place};
use crate::image_folder::{self, Listing};
use crate::images::{self, Images};
use crate::{cifar, idx, labels, npy, npz, open, tensor_file};

/// One of the two arrays that make a data set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Images,
    Labels,
}

/// Loads and preprocesses the images and the labels that a configuration names; relative paths start at `base`, the
/// folder of the configuration file.
///
/// All data is read and checked even if `limit` keeps less of it, but for the images of a folder. Besides the images
/// kept, and those skipped before them, no more memory is used than for one stored image (the whole stored array, if it is in Fortran order).
///
/// # Errors
/// [`DataError`]: a wrong key ([`DataError::is_configuration`]), or a file that is missing, damaged, of another kind,
/// or that does not fit the other one.
pub fn load(config: &DataConfig, base: &Path) -> Result<Dataset, DataError> {
    config.validate()?;
    match config.format {
        DataFormat::CifarBinary => load_cifar(config, base),
        DataFormat::ImageFolder => load_folder(config, base),
        _ => load_arrays(config, base),
    }
}

fn load_cifar(config: &DataConfig, base: &Path) -> Result<Dataset, DataError> {
    let (images, labels) = cifar::read(config, base)?;
    let place = Place { file: base.join(&config.images), member: None };
    dataset(images, labels, config, &place)
}

fn load_folder(config: &DataConfig, base: &Path) -> Result<Dataset, DataError> {
    let place = Place { file: base.join(&config.images), member: None };
    let listing = Listing::new(&place.file)?;
    let labels: Vec<u32> = listing.files().map(|(_, class)| class).collect();
    let keep = kept(config, labels.len() as u64, &place)?;
    let images = image_folder::read(config, &listing, keep as usize)?;
    dataset(images, labels, config, &place)
}

fn load_arrays(config: &DataConfig, base: &Path) -> Result<Dataset, DataError> {
    let (labels_place, labels) =
        with_array(config, base, Part::Labels, |array| Ok((array.place.clone(), labels::read(array)?)))?;
    let available = labels.len() as u64;
    let (images, place) = with_array(config, base, Part::Images, |array| {
        check_count(&array, &labels_place, available)?;
        let keep = kept(config, available, &array.place)?;
        let place = array.place.clone();
        Ok((images::read(array, keep, &config.preprocess)?, place))
    })?;
    dataset(images, labels, config, &place)
}

/// Images up to the last one that is kept, with their labels; those that the configuration skips are taken away.
fn dataset(
    mut images: Images,
    mut labels: Vec<u32>,
    config: &DataConfig,
    place: &Place,
) -> Result<Dataset, DataError> {
    labels.truncate(kept(config, labels.len() as u64, place)? as usize);
    labels.drain(..config.skip as usize);
    images.skip(config.skip as usize);
    Dataset::new(images.values, images.image_shape, labels)
}

/// The same without the mean and the deviation of `preprocess`, which
/// [`Preprocess::normalization`](crate::Preprocess::normalization) gives for later: augmentation comes before them.
///
/// # Errors
/// As [`load`].
pub fn load_scaled(config: &DataConfig, base: &Path) -> Result<Dataset, DataError> {
    config.validate()?;
    let preprocess = config.preprocess.scale_alone();
    let data = load(&DataConfig { preprocess, ..config.clone() }, base)?;
    config.preprocess.normalization(data.channels())?;
    Ok(data)
}

/// Loads and preprocesses the images alone, for models that are judged without labels: all labels are 0. What the
/// configuration says of labels is not looked at; the labels that lie between images (CIFAR records, the classes of a
/// folder) are checked and dropped.
///
/// # Errors
/// As [`load`].
pub fn load_images(config: &DataConfig, base: &Path) -> Result<Dataset, DataError> {
    config.validate_images()?;
    if matches!(config.format, DataFormat::CifarBinary | DataFormat::ImageFolder) {
        return Ok(load(&DataConfig { labels: None, ..config.clone() }, base)?.without_labels());
    }
    let images = with_array(config, base, Part::Images, |array| {
        let available = array.header.shape.first().copied().unwrap_or(0);
        let keep = kept(config, available, &array.place)?;
        Ok((images::read(array, keep, &config.preprocess)?, keep))
    });
    let (mut images, end) = images?;
    images.skip(config.skip as usize);
    Dataset::new(images.values, images.image_shape, vec![0; (end - config.skip) as usize])
}

/// The number of images is the first dimension, whatever the others are.
fn check_count(array: &Array<'_>, labels_place: &Place, labels: u64) -> Result<(), DataError> {
    match array.header.shape.first() {
        Some(&images) if images != labels => Err(DataError::CountMismatch {
            images_place: array.place.clone(),
            images,
            labels_place: labels_place.clone(),
            labels,
        }),
        _ => Ok(()),
    }
}

/// How many images lie before the end of what `skip` and `limit` keep.
fn kept(config: &DataConfig, available: u64, place: &Place) -> Result<u64, ConfigError> {
    let skip = config.skip;
    if skip > 0 && skip >= available {
        return Err(ConfigError::SkipTooLarge { skip, available, place: place.clone() });
    }
    match config.limit {
        None => Ok(available),
        Some(limit) if limit > available - skip => {
            Err(ConfigError::LimitTooLarge { limit, skip, available, place: place.clone() })
        }
        Some(limit) => Ok(skip + limit),
    }
}

/// Opens one of the arrays, reads its header, and hands it over.
fn with_array<T>(
    config: &DataConfig,
    base: &Path,
    part: Part,
    take: impl FnOnce(Array<'_>) -> Result<T, DataError>,
) -> Result<T, DataError> {
    let file = base.join(if part == Part::Images { &config.images } else { config.labels_path() });
    let (key, wanted) = match part {
        Part::Images => (&config.images_key, images::WANTED),
        Part::Labels => (&config.labels_key, labels::WANTED),
    };
    match config.format {
        DataFormat::Idx => {
            let place = Place { file, member: None };
            let expected = match part {
                Part::Images => idx::IMAGES,
                Part::Labels => idx::LABELS,
            };
            take(idx::open(place.clone(), &mut open::decoded(&place)?, &expected)?)
        }
        DataFormat::Npy => {
            let place = Place { file, member: None };
            take(npy::open(place.clone(), &mut open::decoded(&place)?, wanted)?)
        }
        DataFormat::Npz => {
            let mut archive = npz::open(&file)?;
            let mut member = npz::member(&mut archive, &file, key)?;
            take(npy::open(Place { file, member: Some(key.clone()) }, &mut member, wanted)?)
        }
        DataFormat::Hdf5 => {
            let tensors = tensor_file::open(&file, config.format, FileKind::Hdf5)?;
            tensor_file::with_array(&tensors, key, wanted, take)
        }
        DataFormat::Safetensors => {
            let tensors = tensor_file::open(&file, config.format, FileKind::Safetensors)?;
            tensor_file::with_array(&tensors, key, wanted, take)
        }
        DataFormat::CifarBinary | DataFormat::ImageFolder => {
            unreachable!("{} holds no arrays", config.format)
        }
    }
}
