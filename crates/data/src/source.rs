//! What a configuration reads, for the identity of campaigns and recipes.

use std::io::Read;
use std::path::{Path, PathBuf};

use bitquake_tensors::open_to_read;
use sha2::{Digest, Sha256};

use crate::config::{DataConfig, DataFormat};
use crate::error::DataError;
use crate::image_folder::Listing;

/// The files that a configuration reads, images first, each once, relative paths joined to `base`. Those of an image
/// folder are listed, class by class, sorted by name; whether the others exist is not looked at.
///
/// # Errors
/// [`DataError`] for an image folder that cannot be listed.
pub fn source_files(config: &DataConfig, base: &Path) -> Result<Vec<PathBuf>, DataError> {
    if config.format == DataFormat::ImageFolder {
        let listing = Listing::new(&base.join(&config.images))?;
        return Ok(listing.classes().concat());
    }
    let mut files = config.image_files(base);
    files.extend(config.labels.as_ref().map(|labels| base.join(labels)));
    files.dedup();
    Ok(files)
}

/// SHA-256 of what a configuration reads: one digest for each of [`source_files`], and one for a whole image folder,
/// which covers the bytes of its files and which class they are in, but no names.
///
/// # Errors
/// [`DataError`] for a file or folder that cannot be read.
pub fn source_digests(config: &DataConfig, base: &Path) -> Result<Vec<[u8; 32]>, DataError> {
    if config.format == DataFormat::ImageFolder {
        return Ok(vec![folder_digest(&Listing::new(&base.join(&config.images))?)?]);
    }
    source_files(config, base)?.iter().map(|file| file_digest(file)).collect()
}

/// For each class, the number of its files and their digests.
fn folder_digest(listing: &Listing) -> Result<[u8; 32], DataError> {
    let mut hash = Sha256::new();
    for class in listing.classes() {
        hash.update((class.len() as u64).to_le_bytes());
        for file in class {
            hash.update(file_digest(file)?);
        }
    }
    Ok(hash.finalize().into())
}

fn file_digest(path: &Path) -> Result<[u8; 32], DataError> {
    let open = |source| DataError::Open { file: path.to_owned(), source };
    let mut file = open_to_read(path).map_err(open)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(open)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&buffer[..count]),
        }
    }
}
