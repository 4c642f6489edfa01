//! What an energy file says.

use std::path::PathBuf;

use bitquake_config::{ConfigError, Layout, check_name, default_dir, read_layers};
use bitquake_fault::SyntheticChip;
use serde::{Deserialize, Serialize};

use crate::curve::CurvePoint;

/// An energy file, every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyFile {
    /// Version of this format; 1.
    pub schema: u32,
    /// What to call the page.
    #[serde(default = "default_name")]
    pub name: String,
    /// What an access costs.
    #[serde(default = "CurveConfig::supply")]
    pub curve: CurveConfig,
    /// What an inference reads.
    #[serde(default)]
    pub access: AccessConfig,
    /// What may be lost.
    #[serde(default)]
    pub budget: BudgetConfig,
    /// The networks, by the results of their campaigns; those of the command line come after them.
    #[serde(default, rename = "model", skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelEntry>,
    /// Where the results go.
    #[serde(default)]
    pub output: EnergyOutput,
}

/// `[curve]`, told apart by the key `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum CurveConfig {
    /// `rate = exp(-constant * energy)`.
    Exponential {
        /// How fast errors grow as energy falls; above 0.
        constant: f64,
    },
    /// `energy = (voltage / nominal)^2`, and bit error rates that grow by powers of ten as the voltage falls. The defaults are those of the
    /// synthetic chip ([`SyntheticChip`]), not of a chip that was built.
    Supply {
        /// The voltage of a reliable access.
        #[serde(default = "nominal")]
        nominal: f64,
        /// The voltage at which the bit error rate is `rate`.
        #[serde(default = "reference")]
        reference: f64,
        /// The bit error rate at `reference`.
        #[serde(default = "rate")]
        rate: f64,
        /// Powers of ten by which the rate grows as the voltage falls by 1.
        #[serde(default = "decades_per_volt")]
        decades_per_volt: f64,
    },
    /// Measured points, in the file or beside it.
    Table {
        /// A CSV file with columns `energy`, `rate` and, if there is one, `voltage`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<PathBuf>,
        /// The points, in place of a file.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        points: Vec<CurvePoint>,
    },
}

impl CurveConfig {
    /// The default: the supply law with the numbers of the synthetic chip.
    #[must_use]
    pub fn supply() -> Self {
        Self::Supply {
            nominal: nominal(),
            reference: reference(),
            rate: rate(),
            decades_per_volt: decades_per_volt(),
        }
    }
}

/// `[access]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// How often an inference reads a stored weight.
    pub reads: Reads,
    /// Energy of a reliable access to one bit, in picojoules. Without it energies are in reliable reads of a bit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picojoules_per_bit: Option<f64>,
}

/// How often an inference reads a stored weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// Once: whatever computes keeps it as long as it is needed.
    #[default]
    Once,
    /// As often as it is used: a weight of a convolution for each pixel of the output.
    EachUse,
}

/// `[budget]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// By how much the test error may rise, as shares: 0.01 is a percentage point.
    pub loss: Vec<f64>,
    /// Over which clean error.
    pub from: LossFrom,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { loss: vec![0.01, 0.025], from: LossFrom::Best }
    }
}

/// The clean error that losses are counted from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossFrom {
    /// The lowest of all models: what robustness costs without faults counts too.
    #[default]
    Best,
    /// Each model's own.
    Own,
}

/// `[[model]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// The results of a campaign with bit errors in weights, over rates or voltages.
    pub results: PathBuf,
    /// What to call it; by default as its campaign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `[output]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EnergyOutput {
    /// The folder; `energy/<name>` beside the file by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}

/// Reads energy files, later ones on top of earlier ones, and `key=value` settings on top of all.
///
/// ```
/// use bitquake_energy::{CurveConfig, read_energy};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("energy.toml");
/// std::fs::write(&path, "schema = 1\n[curve]\nkind = \"exponential\"\nconstant = 10.0")?;
/// let file = read_energy(&[path], &["budget.loss=[0.02]".into()])?;
/// assert_eq!(file.curve, CurveConfig::Exponential { constant: 10.0 });
/// assert_eq!(file.budget.loss, [0.02]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ConfigError`] for files that cannot be read, unknown keys, a version other than 1, and numbers out of range.
pub fn read_energy(files: &[PathBuf], settings: &[String]) -> Result<EnergyFile, ConfigError> {
    let layout = Layout { paths: &["curve.file", "model.results", "output.dir"], faults: &[] };
    let mut file: EnergyFile = read_layers(files, settings, layout)?;
    check(&file).map_err(|reason| ConfigError::in_files(files, reason))?;
    file.output.dir.get_or_insert_with(|| default_dir(files, "energy", &file.name));
    Ok(file)
}

fn check(file: &EnergyFile) -> Result<(), String> {
    if file.schema != 1 {
        return Err(format!("schema {} is not known; this bitquake knows 1", file.schema));
    }
    check_name(&file.name)?;
    if let Some(energy) =
        file.access.picojoules_per_bit.filter(|energy| !(energy.is_finite() && *energy > 0.0))
    {
        return Err(format!("[access] picojoules_per_bit = {energy}; it must be above 0"));
    }
    if let Some(loss) = file.budget.loss.iter().find(|loss| !(**loss >= 0.0 && **loss < 1.0)) {
        return Err(format!("[budget] loss {loss}; a loss is a share, from 0 to below 1"));
    }
    Ok(())
}

fn default_name() -> String {
    "energy".into()
}

fn nominal() -> f64 {
    1.2
}

fn reference() -> f64 {
    SyntheticChip::default().reference
}

fn rate() -> f64 {
    SyntheticChip::default().rate
}

fn decades_per_volt() -> f64 {
    SyntheticChip::default().decades_per_volt
}
