//! What can go wrong with result files.

use std::io;
use std::path::{Path, PathBuf};

/// Why a result file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a file of records that is none, and not the last one.
    #[error("{}, line {line}: not a record: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Written by a newer version.
    #[error("{}: written with schema {found}, this version reads up to {}", path.display(), crate::SCHEMA)]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema found.
        found: u32,
    },
    /// Another process writes the same shard.
    #[error("{}: another run is writing this file", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes into the same folder.
    #[error("{}: another command is writing into this folder", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Records could not be put into another format.
    #[error("cannot write {format}: {reason}")]
    Export {
        /// The format.
        format: &'static str,
        /// What its library said.
        reason: String,
    },
    /// Statistics could not be computed.
    #[error(transparent)]
    Stats(#[from] bitquake_stats::StatsError),
}

impl RecordError {
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    pub(crate) fn invalid(path: &Path, reason: impl ToString) -> Self {
        Self::Invalid { path: path.to_owned(), reason: reason.to_string() }
    }
}
