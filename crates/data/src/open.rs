//! Opening files, plain or gzip.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use bitquake_tensors::open_to_read;
use flate2::bufread::MultiGzDecoder;

use crate::error::{DataError, Place};

/// The first bytes of every gzip file (RFC 1952, section 2.3.1).
const GZIP_MARK: [u8; 2] = [0x1f, 0x8b];

/// Opens a file.
pub(crate) fn file(path: &Path) -> Result<BufReader<File>, DataError> {
    match open_to_read(path) {
        Ok(file) => Ok(BufReader::new(file)),
        Err(source) => Err(DataError::Open { file: path.to_owned(), source }),
    }
}

/// Opens a file and decompresses it if its first bytes are those of gzip, whatever its name.
pub(crate) fn decoded(place: &Place) -> Result<Box<dyn Read>, DataError> {
    let mut plain = file(&place.file)?;
    let start = plain.fill_buf().map_err(|source| DataError::Read { place: place.clone(), source })?;
    match start.starts_with(&GZIP_MARK) {
        true => Ok(Box::new(BufReader::new(MultiGzDecoder::new(plain)))),
        false => Ok(Box::new(plain)),
    }
}
