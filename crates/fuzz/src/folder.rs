//! Folders for the files of one input.

use std::error::Error;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where folders cost nothing: in memory, because saving waits for the disk.
const IN_MEMORY: &str = "/dev/shm";

/// A folder that goes with its handle.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// An empty folder.
    pub(crate) fn new() -> Folder {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("bitquake-fuzz-");
        Folder(builder.tempdir_in(IN_MEMORY).or_else(|_| builder.tempdir()).expect("a temporary folder"))
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, with the folders around it.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder in a folder");
        std::fs::write(&path, bytes).expect("a file in a temporary folder");
        path
    }
}

/// Says the error as a person would see it, which must not fail either.
pub(crate) fn say(error: &dyn Error) {
    let mut next = Some(error);
    while let Some(error) = next {
        assert!(!error.to_string().is_empty(), "an error without a message: {error:?}");
        next = error.source();
    }
}
