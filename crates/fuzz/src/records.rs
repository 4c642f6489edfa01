//! Result directories: the bytes as a file of trials, torn or not, and as a golden run.

use std::fs;

use bitquake_record::{
    Appender, GOLDEN_FILE, Golden, ResultDir, Results, SummaryOptions, TrialRecord, csv, shard_file,
    summarise, to_json,
};

use crate::folder::{Folder, say};

/// The golden run that goes with any trials; a file of the corpus too.
const GOLDEN: &[u8] = include_bytes!("../../../fuzz/corpus/texts/golden.json");

/// Reads the bytes as both files.
pub(crate) fn check(bytes: &[u8]) {
    if bytes.contains(&b'{') {
        as_trials(bytes);
        as_golden(bytes);
    }
}

fn as_trials(bytes: &[u8]) {
    let folder = Folder::new();
    let path = folder.write(&shard_file(0), bytes);
    folder.write(GOLDEN_FILE, GOLDEN);
    let dir = ResultDir::at(folder.path(""));
    let trials = match dir.trials() {
        Ok(trials) => trials,
        Err(error) => return say(&error),
    };
    let golden = dir.golden().unwrap_or_else(|error| panic!("the good golden run: {error}"));
    let golden = golden.unwrap_or_else(|| panic!("the good golden run is not there"));
    summaries(golden, trials.clone());
    // Going on with the campaign keeps every whole trial, and adds after it.
    let mut appender = Appender::open(&dir, 0).unwrap_or_else(|error| panic!("{error}"));
    let whole = fs::read(&path).unwrap_or_default();
    assert!(bytes.starts_with(&whole), "only a torn end is cut off");
    if let Some(first) = trials.first() {
        appender.append(first).unwrap_or_else(|error| panic!("{error}"));
        let again = dir.trials().unwrap_or_else(|error| panic!("after going on: {error}"));
        assert!(again == trials, "after going on: {again:?}\n{trials:?}");
    }
}

fn as_golden(bytes: &[u8]) {
    let folder = Folder::new();
    folder.write(GOLDEN_FILE, bytes);
    let dir = ResultDir::at(folder.path(""));
    let golden = match dir.golden() {
        Ok(golden) => golden.unwrap_or_else(|| panic!("the file that was written is not there")),
        Err(error) => return say(&error),
    };
    dir.write_golden("", &golden).unwrap_or_else(|error| panic!("{error}"));
    let again = dir.golden().unwrap_or_else(|error| panic!("written by ourselves: {error}"));
    assert_eq!(again, Some(golden.clone()));
    summaries(golden, Vec::new());
}

/// Everything that is made of records.
fn summaries(golden: Golden, trials: Vec<TrialRecord>) {
    match summarise(&golden, &trials, SummaryOptions::default()) {
        Err(error) => say(&error),
        Ok(points) => {
            let rows = |text: &str| text.lines().count();
            assert_eq!(rows(&csv::summary(&points, 0.01)), points.len() + 1);
            assert_eq!(rows(&csv::compat_summary(&points)), points.len() + 1);
            let results = Results { golden, campaign: String::new(), trials };
            assert!(rows(&csv::trials(&results.trials)) > results.trials.len());
            to_json(&results, &points).map_or_else(|error| say(&error), drop);
        }
    }
}
