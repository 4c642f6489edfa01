//! `[fault]`: which faults occur.

use bitquake_bits::BitSelection;
use bitquake_fault::{
    Amount as EventAmount, BitsHit, Burst, DramFault, DramGeometry, Effect, ElementSite, Elements,
    FaultModel, FaultyRegion, Hits, MODELS, ModelRow, Neighbours, ProtectedBits, Scope, SiteRange, Structure,
    Value,
};
use bitquake_record::Amount;
use bitquake_sample::Rate;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::chip::{ChipConfig, OffsetConfig};
use crate::error::ConfigError;
use crate::explain::explain;
use crate::pattern::PatternConfig;
use crate::shape::{EffectConfig, ShapeConfig, SizeConfig};
use crate::target::{Persistence, Target};

/// `[fault]`. Which keys a model takes stands in [`MODELS`]; one that it does not take is an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultConfig {
    /// One of [`MODELS`]; `bit-flip` by default.
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
    /// The bits, in a notation of [`SiteRange`].
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

    /// Checks everything that can be checked without a model.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        self.check_keys()?;
        self.check_lists()?;
        self.check_target()?;
        self.bits()?;
        self.protected()?;
        if self.at_least.is_some_and(|least| least != 1) {
            return Err("[fault] at_least is 1, or left out".into());
        }
        self.check_points()?;
        let amounts = self.amounts().into_iter().filter(|_| !self.is_of_file());
        amounts.into_iter().try_for_each(|amount| self.model(amount).map(|_| ()))
    }

    /// Whether a file is needed to make the model, a chip or a spatial pattern. It is read when the work is prepared: results can be looked at
    /// without it.
    fn is_of_file(&self) -> bool {
        let has_file = self.chip.is_some() || matches!(self.shape, Some(ShapeConfig::File(_)));
        has_file || self.parts.iter().flatten().any(Self::is_of_file)
    }

    fn check_target(&self) -> Result<(), String> {
        let target = self.target();
        if self.persistence.is_some() && target == Target::Weights {
            return Err(
                "[fault] persistence is of activations and inputs; stored faults last the whole trial".into(),
            );
        }
        if self.ops.is_some() && target != Target::Activations {
            return Err("[fault] ops goes with target = \"activations\"".into());
        }
        if self.at_least.is_some() && (target != Target::Weights || self.also.is_some()) {
            return Err("[fault] at_least goes with faults in weights alone".into());
        }
        let Some(also) = &self.also else { return Ok(()) };
        let wrong = |what: &str| Err(format!("[fault.also]: {what}"));
        if also.also.is_some() || also.at_least.is_some() {
            return wrong("also and at_least stand in [fault]");
        }
        if (also.target() == Target::Weights) == (target == Target::Weights) {
            return wrong("one of the two targets is weights, the other activations or inputs");
        }
        also.check().map_err(|reason| format!("[fault.also]: {reason}"))?;
        match (also.amounts().len(), self.amounts().len()) {
            (one, points) if one == 1 || one == points => Ok(()),
            (found, 1) => wrong(&format!("{found} amounts for one point: give 1")),
            (found, points) => wrong(&format!("{found} amounts for {points} points: give 1 or {points}")),
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

    /// That no list is empty which would then mean nothing, or everything.
    fn check_lists(&self) -> Result<(), String> {
        let offsets = match &self.offset {
            Some(OffsetConfig::ByTrial(cells)) => Some(cells.len()),
            _ => None,
        };
        let lengths = [
            ("ops", self.ops.as_ref().map(Vec::len)),
            ("select", self.select.as_ref().map(Vec::len)),
            ("sites", self.sites.as_ref().map(Vec::len)),
            ("position_rates", self.position_rates.as_ref().map(Vec::len)),
            ("regions", self.regions.as_ref().map(Vec::len)),
            ("voltages", self.voltages.as_ref().map(Vec::len)),
            ("offset", offsets),
        ];
        match lengths.iter().find(|(_, length)| *length == Some(0)) {
            Some((key, _)) => Err(format!("[fault] {key} is empty: give entries, or leave it out")),
            None => Ok(()),
        }
    }

    /// That every key is one that the model takes.
    fn check_keys(&self) -> Result<(), String> {
        let row = self.row()?;
        let table = Table::try_from(self).map_err(|error| format!("[fault]: {error}"))?;
        let takes = |key: &str| COMMON.contains(&key) || row.keys.iter().any(|known| known.name == key);
        match table.keys().find(|key| !takes(key)) {
            None => Ok(()),
            Some(key) => {
                let known: Vec<&str> = row.keys.iter().map(|key| key.name).collect();
                Err(format!(
                    "[fault] {key}: model `{}` does not take it; it takes {}",
                    row.name,
                    known.join(", ")
                ))
            }
        }
    }

    fn row(&self) -> Result<&'static ModelRow, String> {
        let name = self.model_name();
        MODELS.iter().find(|row| row.name == name).ok_or_else(|| {
            let known: Vec<&str> = MODELS.iter().map(|row| row.name).collect();
            format!("[fault] model = \"{name}\" is not known; known: {}", known.join(", "))
        })
    }

    fn check_points(&self) -> Result<(), String> {
        let given = [
            ("rates", self.rates.is_some()),
            ("counts", self.counts.is_some()),
            ("fractions", self.fractions.is_some()),
            ("sites", self.sites.is_some()),
            ("pattern", self.pattern.is_some()),
            ("position_rates", self.position_rates.is_some()),
            ("regions", self.regions.is_some()),
            ("voltages", self.voltages.is_some()),
            ("parts", self.parts.is_some()),
        ];
        let row = self.row()?;
        let named = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
        let taken = given.iter().filter(|(key, _)| row.keys.iter().any(|known| known.name == *key));
        let present: Vec<&str> =
            given.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key).collect();
        match present.as_slice() {
            // A map without voltages is one point.
            [] if self.chip.is_some() => return Ok(()),
            [] => return Err(format!("[fault] needs one of {}", named(&mut taken.map(|(key, _)| *key)))),
            [_] => {}
            _ => return Err(format!("[fault] has {}: give one of them", present.join(" and "))),
        }
        self.check_parts()?;
        let amounts = self.amounts();
        if amounts.is_empty() {
            return Err(format!("[fault] {} is empty: there is nothing to run", present[0]));
        }
        for (place, amount) in amounts.iter().enumerate() {
            if amounts[..place].contains(amount) {
                return Err(format!("[fault] {}s: {amount} is listed twice", amount.kind()));
            }
        }
        Ok(())
    }

    fn check_parts(&self) -> Result<(), String> {
        for (place, part) in self.parts.iter().flatten().enumerate() {
            let wrong = |what: &str| Err(format!("[[fault.parts]] {}: {what}", place + 1));
            if part.protect.is_some()
                || part.select.is_some()
                || part.target.is_some()
                || part.bits.is_some()
                || part.at_least.is_some()
                || part.also.is_some()
                || part.ops.is_some()
                || part.persistence.is_some()
            {
                return wrong("select, target, bits, protect and at_least stand in [fault], for all parts");
            }
            part.check().map_err(|reason| format!("[[fault.parts]] {}: {reason}", place + 1))?;
            if place > 0 && part.amounts().len() != 1 {
                return wrong("the points are those of the first part; the others have one amount each");
            }
        }
        Ok(())
    }

    /// The fault model at a point.
    ///
    /// # Errors
    /// What is wrong with a number or a notation.
    pub fn model(&self, amount: Amount) -> Result<FaultModel, String> {
        match self.row()?.name {
            "bit-flip" => self.bit_flip(amount),
            "stuck-at-0" => Ok(FaultModel::StuckAt { value: false, at: self.hits(amount)? }),
            "stuck-at-1" => Ok(FaultModel::StuckAt { value: true, at: self.hits(amount)? }),
            "set-value" => Ok(FaultModel::SetValue { value: self.value()?, at: self.elements(amount)? }),
            "random-value" => Ok(FaultModel::SetValue { value: Value::Random, at: self.elements(amount)? }),
            "burst" => self.burst(amount),
            "map" => self.map(amount),
            "dram" => self.dram(amount),
            "shape" => self.shape(amount),
            _ => self.mixture(amount),
        }
    }

    fn bit_flip(&self, amount: Amount) -> Result<FaultModel, String> {
        let is_symmetric = self.to_one.is_none() && self.to_zero.is_none();
        let rate = match (&self.rates, amount) {
            _ if is_symmetric => return Ok(FaultModel::BitFlip(self.hits(amount)?)),
            (Some(_), Amount::Rate(rate)) => rate,
            _ => return Err("[fault] to_one and to_zero go with rates".into()),
        };
        let scaled = |key, factor: Option<f64>| {
            let factor = factor.unwrap_or(1.0);
            checked_rate(key, rate * factor)
        };
        Ok(FaultModel::Asymmetric {
            to_one: scaled("rates times to_one", self.to_one)?,
            to_zero: scaled("rates times to_zero", self.to_zero)?,
        })
    }

    fn hits(&self, amount: Amount) -> Result<Hits, String> {
        if let Some(pattern) = &self.pattern {
            return pattern.loaded().map(Hits::Pattern).map_err(|error| error.to_string());
        }
        if let Some(sites) = &self.sites {
            return Ok(Hits::Sites(sites.iter().map(|text| site_range(text)).collect::<Result<_, _>>()?));
        }
        if let Some(rates) = &self.position_rates {
            let rate = |&rate: &f64| checked_rate("position_rates", rate);
            return Ok(Hits::Positions(rates.iter().map(rate).collect::<Result<_, _>>()?));
        }
        if let Some(regions) = &self.regions {
            let region = |region: &RegionConfig| {
                Ok(FaultyRegion {
                    sites: site_range(&region.sites)?,
                    rate: checked_rate("regions", region.rate)?,
                })
            };
            return Ok(Hits::Regions(regions.iter().map(region).collect::<Result<_, String>>()?));
        }
        match amount {
            Amount::Rate(rate) => Ok(Hits::Rate(checked_rate("rates", rate)?)),
            Amount::Count(count) => Ok(Hits::Count(count)),
            Amount::Fraction(share) => Ok(Hits::OneBit(Elements::Share(checked_rate("fractions", share)?))),
            Amount::Voltage(_) => Err("[fault] voltages go with model = \"map\"".into()),
        }
    }

    pub(crate) fn elements(&self, amount: Amount) -> Result<Elements, String> {
        if let Some(sites) = &self.sites {
            let site = |text: &String| {
                text.parse::<ElementSite>()
                    .map_err(|_| format!("[fault] sites: `{text}` is not TENSOR:INDEX"))
            };
            return Ok(Elements::Sites(sites.iter().map(site).collect::<Result<_, _>>()?));
        }
        match amount {
            Amount::Rate(rate) => Ok(Elements::Rate(checked_rate("rates", rate)?)),
            Amount::Count(count) => Ok(Elements::Count(count)),
            Amount::Fraction(share) => Ok(Elements::Share(checked_rate("fractions", share)?)),
            Amount::Voltage(_) => Err("[fault] voltages go with model = \"map\"".into()),
        }
    }

    fn value(&self) -> Result<Value, String> {
        match &self.value {
            None => {
                Err("[fault] model = \"set-value\" needs value = NUMBER, \"0x...\" or \"saturate\"".into())
            }
            Some(value) => value.value(),
        }
    }

    fn burst(&self, amount: Amount) -> Result<FaultModel, String> {
        let amount = event_amount(amount)?;
        let lengths = match &self.length {
            None => {
                return Err("[fault] model = \"burst\" needs length = BITS or [[length, weight], ...]".into());
            }
            Some(LengthConfig::One(length)) => vec![(*length, 1.0)],
            Some(LengthConfig::Weighted(lengths)) => lengths.clone(),
        };
        let neighbours = self.neighbours.unwrap_or_default();
        let effect = self.bit_effect()?.unwrap_or(Effect::Flip);
        let each = checked_rate("each", self.each.unwrap_or(1.0))?;
        Ok(FaultModel::Burst(Burst { amount, lengths, neighbours, each, effect }))
    }

    fn bit_effect(&self) -> Result<Option<Effect>, String> {
        self.effect.as_ref().map(EffectConfig::of_bits).transpose()
    }

    fn dram(&self, amount: Amount) -> Result<FaultModel, String> {
        let Some(structure) = self.structure else {
            return Err(
                "[fault] model = \"dram\" needs structure = \"row\", \"column\", \"bank\" or \"device\""
                    .into(),
            );
        };
        let plain = DramFault::one(structure);
        Ok(FaultModel::Dram(DramFault {
            geometry: self.geometry.unwrap_or(plain.geometry),
            align: self.align.unwrap_or(plain.align),
            structure,
            scope: self.scope.unwrap_or(plain.scope),
            amount: event_amount(amount)?,
            each: checked_rate("each", self.each.unwrap_or(1.0))?,
            effect: self.bit_effect()?.unwrap_or(plain.effect),
        }))
    }

    fn mixture(&self, amount: Amount) -> Result<FaultModel, String> {
        let model = |(place, part): (usize, &Self)| {
            let own = part.amounts();
            part.model(if place == 0 { amount } else { own[0] })
        };
        let parts = self.parts.iter().flatten().enumerate();
        Ok(FaultModel::Mixture(parts.map(model).collect::<Result<_, _>>()?))
    }
}

fn event_amount(amount: Amount) -> Result<EventAmount, String> {
    Ok(match amount {
        Amount::Rate(rate) => EventAmount::Rate(checked_rate("rates", rate)?),
        other => EventAmount::Count(other.value() as u64),
    })
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    numbers.sum::<f64>() / count
}

fn checked_rate(key: &str, rate: f64) -> Result<Rate, String> {
    Rate::new(rate).map_err(|error| format!("[fault] {key}: {error}"))
}

fn site_range(text: &str) -> Result<SiteRange, String> {
    text.parse().map_err(|error| format!("[fault] sites: {error}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn faults_that_are_a_sample_of_the_bits() {
        let is_even = |text: &str| FaultConfig::from_inline(text).unwrap().is_even();
        for even in ["rates = [1e-3]", "counts = [1]", "rates = [1e-3], to_one = 0.5, to_zero = 0.5"] {
            assert!(is_even(even), "{even}");
        }
        let uneven = [
            "model = 'stuck-at-1', counts = [1]",
            "rates = [1e-3], to_one = 0.0",
            "fractions = [0.1]",
            "sites = ['w:0:1']",
            "position_rates = [0.0, 0.1]",
            "regions = [{ sites = 'w:*:1', rate = 0.1 }]",
            "counts = [1], also = { target = 'activations', rates = [1e-3] }",
        ];
        assert_eq!(uneven.into_iter().filter(|one| is_even(one)).collect::<Vec<_>>(), Vec::<&str>::new());
    }

    use super::*;

    fn fault(text: &str) -> Result<FaultConfig, String> {
        let config: FaultConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check().map(|()| config)
    }

    fn models(text: &str) -> Vec<FaultModel> {
        let config = fault(text).unwrap();
        config.amounts().into_iter().map(|amount| config.model(amount).unwrap()).collect()
    }

    #[test]
    fn every_model_of_the_table_can_be_asked_for() {
        let examples = [
            ("bit-flip", "rates = [1e-3]"),
            ("stuck-at-0", "counts = [3]"),
            ("stuck-at-1", "sites = [\"w:0:1\"]"),
            ("set-value", "value = 0.0\ncounts = [1]"),
            ("random-value", "fractions = [0.05]"),
            ("burst", "length = 3\ncounts = [2]"),
            ("map", "voltages = [0.8]\nchip = { synthetic = {} }"),
            ("dram", "structure = \"row\"\ncounts = [1]"),
            ("shape", "shape = \"block\"\nsize = [2, 3]\neffect = \"saturate\"\nrates = [1e-3, 1e-2]"),
            (
                "mixture",
                "[[parts]]\nrates = [1e-3, 1e-2]\n[[parts]]\nmodel = \"burst\"\nlength = 2\ncounts = [1]",
            ),
        ];
        for (name, keys) in examples {
            let drawn = models(&format!("model = \"{name}\"\n{keys}"));
            assert!(!drawn.is_empty() && drawn.iter().all(|model| model.name() == name), "{name}");
        }
        let known: Vec<&str> = MODELS.iter().map(|row| row.name).collect();
        assert_eq!(known, examples.map(|(name, _)| name));
    }

    #[test]
    fn chips_of_parts_and_of_what_happens_also_count() {
        let of = |text: &str| fault(text).unwrap().chips().count();
        let also = "rates = [0.1]\n[also]\ntarget = \"inputs\"\nmodel = \"map\"\nchip = \"c.csv\"";
        let mixture =
            "model = \"mixture\"\n[[parts]]\nrates = [0.1]\n[[parts]]\nmodel = \"map\"\nchip = \"c.csv\"";
        assert_eq!([of("rates = [0.1]"), of(also), of(mixture)], [0, 1, 1]);
        // A chip somewhere else is no reason not to look at the rates.
        let wrong = fault(&also.replace("0.1", "1.5")).unwrap_err();
        assert!(wrong.contains("1.5 is not a probability"), "{wrong}");
    }

    #[test]
    fn asymmetric_rates_are_factors_on_the_points() {
        let rate = |p| Rate::new(p).unwrap();
        assert_eq!(
            models("rates = [0.5, 0.25]\nto_zero = 0.5"),
            [
                FaultModel::Asymmetric { to_one: rate(0.5), to_zero: rate(0.25) },
                FaultModel::Asymmetric { to_one: rate(0.25), to_zero: rate(0.125) },
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, want) in [
            ("", "[fault] needs one of rates, counts"),
            ("rates = []", "rates is empty"),
            ("sites = []", "sites is empty: give entries"),
            ("position_rates = []", "position_rates is empty"),
            ("regions = []", "regions is empty"),
            ("rates = [0.1]\nselect = []", "select is empty"),
            ("rates = [0.1]\ntarget = \"activations\"\nops = []", "ops is empty"),
            ("model = \"map\"\nvoltages = []\nchip = \"c.csv\"", "voltages is empty"),
            ("model = \"map\"\nchip = \"c.csv\"\noffset = []", "offset is empty"),
            ("rates = [0.1]\ncounts = [1]", "rates and counts: give one of them"),
            ("rates = [1.5]", "[fault] rates: "),
            ("rates = [0.1, 0.1]", "0.1 is listed twice"),
            ("rates = [0.6]\nto_one = 2", "rates times to_one"),
            ("counts = [1]\nto_one = 2.0", "go with rates"),
            ("model = \"flip\"\nrates = [0.1]", "\"flip\" is not known; known: bit-flip, "),
            ("model = \"stuck-at-0\"\nrates = [0.1]\nlength = 3", "`stuck-at-0` does not take it"),
            ("model = \"burst\"\ncounts = [1]", "needs length"),
            ("model = \"set-value\"\ncounts = [1]", "needs value"),
            ("model = \"set-value\"\ncounts = [1]\nvalue = \"12\"", "`12` is no raw word"),
            ("sites = [\"w\"]", "`w` is not a site"),
            ("pattern = \"none.json\"", "[fault] pattern none.json: cannot read"),
            ("pattern = \"none.json\"\ncounts = [1]", "counts and pattern: give one of them"),
            ("pattern = \"none.json\"\nto_one = 2.0", "go with rates"),
            ("model = \"set-value\"\ncounts = [1]\nvalue = \"full\"", "\"saturate\", or a number"),
            ("rates = [0.1]\nat_least = 2", "at_least is 1"),
            ("rates = [0.1]\ntarget = \"memory\"", "expected one of `weights`, `activations`, `inputs`"),
            ("rates = [0.1]\npersistence = \"permanent\"", "of activations and inputs"),
            ("rates = [0.1]\n[also]\nrates = [0.1]", "one of the two targets is weights"),
            ("rates = [0.1]\nbits = \"top\"", "`top` selects no bits"),
            ("rates = [0.1]\nprotect = \"top\"", "[fault] protect: `top` selects no bits"),
            ("model = \"mixture\"\n[[parts]]\nrates = [0.1]\nselect = [\"a\"]", "stand in [fault]"),
            (
                "model = \"mixture\"\n[[parts]]\nrates = [0.1]\n[[parts]]\nrates = [0.1, 0.2]",
                "one amount each",
            ),
        ] {
            let error = fault(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
