//! `attack.jsonl`: what happened, line by line. Everything else in the output folder is made of it, and an attack resumes from it.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitquake_record::{for_each_line, write_atomically};
use serde::{Deserialize, Serialize};

use crate::error::AttackError;
use crate::evaluate::Evaluation;
use crate::search::Effort;

/// The file of lines.
pub const RECORD_FILE: &str = "attack.jsonl";
/// Version of the lines. Readers refuse newer ones.
const SCHEMA: u32 = 1;
/// Lines reach the disk at least this often while others follow.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// One line of `attack.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum AttackLine {
    /// The first line: which attack this is.
    Attack(AttackRecord),
    /// A trial has begun.
    Trial(TrialRecord),
    /// Flips were made.
    Step(StepRecord),
    /// A trial is over.
    End(EndRecord),
}

/// Which attack this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttackRecord {
    /// Version of the lines.
    pub schema: u32,
    /// SHA-256 over everything that decides the flips.
    pub id: String,
    /// What it is over, by key.
    pub identity: BTreeMap<String, String>,
}

/// A trial before its first flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// The trial, from 0.
    pub trial: u64,
    /// Bits that may be flipped.
    pub bits: u64,
    /// The network without flips, on the images that it is judged on after a step.
    pub sample: Evaluation,
    /// The same on all images that are not attacked.
    pub full: Evaluation,
}

/// One step of a trial: flips that were made together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The trial, from 0.
    pub trial: u64,
    /// The step of the trial, from 0.
    pub step: u64,
    /// The flips, in their order.
    pub flips: Vec<FlipRecord>,
    /// The attacker's loss before; none for random flips, and if it is no finite number.
    pub loss_before: Option<f64>,
    /// The attacker's loss after; none for random flips, and if it is no finite number.
    pub loss: Option<f64>,
    /// What the step took.
    #[serde(flatten)]
    pub effort: Effort,
    /// Flips of the trial so far, flips back among them.
    pub flip_count: u64,
    /// Bits that differ from the clean ones.
    pub distance: u64,
    /// What the network is worth now, on some images; none if it was not judged after this step.
    pub sample: Option<Evaluation>,
    /// The same on all images that are not attacked; none if it was not judged on them.
    pub full: Option<Evaluation>,
}

/// One flip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlipRecord {
    /// The tensor.
    pub tensor: String,
    /// The element, counted over the flattened tensor.
    pub element: u64,
    /// The bit; 0 is the least significant.
    pub bit: u32,
    /// The stored word before.
    pub word_before: u32,
    /// The stored word after.
    pub word_after: u32,
    /// What the network computed with before; none if it was no finite number.
    pub level_before: Option<f32>,
    /// What it computes with after.
    pub level_after: Option<f32>,
}

/// Why a trial is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The goal is reached, on all images that are not attacked.
    Target,
    /// The flip budget is used up.
    Budget,
    /// The number of steps is reached.
    Iterations,
    /// No flips that were tried raise the loss.
    NoIncrease,
    /// The loss is no finite number any more.
    NotFinite,
    /// Every bit that may be flipped is.
    Exhausted,
}

impl EndReason {
    /// What it means, for people.
    #[must_use]
    pub fn told(self) -> &'static str {
        match self {
            Self::Target => "target reached",
            Self::Budget => "flip budget used up",
            Self::Iterations => "number of steps reached",
            Self::NoIncrease => "no flips that were tried raise the loss",
            Self::NotFinite => "the loss is no finite number any more",
            Self::Exhausted => "no bit is left that may be flipped",
        }
    }
}

/// A finished trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRecord {
    /// The trial, from 0.
    pub trial: u64,
    /// Why it is over.
    pub reason: EndReason,
    /// Flips that were made.
    pub flip_count: u64,
    /// Bits that differ from the clean ones.
    pub distance: u64,
    /// What the network is worth, on all images that are not attacked.
    pub full: Evaluation,
}

impl AttackLine {
    /// The trial; none for the first line.
    fn trial(&self) -> Option<u64> {
        match self {
            Self::Attack(_) => None,
            Self::Trial(record) => Some(record.trial),
            Self::Step(record) => Some(record.trial),
            Self::End(record) => Some(record.trial),
        }
    }
}

/// What the lines tell of one trial.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialLines {
    /// Its beginning.
    pub begin: TrialRecord,
    /// Its steps, in order.
    pub steps: Vec<StepRecord>,
    /// Its end, if it is over.
    pub end: Option<EndRecord>,
}

/// The records of an output folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AttackRecords {
    /// Which attack they are of; none of a folder without any.
    pub attack: Option<AttackRecord>,
    /// The trials, in order.
    pub trials: Vec<TrialLines>,
}

impl AttackRecords {
    /// Reads a folder. A torn last line is passed over.
    ///
    /// # Errors
    /// [`AttackError::Record`] when the file cannot be read or holds something else; [`AttackError::Records`] when its lines are
    /// in no order that an attack writes, or of a newer version.
    pub fn read(dir: &Path) -> Result<Self, AttackError> {
        let path = dir.join(RECORD_FILE);
        let mut records = Self::default();
        if !path.exists() {
            return Ok(records);
        }
        let mut lines: Vec<AttackLine> = Vec::new();
        for_each_line(&path, |line| {
            lines.push(line);
            Ok(())
        })?;
        for (number, line) in lines.into_iter().enumerate() {
            records.add(line).map_err(|reason| AttackError::Records {
                path: path.clone(),
                reason: format!("line {}: {reason}", number + 1),
            })?;
        }
        Ok(records)
    }

    fn add(&mut self, line: AttackLine) -> Result<(), String> {
        if let AttackLine::Attack(attack) = line {
            return self.add_attack(attack);
        }
        if self.attack.is_none() {
            return Err("the first line does not tell which attack this is".into());
        }
        let number = line.trial().unwrap_or_default();
        match (line, self.trials.last_mut()) {
            (AttackLine::Trial(begin), last) => {
                let is_next = last.is_none_or(|last| last.end.is_some());
                if !is_next || number != self.trials.len() as u64 {
                    return Err(format!("trial {number} begins out of order"));
                }
                self.trials.push(TrialLines { begin, steps: Vec::new(), end: None });
            }
            (AttackLine::Step(step), Some(last))
                if last.end.is_none()
                    && last.begin.trial == number
                    && step.step == last.steps.len() as u64 =>
            {
                last.steps.push(step);
            }
            (AttackLine::End(end), Some(last)) if last.end.is_none() && last.begin.trial == number => {
                last.end = Some(end);
            }
            _ => return Err(format!("a line of trial {number} is out of order")),
        }
        Ok(())
    }

    fn add_attack(&mut self, attack: AttackRecord) -> Result<(), String> {
        if attack.schema > SCHEMA {
            return Err(format!("schema {}, this version reads up to {SCHEMA}", attack.schema));
        }
        if self.attack.is_some() {
            return Err("which attack this is stands there twice".into());
        }
        self.attack = Some(attack);
        Ok(())
    }

    fn lines(&self) -> impl Iterator<Item = AttackLine> + '_ {
        let of_trial = |trial: &TrialLines| {
            let steps = trial.steps.iter().cloned().map(AttackLine::Step);
            let begin = std::iter::once(AttackLine::Trial(trial.begin));
            begin.chain(steps).chain(trial.end.map(AttackLine::End)).collect::<Vec<_>>()
        };
        self.attack.iter().cloned().map(AttackLine::Attack).chain(self.trials.iter().flat_map(of_trial))
    }
}

impl AttackRecord {
    pub(crate) fn new(identity: &bitquake_config::Identity) -> Self {
        Self { schema: SCHEMA, id: identity.id(), identity: identity.parts().clone() }
    }
}

/// Adds lines to `attack.jsonl`, and keeps what they say.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    path: PathBuf,
    records: AttackRecords,
    synced: Instant,
}

impl Log {
    /// Opens the records of a folder: a torn last line is cut off.
    pub(crate) fn open(dir: &Path, records: AttackRecords) -> Result<Self, AttackError> {
        let path = dir.join(RECORD_FILE);
        let mut text = String::new();
        for line in records.lines() {
            text += &line_text(&line, &path)?;
        }
        write_atomically(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path).map_err(AttackError::write(&path))?;
        Ok(Self { file, path, records, synced: Instant::now() })
    }

    /// What has been recorded.
    pub(crate) fn records(&self) -> &AttackRecords {
        &self.records
    }

    /// Adds a line. It is on the disk within [`SYNC_EVERY`] if others follow, that of an end at once.
    pub(crate) fn append(&mut self, line: AttackLine) -> Result<(), AttackError> {
        let text = line_text(&line, &self.path)?;
        self.file.write_all(text.as_bytes()).map_err(AttackError::write(&self.path))?;
        if self.synced.elapsed() >= SYNC_EVERY || matches!(line, AttackLine::End(_)) {
            self.sync()?;
        }
        let wrong = |reason| AttackError::Records { path: self.path.clone(), reason };
        self.records.add(line).map_err(wrong)
    }

    /// Makes sure that every line is on the disk.
    pub(crate) fn sync(&mut self) -> Result<(), AttackError> {
        self.synced = Instant::now();
        self.file.sync_data().map_err(AttackError::write(&self.path))
    }
}

fn line_text(line: &AttackLine, path: &Path) -> Result<String, AttackError> {
    let wrong =
        |error: serde_json::Error| AttackError::Records { path: path.to_owned(), reason: error.to_string() };
    Ok(serde_json::to_string(line).map_err(wrong)? + "\n")
}
