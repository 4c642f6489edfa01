//! The lines of a file of records, one at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::RecordError;

/// Bytes read at once when looking for the end of a file's last whole line.
const BLOCK: u64 = 1 << 16;

/// Calls `each` with every whole line of a file, in order. A torn last line is passed over: one without its end, or, since a
/// system crash can leave a last line of zeros with an end, one that cannot be read.
///
/// # Errors
/// [`RecordError::Line`] for any other line that cannot be read; what `each` returns.
pub fn for_each_line<T: DeserializeOwned>(
    path: &Path,
    mut each: impl FnMut(T) -> Result<(), RecordError>,
) -> Result<(), RecordError> {
    let file = File::open(path).map_err(RecordError::io(path, "read"))?;
    let mut lines = BufReader::with_capacity(1 << 18, file);
    let (mut line, mut number) = (Vec::new(), 0);
    while next_line(&mut lines, &mut line, path)? {
        number += 1;
        match serde_json::from_slice(&line) {
            Ok(record) => each(record)?,
            Err(_) if !next_line(&mut lines, &mut line, path)? => break,
            Err(error) => {
                let reason = error.to_string();
                return Err(RecordError::Line { path: path.to_owned(), line: number, reason });
            }
        }
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
