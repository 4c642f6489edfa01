//! Where outputs may go: not over what people wrote, nor over the results of another command.

use std::fs::{canonicalize, metadata};
use std::path::{Path, PathBuf};

use bitquake::attack::RECORD_FILE;
use bitquake::attack::rank::{RANK_FILE, RANK_SNAPSHOT_FILE, RANK_SUMMARY_FILE};
use bitquake::campaign::slurm::SUBMISSION_FILE;
use bitquake::record::GOLDEN_FILE;
use bitquake::train::LOG_FILE;

use crate::exit::Failure;

/// Whose results a folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Results {
    Campaign,
    Attack,
    Rankings,
    Training,
}

impl Results {
    const ALL: [Self; 4] = [Self::Campaign, Self::Attack, Self::Rankings, Self::Training];

    fn lie_in(self, dir: &Path) -> bool {
        let has = |name: &str| dir.join(name).exists();
        match self {
            Self::Campaign => has(GOLDEN_FILE) || has(SUBMISSION_FILE),
            Self::Attack => has(RECORD_FILE),
            Self::Rankings => has(RANK_SNAPSHOT_FILE) || has(RANK_FILE) && has(RANK_SUMMARY_FILE),
            Self::Training => has(LOG_FILE),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Campaign => "a campaign",
            Self::Attack => "an attack",
            Self::Rankings => "rankings",
            Self::Training => "a training",
        }
    }
}

/// Refuses an output folder that holds the results of another command, or in which one of the input files lies: what a command writes
/// there has the names of such files, and would replace them. A folder that holds its own results is an earlier output, whose files are
/// no one's own.
pub(crate) fn check_is_apart(dir: &Path, inputs: &[PathBuf], own: Option<Results>) -> Result<(), Failure> {
    if own.is_some_and(|own| own.lie_in(dir)) {
        return Ok(());
    }
    if let Some(other) = Results::ALL.into_iter().find(|results| results.lie_in(dir)) {
        let (dir, other) = (dir.display(), other.name());
        return Err(Failure::usage(format!(
            "the output folder {dir} holds the results of {other}, which would be replaced in part; give a folder of its own with -o"
        )));
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

/// Refuses an output that is one of the files that the command reads, or writes otherwise, or that is there and no plain file.
pub(crate) fn check_output(output: &Path, others: &[&Path]) -> Result<(), Failure> {
    let path = output.display();
    if metadata(output).is_ok_and(|there| !there.is_file()) {
        return Err(Failure::usage(format!("{path} is no plain file: it cannot be replaced by an output")));
    }
    let place = |path: &Path| canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
    match others.iter().find(|other| place(other) == place(output)) {
        Some(other) => {
            let other = other.display();
            Err(Failure::usage(format!("the output {path} would replace {other}, which this command needs")))
        }
        None => Ok(()),
    }
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
        let check = |dir: &Path| check_is_apart(dir, std::slice::from_ref(&input), Some(Results::Campaign));
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

    #[test]
    fn results_of_another_command_are_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let marks = [
            (Results::Campaign, vec![GOLDEN_FILE]),
            (Results::Attack, vec![RECORD_FILE, RANK_SUMMARY_FILE]),
            (Results::Rankings, vec![RANK_FILE, RANK_SUMMARY_FILE]),
            (Results::Training, vec![LOG_FILE]),
        ];
        for (at, (results, files)) in marks.into_iter().enumerate() {
            let dir = place.path().join(at.to_string());
            std::fs::create_dir(&dir).unwrap();
            files.iter().for_each(|file| std::fs::write(dir.join(file), "").unwrap());
            assert!(check_is_apart(&dir, &[], None).is_err(), "{results:?}");
            for own in Results::ALL {
                assert_eq!(
                    check_is_apart(&dir, &[], Some(own)).is_ok(),
                    own == results,
                    "{own:?} in {results:?}"
                );
            }
        }
    }

    #[test]
    fn outputs_are_neither_inputs_nor_devices() {
        let place = tempfile::tempdir().unwrap();
        let input = place.path().join("a");
        std::fs::write(&input, "").unwrap();
        let again = place.path().join("./a");
        assert!(check_output(&again, &[&input]).is_err() && check_output(&again, &[]).is_ok());
        assert!(check_output(&place.path().join("b"), &[&input]).is_ok());
        assert!(check_output(&place.path().join("b"), &[&place.path().join("b")]).is_err());
        assert!(check_output(place.path(), &[]).is_err());
        #[cfg(unix)]
        assert!(check_output(Path::new("/dev/null"), &[]).is_err());
    }
}
