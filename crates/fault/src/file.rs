//! Patterns as JSON.

use bitquake_bits::Format;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pattern::{FaultPattern, PatternError, TensorFlips};

const KIND: &str = "bitquake fault pattern";
const SCHEMA: u32 = 1;

/// A saved pattern as serde has it: JSON in files, tables in configurations.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    kind: String,
    schema: u32,
    tensors: Vec<FileTensor>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTensor {
    tensor: String,
    format: String,
    elements: u64,
    /// (element, bit) of each flip.
    flips: Vec<(u64, u32)>,
}

/// Why a text is no saved pattern.
#[derive(Debug, thiserror::Error)]
pub enum PatternFileError {
    /// Not JSON, or not of this shape.
    #[error("not a fault pattern: {0}")]
    Json(#[from] serde_json::Error),
    /// Another kind of JSON file.
    #[error("not a fault pattern: its kind is `{0}`")]
    Kind(String),
    /// Written by a newer version.
    #[error("fault pattern of schema {found}, this version reads up to {SCHEMA}")]
    Schema {
        /// The schema found.
        found: u32,
    },
    /// A tensor's format is unknown.
    #[error("tensor `{tensor}` has the unknown format `{format}`")]
    Format {
        /// The tensor.
        tensor: String,
        /// The format's name.
        format: String,
    },
    /// A bit beyond the width of the format.
    #[error("tensor `{tensor}`, element {index}: bit {bit} is out of bounds, {format} has {}", format.width())]
    Bit {
        /// The tensor.
        tensor: String,
        /// The element.
        index: u64,
        /// The bit.
        bit: u32,
        /// The tensor's format.
        format: Format,
    },
    /// The flips are no pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

impl FaultPattern {
    /// The pattern as JSON: kind, schema, and for each tensor its name, format, number of elements and `[element, bit]` pairs.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("strings and integers are always JSON"))
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// [`PatternFileError`] says what is wrong.
    pub fn from_json(text: &str) -> Result<Self, PatternFileError> {
        let file: File = serde_json::from_str(text)?;
        file.read()
    }
}

impl Serialize for FaultPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tensor = |flips: &TensorFlips| FileTensor {
            tensor: flips.tensor.clone(),
            format: flips.format.name(),
            elements: flips.elements,
            flips: flips.addresses.iter().map(|&address| flips.element_and_bit(address)).collect(),
        };
        let tensors = self.tensors().iter().map(tensor).collect();
        File { kind: KIND.to_owned(), schema: SCHEMA, tensors }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FaultPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        File::deserialize(deserializer)?.read().map_err(Error::custom)
    }
}

impl File {
    fn read(self) -> Result<FaultPattern, PatternFileError> {
        if self.kind != KIND {
            return Err(PatternFileError::Kind(self.kind));
        }
        if self.schema > SCHEMA {
            return Err(PatternFileError::Schema { found: self.schema });
        }
        let tensors = self.tensors.into_iter().map(FileTensor::read).collect::<Result<_, _>>()?;
        Ok(FaultPattern::new(tensors)?)
    }
}

impl FileTensor {
    fn read(self) -> Result<TensorFlips, PatternFileError> {
        let Ok(format) = Format::from_name(&self.format) else {
            return Err(PatternFileError::Format { tensor: self.tensor, format: self.format });
        };
        let width = format.width();
        if let Some(&(index, bit)) = self.flips.iter().find(|(_, bit)| *bit >= width) {
            return Err(PatternFileError::Bit { tensor: self.tensor, index, bit, format });
        }
        let addresses = self
            .flips
            .iter()
            .map(|&(index, bit)| index.checked_mul(width.into())?.checked_add(bit.into()))
            .collect::<Option<Vec<u64>>>();
        match addresses {
            Some(addresses) => {
                Ok(TensorFlips { tensor: self.tensor, format, elements: self.elements, addresses })
            }
            None => {
                let index = self.flips.iter().map(|flip| flip.0).max().unwrap_or(0);
                Err(PatternError::OutOfBounds { tensor: self.tensor, index, elements: self.elements }.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::tests::flips;

    #[test]
    fn round_trips() {
        let pattern = FaultPattern::new(vec![flips(&[0, 30, 63])]).unwrap();
        let json = pattern.to_json();
        assert_eq!(
            json,
            r#"{"kind":"bitquake fault pattern","schema":1,"tensors":[{"tensor":"w","format":"f32","elements":2,"flips":[[0,0],[0,30],[1,31]]}]}"#
        );
        assert_eq!(FaultPattern::from_json(&json).unwrap(), pattern);
        assert_eq!(serde_json::from_str::<FaultPattern>(&json).unwrap(), pattern);
    }

    #[test]
    fn refuses_what_is_no_pattern() {
        let good = FaultPattern::new(vec![flips(&[0, 63])]).unwrap().to_json();
        let cases = [
            ("{", "not a fault pattern"),
            ("{}", "missing field"),
            (&good.replace("fault pattern", "trial"), "its kind"),
            (&good.replace("\"schema\":1", "\"schema\":2"), "schema 2"),
            (&good.replace("f32", "f33"), "unknown format `f33`"),
            (&good.replace("[1,31]", "[1,32]"), "bit 32 is out of bounds"),
            (&good.replace("[1,31]", "[2,0]"), "element 2 is out of bounds, there are 2"),
            (
                &good.replace("[1,31]", "[18446744073709551615,0]"),
                "element 18446744073709551615 is out of bounds",
            ),
            (&good.replace("[1,31]", "[0,0]"), "named twice"),
            (&good.replace("\"elements\"", "\"element\""), "unknown field"),
        ];
        for (text, want) in cases {
            let error = FaultPattern::from_json(text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
