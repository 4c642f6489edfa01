//! The lines of a file of records, one at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::error::RecordError;

/// Bytes read at once when looking for the end of a file's last whole line.
const BLOCK: u64 = 1 << 16;

/// The records of a file, one a line, in memory that does not grow with it. A torn last line is passed over: one without its end,
/// or, since a system crash can leave a last line of zeros with an end, one that cannot be read.
#[derive(Debug)]
pub struct Lines<T> {
    file: BufReader<File>,
    path: PathBuf,
    line: Vec<u8>,
    number: usize,
    of: PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// Opens a file.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let file = File::open(path).map_err(RecordError::io(path, "read"))?;
        let file = BufReader::with_capacity(1 << 18, file);
        Ok(Self { file, path: path.to_owned(), line: Vec::new(), number: 0, of: PhantomData })
    }

    /// The next record and its line, which ends with a newline; none at the end.
    ///
    /// # Errors
    /// [`RecordError::Line`] for a line that cannot be read and is not the last; [`RecordError::Io`].
    pub fn next_record(&mut self) -> Result<Option<(T, &[u8])>, RecordError> {
        if !next_line(&mut self.file, &mut self.line, &self.path)? {
            return Ok(None);
        }
        self.number += 1;
        match serde_json::from_slice(&self.line) {
            Ok(record) => Ok(Some((record, &self.line))),
            Err(_) if !next_line(&mut self.file, &mut self.line, &self.path)? => Ok(None),
            Err(error) => {
                let (path, line, reason) = (self.path.clone(), self.number, error.to_string());
                Err(RecordError::Line { path, line, reason })
            }
        }
    }
}

/// Calls `each` with every record of a file, in order, as [`Lines`] gives them.
///
/// # Errors
/// As for [`Lines::next_record`]; what `each` returns.
pub fn for_each_line<T: DeserializeOwned>(
    path: &Path,
    mut each: impl FnMut(T) -> Result<(), RecordError>,
) -> Result<(), RecordError> {
    let mut lines = Lines::open(path)?;
    while let Some((record, _)) = lines.next_record()? {
        each(record)?;
    }
    Ok(())
}

/// Reads the next line with its end; false if there is none.
fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>, path: &Path) -> Result<bool, RecordError> {
    line.clear();
    file.read_until(b'\n', line).map_err(RecordError::io(path, "read"))?;
    Ok(line.last() == Some(&b'\n'))
}

/// How many bytes of a file are whole lines, judged by its last two: the last may be torn, the one before it may not.
///
/// # Errors
/// [`RecordError::Line`] when the line before a torn one cannot be read either.
pub(crate) fn whole_bytes<T: DeserializeOwned>(file: &mut File, path: &Path) -> Result<u64, RecordError> {
    let size = file.metadata().map_err(RecordError::io(path, "read"))?.len();
    let end = after_last_newline(file, size, path)?;
    let Some((start, error)) = unreadable::<T>(file, end, path)? else { return Ok(end) };
    match unreadable::<T>(file, start, path)? {
        None => Ok(start),
        Some((before, _)) => {
            let line = count_newlines(file, before, path)? + 1;
            Err(RecordError::Line { path: path.to_owned(), line, reason: error })
        }
    }
}

/// Where the line that ends at `end` begins, and why it cannot be read; none if it can, or if there is none.
fn unreadable<T: DeserializeOwned>(
    file: &mut File,
    end: u64,
    path: &Path,
) -> Result<Option<(u64, String)>, RecordError> {
    if end == 0 {
        return Ok(None);
    }
    let start = after_last_newline(file, end - 1, path)?;
    let mut line = vec![0; (end - start) as usize];
    read_at(file, start, &mut line, path)?;
    Ok(serde_json::from_slice::<T>(&line).err().map(|error| (start, error.to_string())))
}

/// The place after the last line end before `end`, 0 without one.
fn after_last_newline(file: &mut File, end: u64, path: &Path) -> Result<u64, RecordError> {
    let mut to = end;
    while to > 0 {
        let from = to.saturating_sub(BLOCK);
        let mut block = vec![0; (to - from) as usize];
        read_at(file, from, &mut block, path)?;
        if let Some(place) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(from + place as u64 + 1);
        }
        to = from;
    }
    Ok(0)
}

fn read_at(file: &mut File, place: u64, bytes: &mut [u8], path: &Path) -> Result<(), RecordError> {
    file.seek(SeekFrom::Start(place)).map_err(RecordError::io(path, "seek"))?;
    file.read_exact(bytes).map_err(RecordError::io(path, "read"))
}

fn count_newlines(file: &mut File, end: u64, path: &Path) -> Result<usize, RecordError> {
    file.seek(SeekFrom::Start(0)).map_err(RecordError::io(path, "seek"))?;
    let mut lines = BufReader::new(file.take(end));
    let (mut line, mut count) = (Vec::new(), 0);
    while next_line(&mut lines, &mut line, path)? {
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrialRecord;

    const LINE: &str = r#"{"point":0,"trial":7,"rate":0.5,"faults":1,"dormant":0,"images":1,"correct":1,"top5_correct":1,"golden_mismatch":0,"nonfinite":0,"err_union":0,"due":0,"loss":null,"seconds":1.0,"to_one":1,"became_nan":0,"became_inf":0,"by_bit":{},"by_tensor":{},"pattern":"00"}"#;

    fn read(text: &str) -> Result<usize, RecordError> {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("trials-0.jsonl");
        std::fs::write(&path, text).unwrap();
        let mut lines = Lines::<TrialRecord>::open(&path)?;
        let mut count = 0;
        while let Some((trial, line)) = lines.next_record()? {
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
            (format!("{LINE}\n\0\0\0\n{{\"poi"), 1),
        ] {
            assert_eq!(read(&text).unwrap(), wanted, "{text:?}");
        }
        assert!(matches!(read(&format!("{LINE}\n{{}}\n{LINE}\n")), Err(RecordError::Line { line: 2, .. })));
    }
}
