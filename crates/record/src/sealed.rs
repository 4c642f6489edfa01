//! Files that stopped work goes on from: a header and tensors, sealed by a digest.
//!
//! They are safetensors files, so that other tools can read the numbers. The header lies in the metadata, with the digest over it and the
//! tensors: what was cut off or changed is seen.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::dir::write_atomically;
use crate::error::RecordError;

/// The key of the metadata.
const KEY: &str = "bitquake";

/// A header and tensors by name.
///
/// ```
/// use bitquake_record::{Sealed, SealedTensor, SealedValues};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("state.safetensors");
/// let mut state = Sealed { header: r#"{ "schema": 1, "steps": 7 }"#.into(), ..Sealed::default() };
/// state.tensors.insert("sum".into(), SealedTensor { shape: vec![2], values: SealedValues::F64(vec![0.1, 0.2]) });
/// state.write(&path)?;
/// assert_eq!(Sealed::read(&path)?, Some(state));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sealed {
    /// JSON, an object with the number `schema`.
    pub header: String,
    /// The tensors.
    pub tensors: BTreeMap<String, SealedTensor>,
}

/// A tensor of a sealed file.
#[derive(Clone, Debug, PartialEq)]
pub struct SealedTensor {
    /// Its dimensions, slowest first.
    pub shape: Vec<usize>,
    /// Its values, row-major, as many as the product of the shape.
    pub values: SealedValues,
}

/// The values of a tensor, bit for bit.
#[derive(Clone, Debug, PartialEq)]
pub enum SealedValues {
    /// float32.
    F32(Vec<f32>),
    /// float64.
    F64(Vec<f64>),
}

/// The metadata: the header as text, and the digest over it and the tensors.
#[derive(Serialize, Deserialize)]
struct Envelope {
    header: String,
    digest: String,
}

impl Sealed {
    /// Writes the file: whole and synced, or not at all.
    ///
    /// # Errors
    /// [`RecordError::Io`] when the disk is full, for example; the file that was there before is as it was. [`RecordError::Invalid`] for a
    /// tensor that has not as many values as its shape says.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let envelope = Envelope { header: self.header.clone(), digest: self.digest() };
        let envelope = serde_json::to_string(&envelope).map_err(|error| RecordError::invalid(path, error))?;
        let metadata = HashMap::from([(KEY.to_owned(), envelope)]);
        let bytes = safetensors::serialize(&self.tensors, Some(metadata));
        write_atomically(path, &bytes.map_err(|error| RecordError::invalid(path, error))?)
    }

    /// Reads a file; none if there is none.
    ///
    /// # Errors
    /// [`RecordError::Io`] for a file that cannot be read, [`RecordError::Invalid`] for one that is damaged or something else.
    pub fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(RecordError::io(path, "read"))?,
        };
        Self::parsed(&bytes).map(Some).map_err(|reason| RecordError::invalid(path, reason))
    }

    /// The header as a type, if it is of no newer version than `newest`; else what is wrong with it.
    ///
    /// # Errors
    /// The reason as text.
    pub fn header<H: DeserializeOwned>(&self, newest: u32) -> Result<H, String> {
        let value: serde_json::Value =
            serde_json::from_str(&self.header).map_err(|error| error.to_string())?;
        match value.get("schema").and_then(serde_json::Value::as_u64) {
            Some(schema) if schema > u64::from(newest) => {
                Err(format!("written with schema {schema}, this version reads up to {newest}"))
            }
            _ => serde_json::from_value(value).map_err(|error| error.to_string()),
        }
    }

    fn parsed(bytes: &[u8]) -> Result<Self, String> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let text = metadata.metadata().as_ref().and_then(|map| map.get(KEY));
        let text = text.ok_or("it is no snapshot")?;
        let Envelope { header, digest } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut sealed = Self { header, tensors: BTreeMap::new() };
        for (name, view) in SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?.tensors() {
            let values = match view.dtype() {
                Dtype::F32 => SealedValues::F32(words(view.data(), f32::from_le_bytes)),
                Dtype::F64 => SealedValues::F64(words(view.data(), f64::from_le_bytes)),
                other => return Err(format!("tensor `{name}` is {other:?}, not F32 or F64")),
            };
            sealed.tensors.insert(name, SealedTensor { shape: view.shape().to_vec(), values });
        }
        if sealed.digest() == digest {
            Ok(sealed)
        } else {
            Err("its bytes are not those that were written".to_owned())
        }
    }

    /// SHA-256 over the header and the tensors, in the order of their names.
    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let text = |hash: &mut Sha256, text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        text(&mut hash, &self.header);
        for (name, tensor) in &self.tensors {
            text(&mut hash, name);
            hash.update(tensor.data());
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn words<const N: usize, T>(bytes: &[u8], word: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| word(*bytes)).collect()
}

impl View for &SealedTensor {
    fn dtype(&self) -> Dtype {
        match self.values {
            SealedValues::F32(_) => Dtype::F32,
            SealedValues::F64(_) => Dtype::F64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes: Vec<u8> = match &self.values {
            SealedValues::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            SealedValues::F64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        bytes.into()
    }

    fn data_len(&self) -> usize {
        match &self.values {
            SealedValues::F32(values) => 4 * values.len(),
            SealedValues::F64(values) => 8 * values.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> Sealed {
        let narrow = [f32::MIN_POSITIVE / 2.0, -0.0, f32::NAN, f32::INFINITY];
        let wide = [0.1 + 0.2, f64::NEG_INFINITY];
        Sealed {
            header: r#"{"schema":3,"steps":7}"#.into(),
            tensors: BTreeMap::from([
                (
                    "a/narrow".into(),
                    SealedTensor { shape: vec![2, 2], values: SealedValues::F32(narrow.into()) },
                ),
                ("b/wide".into(), SealedTensor { shape: vec![2], values: SealedValues::F64(wide.into()) }),
                ("empty".into(), SealedTensor { shape: vec![0], values: SealedValues::F32(Vec::new()) }),
            ]),
        }
    }

    /// NaN is not equal to itself: bytes are compared.
    fn is_same(one: &Sealed, other: &Sealed) -> bool {
        let all = |sealed: &Sealed| -> Vec<(String, Vec<usize>, Dtype, Vec<u8>)> {
            let tensors = sealed.tensors.iter();
            tensors
                .map(|(name, t)| (name.clone(), t.shape.clone(), t.dtype(), t.data().into_owned()))
                .collect()
        };
        one.header == other.header && all(one) == all(other)
    }

    #[test]
    fn every_bit_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        assert_eq!(Sealed::read(&path).unwrap(), None);
        sealed().write(&path).unwrap();
        let first = std::fs::read(&path).unwrap();
        let back = Sealed::read(&path).unwrap().unwrap();
        assert!(is_same(&back, &sealed()), "{back:?}");
        back.write(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first, "the same state is the same file");
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        sealed().write(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            // Of the padding and of the order of keys nothing depends.
            let is_seen = Sealed::parsed(&bytes).map_or(true, |back| is_same(&back, &sealed()));
            assert!(is_seen, "byte {place}");
        }
        assert!((0..whole.len()).all(|cut| Sealed::parsed(&whole[..cut]).is_err()));
    }

    #[test]
    fn what_is_no_snapshot_is_told() {
        #[derive(Debug, Deserialize)]
        struct Header {
            steps: u32,
        }
        assert_eq!(sealed().header::<Header>(3).unwrap().steps, 7);
        let newer = sealed().header::<Header>(2).unwrap_err();
        assert_eq!(newer, "written with schema 3, this version reads up to 2");
        let other = safetensors::serialize(&sealed().tensors, None).unwrap();
        assert_eq!(Sealed::parsed(&other).unwrap_err(), "it is no snapshot");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing").join("state.safetensors");
        assert!(matches!(sealed().write(&path), Err(RecordError::Io { .. })));
        let short = SealedTensor { shape: vec![3], values: SealedValues::F64(vec![1.0]) };
        let wrong = Sealed { header: "{}".into(), tensors: BTreeMap::from([("short".into(), short)]) };
        assert!(matches!(wrong.write(&dir.path().join("s")), Err(RecordError::Invalid { .. })));
    }
}
