//! `[model]` and `name`: what is worked on, and what to call the work.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[model]` of campaigns and attacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The ONNX file, relative to the file that names it.
    pub path: PathBuf,
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
