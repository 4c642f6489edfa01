//! `[model]` of a recipe: a built-in architecture, or a file.

use std::path::{Path, PathBuf};

use bitquake_bits::WordStore;
use bitquake_data::Dataset;
use bitquake_graph::architecture::{Architecture, fresh_weights};
use bitquake_tensors::TensorFile;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::TrainError;

/// `[model]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RecipeModel {
    /// `architecture` and its options: weights are drawn from the recipe's seed; `input` and `classes` are those of the data if
    /// they are left out.
    Architecture(Box<Architecture>),
    /// `path` of an ONNX file, relative to the recipe: trained on from the weights that it has, or from fresh ones.
    File(ModelFile),
}

/// An ONNX file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Where it is.
    pub path: PathBuf,
    /// The weights that training begins with.
    #[serde(default)]
    pub weights: Beginning,
}

/// The weights that the training of a file begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Beginning {
    /// Those of the file.
    #[default]
    Stored,
    /// New ones, drawn from the recipe's seed: [`fresh_weights`].
    Fresh,
}

// By hand, so that an unknown key is told, and not "no variant fits".
impl<'de> Deserialize<'de> for RecipeModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Map::deserialize(deserializer)?;
        match (table.contains_key("architecture"), table.contains_key("path")) {
            (true, true) => Err(D::Error::custom("[model] takes architecture or path, not both")),
            (false, false) => {
                Err(D::Error::custom("[model] needs an architecture, or the path of an ONNX file"))
            }
            (true, false) => read(table).map(|found| Self::Architecture(Box::new(found))),
            (false, true) => read(table).map(Self::File),
        }
    }
}

/// A model in one file: each model that training writes must have weights of its own.
fn whole_file(path: &Path) -> Result<TensorFile, TrainError> {
    let file = TensorFile::open(path)?;
    match file.content_hash_parts().count() {
        1 => Ok(file),
        _ => {
            let reason = format!("{} keeps weights in other files; save it as one file", path.display());
            Err(TrainError::recipe("[model]", reason))
        }
    }
}

/// The file with fresh weights.
fn begin_anew(mut file: TensorFile, seed: u64) -> Result<TensorFile, TrainError> {
    let fresh = fresh_weights(&file, seed)
        .map_err(|error| TrainError::recipe("[model]", format!("weights = \"fresh\": {error}")))?;
    for (name, values) in fresh {
        put(&mut file, &name, &values);
    }
    Ok(file)
}

/// Gives a float32 tensor that a file has other values, as many as it has elements.
pub(crate) fn put(file: &mut TensorFile, name: &str, values: &[f32]) {
    if let Some(mut words) = file.words_mut(name) {
        for (element, value) in (0..).zip(values) {
            let _ = words.set(element, value.to_bits().into());
        }
    }
}

fn read<T: DeserializeOwned, E: Error>(table: Map<String, Value>) -> Result<T, E> {
    serde_json::from_value(Value::Object(table)).map_err(E::custom)
}

impl RecipeModel {
    /// The ONNX file that a training on these images starts from.
    ///
    /// # Errors
    /// [`TrainError::Tensors`] for a file that cannot be read, [`TrainError::Recipe`] for one that has its weights beside it, and for
    /// an architecture that cannot be built, or is for other images.
    pub(crate) fn starting_model(&self, data: &Dataset, seed: u64) -> Result<TensorFile, TrainError> {
        match self {
            Self::File(ModelFile { path, weights: Beginning::Stored }) => whole_file(path),
            Self::File(ModelFile { path, weights: Beginning::Fresh }) => begin_anew(whole_file(path)?, seed),
            Self::Architecture(architecture) => {
                let wrong = |error: &dyn std::fmt::Display| TrainError::recipe("[model]", error.to_string());
                let &[channels, height, width] = data.image_shape() else {
                    return Err(wrong(&format!(
                        "the data have shape {:?}, not channels, height and width",
                        data.image_shape()
                    )));
                };
                let input = [channels, height, width].map(|size| size as u64);
                let built =
                    architecture.for_data(input, self.classes(data)).and_then(|full| full.build(seed));
                Ok(TensorFile::from_onnx_bytes(built.map_err(|error| wrong(&error))?)?)
            }
        }
    }

    /// As many classes as the architecture says, at least two; else as many as the labels suggest.
    fn classes(&self, data: &Dataset) -> u64 {
        match self {
            Self::Architecture(architecture) => architecture.classes.unwrap_or(data.classes().max(2)),
            Self::File(_) => data.classes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_two() {
        let model =
            |text: &str| toml::from_str::<RecipeModel>(text).map_err(|error| error.message().to_owned());
        let lenet = model("architecture = 'lenet5'").unwrap();
        assert!(matches!(&lenet, RecipeModel::Architecture(found) if found.architecture == "lenet5"));
        assert_eq!(model(&toml::to_string(&lenet).unwrap()).unwrap(), lenet);
        assert_eq!(
            model("path = 'a'").unwrap(),
            RecipeModel::File(ModelFile { path: "a".into(), weights: Beginning::Stored })
        );
        for (text, wanted) in [
            ("", "[model] needs an architecture"),
            ("architecture = 'mlp'\npath = 'a'", "not both"),
            ("path = 'a'\nchannels = 3", "unknown field `channels`"),
            ("architecture = 'mlp'\nchanels = 3", "unknown field `chanels`"),
        ] {
            assert!(model(text).unwrap_err().contains(wanted), "{text}");
        }
    }

    #[test]
    fn a_file_begins_with_its_weights_or_with_fresh_ones() {
        let data = Dataset::new(vec![0.0; 2 * 64], vec![1, 8, 8], vec![0, 2]).unwrap();
        let built: RecipeModel = toml::from_str("architecture = 'mlp'").unwrap();
        let dir = bitquake_testing::temp_dir();
        let path = dir.path().join("mlp.onnx");
        let save = |seed| built.starting_model(&data, seed).unwrap().save(&path).unwrap();
        let bytes = |model: &RecipeModel, seed| {
            let file = model.starting_model(&data, seed).unwrap();
            file.content_hash_parts().next().unwrap().1.to_vec()
        };
        save(5);
        let file = |weights| RecipeModel::File(ModelFile { path: path.clone(), weights });
        assert_eq!(bytes(&file(Beginning::Stored), 7), bytes(&built, 5));
        assert_eq!(bytes(&file(Beginning::Fresh), 7), bytes(&built, 7));
    }

    #[test]
    fn what_is_missing_is_taken_from_the_data() {
        let data = Dataset::new(vec![0.0; 2 * 64], vec![1, 8, 8], vec![0, 2]).unwrap();
        let model: RecipeModel = toml::from_str("architecture = 'mlp'").unwrap();
        let full: RecipeModel =
            toml::from_str("architecture = 'mlp'\ninput = [1, 8, 8]\nclasses = 3").unwrap();
        let bytes = |model: &RecipeModel, seed| {
            let file = model.starting_model(&data, seed).unwrap();
            file.content_hash_parts().next().unwrap().1.to_vec()
        };
        assert_eq!(bytes(&model, 7), bytes(&full, 7));
        assert_ne!(bytes(&model, 7), bytes(&model, 8));
        let other: RecipeModel = toml::from_str("architecture = 'mlp'\ninput = [1, 9, 9]").unwrap();
        assert!(matches!(other.starting_model(&data, 7), Err(TrainError::Recipe { place: "[model]", .. })));
        let features = Dataset::new(vec![0.0; 2], vec![1], vec![0, 1]).unwrap();
        assert!(model.starting_model(&features, 7).is_err());
    }
}
