//! `[data]` of a recipe: the files, and which rows are kept from training.

use bitquake_data::{DataConfig, Held, SplitConfig};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// `[data]`: the fields of a campaign's `[data]`, and `[data.split]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecipeData {
    /// The files of the training images.
    #[serde(flatten)]
    pub files: DataConfig,
    /// Where the validation and the test images come from.
    pub split: SplitConfig,
}

// By hand, because serde's `flatten` does not go together with refusing unknown keys.
impl<'de> Deserialize<'de> for RecipeData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Map::deserialize(deserializer)?;
        let split = table.remove("split").map(read).transpose()?.unwrap_or_default();
        Ok(Self { files: read(Value::Object(table))?, split })
    }
}

fn read<T: DeserializeOwned, E: Error>(value: Value) -> Result<T, E> {
    serde_json::from_value(value).map_err(E::custom)
}

impl RecipeData {
    /// What is wrong that shows without the files.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.files.validate().map_err(|error| format!("[data] {error}"))?;
        for (place, held) in [("validation", &self.split.validation), ("test", &self.split.test)] {
            if let Some(Held::Files(files)) = held {
                files.validate().map_err(|error| format!("[data.split.{place}] {error}"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_split_share_a_table() {
        let text = "format = \"npz\"\nimages = \"a.npz\"\n[split]\nvalidation = 0.25\n";
        let data: RecipeData = toml::from_str(text).unwrap();
        assert_eq!(data.split, toml::from_str("validation = 0.25").unwrap());
        let back: RecipeData = toml::from_str(&toml::to_string(&data).unwrap()).unwrap();
        assert_eq!(back, data);
        for (text, wanted) in [
            ("format = \"npz\"\nimagess = \"a\"", "unknown field `imagess`"),
            ("format = \"npz\"\nimages = \"a\"\n[split]\ntests = 1", "unknown field `tests`"),
        ] {
            let error = toml::from_str::<RecipeData>(text).unwrap_err();
            assert!(error.message().starts_with(wanted), "{error}");
        }
    }
}
