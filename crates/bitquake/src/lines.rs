//! The trials of a file one after the other, with the text of their lines.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use bitquake_record::{RecordError, TrialRecord};

/// Reads `trials-*.jsonl` in constant memory; a torn last line is passed over.
pub(crate) struct TrialLines {
    reader: BufReader<File>,
    path: PathBuf,
    line: Vec<u8>,
    number: usize,
}

impl TrialLines {
    pub(crate) fn open(path: &Path) -> Result<Self, RecordError> {
        let file = File::open(path).map_err(io(path))?;
        Ok(Self { reader: BufReader::new(file), path: path.to_owned(), line: Vec::new(), number: 0 })
    }

    /// The next trial and its line, which ends with a newline.
    ///
    /// # Errors
    /// [`RecordError::Line`] for a line that is no trial and not the last one.
    pub(crate) fn next(&mut self) -> Result<Option<(TrialRecord, &[u8])>, RecordError> {
        self.line.clear();
        self.reader.read_until(b'\n', &mut self.line).map_err(io(&self.path))?;
        self.number += 1;
        if self.line.last() != Some(&b'\n') {
            return Ok(None);
        }
        match serde_json::from_slice(&self.line) {
            Ok(trial) => Ok(Some((trial, &self.line))),
            // A system crash can leave a last line of zeros with an end.
            Err(_) if self.reader.fill_buf().map_err(io(&self.path))?.is_empty() => Ok(None),
            Err(error) => {
                let (path, line, reason) = (self.path.clone(), self.number, error.to_string());
                Err(RecordError::Line { path, line, reason })
            }
        }
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RecordError + use<> {
    let path = path.to_owned();
    move |source| RecordError::Io { path, action: "read", source }
}

/// The files of trials in a result directory, by shard. A directory that is not there has none.
///
/// # Errors
/// [`RecordError::Io`] when it cannot be listed.
pub(crate) fn trial_files(dir: &Path) -> Result<Vec<(u32, PathBuf)>, RecordError> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| RecordError::Io {
            path: dir.to_owned(),
            action: "list the directory",
            source,
        })?,
    };
    let shard_of = |name: &str| name.strip_prefix("trials-")?.strip_suffix(".jsonl")?.parse::<u32>().ok();
    let mut files: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((shard_of(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"point":0,"trial":7,"rate":0.5,"faults":1,"dormant":0,"images":1,"correct":1,"top5_correct":1,"golden_mismatch":0,"nonfinite":0,"err_union":0,"due":0,"loss":null,"seconds":1.0,"to_one":1,"became_nan":0,"became_inf":0,"by_bit":{},"by_tensor":{},"pattern":"00"}"#;

    fn read(text: &str) -> Result<usize, RecordError> {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("trials-0.jsonl");
        std::fs::write(&path, text).unwrap();
        let mut lines = TrialLines::open(&path)?;
        let mut count = 0;
        while let Some((trial, line)) = lines.next()? {
            assert_eq!((trial.trial, line.last()), (7, Some(&b'\n')));
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn whole_lines_are_read_and_a_torn_one_is_passed_over() {
        for (text, wanted) in [
            (String::new(), 0),
            (format!("{LINE}\n"), 1),
            (format!("{LINE}\n{LINE}\n"), 2),
            (format!("{LINE}\n{}", &LINE[..40]), 1),
            (format!("{LINE}\n{LINE}"), 1),
            (format!("{LINE}\n\0\0\0\n"), 1),
        ] {
            assert_eq!(read(&text).unwrap(), wanted, "{text:?}");
        }
        assert!(matches!(read(&format!("{LINE}\n{{}}\n{LINE}\n")), Err(RecordError::Line { line: 2, .. })));
    }

    #[test]
    fn files_are_listed_by_the_number_of_their_shard() {
        let temp = tempfile::tempdir().unwrap();
        assert!(trial_files(&temp.path().join("missing")).unwrap().is_empty());
        for name in ["trials-10.jsonl", "trials-2.jsonl", "trials-x.jsonl", "golden.json", "trials-1.json"] {
            std::fs::write(temp.path().join(name), "").unwrap();
        }
        let shards: Vec<u32> =
            trial_files(temp.path()).unwrap().into_iter().map(|(shard, _)| shard).collect();
        assert_eq!(shards, [2, 10]);
    }
}
