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
    /// A file that a setting names is bad or missing.
    #[error("{setting} {}: {reason}", path.display())]
    File {
        /// The table and the key.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
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

    /// What is wrong with the file that a setting names.
    pub(crate) fn file(setting: &'static str, path: &Path, reason: impl ToString) -> Self {
        Self::File { setting, path: path.to_owned(), reason: reason.to_string() }
    }

    /// Whether a file is bad or missing; else the settings are wrong.
    #[must_use]
    pub fn is_of_input(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::File { .. })
    }

    /// What is wrong in files that are read on top of each other; without any, in what a caller told.
    #[must_use]
    pub fn in_files(files: &[PathBuf], reason: impl Into<String>) -> Self {
        let names: Vec<String> = files.iter().map(|file| Path::display(file).to_string()).collect();
        Self::wrong(if names.is_empty() { "configuration".to_owned() } else { names.join(" + ") }, reason)
    }
}
