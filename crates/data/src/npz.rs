//! npz: a zip archive whose members are npy files.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use crate::error::DataError;
use crate::open;

/// How many members an error lists.
const LISTED: usize = 32;

/// Files are buffered: the archive's directory is read in small pieces.
pub(crate) type Archive = ZipArchive<BufReader<File>>;

/// Opens an archive and reads its directory.
pub(crate) fn open(path: &Path) -> Result<Archive, DataError> {
    ZipArchive::new(open::file(path)?).map_err(|error| archive_error(path, error))
}

/// The member that holds the array `key`: `key.npy`, as NumPy writes it, or `key`.
pub(crate) fn member<'a>(
    archive: &'a mut Archive,
    path: &Path,
    key: &str,
) -> Result<ZipFile<'a, BufReader<File>>, DataError> {
    let names = [format!("{key}.npy"), key.to_owned()];
    let Some(index) = names.iter().find_map(|name| archive.index_for_name(name)) else {
        return Err(DataError::MissingMember {
            file: path.to_owned(),
            member: key.to_owned(),
            members: members(archive),
        });
    };
    archive.by_index(index).map_err(|error| archive_error(path, error))
}

/// The names of the arrays, for an error.
fn members(archive: &Archive) -> Vec<String> {
    let names = archive.file_names_raw().take(LISTED).map(String::from_utf8_lossy);
    names.map(|name| name.strip_suffix(".npy").unwrap_or(&name).to_owned()).collect()
}

fn archive_error(path: &Path, error: ZipError) -> DataError {
    DataError::Archive { file: path.to_owned(), source: io::Error::from(error) }
}
