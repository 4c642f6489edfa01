//! `training.jsonl`: what happened, line by line, and the same as event files of TensorBoard.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bitquake_record::{for_each_line, write_atomically};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::events::EventWriter;
use crate::snapshot::Progress;
use bitquake_record::Score;

/// The file of lines.
pub const LOG_FILE: &str = "training.jsonl";
/// The folder of event files, which `tensorboard --logdir` takes.
pub const EVENTS_DIR: &str = "tensorboard";

/// One line of `training.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum LogLine {
    /// Some batches of training.
    Steps(StepsRecord),
    /// A finished epoch.
    Epoch(EpochRecord),
}

/// Batches of training since the line before, or since the epoch began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepsRecord {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Steps of the training that are finished.
    pub step: u64,
    /// The learning rate of the last of them.
    pub rate: f64,
    /// Their clean passes.
    pub clean: Option<Losses>,
    /// Their passes with faults, if they had any.
    pub perturbed: Option<Losses>,
    /// How many passes with faults the next step has.
    pub population: u32,
    /// Seconds since 1970.
    pub time: f64,
}

/// A finished epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Steps of the training that are finished.
    pub step: u64,
    /// The learning rate of its last step.
    pub rate: f64,
    /// The clean passes of training.
    pub clean: Option<Losses>,
    /// The passes of training with faults, if there were any.
    pub perturbed: Option<Losses>,
    /// The validation images, without faults; if there are any.
    pub validation: Option<Losses>,
    /// The validation images, with faults as in training; if the method has any.
    pub validation_perturbed: Option<Losses>,
    /// The validation images, without faults, by the averaged weights; if the method averages.
    pub validation_averaged: Option<Losses>,
    /// Whether no epoch before had a lower error on the validation images, or as low an error with a lower loss.
    pub is_best: bool,
    /// Training images a second.
    pub images_per_second: f64,
    /// Seconds since 1970.
    pub time: f64,
}

/// Mean loss and error of some images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Images.
    pub images: u64,
    /// The mean loss; none if it is no finite number, as faults can make it.
    pub loss: Option<f64>,
    /// The share that is wrong.
    pub error: f64,
}

impl Losses {
    /// Of a score; none without images.
    #[must_use]
    pub fn of(score: &Score) -> Option<Self> {
        let loss = Some(score.loss()).filter(|loss| loss.is_finite());
        (score.images > 0).then(|| Self { images: score.images, loss, error: score.error() })
    }
}

impl LogLine {
    /// Steps of the training that were finished when this was written.
    #[must_use]
    pub fn step(&self) -> u64 {
        match self {
            Self::Steps(record) => record.step,
            Self::Epoch(record) => record.step,
        }
    }

    /// Whether this is of what is done at `progress`.
    fn is_before(&self, progress: &Progress) -> bool {
        match self {
            Self::Steps(record) => record.step <= progress.step,
            Self::Epoch(record) => record.epoch < progress.epoch,
        }
    }

    fn time(&self) -> f64 {
        match self {
            Self::Steps(record) => record.time,
            Self::Epoch(record) => record.time,
        }
    }

    /// What TensorBoard shows of it.
    fn scalars(&self) -> Vec<(&'static str, f64)> {
        let mut all = Vec::new();
        let mut put = |loss, error, losses: Option<&Losses>| {
            if let Some(losses) = losses {
                all.extend([(loss, losses.loss.unwrap_or(f64::NAN)), (error, losses.error)]);
            }
        };
        match self {
            Self::Steps(record) => {
                put("train/loss", "train/error", record.clean.as_ref());
                put("train/perturbed_loss", "train/perturbed_error", record.perturbed.as_ref());
                all.extend([("train/rate", record.rate), ("train/population", record.population.into())]);
            }
            Self::Epoch(record) => {
                put("validation/loss", "validation/error", record.validation.as_ref());
                let perturbed = record.validation_perturbed.as_ref();
                put("validation/perturbed_loss", "validation/perturbed_error", perturbed);
                let averaged = record.validation_averaged.as_ref();
                put("validation/averaged_loss", "validation/averaged_error", averaged);
                all.push(("train/images_per_second", record.images_per_second));
            }
        }
        all
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Adds lines to `training.jsonl`, and scalars to the event file.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    path: PathBuf,
    events: EventWriter,
}

impl Log {
    /// Opens the log of a training that stands at `progress`: lines of what comes later, which will be done again, are dropped, and
    /// so is a torn last line. The event file is made anew from what stays.
    ///
    /// # Errors
    /// [`TrainError::Record`] and [`TrainError::Write`].
    pub(crate) fn open(dir: &Path, progress: &Progress) -> Result<Self, TrainError> {
        let path = dir.join(LOG_FILE);
        let mut kept = read_log(dir)?;
        kept.retain(|line| line.is_before(progress));
        let mut text = String::new();
        for line in &kept {
            text += &line_text(line)?;
        }
        write_atomically(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(TrainError::write(&path))?;
        Ok(Self { file, path, events: events_of(dir, &kept)? })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`TrainError::Write`], on a full disk for example.
    pub(crate) fn append(&mut self, line: &LogLine) -> Result<(), TrainError> {
        self.file.write_all(line_text(line)?.as_bytes()).map_err(TrainError::write(&self.path))?;
        self.events.scalars(line.time(), line.step(), &line.scalars())
    }

    /// Makes sure that every line is on the disk.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub(crate) fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(TrainError::write(&self.path))
    }
}

/// The lines of a training's log; none if there is no log. A torn last line is passed over.
///
/// # Errors
/// [`TrainError::Record`] when the file cannot be read or holds something else.
pub fn read_log(dir: &Path) -> Result<Vec<LogLine>, TrainError> {
    let path = dir.join(LOG_FILE);
    let mut lines = Vec::new();
    if path.exists() {
        for_each_line(&path, |line: LogLine| {
            lines.push(line);
            Ok(())
        })?;
    }
    Ok(lines)
}

fn line_text(line: &LogLine) -> Result<String, TrainError> {
    let text = serde_json::to_string(line).map_err(|error| TrainError::Snapshot(error.to_string()))?;
    Ok(text + "\n")
}

/// The event file of some lines. It is named after the first line's time, so that it keeps its name when it is made anew.
fn events_of(dir: &Path, lines: &[LogLine]) -> Result<EventWriter, TrainError> {
    let folder = dir.join(EVENTS_DIR);
    std::fs::create_dir_all(&folder).map_err(TrainError::write(&folder))?;
    let begun = lines.first().map_or_else(now, LogLine::time);
    let mut events = EventWriter::create(&folder.join("events.out.tfevents.0.bitquake"), begun)?;
    for line in lines {
        events.scalars(line.time(), line.step(), &line.scalars())?;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> LogLine {
        let clean = Some(Losses { images: 8, loss: Some(0.1 + step as f64), error: 0.125 });
        let perturbed = Some(Losses { images: 8, loss: None, error: 1.0 });
        LogLine::Steps(StepsRecord { epoch: 0, step, rate: 0.05, clean, perturbed, population: 1, time: 1e9 })
    }

    fn at(epoch: u64, step: u64) -> Progress {
        Progress { epoch, step, ..Progress::default() }
    }

    fn epoch(step: u64) -> LogLine {
        let validation = Losses { images: 100, loss: Some(1.5), error: 0.5 };
        LogLine::Epoch(EpochRecord {
            epoch: 0,
            step,
            rate: 0.05,
            clean: None,
            perturbed: None,
            validation: Some(validation),
            validation_perturbed: Some(validation),
            validation_averaged: None,
            is_best: true,
            images_per_second: 10.0,
            time: 1e9,
        })
    }

    #[test]
    fn lines_after_the_snapshot_are_dropped_and_torn_ones_too() {
        let dir = bitquake_testing::temp_dir();
        let mut log = Log::open(dir.path(), &at(0, 0)).unwrap();
        let all = [line(1), line(2), epoch(2), line(3)];
        all.iter().for_each(|line| log.append(line).unwrap());
        assert_eq!(read_log(dir.path()).unwrap(), all);
        let path = dir.path().join(LOG_FILE);
        let whole = std::fs::read(&path).unwrap();
        for cut in [whole.len(), whole.len() - 1, whole.len() - 20] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut log = Log::open(dir.path(), &at(1, 2)).unwrap();
            log.append(&line(9)).unwrap();
            assert_eq!(read_log(dir.path()).unwrap(), [line(1), line(2), epoch(2), line(9)], "cut at {cut}");
        }
    }

    /// Stopped after the last batch of an epoch, resumed, and killed between the epoch's line and its snapshot.
    #[test]
    fn the_line_of_an_epoch_that_will_be_judged_again_is_dropped() {
        let dir = bitquake_testing::temp_dir();
        let mut log = Log::open(dir.path(), &at(0, 0)).unwrap();
        [line(2), epoch(2)].iter().for_each(|line| log.append(line).unwrap());
        Log::open(dir.path(), &at(0, 2)).unwrap();
        assert_eq!(read_log(dir.path()).unwrap(), [line(2)]);
    }

    #[test]
    fn the_event_file_is_that_of_the_lines() {
        let (straight, resumed) = (bitquake_testing::temp_dir(), bitquake_testing::temp_dir());
        let events =
            |dir: &Path| std::fs::read(dir.join("tensorboard/events.out.tfevents.0.bitquake")).unwrap();
        let append = |dir: &Path, step, lines: &[LogLine]| {
            let mut log = Log::open(dir, &at(0, step)).unwrap();
            lines.iter().for_each(|line| log.append(line).unwrap());
        };
        append(straight.path(), 0, &[line(1)]);
        append(straight.path(), 1, &[epoch(1), line(2)]);
        append(resumed.path(), 0, &[line(1), line(2), line(3)]);
        append(resumed.path(), 1, &[epoch(1), line(2)]);
        assert_eq!(events(straight.path()), events(resumed.path()));
    }

    #[test]
    fn garbage_in_the_middle_is_an_error() {
        let dir = bitquake_testing::temp_dir();
        let good = line_text(&line(1)).unwrap();
        std::fs::write(dir.path().join(LOG_FILE), format!("{good}what\n{good}")).unwrap();
        assert!(read_log(dir.path()).unwrap_err().to_string().contains("line 2"));
    }
}
