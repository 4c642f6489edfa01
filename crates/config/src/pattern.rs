//! `[fault] pattern`: flips that were saved.

use std::path::PathBuf;

use bitquake_fault::FaultPattern;
use bitquake_tensors::read_text;
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// A saved fault pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "the path of a saved pattern is expected")]
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
    /// [`ConfigError::File`].
    pub fn loaded(&self) -> Result<FaultPattern, ConfigError> {
        let path = match self {
            Self::Flips(pattern) => return Ok(pattern.clone()),
            Self::File(path) => path,
        };
        let wrong = |reason: String| ConfigError::file("[fault] pattern", path, reason);
        let text = read_text(path, u64::MAX).map_err(|error| wrong(format!("cannot read: {error}")))?;
        FaultPattern::from_json(&text).map_err(|error| wrong(error.to_string()))
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

#[cfg(test)]
mod tests {
    use bitquake_bits::Format;
    use bitquake_fault::{FaultModel, Hits, TensorFlips};

    use super::*;
    use crate::FaultConfig;

    #[test]
    fn what_is_in_the_file_takes_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flips.json");
        let flips =
            TensorFlips { tensor: "w".into(), format: Format::I8, elements: 4, addresses: vec![7, 9, 31] };
        let pattern = FaultPattern::new(vec![flips]).unwrap();
        std::fs::write(&path, pattern.to_json()).unwrap();
        let mut fault: FaultConfig = toml::from_str(&format!("pattern = {path:?}")).unwrap();
        fault.load_patterns().unwrap();
        std::fs::remove_file(&path).unwrap();
        // As it is saved with results.
        let saved: FaultConfig = toml::from_str(&toml::to_string(&fault).unwrap()).unwrap();
        assert_eq!(saved, fault);
        saved.check().unwrap();
        let amounts = saved.amounts();
        assert_eq!(amounts, [bitquake_record::Amount::Count(3)]);
        assert_eq!(saved.model(amounts[0]), Ok(FaultModel::BitFlip(Hits::Pattern(pattern))));
        std::fs::write(&path, "{}").unwrap();
        let error = PatternConfig::File(path).loaded().unwrap_err();
        assert!(error.to_string().contains("flips.json: not a fault pattern"), "{error}");
    }
}
