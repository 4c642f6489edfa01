//! What can go wrong with a configuration.

use std::path::{Path, PathBuf};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What stands there is wrong.
    #[error("{place}: {reason}")]
    Wrong {
        /// The files, or the place in one.
        place: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

impl ConfigError {
    /// What is wrong at a place.
    #[must_use]
    pub fn wrong(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Wrong { place: place.into(), reason: reason.into() }
    }

    /// What is wrong in files that are read on top of each other; without any, in the settings.
    #[must_use]
    pub fn in_files(files: &[PathBuf], reason: impl Into<String>) -> Self {
        let names: Vec<String> = files.iter().map(|file| Path::display(file).to_string()).collect();
        Self::wrong(if names.is_empty() { "--set".to_owned() } else { names.join(" + ") }, reason)
    }
}
