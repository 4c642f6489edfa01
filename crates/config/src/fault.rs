//! `[fault]`: which faults occur.

mod check;
mod make;
#[cfg(test)]
mod tests;

use bitquake_bits::BitSelection;
use bitquake_fault::{BitsHit, DramGeometry, FaultModel, Neighbours, ProtectedBits, Scope, Structure};
use bitquake_record::Amount;
use serde::{Deserialize, Serialize};

use crate::chip::{ChipConfig, OffsetConfig};
use crate::error::ConfigError;
use crate::explain::explain;
use crate::pattern::PatternConfig;
use crate::shape::{EffectConfig, ShapeConfig, SizeConfig};
use crate::target::{Persistence, Target};

/// `[fault]`. Which keys a model takes stands in [`MODELS`](bitquake_fault::MODELS); one that it does not take is an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultConfig {
    /// One of [`MODELS`](bitquake_fault::MODELS); `bit-flip` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What is exposed: `weights` (the default), `activations` or `inputs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Operators whose outputs are exposed, of `activations`; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<Vec<String>>,
    /// `transient` (the default): each image has faults of its own; `permanent`: all images of a trial have the same. For
    /// `activations` and `inputs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// Globs over the names of tensors or values; `!glob` leaves out. Default: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<Vec<String>>,
    /// Which bits of a word: `all` (the default), `30`, `23..30`, `sign`, `exponent`, `mantissa`, `msb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits: Option<String>,
    /// Bits of a word that never fail: as `bits` names them, or a 0 or 1 for each bit, bit 0 first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protect: Option<ProtectConfig>,
    /// 1: each trial is drawn given that it has a fault, and the means are weighted with how likely that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
    /// Probabilities, one point each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates: Option<Vec<f64>>,
    /// Exact numbers, one point each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Vec<u64>>,
    /// Shares of the elements, one point each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fractions: Option<Vec<f64>>,
    /// Factor on the rate for bits that hold 0; 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_one: Option<f64>,
    /// Factor on the rate for bits that hold 1; 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_zero: Option<f64>,
    /// Bits or elements by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sites: Option<Vec<String>>,
    /// The flips of a saved fault pattern: its file, or what is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<PatternConfig>,
    /// A rate for each bit of the word, bit 0 first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position_rates: Option<Vec<f64>>,
    /// A number, or the word as `"0x..."`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<ValueConfig>,
    /// Bits in a burst, or `[[length, weight], ...]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<LengthConfig>,
    /// `word` or `memory`: which bits of a burst are neighbours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Neighbours>,
    /// Probability that a bit of a burst is hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub each: Option<f64>,
    /// What happens to a bit of a burst: `flip`, `set-0`, `set-1`; or to a word of a shape, for which there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<EffectConfig>,
    /// Which words fail together: a name, or a file with a measured pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<ShapeConfig>,
    /// Rows and columns of a block, or channels of a bullet wake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<SizeConfig>,
    /// Which bits of a word of a shape are hit: `one`, `all`, or a probability for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_hit: Option<BitsHit>,
    /// Bits with rates of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regions: Option<Vec<RegionConfig>>,
    /// The chip of a map: a file, or a synthetic one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chip: Option<ChipConfig>,
    /// Supply voltages of a map, one point each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voltages: Option<Vec<f64>>,
    /// The cell of a map in which the first bit lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<OffsetConfig>,
    /// What fails in a DRAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structure: Option<Structure>,
    /// In which devices of a DRAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How a DRAM is built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geometry: Option<DramGeometry>,
    /// Tensors start at multiples of this many bytes of a DRAM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub align: Option<u64>,
    /// The models of a mixture. The points are those of the first; every other part has one amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<FaultConfig>>,
    /// Faults in other state at the same time, such as activations besides weights; with one amount for all points, or as many
    /// as there are points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also: Option<Box<FaultConfig>>,
}

/// Bits that never fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "bits are expected as `bits` names them, or a list of 1 for each that is protected and 0 for every other"
)]
pub enum ProtectConfig {
    /// As `bits` names them.
    Bits(String),
    /// 1 for each bit that is protected, 0 for every other.
    List(Vec<u8>),
}

/// One of `regions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// The bits, in a notation of [`SiteRange`](bitquake_fault::SiteRange).
    pub sites: String,
    /// Their rate.
    pub rate: f64,
}

/// What a word is set to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a number is expected, its bits as \"0x...\" or \"0b...\", or \"saturate\"")]
pub enum ValueConfig {
    /// A number that every format hit has exactly.
    Number(f64),
    /// The bits, as `0x...` or `0b...`; or `saturate`.
    Word(String),
}

/// How long bursts are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a whole number is expected, or a list of lengths and their weights, such as [[1, 0.9], [2, 0.1]]"
)]
pub enum LengthConfig {
    /// All of one length.
    One(u64),
    /// Lengths with weights.
    Weighted(Vec<(u64, f64)>),
}

/// Keys that every model takes.
const COMMON: [&str; 9] =
    ["model", "target", "ops", "persistence", "select", "bits", "protect", "at_least", "also"];

impl FaultConfig {
    /// Puts every default that all models have in its place.
    pub fn fill_defaults(&mut self) {
        self.model.get_or_insert_with(|| "bit-flip".into());
        let target = *self.target.get_or_insert_default();
        if target != Target::Weights {
            self.persistence.get_or_insert_default();
        }
        if let Some(also) = &mut self.also {
            also.fill_defaults();
        }
        self.select.get_or_insert_with(|| vec!["*".into()]);
        self.bits.get_or_insert_with(|| "all".into());
    }

    /// The model's name.
    #[must_use]
    pub fn model_name(&self) -> &str {
        self.model.as_deref().unwrap_or("bit-flip")
    }

    /// Whether every selected bit is as likely to be hit as every other, whatever it holds, and nothing else is hit: then trials with a
    /// single fault are a sample of the memory's bits.
    #[must_use]
    pub fn is_even(&self) -> bool {
        let names_bits = self.sites.is_some()
            || self.pattern.is_some()
            || self.position_rates.is_some()
            || self.regions.is_some();
        // A share of the elements hits each bit of a narrow word sooner than each of a wide one.
        let is_plain = self.fractions.is_none() && self.to_one.unwrap_or(1.0) == self.to_zero.unwrap_or(1.0);
        self.model_name() == "bit-flip" && !names_bits && is_plain && self.also.is_none()
    }

    /// Globs over tensor names.
    #[must_use]
    pub fn select(&self) -> &[String] {
        self.select.as_deref().unwrap_or_default()
    }

    /// The chips of this model, of its parts and of what happens also.
    pub fn chips(&self) -> impl Iterator<Item = &ChipConfig> {
        let below = self.parts.iter().flatten().chain(self.also.as_deref());
        let below: Vec<&ChipConfig> = below.flat_map(|part| part.chips().collect::<Vec<_>>()).collect();
        self.chip.iter().chain(below)
    }

    /// Puts what is in the file of each pattern in its place, so that a saved configuration needs no other file.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn load_patterns(&mut self) -> Result<(), ConfigError> {
        if let Some(pattern) = &mut self.pattern {
            *pattern = PatternConfig::Flips(pattern.loaded()?);
        }
        if let Some(ShapeConfig::File(file)) = &self.shape {
            file.load()?; // seen here as an input; models read it again
        }
        let below = self.parts.iter_mut().flatten().chain(self.also.as_deref_mut());
        for part in below {
            part.load_patterns()?;
        }
        Ok(())
    }

    /// The same with the path of each chip and spatial pattern replaced by a digest of what is in it: what decides results,
    /// wherever the file lies.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn with_digests(&self) -> Result<Self, ConfigError> {
        let mut config = self.clone();
        config.chip = self.chip.as_ref().map(ChipConfig::digest).transpose()?;
        config.shape = self.shape.as_ref().map(ShapeConfig::digest).transpose()?;
        for part in config.parts.iter_mut().flatten() {
            *part = part.with_digests()?;
        }
        if let Some(also) = &mut config.also {
            **also = also.with_digests()?;
        }
        Ok(config)
    }

    /// Which bits of a word.
    ///
    /// # Errors
    /// What is wrong with `bits`.
    pub fn bits(&self) -> Result<BitSelection, String> {
        let text = self.bits.as_deref().unwrap_or("all");
        text.parse().map_err(|error| format!("[fault] bits: {error}"))
    }

    /// The bits that never fail.
    ///
    /// # Errors
    /// What is wrong with `protect`.
    pub fn protected(&self) -> Result<Option<ProtectedBits>, String> {
        Ok(match &self.protect {
            None => None,
            Some(ProtectConfig::List(flags)) => Some(ProtectedBits::List(flags.clone())),
            Some(ProtectConfig::Bits(text)) => {
                let bits = text.parse().map_err(|error| format!("[fault] protect: {error}"))?;
                Some(ProtectedBits::Bits(bits))
            }
        })
    }

    /// The points, in order.
    #[must_use]
    pub fn amounts(&self) -> Vec<Amount> {
        if let Some(first) = self.parts.as_ref().and_then(|parts| parts.first()) {
            return first.amounts();
        }
        let rates = self.rates.iter().flatten().map(|&rate| Amount::Rate(rate));
        let counts = self.counts.iter().flatten().map(|&count| Amount::Count(count));
        let fractions = self.fractions.iter().flatten().map(|&share| Amount::Fraction(share));
        let voltages = self.voltages.iter().flatten().map(|&volts| Amount::Voltage(volts));
        let listed: Vec<Amount> = rates.chain(counts).chain(fractions).chain(voltages).collect();
        // What names its bits itself is one point.
        match (&self.sites, &self.position_rates, &self.regions) {
            _ if self.pattern.is_some() => {
                vec![Amount::Count(self.pattern.as_ref().map_or(0, PatternConfig::flips))]
            }
            (Some(sites), ..) => vec![Amount::Count(sites.len() as u64)],
            (_, Some(rates), _) => vec![Amount::Rate(mean(rates.iter().copied()))],
            (_, _, Some(regions)) => vec![Amount::Rate(mean(regions.iter().map(|region| region.rate)))],
            _ if self.chip.is_some() && listed.is_empty() => vec![Amount::Count(1)],
            _ => listed,
        }
    }

    /// Reads an inline table, such as `{ model = "burst", length = 3, counts = [2] }`; the braces may be left out.
    ///
    /// # Errors
    /// What is wrong with the text or the table.
    pub fn from_inline(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let table = if text.starts_with('{') { text.to_owned() } else { format!("{{ {text} }}") };
        #[derive(Deserialize)]
        struct Line {
            fault: FaultConfig,
        }
        let mut line: Line = toml::from_str(&format!("fault = {table}")).map_err(|error| explain(&error))?;
        line.fault.load_patterns().map_err(|error| error.to_string())?;
        line.fault.check()?;
        Ok(line.fault)
    }

    /// The model of a table with one amount.
    ///
    /// # Errors
    /// How many amounts there are instead, or that selections do not belong here.
    pub fn only_model(&self) -> Result<FaultModel, String> {
        if self.select.is_some() || self.bits.is_some() || self.protect.is_some() || self.at_least.is_some() {
            return Err(
                "select, bits, protect and at_least are no keys here; the options --select and --bits select"
                    .into(),
            );
        }
        match self.amounts().as_slice() {
            [amount] => self.model(*amount),
            amounts => Err(format!("one amount is needed here, not {}", amounts.len())),
        }
    }

    /// What is exposed.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target.unwrap_or_default()
    }

    /// How long faults last; of activations and inputs.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.persistence.unwrap_or_default()
    }

    /// Whether the outputs of an operator are exposed.
    #[must_use]
    pub fn takes_operator(&self, op_type: &str) -> bool {
        self.ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op.eq_ignore_ascii_case(op_type)))
    }
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    numbers.sum::<f64>() / count
}
