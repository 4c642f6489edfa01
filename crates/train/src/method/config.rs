//! The table `[method]` of a recipe.

use bitquake_config::{FaultConfig, Target, explain};
use bitquake_storage::StorageSpec;
use serde::{Deserialize, Serialize};

use super::MethodError;

/// How weights are stored, clipped, faulted and penalised while a network is trained: the table `[method]`.
///
/// With nothing set it is plain training in float32 (S20). Keys that do not exist are errors.
///
/// ```
/// use bitquake_train::method::{Combination, MethodConfig};
/// let randbet: MethodConfig = toml::from_str(r#"
///     w_max = 0.1
///     [quantization]
///     family = "asymmetric"
///     bits = 8
///     signed = false
///     [bit_errors]
///     rate = 0.01
/// "#)?;
/// let errors = randbet.bit_errors.ok_or("no errors")?;
/// assert_eq!((errors.population, errors.combination), (1, Combination::Average));
/// assert!(toml::from_str::<MethodConfig>("w_mx = 0.1").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MethodConfig {
    /// Masters are clipped to `-w_max..w_max` before each forward pass (SPEC 2.4); no clipping by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub w_max: Option<f32>,
    /// Which trainable tensors the quantizer of `[method.quantization]` holds for; its overrides reach others too.
    pub tensors: Tensors,
    /// Noise-aware training: bits of the codes flip with this probability in *every* forward pass, straight through
    /// (SPEC 4.1). No clean pass is made. Not together with `bit_errors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p0: Option<f64>,
    /// Which batch statistics the running mean and variance of normalizations follow (S26).
    pub statistics: StatisticsRule,
    /// The share of labels that are replaced by a uniform one in each batch (S28); 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noisy_labels: Option<f64>,
    /// Piecewise clustering (SPEC 5.3): its lambda; 1e-3 is the published one. Of kernels alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clustering: Option<f32>,
    /// The coefficient of the sum of each tensor's largest magnitude (SPEC 4.1), which is added to the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_magnitude: Option<f32>,
    /// Every element of the final gradient is clamped to `-v..v`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_clip: Option<f32>,
    /// Weight decay of the PACT ranges that the graph holds (scalars named `...alpha`); the optimiser's own by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pact_decay: Option<f32>,
    /// How weights are stored: the fields of `[storage]`. Native by default: float32 as it is.
    pub quantization: StorageSpec,
    /// Where ranges come from.
    pub ranges: RangeRule,
    /// Training on weights with bit errors; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_errors: Option<BitErrorConfig>,
    /// An exponential average of the weights, beside them (S25); none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub averaging: Option<AveragingConfig>,
}

/// Which trainable tensors are quantized by default. PACT ranges never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tensors {
    /// Every one: weights, biases, norm scales and shifts (`RandBET`, SPEC 2.2.5).
    #[default]
    All,
    /// Weights of convolutions and linear layers alone (WCAT and BFA, SPEC 4.1): those of two dimensions or more. Globs of a
    /// fault selection do not reach the others.
    Kernels,
}

/// Where the ranges of the quantizers come from: `[method.ranges]`, told apart by the key `rule`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
pub enum RangeRule {
    /// The quantizer's own rule is applied to the masters before each forward pass.
    Refit {},
    /// WCAT ranges and LSQ steps are trained; the quantizer's `range` is what they start from (`"adaptive"` is the largest
    /// magnitude; of LSQ `2 mean|w| / sqrt(Qp)`), one for each tensor. Tensors of other families are refitted.
    Learn {
        /// How the gradient passes WCAT's clipping.
        #[serde(default)]
        clip: ClipRule,
        /// Whether gradients of ranges are divided: WCAT by `sqrt(n)`, LSQ by `sqrt(Qp n)`; true by default.
        #[serde(default = "yes")]
        scale_gradient: bool,
        /// Weight decay of ranges, which is what makes them small (SPEC 4.1); 0.01 by default.
        #[serde(default = "range_decay")]
        weight_decay: f32,
        /// Factor on the learning rate of ranges; 1 by default.
        #[serde(default = "one")]
        rate_factor: f32,
        /// No range falls below this share of the one it started from; 1e-3 by default.
        #[serde(default = "lowest")]
        lowest: f32,
        /// Which gradient an LSQ step gets.
        #[serde(default)]
        lsq: LsqForm,
    },
    /// PLCLIP (W5): the range of a WCAT tensor is `c * max(0.2, its largest magnitude / the largest of all)`, refreshed
    /// before each forward pass.
    Plclip {
        /// The range of the tensor with the largest magnitude.
        c: f32,
    },
    /// Fixed contexts (S24): the ranges of the weights that training starts from, for good; masters are kept inside.
    Frozen {},
}

impl Default for RangeRule {
    fn default() -> Self {
        Self::Refit {}
    }
}

/// How the gradient of a weight passes the clipping to `-a..a` (SPEC 4.1 W1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClipRule {
    /// Everywhere as it is.
    #[default]
    Ste,
    /// As it is inside, 0 outside.
    Pwl,
    /// As it is inside, times `a / |w|` outside.
    Mad,
}

/// The gradient of an LSQ step (SPEC 4.1 W3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LsqForm {
    /// Of the LSQ paper (Esser et al. 2020, arXiv 1902.08153): the whole gradient is scaled.
    #[default]
    Paper,
    /// Of the WCAT repository: scaled on the quantizing side alone.
    Repository,
}

/// `[method.bit_errors]`: a second pass over the batch, on weights with bit errors. Exactly one of `rate`, `fault` and `attack` is
/// given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BitErrorConfig {
    /// Every stored bit flips with this probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Globs over tensors, as in `[fault]`; everything that is stored by default. `*@*` takes scales and zero points in. With
    /// `fault`, that table has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<Vec<String>>,
    /// Which bits of a word, as in `[fault]`; `all` by default. With `fault`, that table has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<String>,
    /// How many perturbed passes the curriculum turns on; 1 by default.
    pub population: u32,
    /// How their gradients and the clean one become one.
    pub combination: Combination,
    /// When they are on.
    pub curriculum: CurriculumRule,
    /// The loss T that turns them on; 1.75 by default, 3.5 is the published one for CIFAR-100.
    pub start_loss: f64,
    /// Every element of a perturbed gradient is clamped to `-c..c` first. By default 0.05 with `average`, else no clamp;
    /// `inf` is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamp: Option<f32>,
    /// Any other fault model: the table `[fault]` of a campaign, with one amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultConfig>,
    /// Adversarial bit errors in place of random ones (`AdvBET`, SPEC 2.9).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<AttackConfig>,
}

impl Default for BitErrorConfig {
    fn default() -> Self {
        Self {
            rate: None,
            select: None,
            bits: None,
            population: 1,
            combination: Combination::Average,
            curriculum: CurriculumRule::Average,
            start_loss: 1.75,
            clamp: None,
            fault: None,
            attack: None,
        }
    }
}

/// How the gradients of a step become one (S21 to S23).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combination {
    /// The mean of the clean gradient and the clamped perturbed ones (`RandBET`).
    #[default]
    Average,
    /// The mean of the perturbed gradients alone; the clean one while there are none.
    Adversarial,
    /// A step with the clean gradient, then one with the perturbed gradients on the same batch, after which each tensor is
    /// clamped to the range that it had before that second step.
    Alternating,
}

/// When perturbed passes are made (SPEC 2.4). `l` is the clean loss of the last batch, `l~` the perturbed one (the mean over the
/// population), T is `start_loss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CurriculumRule {
    /// `l < 1.15 T` and `(l + l~) / 2 <= T`, `l~` being 0 after a batch without perturbed passes.
    #[default]
    Average,
    /// `max(l, l~) <= T`.
    Adversarial,
    /// `l <= T`.
    Simple,
    /// As `average`, and the rate grows in twenty steps over the first half of the epochs.
    Step,
    /// On when the running mean of `(l + l~) / 2` falls to T, off when it passes `1.15 T`: no toggling (SPEC 2.10, 18).
    Hysteresis,
    /// From the first batch on.
    Always,
}

/// `[method.bit_errors.attack]`: the search for the worst bit errors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttackConfig {
    /// At most this many bits flip in all, at most one in each word; 80 by default.
    pub budget: u64,
    /// Gradient steps; 10 by default.
    pub steps: u32,
    /// The longest move of a weight in one step, as a share of the half width of its tensor's range; 1 by default.
    pub step_size: f32,
    /// The share of the last move that the next one keeps; 0.9 by default.
    pub momentum: f32,
    /// Searches from random flips, of which the worst counts; 1 by default.
    pub restarts: u32,
}

impl Default for AttackConfig {
    fn default() -> Self {
        Self { budget: 80, steps: 10, step_size: 1.0, momentum: 0.9, restarts: 1 }
    }
}

/// Which batch statistics the running ones follow (S26).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatisticsRule {
    /// Those of the clean pass.
    #[default]
    Clean,
    /// 0.9 of those of the clean pass and 0.1 of the mean of the perturbed ones.
    Average,
    /// The mean of the perturbed ones.
    Perturbed,
}

/// `[method.averaging]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AveragingConfig {
    /// The share of the average that a step keeps; 0.9975 by default.
    pub tau: f32,
}

impl Default for AveragingConfig {
    fn default() -> Self {
        Self { tau: 0.9975 }
    }
}

fn yes() -> bool {
    true
}

fn one() -> f32 {
    1.0
}

fn range_decay() -> f32 {
    0.01
}

fn lowest() -> f32 {
    1e-3
}

impl MethodConfig {
    /// Reads an inline table, such as `{ w_max = 0.1, bit_errors = { rate = 0.01 } }`; the braces may be left out.
    ///
    /// # Errors
    /// [`MethodError::Table`] for what is no table, and for keys and words that are not known.
    pub fn from_inline(text: &str) -> Result<Self, MethodError> {
        #[derive(Deserialize)]
        struct Line {
            method: MethodConfig,
        }
        let text = text.trim();
        let table = if text.starts_with('{') { text.to_owned() } else { format!("{{ {text} }}") };
        let line: Result<Line, _> = toml::from_str(&format!("method = {table}"));
        line.map(|line| line.method).map_err(|error| MethodError::Table(explain(&error)))
    }

    /// What is wrong with the numbers, and where; `None` if nothing is.
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        let mut checks = Checks::default();
        checks.positive("w_max", self.w_max);
        checks.probability("p0", self.p0);
        checks.probability("noisy_labels", self.noisy_labels);
        checks.not_negative("clustering", self.clustering);
        checks.not_negative("max_magnitude", self.max_magnitude);
        checks.positive("gradient_clip", self.gradient_clip);
        checks.not_negative("pact_decay", self.pact_decay);
        checks.share("averaging.tau", self.averaging.map(|averaging| averaging.tau));
        self.ranges.check(&mut checks);
        if let Some(errors) = &self.bit_errors {
            errors.check(&mut checks);
            checks.is(
                "p0",
                self.p0.is_none(),
                "p0 and bit_errors exclude each other: both perturb the weights",
            );
        }
        checks.problem
    }
}

impl RangeRule {
    fn check(&self, checks: &mut Checks) {
        match *self {
            Self::Learn { weight_decay, rate_factor, lowest, .. } => {
                checks.not_negative("ranges.weight_decay", Some(weight_decay));
                checks.not_negative("ranges.rate_factor", Some(rate_factor));
                checks.positive("ranges.lowest", Some(lowest));
                checks.is("ranges.lowest", lowest <= 1.0, "a share of the first range is at most 1");
            }
            Self::Plclip { c } => checks.positive("ranges.c", Some(c)),
            Self::Refit {} | Self::Frozen {} => {}
        }
    }
}

impl BitErrorConfig {
    fn check(&self, checks: &mut Checks) {
        let given = [self.rate.is_some(), self.fault.is_some(), self.attack.is_some()];
        let count = given.iter().filter(|given| **given).count();
        checks.is("bit_errors", count == 1, "give one of rate, fault and attack");
        if let Some(reason) = self.fault.as_ref().and_then(fault_problem) {
            checks.is("bit_errors.fault", false, reason);
        }
        let has_selection = self.select.is_some() || self.bits.is_some();
        checks.is(
            "bit_errors",
            !has_selection || self.fault.is_none(),
            "select and bits stand in the table `fault`, which is given",
        );
        checks.probability("bit_errors.rate", self.rate);
        checks.is("bit_errors.population", self.population > 0, "at least 1");
        checks.is("bit_errors.start_loss", self.start_loss > 0.0, "a number above 0");
        checks.is(
            "bit_errors.clamp",
            self.clamp.is_none_or(|clamp| clamp > 0.0),
            "a number above 0, inf for none",
        );
        let grows = self.curriculum == CurriculumRule::Step;
        checks.is("bit_errors.curriculum", !grows || self.rate.is_some(), "step needs a rate, which grows");
        if let Some(attack) = self.attack {
            checks.is("bit_errors.attack.budget", attack.budget > 0, "at least 1");
            checks.is("bit_errors.attack.steps", attack.steps > 0, "at least 1");
            checks.is("bit_errors.attack.restarts", attack.restarts > 0, "at least 1");
            checks.positive("bit_errors.attack.step_size", Some(attack.step_size));
            checks.share("bit_errors.attack.momentum", Some(attack.momentum));
        }
    }

    /// The clamp of perturbed gradients; `None` is none.
    pub(crate) fn clamp(&self) -> Option<f32> {
        let default = (self.combination == Combination::Average).then_some(0.05);
        self.clamp.or(default).filter(|clamp| clamp.is_finite())
    }
}

/// What is wrong with a table of faults, or cannot be trained on.
fn fault_problem(fault: &FaultConfig) -> Option<String> {
    let only_weights = fault.target() == Target::Weights && fault.also.is_none();
    match (fault.check(), fault.amounts().len()) {
        (Err(reason), _) => Some(reason),
        _ if !only_weights => {
            Some("training perturbs weights alone: target and also are no keys here".into())
        }
        _ if fault.at_least.is_some() => {
            Some("training has no weighted trials: at_least is no key here".into())
        }
        (Ok(()), 1) => None,
        (Ok(()), amounts) => Some(format!("one amount is needed here, not {amounts}")),
    }
}

/// Collects the first thing that is wrong.
#[derive(Default)]
struct Checks {
    problem: Option<(&'static str, String)>,
}

/// What a number should be, and which one it is.
fn wanted(what: &str, value: Option<impl std::fmt::Display>) -> String {
    value.map_or_else(|| what.to_owned(), |value| format!("{what}, not {value}"))
}

impl Checks {
    fn is(&mut self, field: &'static str, holds: bool, wanted: impl ToString) {
        if !holds && self.problem.is_none() {
            self.problem = Some((field, wanted.to_string()));
        }
    }

    fn positive(&mut self, field: &'static str, value: Option<f32>) {
        let holds = |value: f32| value > 0.0 && value.is_finite();
        self.is(field, value.is_none_or(holds), wanted("a finite number above 0", value));
    }

    fn not_negative(&mut self, field: &'static str, value: Option<f32>) {
        let holds = |value: f32| value >= 0.0 && value.is_finite();
        self.is(field, value.is_none_or(holds), wanted("a finite number of at least 0", value));
    }

    fn share(&mut self, field: &'static str, value: Option<f32>) {
        let holds = |value: f32| (0.0..1.0).contains(&value);
        self.is(field, value.is_none_or(holds), wanted("a number from 0 to below 1", value));
    }

    fn probability(&mut self, field: &'static str, value: Option<f64>) {
        let holds = |value: f64| (0.0..=1.0).contains(&value);
        self.is(field, value.is_none_or(holds), wanted("a probability in 0..1", value));
    }
}
