//! Snapshots: everything that a training needs to go on as if it had never stopped.
//!
//! A snapshot is a [`Sealed`] safetensors file, so that other tools can read the weights: tensors `weight/NAME`, `statistic/NAME` (running
//! statistics), `optimiser/I` and `method/NAME`, all float32, and a [`Header`] as JSON in the metadata.
//! A file appears under its name when it is whole and on the disk; the one before it stays until then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitquake_record::{Score, Sealed, SealedTensor, SealedValues};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The newest snapshot of a training.
pub const LAST_SNAPSHOT: &str = "last.safetensors";
/// The snapshot of the epoch that was best on the validation images.
pub const BEST_SNAPSHOT: &str = "best.safetensors";

const SCHEMA: u32 = 1;

/// What a snapshot says beside its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of this format; 1.
    pub schema: u32,
    /// What decides the weights, by key: those of another recipe are refused.
    pub identity: BTreeMap<String, String>,
    /// Where the training stands.
    pub progress: Progress,
    /// Steps that the optimiser has counted.
    pub optimiser_steps: u64,
    /// The epoch that is best so far.
    pub best: Option<Best>,
    /// The numbers of the method's state.
    pub method: serde_json::Value,
}

/// Where a training stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The epoch that is being trained; all epochs before it are finished.
    pub epoch: u64,
    /// Batches of this epoch that are finished.
    pub batch: u64,
    /// Steps of this training that are finished.
    pub step: u64,
    /// Clean passes of this epoch so far.
    pub clean: Score,
    /// Passes with faults of this epoch so far.
    pub perturbed: Score,
    /// Clean passes since the last line of the log, in this epoch.
    pub clean_line: Score,
    /// Passes with faults since the last line of the log, in this epoch.
    pub perturbed_line: Score,
}

/// The epoch with the lowest error on the validation images; of those, the one with the lowest loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Its score on the validation images.
    pub score: Score,
}

/// A tensor of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotTensor {
    /// `weight/NAME`, `statistic/NAME`, `optimiser/I`, `method/NAME`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// A snapshot in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// What it says beside its tensors.
    pub header: Header,
    /// Its tensors, sorted by name when read from a file.
    pub tensors: Vec<SnapshotTensor>,
}

impl Header {
    /// A header of this version.
    #[must_use]
    pub fn new(identity: BTreeMap<String, String>) -> Self {
        let (progress, method) = (Progress::default(), serde_json::Value::Null);
        Self { schema: SCHEMA, identity, progress, optimiser_steps: 0, best: None, method }
    }
}

impl Snapshot {
    /// Writes the file: whole and synced, or not at all.
    ///
    /// # Errors
    /// [`TrainError::Record`] when the disk is full, for example; the file that was there before is as it was.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let header = serde_json::to_string(&self.header);
        let header = header.map_err(|error| TrainError::Snapshot(error.to_string()))?;
        let of = |tensor: &SnapshotTensor| {
            let values = SealedValues::F32(tensor.values.clone());
            (tensor.name.clone(), SealedTensor { shape: tensor.shape.clone(), values })
        };
        Ok(Sealed { header, tensors: self.tensors.iter().map(of).collect() }.write(path)?)
    }

    /// Reads a file; none if there is none.
    ///
    /// # Errors
    /// [`TrainError::Snapshot`] for a file that cannot be read, is damaged, or is of a newer version.
    pub fn read(path: &Path) -> Result<Option<Self>, TrainError> {
        let anew = |reason: &dyn std::fmt::Display| {
            TrainError::Snapshot(format!("{reason}; without it the training begins anew"))
        };
        let Some(sealed) = Sealed::read(path).map_err(|error| anew(&error))? else { return Ok(None) };
        let damaged = |reason: String| anew(&format_args!("{}: {reason}", path.display()));
        let header = sealed.header(SCHEMA).map_err(damaged)?;
        let tensors = sealed.tensors.into_iter().map(tensor).collect::<Result<_, _>>().map_err(damaged)?;
        Ok(Some(Self { header, tensors }))
    }

    /// The tensors whose names begin with `kind` and `/`, by the rest of their names.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a SnapshotTensor)> {
        let rest = move |name: &'a str| name.strip_prefix(kind)?.strip_prefix('/');
        self.tensors.iter().filter_map(move |tensor| Some((rest(&tensor.name)?, tensor)))
    }
}

fn tensor((name, tensor): (String, SealedTensor)) -> Result<SnapshotTensor, String> {
    let SealedTensor { shape, values } = tensor;
    match values {
        SealedValues::F32(values) => Ok(SnapshotTensor { name, shape, values }),
        SealedValues::F64(_) => Err(format!("tensor `{name}` is F64, not F32")),
    }
}

/// The file of an epoch's snapshot, where all are kept.
#[must_use]
pub fn epoch_snapshot(dir: &Path, epoch: u64) -> PathBuf {
    dir.join(format!("epoch-{epoch:04}.safetensors"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, values: &[f32]) -> SnapshotTensor {
        SnapshotTensor { name: name.into(), shape: vec![values.len()], values: values.to_vec() }
    }

    fn snapshot() -> Snapshot {
        let header = Header {
            progress: Progress {
                epoch: 3,
                batch: 1,
                step: 13,
                clean: Score { images: 7, wrong: 1, loss_sum: 0.1 + 0.2 },
                ..Progress::default()
            },
            optimiser_steps: 13,
            best: Some(Best { epoch: 1, score: Score { images: 5, wrong: 0, loss_sum: 1e-300 } }),
            method: serde_json::json!({ "population": 1, "rate": 0.1_f32 }),
            ..Header::new(BTreeMap::from([("seed".into(), "42".into())]))
        };
        let bits = [f32::MIN_POSITIVE / 2.0, -0.0, f32::NAN, f32::INFINITY];
        Snapshot { header, tensors: vec![tensor("method/average", &[]), tensor("weight/a.b", &bits)] }
    }

    #[test]
    fn every_bit_comes_back() {
        let dir = bitquake_testing::temp_dir();
        let path = dir.path().join(LAST_SNAPSHOT);
        assert_eq!(Snapshot::read(&path).unwrap(), None);
        snapshot().write(&path).unwrap();
        let first = std::fs::read(&path).unwrap();
        let back = Snapshot::read(&path).unwrap().unwrap();
        assert_eq!(back.header, snapshot().header);
        let bits = |s: &Snapshot| s.tensors[1].values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(&snapshot()));
        back.write(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first, "the same state is the same file");
        let names: Vec<&str> = back.of_kind("weight").map(|(name, _)| name).collect();
        assert_eq!(names, ["a.b"]);
    }

    #[test]
    fn a_damaged_one_is_refused() {
        let dir = bitquake_testing::temp_dir();
        let path = dir.path().join(LAST_SNAPSHOT);
        snapshot().write(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = Snapshot::read(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("not those that were written; without it the training begins anew"),
            "{error}"
        );
    }

    #[test]
    fn a_newer_one_is_refused() {
        let dir = bitquake_testing::temp_dir();
        let path = dir.path().join(LAST_SNAPSHOT);
        let mut newer = snapshot();
        newer.header.schema = 2;
        newer.write(&path).unwrap();
        let error = Snapshot::read(&path).unwrap_err().to_string();
        assert!(error.contains("written with schema 2, this version reads up to 1"), "{error}");
    }

    #[test]
    fn where_it_cannot_be_written_the_older_one_stays() {
        let dir = bitquake_testing::temp_dir();
        let path = dir.path().join("missing").join(LAST_SNAPSHOT);
        assert!(matches!(snapshot().write(&path), Err(TrainError::Record(_))));
    }
}
