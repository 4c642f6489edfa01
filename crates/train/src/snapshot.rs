//! Snapshots: everything that a training needs to go on as if it had never stopped.
//!
//! A snapshot is a safetensors file, so that other tools can read the weights: tensors `weight/NAME`, `statistic/NAME` (running
//! statistics), `optimiser/I` and `method/NAME`, all float32, and a [`Header`] as JSON in the metadata, with a digest over all of it.
//! A file appears under its name when it is whole and on the disk; the one before it stays until then.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bitquake_config::hex;
use bitquake_record::write_atomically;
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::TrainError;
use bitquake_record::Score;

/// The newest snapshot of a training.
pub const LAST_SNAPSHOT: &str = "last.safetensors";
/// The snapshot of the epoch that was best on the validation images.
pub const BEST_SNAPSHOT: &str = "best.safetensors";

const SCHEMA: u32 = 1;
/// The key of the metadata.
const KEY: &str = "bitquake";

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

/// The metadata: the header as text, and the digest over it and the tensors.
#[derive(Serialize, Deserialize)]
struct Envelope {
    header: String,
    digest: String,
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
        let failed = |error: &dyn std::fmt::Display| TrainError::Snapshot(error.to_string());
        let header = serde_json::to_string(&self.header).map_err(|error| failed(&error))?;
        let digest = digest(&header, &self.tensors);
        let envelope = serde_json::to_string(&Envelope { header, digest }).map_err(|error| failed(&error))?;
        let views = self.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor));
        let bytes = safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), envelope)])))
            .map_err(|error| failed(&error))?;
        Ok(write_atomically(path, &bytes)?)
    }

    /// Reads a file; none if there is none.
    ///
    /// # Errors
    /// [`TrainError::Snapshot`] for a file that cannot be read, is damaged, or is of a newer version.
    pub fn read(path: &Path) -> Result<Option<Self>, TrainError> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| damaged(path, &error))?,
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(path, &error))?;
        let text = metadata.metadata().as_ref().and_then(|map| map.get(KEY));
        let text = text.ok_or_else(|| damaged(path, &"it is no snapshot of a training"))?;
        let envelope: Envelope = serde_json::from_str(text).map_err(|error| damaged(path, &error))?;
        let tensors = tensors(&bytes).map_err(|error| damaged(path, &error))?;
        if digest(&envelope.header, &tensors) != envelope.digest {
            return Err(damaged(path, &"its bytes are not those that were written"));
        }
        Ok(Some(Self { header: header(&envelope.header).map_err(|error| damaged(path, &error))?, tensors }))
    }

    /// The tensors whose names begin with `kind` and `/`, by the rest of their names.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a SnapshotTensor)> {
        let rest = move |name: &'a str| name.strip_prefix(kind)?.strip_prefix('/');
        self.tensors.iter().filter_map(move |tensor| Some((rest(&tensor.name)?, tensor)))
    }
}

fn header(text: &str) -> Result<Header, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema > u64::from(SCHEMA) => {
            Err(format!("written with schema {schema}, this version reads up to {SCHEMA}"))
        }
        _ => serde_json::from_value(value).map_err(|error| error.to_string()),
    }
}

fn tensors(bytes: &[u8]) -> Result<Vec<SnapshotTensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor `{name}` is {:?}, not F32", view.dtype()));
        }
        let word = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        let values = view.data().chunks_exact(4).map(word).collect();
        tensors.push(SnapshotTensor { name, shape: view.shape().to_vec(), values });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// SHA-256 over the header and the tensors, in the order of their names.
fn digest(header: &str, tensors: &[SnapshotTensor]) -> String {
    let mut hash = Sha256::new();
    let text = |hash: &mut Sha256, text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    text(&mut hash, header);
    let mut sorted: Vec<&SnapshotTensor> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    for tensor in sorted {
        text(&mut hash, &tensor.name);
        hash.update(tensor.data());
    }
    hex(&hash.finalize())
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> TrainError {
    TrainError::Snapshot(format!("{}: {reason}; without it the training begins anew", path.display()))
}

impl View for &SnapshotTensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
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
    fn a_changed_byte_is_seen() {
        let dir = bitquake_testing::temp_dir();
        let path = dir.path().join(LAST_SNAPSHOT);
        snapshot().write(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let read = Snapshot::read(&path);
            // Of the padding and of the order of keys nothing depends.
            let is_same = matches!(&read, Ok(Some(back)) if back.header == snapshot().header && back.tensors.len() == 2 && back.tensors[1].values[0] == snapshot().tensors[1].values[0]);
            assert!(is_same || matches!(read, Err(TrainError::Snapshot(_))), "byte {place}: {read:?}");
        }
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(Snapshot::read(&path), Err(TrainError::Snapshot(_))), "cut at {cut}");
        }
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
