//! Output folders and the files that people wrote.

use std::fs::canonicalize;
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Refuses an output folder in which one of the input files lies: what a command writes there has the names that people give such
/// files, and would replace them. A folder that holds one of `records` is an earlier output, whose files are no one's own.
pub(crate) fn check_is_apart(dir: &Path, inputs: &[PathBuf], records: &[&str]) -> Result<(), Failure> {
    if records.iter().any(|record| dir.join(record).exists()) {
        return Ok(());
    }
    let Ok(folder) = canonicalize(dir) else { return Ok(()) }; // there is none yet
    let is_within = |file: &&PathBuf| {
        canonicalize(file).is_ok_and(|file| file.parent().is_some_and(|parent| parent == folder))
    };
    inputs.iter().find(is_within).map_or(Ok(()), |file| {
        let (file, dir) = (file.display(), dir.display());
        Err(Failure::usage(format!(
            "{file} lies in the output folder {dir}, where results could replace it; give a folder of its own with -o"
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_and_results_lie_apart_unless_the_folder_is_an_earlier_output() {
        let place = tempfile::tempdir().unwrap();
        let (input, other) = (place.path().join("campaign.toml"), place.path().join("out"));
        std::fs::write(&input, "").unwrap();
        std::fs::create_dir(&other).unwrap();
        let check = |dir: &Path| check_is_apart(dir, std::slice::from_ref(&input), &["golden.json"]);
        assert!(check(&other).is_ok() && check(&place.path().join("new")).is_ok());
        for dir in [place.path().to_owned(), other.join(".."), place.path().join("out/../.")] {
            assert!(matches!(check(&dir), Err(Failure::Error { code: crate::exit::USAGE, .. })), "{dir:?}");
        }
        // Another file there is no input.
        std::fs::write(other.join("notes.toml"), "").unwrap();
        assert!(check(&other).is_ok());
        std::fs::write(place.path().join("golden.json"), "").unwrap();
        assert!(check(place.path()).is_ok());
    }
}
