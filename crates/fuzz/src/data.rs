//! Data sets: the bytes as images, with labels that are right, and the other way round.

use bitquake_data::{DataConfig, DataFormat, load};

use crate::folder::{Folder, say};

/// Two images of 2 x 2 and their labels, as IDX and npy.
const GOOD: [(DataFormat, &[u8], &[u8]); 2] = [
    (
        DataFormat::Idx,
        b"\0\0\x08\x03\0\0\0\x02\0\0\0\x02\0\0\0\x02\x01\x02\x03\x04\x05\x06\x07\x08",
        b"\0\0\x08\x01\0\0\0\x02\x03\x07",
    ),
    (
        DataFormat::Npy,
        b"\x93NUMPY\x01\x00\x3a\x00{'descr':'|u1','fortran_order':False,'shape':(2,2,2)}    \n\x01\x02\x03\x04\x05\x06\x07\x08",
        b"\x93NUMPY\x01\x00\x38\x00{'descr':'|u1','fortran_order':False,'shape':(2,)}     \n\x03\x07",
    ),
];

/// Reads the bytes in every role that they may have.
pub(crate) fn check(bytes: &[u8]) {
    let folder = Folder::new();
    folder.write("bytes", bytes);
    for (format, images, labels) in GOOD {
        folder.write("images", images);
        folder.write("labels", labels);
        read(&folder, &DataConfig::new(format, "bytes", Some("labels".into())));
        read(&folder, &DataConfig::new(format, "images", Some("bytes".into())));
    }
    let alone = [DataFormat::Npz, DataFormat::Hdf5, DataFormat::Safetensors, DataFormat::CifarBinary];
    alone.into_iter().for_each(|format| read(&folder, &DataConfig::new(format, "bytes", None)));
    folder.write("folder/class/image.png", bytes);
    read(&folder, &DataConfig::new(DataFormat::ImageFolder, "folder", None));
}

fn read(folder: &Folder, config: &DataConfig) {
    let data = match load(config, &folder.path("")) {
        Ok(data) => data,
        Err(error) => return say(&error),
    };
    assert_eq!(data.len(), data.labels().len());
    assert_eq!(data.image_len(), data.image_shape().iter().product::<usize>());
    assert_eq!(data.images(0..data.len()).len(), data.len() * data.image_len());
    assert!(data.check_labels(data.classes()).is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_good_files_are_good() {
        for (format, images, labels) in GOOD {
            let folder = Folder::new();
            folder.write("images", images);
            folder.write("labels", labels);
            let data = load(&DataConfig::new(format, "images", Some("labels".into())), &folder.path(""));
            let data = data.unwrap_or_else(|error| panic!("{format}: {error}"));
            assert_eq!((data.image_shape(), data.labels()), (&[1, 2, 2][..], &[3, 7][..]), "{format}");
        }
    }
}
