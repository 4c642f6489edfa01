//! `[protect]`: what a plan is to be made of.

use std::path::PathBuf;

use bitquake_fault::protect::{Kind, OnDetection, Protection};
use serde::{Deserialize, Serialize};

use crate::error::ProtectionError;

/// `[protect]`, on top of a campaign's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlanConfig {
    /// The folder of a ranking: what its bits' flips are expected to do tells what to protect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranking: Option<PathBuf>,
    /// Which of the rankings in that folder: `expected`, the default, or `first-order`.
    pub by: String,
    /// The results of a campaign of single upsets, in place of a ranking: what flips were seen to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<PathBuf>,
    /// The raw bit error rate that plans are made for; by default the campaign's, if it has one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Extra bits that a plan may take, as shares of the bits of the memory; a plan each.
    pub budgets: Vec<f64>,
    /// The protections that a tensor may get, without `bits`, which plans choose. A parity without `data_bits` has one bit for each
    /// element.
    pub offers: Vec<Protection>,
    /// Of rankings, the most that the mean damage of a bit position of a tensor counts for, and what a flip to no finite number does, in nats: by
    /// default 2.3, about the loss of guessing among ten classes.
    pub cap: f64,
    /// Whether SECDED over all that bit errors hit and TMR of all of it are judged too, beside the memory without protections; true by default.
    pub references: bool,
}

impl Default for PlanConfig {
    fn default() -> Self {
        Self {
            ranking: None,
            by: "expected".into(),
            results: None,
            rate: None,
            budgets: vec![0.05, 0.1, 0.25],
            offers: Self::default_offers(),
            cap: 2.3,
            references: true,
        }
    }
}

impl PlanConfig {
    /// Three copies; SECDED over 64, 32, 16 and 8 bits; double error correction over 64 and 16; parity that zeroes.
    fn default_offers() -> Vec<Protection> {
        let over = |kind, data_bits| Protection { data_bits: Some(data_bits), ..Protection::new(kind) };
        let parity = Protection { on_detection: OnDetection::Zero, ..Protection::new(Kind::Parity) };
        let secded = [64, 32, 16, 8].map(|bits| over(Kind::Secded, bits));
        let dec_ted = [64, 16].map(|bits| over(Kind::DecTed, bits));
        [Protection::new(Kind::Tmr)].into_iter().chain(secded).chain(dec_ted).chain([parity]).collect()
    }

    /// A budget in percent, to three decimals: what its plan is called by.
    #[must_use]
    pub fn percent(budget: f64) -> f64 {
        (100_000.0 * budget).round() / 1000.0
    }

    /// That the numbers are in range and that exactly one source tells the damage.
    ///
    /// # Errors
    /// [`ProtectionError::Config`].
    pub fn check(&self) -> Result<(), ProtectionError> {
        let wrong = |reason: String| Err(ProtectionError::Config { reason });
        match (&self.ranking, &self.results) {
            (None, None) => {
                return wrong(
                    "nothing tells what flips do: name a folder of `bitquake rank` as ranking, or the results of a campaign of single upsets as results"
                        .into(),
                );
            }
            (Some(_), Some(_)) => {
                return wrong("ranking and results are both given; name one of them".into());
            }
            _ => {}
        }
        if let Some(rate) = self.rate.filter(|rate| !(*rate > 0.0 && *rate < 0.5)) {
            return wrong(format!("rate {rate}; plans are for bit error rates above 0 and below 0.5"));
        }
        if self.budgets.is_empty() {
            return wrong("budgets is empty; name shares of extra bits, such as [0.1]".into());
        }
        if let Some(budget) = self.budgets.iter().find(|budget| !(**budget > 0.0 && **budget <= 10.0)) {
            return wrong(format!(
                "budgets has {budget}; a budget is a share of the memory's bits, above 0 and at most 10"
            ));
        }
        let names: Vec<f64> = self.budgets.iter().map(|&budget| Self::percent(budget)).collect();
        if let Some(twice) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
            return wrong(format!("budgets has {} % twice, to three decimals", names[twice]));
        }
        if let Some(none) = names.iter().position(|&name| name == 0.0) {
            return wrong(format!("budgets has {}, which is no thousandth of a percent", self.budgets[none]));
        }
        if self.offers.is_empty() {
            return wrong("offers is empty; name protections, such as [{ kind = \"tmr\" }]".into());
        }
        if !(self.cap.is_finite() && self.cap > 0.0) {
            return wrong(format!("cap {}; it must be a number above 0", self.cap));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_need_a_source_alone() {
        let config: PlanConfig = toml::from_str("ranking = \"ranked\"").unwrap();
        config.check().unwrap();
        assert_eq!(config.offers.len(), 8);
        let written = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<PlanConfig>(&written).unwrap(), config);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (text, want) in [
            ("", "nothing tells what flips do"),
            ("ranking = \"a\"\nresults = \"b\"", "name one of them"),
            ("ranking = \"a\"\nrate = 0.5", "rate 0.5"),
            ("ranking = \"a\"\nrate = 0.0", "rate 0"),
            ("ranking = \"a\"\nbudgets = []", "budgets is empty"),
            ("ranking = \"a\"\nbudgets = [0.0]", "budgets has 0"),
            ("ranking = \"a\"\nbudgets = [nan]", "budgets has NaN"),
            ("ranking = \"a\"\nbudgets = [0.1, 0.1]", "10 % twice"),
            ("ranking = \"a\"\nbudgets = [0.1, 0.1000001]", "10 % twice"),
            ("ranking = \"a\"\nbudgets = [1e-7]", "no thousandth of a percent"),
            ("ranking = \"a\"\noffers = []", "offers is empty"),
            ("ranking = \"a\"\ncap = 0.0", "cap 0"),
        ] {
            let config: PlanConfig = toml::from_str(text).unwrap();
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
        assert!(toml::from_str::<PlanConfig>("budget = [1]").is_err());
    }
}
