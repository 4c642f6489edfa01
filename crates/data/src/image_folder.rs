//! A folder with one folder of image files for each class.

mod decode;
mod listing;

use std::path::Path;

use crate::config::DataConfig;
use crate::error::{DataError, Place};
use crate::images::{Geometry, Images};
use crate::preprocess::Layout;

pub(crate) use decode::MAX_SIDE;
pub(crate) use listing::Listing;

/// Decodes the first `keep` images, which must not be more than there are.
pub(crate) fn read(config: &DataConfig, listing: &Listing, keep: usize) -> Result<Images, DataError> {
    let (mut first, mut image_shape) = (None, Vec::new());
    let (mut values, mut stored) = (Vec::new(), Vec::new());
    for (file, _) in listing.files().take(keep) {
        let image = decode::read(file, config.resize, config.channels)?;
        let &mut (first, wanted) = first.get_or_insert((file, image.shape));
        if image.shape != wanted {
            let (file, first) = (file.clone(), first.clone());
            return Err(DataError::ImageShape { file, found: image.shape, first, wanted });
        }
        stored.clear();
        stored.extend(image.pixels.iter().map(|&byte| f32::from(byte)));
        let geometry = geometry(file, image.shape)?;
        geometry.append(&stored, config.preprocess.per_channel(image.shape[2])?, &mut values);
        image_shape = geometry.image_shape;
    }
    values.shrink_to_fit();
    Ok(Images { values, image_shape })
}

fn geometry(file: &Path, [height, width, channels]: [usize; 3]) -> Result<Geometry, DataError> {
    let place = Place { file: file.to_owned(), member: None };
    Geometry::new(&place, &[1, height as u64, width as u64, channels as u64], Layout::Nhwc)
}
