//! What a file of rankings says.

use std::path::PathBuf;

use bitquake_bits::BitSelection;
use bitquake_config::{ConfigError, Layout, ModelConfig, default_dir, fill_storage, read_layers};
use bitquake_data::DataConfig;
use bitquake_grad::Device;
use bitquake_storage::StorageSpec;
use serde::{Deserialize, Serialize};

use crate::config::{AttackOutput, Labels};
use crate::error::AttackError;
use crate::stored::check_head;

/// A file of rankings, every default filled in.
///
/// ```
/// use bitquake_attack::rank::{RankingKind, read_rank};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("rank.toml");
/// std::fs::write(&path, r#"
///     schema = 1
///     [model]
///     path = "model.onnx"
///     [data]
///     format = "npz"
///     images = "test.npz"
/// "#)?;
/// let config = read_rank(&[path], &["rank.top=50".into()])?;
/// assert_eq!(config.rank.rankings[0], RankingKind::Expected);
/// assert_eq!((config.rank.images, config.rank.top), (512, 50));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankFile {
    /// Version of this format; 1.
    pub schema: u32,
    /// What to call the rankings; no part of their identity.
    #[serde(default = "default_name")]
    pub name: String,
    /// The root of all random choices: images, random vectors, sampled bits.
    #[serde(default)]
    pub seed: u64,
    /// The model.
    pub model: ModelConfig,
    /// The labelled images.
    pub data: DataConfig,
    /// What the memory holds.
    #[serde(default)]
    pub storage: StorageSpec,
    /// What is ranked, and how.
    #[serde(default)]
    pub rank: RankConfig,
    /// Where the results go.
    #[serde(default)]
    pub output: AttackOutput,
}

/// `[rank]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RankConfig {
    /// The rankings. The terminal's tables are of the first; all are compared.
    pub rankings: Vec<RankingKind>,
    /// Images that losses and gradients are of, drawn; 512 by default, and all if there are fewer.
    pub images: u64,
    /// Images that are computed at once; 32 by default. No result but its rounding depends on it.
    pub batch: u64,
    /// What counts as right: the labels of the data (`true`, the default), or what the network says (`predicted`).
    pub labels: Labels,
    /// Globs over tensor names; `!glob` leaves out. Default: everything.
    pub select: Vec<String>,
    /// Which bits of a word: `all` (the default), `30`, `23..30`, `sign`, `exponent`, `mantissa`, `msb`.
    pub bits: String,
    /// Whether the tensors of batch normalizations are ranked; true by default.
    pub batch_norm: bool,
    /// Where to compute: `cpu` (the default), `cuda`, `cuda:1`, `wgpu`.
    pub device: Device,
    /// Bits of the list of those that matter most; 1000 by default, and all if there are fewer.
    pub top: u64,
    /// How scores of weights become scores of their bits.
    pub turn: Turn,
    /// Of which rankings the scores of all bits are saved.
    pub scores: SavedScores,
    /// The `vulnerability.csv` of a campaign of single upsets on the same storage, to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<PathBuf>,
    /// Second derivatives.
    pub curvature: CurvatureConfig,
    /// Eigenvectors of the Hessian.
    pub eigen: EigenConfig,
    /// How rankings are compared.
    pub agreement: AgreementConfig,
}

impl Default for RankConfig {
    fn default() -> Self {
        Self {
            rankings: vec![
                RankingKind::Expected,
                RankingKind::FirstOrder,
                RankingKind::Gradient,
                RankingKind::Taylor,
            ],
            images: 512,
            batch: 32,
            labels: Labels::True,
            select: vec!["*".into()],
            bits: "all".into(),
            batch_norm: true,
            device: Device::Cpu,
            top: 1000,
            turn: Turn::MsbFirst,
            scores: SavedScores::First,
            measured: None,
            curvature: CurvatureConfig::default(),
            eigen: EigenConfig::default(),
            agreement: AgreementConfig::default(),
        }
    }
}

/// One way to rank bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RankingKind {
    /// The change of the loss that the flip itself makes, to second order: `g d + h d^2 / 2`.
    Expected,
    /// The same to first order: `g d`.
    FirstOrder,
    /// By weight `|g|` (SPEC F18).
    Gradient,
    /// By weight `(g w)^2` (SPEC F19).
    Taylor,
    /// By weight the mean diagonal of the Hessian in its tensor: its trace there over its elements (Dong et al., "HAWQ-V2" (2020)).
    Trace,
    /// By weight sums over eigenvectors (SPEC F16).
    Sum,
    /// By weight maxima over eigenvectors (SPEC F17).
    Max,
}

impl RankingKind {
    /// The name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::FirstOrder => "first-order",
            Self::Gradient => "gradient",
            Self::Taylor => "taylor",
            Self::Trace => "trace",
            Self::Sum => "sum",
            Self::Max => "max",
        }
    }
}

/// How scores of weights become scores of their bits. Neither looks at what a flip does to the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// The most significant bits of all weights first, in the order of the weights, then the next bits (SPEC F20).
    MsbFirst,
    /// The weight's score times 2 to the number of the bit (SPEC F21).
    Power,
}

/// Of which rankings the scores of all bits are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SavedScores {
    /// None.
    None,
    /// The first.
    First,
    /// All.
    All,
}

/// `[rank.curvature]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CurvatureConfig {
    /// Which second derivatives `expected` uses.
    pub diagonal: Diagonal,
    /// Draws of labels for the Gauss-Newton diagonal; 4 by default.
    pub draws: u32,
    /// Random vectors for the trace and the Hessian's diagonal, at most; 100 by default.
    pub vectors: u32,
    /// The relative change of the running mean of the trace at which no more vectors are drawn; 1e-3 by default.
    pub tolerance: f64,
}

impl Default for CurvatureConfig {
    fn default() -> Self {
        Self { diagonal: Diagonal::GaussNewton, draws: 4, vectors: 100, tolerance: 1e-3 }
    }
}

/// Which second derivatives the expected loss change uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagonal {
    /// The diagonal of the Gauss-Newton matrix, which is the Fisher information of the network's own predictions; from gradients
    /// alone, and never negative.
    GaussNewton,
    /// The diagonal of the Hessian by Hutchinson's estimator; it costs a Hessian product for each random vector, and its noise is
    /// of both signs.
    Hutchinson,
}

/// `[rank.eigen]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EigenConfig {
    /// Eigenpairs; 4 by default.
    pub count: u32,
    /// Iterations for each of them, at most; 100 by default.
    pub iterations: u32,
    /// The relative change of the eigenvalue at which an iteration has converged; 1e-3 by default.
    pub tolerance: f64,
    /// Whether eigenvectors count by their eigenvalues; true by default.
    pub weighted: bool,
}

impl Default for EigenConfig {
    fn default() -> Self {
        Self { count: 4, iterations: 100, tolerance: 1e-3, weighted: true }
    }
}

/// `[rank.agreement]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgreementConfig {
    /// Bits that Kendall's tau is of, drawn; 200,000 by default, and all if there are fewer.
    pub bits: u64,
    /// Strata (one bit position of one tensor) whose overlap is told; 20 by default, and a half of all if there are fewer than 40.
    pub strata: u64,
}

impl Default for AgreementConfig {
    fn default() -> Self {
        Self { bits: 200_000, strata: 20 }
    }
}

fn default_name() -> String {
    "rank".into()
}

const LAYOUT: Layout<'static> = Layout {
    paths: &["model.path", "data.images", "data.more", "data.labels", "rank.measured", "output.dir"],
    faults: &[],
};

/// Reads files of rankings, later ones on top of earlier ones, then `key=value` settings on top of all; checks everything that can be
/// checked without the model and the data; makes all paths absolute. Paths in a file are relative to that file, paths in settings
/// to the working directory.
///
/// # Errors
/// [`AttackError::Config`].
pub fn read_rank(files: &[PathBuf], settings: &[String]) -> Result<RankFile, AttackError> {
    let mut config: RankFile = read_layers(files, settings, LAYOUT)?;
    config.check().map_err(|reason| ConfigError::in_files(files, reason))?;
    fill_storage(&mut config.storage);
    config.output.dir.get_or_insert_with(|| default_dir(files, "rankings", &config.name));
    Ok(config)
}

/// The configuration as a file that gives the same rankings, every default visible.
///
/// # Errors
/// [`AttackError::Config`] when a path is not Unicode.
pub fn rank_toml(config: &RankFile) -> Result<String, AttackError> {
    toml::to_string(config).map_err(|error| ConfigError::wrong("rank", error.to_string()).into())
}

impl RankFile {
    fn check(&self) -> Result<(), String> {
        check_head(self.schema, &self.name, &self.storage, &self.data)?;
        self.rank.check()
    }
}

impl RankConfig {
    fn check(&self) -> Result<(), String> {
        if self.rankings.is_empty() {
            return Err("[rank] rankings is empty; name one or more, such as \"expected\"".into());
        }
        if let Some((_, twice)) =
            self.rankings.iter().enumerate().find(|(at, kind)| self.rankings[..*at].contains(kind))
        {
            return Err(format!("[rank] rankings names `{}` twice", twice.name()));
        }
        let counts = [
            ("[rank] images", self.images),
            ("[rank] batch", self.batch),
            ("[rank] top", self.top),
            ("[rank.curvature] draws", self.curvature.draws.into()),
            ("[rank.curvature] vectors", self.curvature.vectors.into()),
            ("[rank.eigen] count", self.eigen.count.into()),
            ("[rank.eigen] iterations", self.eigen.iterations.into()),
            ("[rank.agreement] strata", self.agreement.strata),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(format!("{key} is 0; it must be at least 1"));
        }
        if self.agreement.bits < 2 {
            return Err(format!("[rank.agreement] bits is {}; it must be at least 2", self.agreement.bits));
        }
        for (place, tolerance) in
            [("[rank.curvature]", self.curvature.tolerance), ("[rank.eigen]", self.eigen.tolerance)]
        {
            if !(tolerance.is_finite() && tolerance >= 0.0) {
                return Err(format!("{place} tolerance {tolerance} is not a number from 0"));
            }
        }
        self.bit_selection().map(drop)
    }

    pub(crate) fn bit_selection(&self) -> Result<BitSelection, String> {
        self.bits.parse().map_err(|error| format!("[rank] bits: {error}"))
    }
}
