//! `chip` and `offset` of `[fault] model = "map"`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitquake_bits::WordStore;
use bitquake_fault::{ChipArrays, ChipMap, FaultModel, MapFaults, Offset, SyntheticChip};
use bitquake_record::Amount;
use bitquake_sample::StreamKey;
use bitquake_tensors::{TensorFile, read_text};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::digest::hex;
use crate::error::ConfigError;
use crate::fault::FaultConfig;

/// Where a chip comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "the path of a chip map is expected, or { synthetic = { ... } }, also with a `number`"
)]
pub enum ChipConfig {
    /// A CSV file ([`ChipMap::from_csv`]), or an `.npz` with two-dimensional arrays `p01`, `p10`, `threshold`, `stuck`.
    File(PathBuf),
    /// A made-up chip, drawn from seed 0 and this number.
    Synthetic(SyntheticConfig),
}

/// A made-up chip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyntheticConfig {
    /// Which of all such chips.
    #[serde(default)]
    pub number: u64,
    /// Its parameters.
    pub synthetic: SyntheticChip,
}

/// The cell in which the first bit lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a cell is expected, a list of one for each trial, or \"random\"")]
pub enum OffsetConfig {
    /// This one.
    Fixed(u64),
    /// Trial `t` takes entry `t`, and the list repeats.
    ByTrial(Vec<u64>),
    /// `random`, the default.
    Named(RandomOffset),
}

/// The word `random`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RandomOffset {
    /// Chosen by the trial's key.
    Random,
}

impl ChipConfig {
    /// Reads or makes the chip.
    ///
    /// # Errors
    /// [`ConfigError::File`]; [`ConfigError::Wrong`] for parameters of which no chip can be made.
    pub fn load(&self) -> Result<ChipMap, ConfigError> {
        match self {
            Self::File(path) => {
                let read =
                    if path.extension().is_some_and(|extension| extension == "npz") { npz } else { csv };
                read(path).map_err(|reason| ConfigError::file("[fault] chip", path, reason))
            }
            Self::Synthetic(chip) => {
                let key = StreamKey { seed: 0, point: 0, trial: chip.number }.part("synthetic chip");
                chip.synthetic
                    .make(&key)
                    .map_err(|error| ConfigError::wrong("[fault] chip", error.to_string()))
            }
        }
    }
}

impl ChipConfig {
    /// A stand-in for the chip that names its cells and nothing else.
    pub(crate) fn digest(&self) -> Result<Self, ConfigError> {
        Ok(Self::File(hex(&Sha256::digest(self.load()?.to_csv())).into()))
    }
}

fn csv(path: &Path) -> Result<ChipMap, String> {
    let text = read_text(path, u64::MAX).map_err(|error| error.to_string())?;
    ChipMap::from_csv(&text).map_err(|error| error.to_string())
}

fn npz(path: &Path) -> Result<ChipMap, String> {
    let file = TensorFile::open(path).map_err(|error| error.to_string())?;
    let mut shape = None;
    let mut array = |name: &str| -> Result<Option<Vec<f64>>, String> {
        let Some(info) = file.tensor(name) else { return Ok(None) };
        let words =
            file.words(name).ok_or_else(|| format!("array `{name}` is {}, not numbers", info.dtype))?;
        let [rows, columns] = info.shape[..] else {
            return Err(format!("array `{name}` has {} dimensions, not rows and columns", info.shape.len()));
        };
        match shape.get_or_insert((rows, columns)) {
            same if *same == (rows, columns) => {
                Ok(Some(words.iter().map(|word| words.format().decode(word)).collect()))
            }
            first => {
                Err(format!("array `{name}` is {rows} x {columns}, another is {} x {}", first.0, first.1))
            }
        }
    };
    let (p01, p10, threshold) = (array("p01")?, array("p10")?, array("threshold")?);
    let stuck = array("stuck")?.map(|stuck| stuck.into_iter().map(small).collect::<Result<Vec<i8>, _>>());
    let stuck = stuck.transpose()?;
    let (rows, columns) = shape.ok_or("has none of the arrays p01, p10, threshold, stuck")?;
    let arrays = ChipArrays {
        p01: p01.as_deref(),
        p10: p10.as_deref(),
        threshold: threshold.as_deref(),
        stuck: stuck.as_deref(),
    };
    ChipMap::from_arrays(rows, columns, &arrays).map_err(|error| error.to_string())
}

fn small(value: f64) -> Result<i8, String> {
    let small = value as i8;
    if f64::from(small) == value {
        Ok(small)
    } else {
        Err(format!("array `stuck` holds {value}, not -1, 0 or 1"))
    }
}

impl FaultConfig {
    pub(crate) fn map(&self, amount: Amount) -> Result<FaultModel, String> {
        let chip = self
            .chip
            .as_ref()
            .ok_or("[fault] model = \"map\" needs chip = \"FILE.csv\" or a synthetic one")?;
        let offset = match &self.offset {
            Some(OffsetConfig::Fixed(cell)) => Offset::Fixed(*cell),
            Some(OffsetConfig::ByTrial(cells)) => Offset::ByTrial(cells.clone()),
            Some(OffsetConfig::Named(RandomOffset::Random)) | None => Offset::Random,
        };
        let voltage = if let Amount::Voltage(volts) = amount { Some(volts) } else { None };
        if let (ChipConfig::Synthetic(SyntheticConfig { synthetic, .. }), Some(volts)) = (chip, voltage)
            && volts < synthetic.lowest
        {
            let lowest = synthetic.lowest;
            return Err(format!(
                "[fault] voltages: {volts} is below the synthetic chip's lowest = {lowest}, where its cells end"
            ));
        }
        let chip = Arc::new(chip.load().map_err(|error| error.to_string())?);
        Ok(FaultModel::Map(MapFaults { chip, voltage, offset }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> FaultConfig {
        let config: FaultConfig = toml::from_str(text).unwrap();
        config.check().unwrap();
        config
    }

    #[test]
    fn synthetic_chips_and_files_are_the_same_chips() {
        let made = fault(
            "model = \"map\"\nvoltages = [0.85, 0.82]\nchip = { number = 3, synthetic = { rows = 64 } }",
        );
        assert_eq!(made.amounts(), [Amount::Voltage(0.85), Amount::Voltage(0.82)]);
        let chip = made.chip.as_ref().unwrap().load().unwrap();
        assert_eq!((chip.rows(), chip.columns()), (64, 64));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chip.csv");
        std::fs::write(&path, chip.to_csv()).unwrap();
        let read = fault(&format!("model = \"map\"\nvoltages = [0.85]\nchip = {path:?}\noffset = [0, 64]"));
        assert_eq!(read.chip.as_ref().unwrap().load().unwrap(), chip);
        assert!(matches!(read.model(Amount::Voltage(0.85)), Ok(FaultModel::Map(_))));
    }

    #[test]
    fn a_voltage_at_which_a_synthetic_chip_has_no_more_cells_is_refused() {
        let made = fault("model = \"map\"\nvoltages = [0.85]\nchip = { synthetic = { lowest = 0.8 } }");
        let said = made.model(Amount::Voltage(0.7)).unwrap_err();
        assert!(said.contains("0.7 is below the synthetic chip's lowest = 0.8"), "{said}");
    }

    #[test]
    fn what_is_wrong_with_a_chip_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chip.csv");
        std::fs::write(&path, "size,2,2\nrow,column,p01\n5,0,0.5\n").unwrap();
        let config = ChipConfig::File(path.clone());
        let said = config.load().unwrap_err().to_string();
        assert!(said.contains("chip.csv") && said.contains("line 3"), "{said}");
        let said = ChipConfig::File(folder.path().join("none.npz")).load().unwrap_err();
        assert!(said.is_of_input() && said.to_string().contains("none.npz"), "{said}");
        let made: FaultConfig = toml::from_str("chip = { synthetic = { rows = 0 } }").unwrap();
        let said = made.chip.unwrap().load().unwrap_err();
        assert!(!said.is_of_input() && said.to_string().starts_with("[fault] chip: "), "{said}");
        let bad: FaultConfig = toml::from_str("model = \"map\"\nvoltages = [0.8]").unwrap();
        assert!(bad.model(Amount::Voltage(0.8)).unwrap_err().contains("needs chip"));
    }
}
