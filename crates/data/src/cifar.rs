//! The binary files of CIFAR-10 and CIFAR-100: records of labels and an image, and nothing else.
//!
//! A record of CIFAR-10 is a label, 0 to 9, and 3072 bytes: 32 x 32 reds, then greens, then blues, row by row. A
//! record of CIFAR-100 has two labels before the image, the coarse one (0 to 19) and the fine one (0 to 99).

use std::io::Read;
use std::path::Path;

use crate::array::fill;
use crate::config::DataConfig;
use crate::error::{ConfigError, DataError, Place};
use crate::images::{Geometry, Images};
use crate::open;

/// The shape of an image.
const SHAPE: [u64; 3] = [3, 32, 32];
/// Its bytes.
const IMAGE: usize = 3 * 32 * 32;

/// Which labels are read from which records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    name: &'static str,
    /// Labels before each image.
    labels: usize,
    /// The one that is read.
    place: usize,
    classes: u8,
}

impl Kind {
    /// As the key `labels_key` names them.
    pub(crate) fn of(labels_key: &str) -> Result<Kind, ConfigError> {
        match labels_key {
            "labels" => Ok(Kind { name: "CIFAR-10", labels: 1, place: 0, classes: 10 }),
            "coarse" => Ok(Kind { name: "coarse CIFAR-100", labels: 2, place: 0, classes: 20 }),
            "fine" => Ok(Kind { name: "fine CIFAR-100", labels: 2, place: 1, classes: 100 }),
            _ => Err(ConfigError::CifarLabels { value: labels_key.to_owned() }),
        }
    }

    /// The bytes of a record.
    fn record(self) -> usize {
        self.labels + IMAGE
    }
}

/// All records of all files; images behind `skip` and `limit` are checked and not kept.
pub(crate) fn read(config: &DataConfig, base: &Path) -> Result<(Images, Vec<u32>), DataError> {
    let kind = Kind::of(&config.labels_key)?;
    let end = config.limit.map_or(u64::MAX, |limit| config.skip.saturating_add(limit));
    let (mut values, mut labels, mut shape) = (Vec::new(), Vec::new(), Vec::new());
    for file in config.image_files(base) {
        let place = Place { file, member: None };
        let geometry = Geometry::new(&place, &[1, SHAPE[0], SHAPE[1], SHAPE[2]], config.preprocess.layout)?;
        let normalize = config.preprocess.per_channel(SHAPE[0] as usize)?;
        let mut stored = Vec::with_capacity(IMAGE);
        each_record(&place, kind, |label, image| {
            if (labels.len() as u64) < end {
                stored.clear();
                stored.extend(image.iter().map(|&byte| f32::from(byte)));
                geometry.append(&stored, normalize, &mut values);
            }
            labels.push(u32::from(label));
        })?;
        shape = geometry.image_shape;
    }
    values.shrink_to_fit();
    Ok((Images { values, image_shape: shape }, labels))
}

/// Reads a file to its end, of which there is at least one record.
fn each_record(place: &Place, kind: Kind, mut take: impl FnMut(u8, &[u8])) -> Result<(), DataError> {
    let mut reader = open::decoded(place)?;
    let mut bytes = Vec::with_capacity(kind.record());
    for record in 0.. {
        next_record(&mut *reader, place, kind.record(), &mut bytes)?;
        match bytes.len() {
            0 if record == 0 => return Err(DataError::NoRecords { place: place.clone() }),
            0 => break,
            actual if actual < kind.record() => {
                let (place, expected) = (place.clone(), kind.record());
                return Err(DataError::PartialRecord { place, record, expected, actual });
            }
            _ => {}
        }
        let (labels, image) = bytes.split_at(kind.labels);
        let label = labels[kind.place];
        if label >= kind.classes {
            let Kind { name, classes, .. } = kind;
            return Err(DataError::CifarLabel { place: place.clone(), record, label, kind: name, classes });
        }
        take(label, image);
    }
    Ok(())
}

fn next_record(
    reader: &mut dyn Read,
    place: &Place,
    size: usize,
    bytes: &mut Vec<u8>,
) -> Result<(), DataError> {
    bytes.clear();
    fill(reader, size as u64, bytes).map_err(|source| DataError::Read { place: place.clone(), source })
}
