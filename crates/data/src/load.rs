//! From a configuration to a data set.

use std::path::{Path, PathBuf};

use crate::array::Array;
use crate::config::{DataConfig, DataFormat};
use crate::dataset::Dataset;
use crate::error::{ConfigError, DataError, Place};
use crate::{idx, images, labels, npy, npz, open};

/// One of the two arrays that make a data set.
#[derive(Clone, Copy)]
enum Part {
    Images,
    Labels,
}

/// Loads and preprocesses the images and the labels that a configuration names; relative paths start at `base`, the
/// folder of the configuration file.
///
/// All data is read and checked even if `limit` keeps less of it. Besides the images kept, no more memory is used
/// than for one stored image (the whole stored array, if it is in Fortran order).
///
/// # Errors
/// [`DataError`]: a wrong key ([`DataError::is_configuration`]), or a file that is missing, damaged, of another kind,
/// or that does not fit the other one.
pub fn load(config: &DataConfig, base: &Path) -> Result<Dataset, DataError> {
    config.validate()?;
    let (labels_place, mut labels) =
        with_array(config, base, Part::Labels, |array| Ok((array.place.clone(), labels::read(array)?)))?;
    let available = labels.len() as u64;
    let images = with_array(config, base, Part::Images, |array| {
        check_count(&array, &labels_place, available)?;
        let keep = limited(config.limit, available, &array.place)?;
        images::read(array, keep, &config.preprocess)
    })?;
    labels.truncate(config.limit.map_or(usize::MAX, |limit| limit as usize));
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

/// Loads and preprocesses the images alone, for models that are judged without labels: all labels are 0. What the configuration
/// says of labels is not looked at.
///
/// # Errors
/// As [`load`].
pub fn load_images(config: &DataConfig, base: &Path) -> Result<Dataset, DataError> {
    config.validate_images()?;
    let images = with_array(config, base, Part::Images, |array| {
        let available = array.header.shape.first().copied().unwrap_or(0);
        let keep = limited(config.limit, available, &array.place)?;
        Ok((images::read(array, keep, &config.preprocess)?, keep))
    });
    let (images, count) = images?;
    Dataset::new(images.values, images.image_shape, vec![0; count as usize])
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

fn limited(limit: Option<u64>, available: u64, place: &Place) -> Result<u64, ConfigError> {
    match limit {
        None => Ok(available),
        Some(limit) if limit > available => {
            Err(ConfigError::LimitTooLarge { limit, available, place: place.clone() })
        }
        Some(limit) => Ok(limit),
    }
}

/// Opens one of the arrays, reads its header, and hands it over.
fn with_array<T>(
    config: &DataConfig,
    base: &Path,
    part: Part,
    take: impl FnOnce(Array<'_>) -> Result<T, DataError>,
) -> Result<T, DataError> {
    let file = path(config, base, part)?;
    let wanted = match part {
        Part::Images => images::WANTED,
        Part::Labels => labels::WANTED,
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
            let key = match part {
                Part::Images => &config.images_key,
                Part::Labels => &config.labels_key,
            };
            let mut archive = npz::open(&file)?;
            let mut member = npz::member(&mut archive, &file, key)?;
            take(npy::open(Place { file, member: Some(key.clone()) }, &mut member, wanted)?)
        }
    }
}

fn path(config: &DataConfig, base: &Path, part: Part) -> Result<PathBuf, ConfigError> {
    Ok(base.join(match part {
        Part::Images => &config.images,
        Part::Labels => config.labels_path()?,
    }))
}
