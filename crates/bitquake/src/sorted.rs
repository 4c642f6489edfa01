//! Lines sorted by their trial, in memory that does not grow with their number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Result, Seek, Write};
use std::path::Path;

/// Point, trial, and the number of the file that the line is from.
pub(crate) type Key = (u32, u64, u32);

/// Bytes of lines that are sorted in memory.
const CHUNK: usize = 32 << 20;
/// Files that are merged at a time.
const FAN_IN: usize = 64;

/// Takes lines in any order and gives them sorted by key, equal keys in no particular order. What does not fit into memory
/// goes to nameless files in a folder, which vanish with the process.
pub(crate) struct Sorter<'a> {
    folder: &'a Path,
    chunk_bytes: usize,
    chunk: Vec<(Key, Vec<u8>)>,
    bytes: usize,
    /// Sorted files; those of a level are made of [`FAN_IN`] of the level before.
    levels: Vec<Vec<File>>,
}

impl<'a> Sorter<'a> {
    pub(crate) fn new(folder: &'a Path) -> Self {
        Self { folder, chunk_bytes: CHUNK, chunk: Vec::new(), bytes: 0, levels: Vec::new() }
    }

    /// Adds a line, which ends with a newline.
    pub(crate) fn push(&mut self, key: Key, line: &[u8]) -> Result<()> {
        self.bytes += line.len() + size_of::<(Key, Vec<u8>)>();
        self.chunk.push((key, line.to_vec()));
        if self.bytes >= self.chunk_bytes { self.spill() } else { Ok(()) }
    }

    /// Gives all lines in order.
    pub(crate) fn finish<E: From<std::io::Error>>(
        mut self,
        each: impl FnMut(Key, &[u8]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.spill()?;
        merge(self.levels.into_iter().flatten().collect(), each)
    }

    fn spill(&mut self) -> Result<()> {
        self.chunk.sort_unstable_by_key(|(key, _)| *key);
        let mut out = BufWriter::new(tempfile::tempfile_in(self.folder)?);
        for (key, line) in self.chunk.drain(..) {
            put(&mut out, key, &line)?;
        }
        self.bytes = 0;
        self.keep(0, out)
    }

    fn keep(&mut self, level: usize, out: BufWriter<File>) -> Result<()> {
        let file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(file);
        if self.levels[level].len() < FAN_IN {
            return Ok(());
        }
        let mut out = BufWriter::new(tempfile::tempfile_in(self.folder)?);
        merge(std::mem::take(&mut self.levels[level]), |key, line| put(&mut out, key, line))?;
        self.keep(level + 1, out)
    }
}

/// A line of a temporary file: the key, then the line itself.
fn put(out: &mut impl Write, (point, trial, file): Key, line: &[u8]) -> Result<()> {
    out.write_all(&point.to_le_bytes())?;
    out.write_all(&trial.to_le_bytes())?;
    out.write_all(&file.to_le_bytes())?;
    out.write_all(line)
}

/// The next key and line of a temporary file.
fn take(file: &mut BufReader<File>, line: &mut Vec<u8>) -> Result<Option<Key>> {
    if file.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let (mut point, mut trial, mut from) = ([0; 4], [0; 8], [0; 4]);
    std::io::Read::read_exact(file, &mut point)?;
    std::io::Read::read_exact(file, &mut trial)?;
    std::io::Read::read_exact(file, &mut from)?;
    line.clear();
    file.read_until(b'\n', line)?;
    Ok(Some((u32::from_le_bytes(point), u64::from_le_bytes(trial), u32::from_le_bytes(from))))
}

/// Sorted files into one order.
fn merge<E: From<std::io::Error>>(
    files: Vec<File>,
    mut each: impl FnMut(Key, &[u8]) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut sources = Vec::with_capacity(files.len());
    let mut heads = BinaryHeap::new();
    for (place, mut file) in files.into_iter().enumerate() {
        file.rewind()?;
        let mut source = (BufReader::new(file), Vec::new());
        heads.extend(take(&mut source.0, &mut source.1)?.map(|key| Reverse((key, place))));
        sources.push(source);
    }
    while let Some(Reverse((key, place))) = heads.pop() {
        let (file, line) = &mut sources[place];
        each(key, line)?;
        heads.extend(take(file, line)?.map(|key| Reverse((key, place))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_sorted_whatever_fits_into_memory() {
        let temp = tempfile::tempdir().unwrap();
        let mut keys: Vec<Key> = (0..5000_u64).map(|n| ((n % 3) as u32, n * 7919 % 5003, 2)).collect();
        keys.extend([(1, 4, 3), (1, 4, 1), (1, 4, 1)]); // from several files, and twice from one
        // A file for each line, so that levels above the first are needed; a few; one.
        for chunk_bytes in [1, 5000, CHUNK] {
            let mut sorter = Sorter { chunk_bytes, ..Sorter::new(temp.path()) };
            for key in &keys {
                sorter.push(*key, format!("{key:?}\n").as_bytes()).unwrap();
            }
            let mut seen = Vec::new();
            let gathered: Result<()> = sorter.finish(|key, line| {
                assert_eq!(line, format!("{key:?}\n").as_bytes());
                seen.push(key);
                Ok(())
            });
            gathered.unwrap();
            let mut wanted = keys.clone();
            wanted.sort_unstable();
            assert_eq!(seen, wanted, "{chunk_bytes} bytes at a time");
        }
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left behind");
    }
}
