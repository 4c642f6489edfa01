//! `[fault] pattern`: flips that were saved.

use std::path::PathBuf;

use bitquake_fault::FaultPattern;
use serde::{Deserialize, Serialize};

/// A saved fault pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PatternConfig {
    /// The file that it is in.
    File(PathBuf),
    /// What is in it.
    Flips(FaultPattern),
}

impl PatternConfig {
    /// The flips.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn loaded(&self) -> Result<FaultPattern, String> {
        let path = match self {
            Self::Flips(pattern) => return Ok(pattern.clone()),
            Self::File(path) => path,
        };
        let wrong = |error: &dyn std::fmt::Display| format!("[fault] pattern: {}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&format!("cannot read: {error}")))?;
        FaultPattern::from_json(&text).map_err(|error| wrong(&error))
    }

    /// How many bits it flips; 0 for a file that is not read yet.
    #[must_use]
    pub fn flips(&self) -> u64 {
        match self {
            Self::Flips(pattern) => pattern.flips(),
            Self::File(_) => 0,
        }
    }
}
