//! Writers of the file formats, and the configuration that reads them.

#![allow(dead_code, reason = "no test file uses all of them")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use bitquake_data::{DataConfig, DataError, DataFormat, Dataset, load};
use flate2::Compression;
use flate2::write::GzEncoder;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An IDX file in memory, with any mark.
pub fn idx_bytes(mark: u32, dims: &[u32], data: &[u8]) -> Vec<u8> {
    let numbers = std::iter::once(mark).chain(dims.iter().copied());
    numbers.flat_map(u32::to_be_bytes).chain(data.iter().copied()).collect()
}

/// An npy file in memory, version 1, with any text as the header.
pub fn npy_with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

/// An npy file in memory.
pub fn npy_bytes(descr: &str, is_fortran: bool, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let order = if is_fortran { "True" } else { "False" };
    let shape: String = shape.iter().map(|dim| format!("{dim},")).collect();
    npy_with_header(
        &format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}\n"),
        data,
    )
}

/// An npy file of little-endian words in C order.
pub fn npy_of<const N: usize>(
    descr: &str,
    shape: &[usize],
    words: impl IntoIterator<Item = [u8; N]>,
) -> Vec<u8> {
    npy_bytes(descr, false, shape, &words.into_iter().flatten().collect::<Vec<_>>())
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip archive, stored and deflated members in turn.
pub fn write_npz(path: &Path, members: &[(&str, &[u8])]) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    for (i, (name, bytes)) in members.iter().enumerate() {
        let method = [CompressionMethod::Stored, CompressionMethod::Deflated][i % 2];
        archive.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// A folder with the files `images` and `labels`.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// In memory where there is such a place: some tests write thousands of files.
    pub fn new() -> Folder {
        Folder(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    pub fn with(images: &[u8], labels: &[u8]) -> Folder {
        let folder = Folder::new();
        folder.write("images", images);
        folder.write("labels", labels);
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path().join(name), bytes).unwrap();
    }

    pub fn load(&self, config: &DataConfig) -> Result<Dataset, DataError> {
        load(config, self.path())
    }

    /// The message of the error, with its cause, and without the folder's own name.
    pub fn error(&self, config: &DataConfig) -> String {
        let error = self.load(config).unwrap_err();
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        format!("{error}{cause}").replace(&format!("{}/", self.path().display()), "")
    }
}

/// Reads the files `images` and `labels`.
pub fn config(format: DataFormat) -> DataConfig {
    let labels = (format != DataFormat::Npz).then(|| "labels".into());
    DataConfig::new(format, "images", labels)
}
