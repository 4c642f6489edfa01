//! `shape`, `size`, `effect` and `bits_hit` of `[fault]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitquake_fault::{
    BitsHit, Effect, FaultModel, Shape, ShapeFaults, SpatialPattern, Value, WORD_EFFECTS, WordEffect,
};
use bitquake_record::Amount;
use bitquake_tensors::read_text;
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::fault::{FaultConfig, ValueConfig};

/// Which words fail together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "the name of a shape is expected, or { file = \"pattern.json\" }")]
pub enum ShapeConfig {
    /// A shape by its name.
    Named(String),
    /// A measured pattern.
    File(PatternFile),
}

/// A file of a spatial pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatternFile {
    /// JSON, as [`SpatialPattern::from_json`] reads it.
    pub file: PathBuf,
}

/// How large a shape is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a whole number is expected, or [rows, columns]")]
pub enum SizeConfig {
    /// Rows and columns of a square block, or channels of a bullet wake.
    One(u64),
    /// Rows and columns of a block.
    Block([u64; 2]),
}

/// What happens to a bit or to a word that is hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "the name of an effect is expected, or { value = ... }")]
pub enum EffectConfig {
    /// By its name.
    Named(String),
    /// The word is set.
    Value(ValueEffect),
}

/// A word that is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueEffect {
    /// To what.
    pub value: ValueConfig,
}

const SHAPES: &str = "neuron, channel, row, column, block, bullet-wake, { file = \"pattern.json\" }";

impl PatternFile {
    /// Reads the pattern.
    ///
    /// # Errors
    /// [`ConfigError::File`].
    pub fn load(&self) -> Result<SpatialPattern, ConfigError> {
        let wrong = |reason: String| ConfigError::file("[fault] shape", &self.file, reason);
        let text = read_bounded(&self.file).map_err(&wrong)?;
        SpatialPattern::from_json(&text).map_err(|error| wrong(error.to_string()))
    }
}

/// The text of a file that is not so large that it cannot be a pattern.
fn read_bounded(path: &Path) -> Result<String, String> {
    read_text(path, 16 << 20).map_err(|error| error.to_string())
}

impl ShapeConfig {
    /// A stand-in for the shape that names what decides its faults and nothing else.
    pub(crate) fn digest(&self) -> Result<Self, ConfigError> {
        match self {
            Self::Named(_) => Ok(self.clone()),
            Self::File(file) => Ok(Self::File(PatternFile { file: file.load()?.digest().into() })),
        }
    }
}

impl EffectConfig {
    fn names(&self) -> String {
        match self {
            Self::Named(name) => format!("`{name}`"),
            Self::Value(_) => "{ value = ... }".into(),
        }
    }

    /// What happens to a bit.
    pub(crate) fn of_bits(&self) -> Result<Effect, String> {
        let named = match self {
            Self::Named(name) => WordEffect::named(name, BitsHit::All),
            Self::Value(_) => None,
        };
        match named {
            Some(WordEffect::Bits { effect, .. }) => Ok(effect),
            _ => Err(format!("[fault] effect: {} is not known; known: flip, set-0, set-1", self.names())),
        }
    }

    /// What happens to a word.
    fn of_words(&self, hit: BitsHit) -> Result<WordEffect, String> {
        match self {
            Self::Named(name) => WordEffect::named(name, hit).ok_or_else(|| {
                let known = WORD_EFFECTS.join(", ");
                format!("[fault] effect: {} is not known; known: {known}, {{ value = X }}", self.names())
            }),
            Self::Value(effect) => Ok(WordEffect::Value(effect.value.value()?)),
        }
    }
}

impl FaultConfig {
    pub(crate) fn shape(&self, amount: Amount) -> Result<FaultModel, String> {
        let effect = self.effect.clone().unwrap_or_else(|| EffectConfig::Named("flip".into()));
        let effect = effect.of_words(self.bits_hit.unwrap_or_default())?;
        if self.bits_hit.is_some() && !matches!(effect, WordEffect::Bits { .. }) {
            return Err("[fault] bits_hit goes with effect = \"flip\", \"set-0\" or \"set-1\"".into());
        }
        let at = self.elements(amount)?;
        Ok(FaultModel::Shape(ShapeFaults { shape: self.shape_of()?, at, effect }))
    }

    fn shape_of(&self) -> Result<Shape, String> {
        let name = match &self.shape {
            None => return Err(format!("[fault] model = \"shape\" needs shape, one of {SHAPES}")),
            Some(ShapeConfig::File(file)) => {
                self.no_size("a pattern")?;
                return file.load().map(Arc::new).map(Shape::Pattern).map_err(|error| error.to_string());
            }
            Some(ShapeConfig::Named(name)) => name.as_str(),
        };
        match (name, &self.size) {
            ("block", Some(SizeConfig::One(0) | SizeConfig::Block([0, _] | [_, 0])))
            | ("bullet-wake", Some(SizeConfig::One(0))) => Err("[fault] size is at least 1".into()),
            ("block", Some(SizeConfig::One(size))) => Ok(Shape::Block { rows: *size, columns: *size }),
            ("block", Some(SizeConfig::Block([rows, columns]))) => {
                Ok(Shape::Block { rows: *rows, columns: *columns })
            }
            ("block", None) => {
                Err("[fault] shape = \"block\" needs size = [ROWS, COLUMNS] or a number".into())
            }
            ("bullet-wake", None) => Ok(Shape::BulletWake { channels: None }),
            ("bullet-wake", Some(SizeConfig::One(channels))) => {
                Ok(Shape::BulletWake { channels: Some(*channels) })
            }
            ("bullet-wake", _) => Err("[fault] size of a bullet-wake is a number of channels".into()),
            ("neuron", _) => self.no_size("a neuron").map(|()| Shape::Neuron),
            ("channel", _) => self.no_size("a channel").map(|()| Shape::Channel),
            ("row", _) => self.no_size("a row").map(|()| Shape::Row),
            ("column", _) => self.no_size("a column").map(|()| Shape::Column),
            _ => Err(format!("[fault] shape = \"{name}\" is not known; known: {SHAPES}")),
        }
    }

    fn no_size(&self, what: &str) -> Result<(), String> {
        match self.size {
            None => Ok(()),
            Some(_) => Err(format!("[fault] size goes with a block or a bullet-wake, not with {what}")),
        }
    }
}

impl ValueConfig {
    /// The value of a word.
    pub(crate) fn value(&self) -> Result<Value, String> {
        match self {
            Self::Number(number) => Ok(Value::Number(*number)),
            Self::Word(text) if text == "saturate" => Ok(Value::Saturate),
            // The widest integer format takes any raw word; the tensors' own widths are checked when drawing.
            Self::Word(text) => match bitquake_bits::Format::U64.parse_word(text) {
                Ok(word) if text.starts_with("0x") || text.starts_with("0b") => Ok(Value::Word(word)),
                _ => Err(format!(
                    "[fault] value: `{text}` is no raw word; write 0x... or 0b..., \"saturate\", or a number"
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Result<FaultConfig, String> {
        let config: FaultConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map(|()| config)
    }

    fn shape(keys: &str) -> Result<ShapeFaults, String> {
        let config = fault(&format!("model = \"shape\"\ncounts = [2]\n{keys}"))?;
        match config.model(Amount::Count(2))? {
            FaultModel::Shape(shape) => Ok(shape),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn shapes_and_effects() {
        let wake = |channels| Shape::BulletWake { channels };
        for (keys, want) in [
            ("shape = \"neuron\"", Shape::Neuron),
            ("shape = \"channel\"", Shape::Channel),
            ("shape = \"row\"", Shape::Row),
            ("shape = \"column\"", Shape::Column),
            ("shape = \"block\"\nsize = 3", Shape::Block { rows: 3, columns: 3 }),
            ("shape = \"block\"\nsize = [2, 5]", Shape::Block { rows: 2, columns: 5 }),
            ("shape = \"bullet-wake\"", wake(None)),
            ("shape = \"bullet-wake\"\nsize = 4", wake(Some(4))),
        ] {
            assert_eq!(shape(keys).map(|shape| shape.shape), Ok(want), "{keys}");
        }
        let bits = |effect, hit| WordEffect::Bits { effect, hit };
        for (keys, want) in [
            ("", bits(Effect::Flip, BitsHit::One)),
            ("effect = \"set-1\"\nbits_hit = \"all\"", bits(Effect::Set1, BitsHit::All)),
            ("bits_hit = 0.25", bits(Effect::Flip, BitsHit::Each(bitquake_sample::Rate::new(0.25).unwrap()))),
            ("effect = \"random-value\"", WordEffect::Value(Value::Random)),
            ("effect = \"zero\"", WordEffect::Value(Value::Number(0.0))),
            ("effect = \"saturate\"", WordEffect::Value(Value::Saturate)),
            ("effect = { value = 1.5 }", WordEffect::Value(Value::Number(1.5))),
            ("effect = { value = \"0x7f\" }", WordEffect::Value(Value::Word(0x7f))),
        ] {
            let keys = format!("shape = \"row\"\n{keys}");
            assert_eq!(shape(&keys).map(|shape| shape.effect), Ok(want), "{keys}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_shape_is_told() {
        for (keys, want) in [
            ("", "needs shape, one of neuron"),
            ("shape = \"ring\"", "\"ring\" is not known; known: neuron"),
            ("shape = \"row\"\nsize = 2", "size goes with a block or a bullet-wake, not with a row"),
            ("shape = \"block\"", "needs size"),
            ("shape = \"block\"\nsize = [0, 2]", "at least 1"),
            ("shape = \"bullet-wake\"\nsize = [1, 2]", "a number of channels"),
            ("shape = \"row\"\neffect = \"invert\"", "`invert` is not known; known: flip, "),
            ("shape = \"row\"\neffect = \"zero\"\nbits_hit = \"all\"", "bits_hit goes with"),
            ("shape = \"row\"\nbits_hit = 2.0", "bits_hit is 2"),
            ("shape = \"row\"\nlength = 2", "`shape` does not take it"),
        ] {
            let error = shape(keys).unwrap_err();
            assert!(error.contains(want), "{keys}: {error}");
        }
        let burst = fault("model = \"burst\"\nlength = 2\ncounts = [1]\neffect = \"zero\"").unwrap_err();
        assert!(burst.contains("`zero` is not known; known: flip, set-0, set-1"), "{burst}");
    }

    #[test]
    fn a_pattern_is_known_by_what_it_does() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/patterns");
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("copy.json");
        let text = std::fs::read_to_string(examples.join("systolic-array-example.json")).unwrap();
        let config = |path: &Path| format!("shape = {{ file = {path:?} }}");
        std::fs::write(&copy, text.replace("a cross", "a plus")).unwrap();
        let identity = |path: &Path| {
            let text = format!("model = \"shape\"\ncounts = [1]\n{}", config(path));
            fault(&text).unwrap().with_digests().unwrap().shape.unwrap()
        };
        assert_eq!(identity(&copy), identity(&examples.join("systolic-array-example.json")));
        std::fs::write(&copy, text.replace("64", "32")).unwrap();
        assert_ne!(identity(&copy), identity(&examples.join("systolic-array-example.json")));
        assert!(matches!(shape(&config(&copy)).unwrap().shape, Shape::Pattern(_)));
        std::fs::write(&copy, text.replace("\"count\": 4", "\"count\": 0")).unwrap();
        let error = shape(&config(&copy)).unwrap_err();
        assert!(error.contains("copy.json: classes[1].parts[0].spans[0].count: 0 is not in"), "{error}");
        let error = shape(&config(&folder.path().join("none.json"))).unwrap_err();
        assert!(error.contains("none.json"), "{error}");
    }
}
