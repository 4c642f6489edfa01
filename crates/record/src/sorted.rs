//! Trials in order, more than memory should hold.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::RecordError;
use crate::trial::TrialRecord;

/// Trials held at a time: some tens of megabytes.
pub(crate) const HELD: usize = 1 << 15;
/// After so many runs the next ones become longer, so that the number of open files stays small.
const RUNS: usize = 128;

/// Sorts trials by point and number: some are held, others wait in sorted runs in unnamed files of a folder.
pub(crate) struct Sorter<'a> {
    folder: &'a Path,
    held: Vec<TrialRecord>,
    runs: Vec<File>,
    most: usize,
}

fn key(trial: &TrialRecord) -> (u32, u64) {
    (trial.point, trial.trial)
}

impl<'a> Sorter<'a> {
    pub(crate) fn new(folder: &'a Path, most: usize) -> Self {
        Self { folder, held: Vec::new(), runs: Vec::new(), most }
    }

    pub(crate) fn push(&mut self, trial: TrialRecord) -> Result<(), RecordError> {
        self.held.push(trial);
        if self.held.len() < self.most * (1 + self.runs.len() / RUNS) { Ok(()) } else { self.spill() }
    }

    /// Writes the trials held as one run.
    fn spill(&mut self) -> Result<(), RecordError> {
        self.held.sort_by_key(key);
        let write = || {
            // A folder that cannot be written to can still be read.
            let file = tempfile::tempfile_in(self.folder).or_else(|_| tempfile::tempfile())?;
            let mut run = BufWriter::new(file);
            for trial in &self.held {
                serde_json::to_writer(&mut run, trial)?;
                run.write_all(b"\n")?;
            }
            let mut file = run.into_inner()?;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        };
        self.runs.push(write().map_err(RecordError::io(self.folder, "sort the trials in"))?);
        self.held.clear();
        Ok(())
    }

    /// Calls `each` with the trials in order.
    pub(crate) fn finish(
        mut self,
        mut each: impl FnMut(TrialRecord) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        if self.runs.is_empty() {
            self.held.sort_by_key(key);
            return self.held.into_iter().try_for_each(each);
        }
        self.spill()?;
        self.held = Vec::new();
        let mut runs: Vec<_> =
            self.runs.drain(..).map(|file| BufReader::with_capacity(1 << 14, file)).collect();
        let mut heads: Vec<Option<TrialRecord>> = Vec::new();
        for run in &mut runs {
            heads.push(next(run, self.folder)?);
        }
        let entry = |head: &Option<TrialRecord>, run| head.as_ref().map(|trial| Reverse((key(trial), run)));
        let mut order: BinaryHeap<_> =
            heads.iter().enumerate().filter_map(|(run, head)| entry(head, run)).collect();
        while let Some(Reverse((_, run))) = order.pop() {
            let following = next(&mut runs[run], self.folder)?;
            order.extend(entry(&following, run));
            if let Some(trial) = std::mem::replace(&mut heads[run], following) {
                each(trial)?;
            }
        }
        Ok(())
    }
}

fn next(run: &mut impl BufRead, folder: &Path) -> Result<Option<TrialRecord>, RecordError> {
    let mut line = String::new();
    run.read_line(&mut line).map_err(RecordError::io(folder, "sort the trials in"))?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(&line).map(Some).map_err(|error| RecordError::invalid(folder, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::tests::{full_record, record};

    #[test]
    fn in_order_however_many_are_held() {
        let temp = tempfile::tempdir().unwrap();
        let shuffled = (0..1000_u64).map(|n| (n * 617) % 1000);
        let make = |n: u64| {
            if n.is_multiple_of(7) { full_record(2, n, 9) } else { record((n % 3) as u32, n, n % 100) }
        };
        let trials: Vec<TrialRecord> = shuffled.map(make).collect();
        let mut wanted = trials.clone();
        wanted.sort_by_key(key);
        for most in [1, 7, 100, 999, 1000, 1001, 5000] {
            let mut sorter = Sorter::new(temp.path(), most);
            trials.iter().for_each(|trial| sorter.push(trial.clone()).unwrap());
            let mut found = Vec::new();
            sorter
                .finish(|trial| {
                    found.push(trial);
                    Ok(())
                })
                .unwrap();
            assert!(found == wanted, "{most} held");
        }
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "nothing stays behind");
    }
}
