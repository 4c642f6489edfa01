//! `[model]` and `name`: what is worked on, and what to call the work.

use std::path::PathBuf;

use bitquake_tensors::TensorFile;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::ConfigError;

/// `[model]` of campaigns and attacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The ONNX file, relative to the file that names it.
    pub path: PathBuf,
    /// The SHA-256 that the file must have, in hexadecimal digits: what is made for one model, such as a plan of protections, names it so. Default:
    /// any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl ModelConfig {
    /// That a file is the one that is asked for.
    ///
    /// # Errors
    /// [`ConfigError::Wrong`] with both digests.
    pub fn check(&self, file: &TensorFile) -> Result<(), ConfigError> {
        let Some(wanted) = self.sha256.as_ref().map(|digest| digest.to_ascii_lowercase()) else {
            return Ok(());
        };
        let main = file.content_hash_parts().next().map_or(&[][..], |(_, bytes)| bytes);
        let found = hex(&Sha256::digest(main));
        if found == wanted {
            return Ok(());
        }
        let reason = format!(
            "[model] sha256 asks for {wanted}, the file has {found}: what names the digest, such as a plan of protections, was made for another model"
        );
        Err(ConfigError::wrong(self.path.display().to_string(), reason))
    }
}

/// That a name can be part of a path: letters, digits, spaces and `-_.`, and no dot in front.
///
/// # Errors
/// What is wrong with it.
///
/// ```
/// use bitquake_config::check_name;
/// assert!(check_name("lenet 8 bits").is_ok());
/// assert!(check_name("../lenet").is_err());
/// ```
pub fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_. ".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err(format!("name `{name}` is not made of letters, digits, spaces and -_."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.npy");
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.bytes().chain([7, 8]));
        std::fs::write(&path, &bytes).unwrap();
        let file = TensorFile::open(&path).unwrap();
        let digest = hex(&Sha256::digest(&bytes));
        let model = |sha256: Option<String>| ModelConfig { path: path.clone(), sha256 };
        model(None).check(&file).unwrap();
        model(Some(digest.to_uppercase())).check(&file).unwrap();
        let error = model(Some("ab".into())).check(&file).unwrap_err().to_string();
        assert!(
            error.contains("w.npy") && error.contains(&digest) && error.contains("asks for ab,"),
            "{error}"
        );
    }
}
