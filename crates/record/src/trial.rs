//! The record of one finished trial.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How many faults a point asks for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// A bit error rate: a probability for each bit, in `[0, 1]`.
    Rate(f64),
    /// An exact number of distinct bits.
    Count(u64),
}

impl fmt::Display for Amount {
    /// A rate as `1e-5`, a count as `3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) if *rate == 0.0 || *rate >= 0.01 => write!(f, "{rate}"),
            Self::Rate(rate) => write!(f, "{rate:e}"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

impl Amount {
    /// `rate` or `count`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rate(_) => "rate",
            Self::Count(_) => "count",
        }
    }
}

/// One line of `trials-<shard>.jsonl`. Numbers of images count within [`images`](Self::images).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRecord {
    /// The point, from 0, in the order of the configuration.
    pub point: u32,
    /// The trial within the point, from 0.
    pub trial: u64,
    /// The point's bit error rate, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// The point's exact number of flips, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Bits changed.
    pub faults: u64,
    /// Faults present that change nothing; always 0 for bit flips.
    pub dormant: u64,
    /// Images evaluated.
    pub images: u64,
    /// Images whose label is the best class. A row with a NaN has no best class.
    pub correct: u64,
    /// Images whose label is among the best five classes.
    pub top5_correct: u64,
    /// Images whose best class differs from the golden run's (SDC-1).
    pub golden_mismatch: u64,
    /// Images with a NaN or an infinity among their outputs.
    pub nonfinite: u64,
    /// Images wrong in the clean or in the faulty run.
    pub err_union: u64,
    /// Images without output, because the engine refused the faulty model (detected unrecoverable errors).
    pub due: u64,
    /// Mean cross-entropy over the images, in nats; none when it is not finite.
    pub loss: Option<f64>,
    /// Wall time of the trial.
    pub seconds: f64,
    /// Flips of a 0 to a 1; the other faults went from 1 to 0.
    pub to_one: u64,
    /// Weights that became NaN.
    pub became_nan: u64,
    /// Weights that became infinite.
    pub became_inf: u64,
    /// Flips at each bit position that has any.
    pub by_bit: BTreeMap<u32, u64>,
    /// Flips in each tensor that has any.
    pub by_tensor: BTreeMap<String, u64>,
    /// First 16 hex digits of the SHA-256 of the fault pattern; a replay must reproduce it.
    pub pattern: String,
}

impl TrialRecord {
    /// The point's rate or count.
    #[must_use]
    pub fn amount(&self) -> Amount {
        match (self.rate, self.count) {
            (Some(rate), _) => Amount::Rate(rate),
            (None, count) => Amount::Count(count.unwrap_or(0)),
        }
    }

    /// Share of images whose label is the best class.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        share(self.correct, self.images)
    }

    /// The same record without its time, for comparing runs.
    #[must_use]
    pub fn timeless(&self) -> Self {
        Self { seconds: 0.0, ..self.clone() }
    }
}

pub(crate) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(point: u32, trial: u64, correct: u64) -> TrialRecord {
        TrialRecord {
            point,
            trial,
            rate: Some(1e-5),
            count: None,
            faults: 3,
            dormant: 0,
            images: 100,
            correct,
            top5_correct: 99,
            golden_mismatch: 2,
            nonfinite: 0,
            err_union: 100 - correct,
            due: 0,
            loss: Some(0.25),
            seconds: 0.5,
            to_one: 1,
            became_nan: 0,
            became_inf: 0,
            by_bit: BTreeMap::from([(30, 2), (3, 1)]),
            by_tensor: BTreeMap::from([("conv1.weight".into(), 3)]),
            pattern: "0123456789abcdef".into(),
        }
    }

    #[test]
    fn a_line_has_the_fields_that_scripts_read() {
        let line = serde_json::to_string(&record(1, 2, 90)).unwrap();
        assert_eq!(
            line,
            r#"{"point":1,"trial":2,"rate":0.00001,"faults":3,"dormant":0,"images":100,"correct":90,"top5_correct":99,"golden_mismatch":2,"nonfinite":0,"err_union":10,"due":0,"loss":0.25,"seconds":0.5,"to_one":1,"became_nan":0,"became_inf":0,"by_bit":{"3":1,"30":2},"by_tensor":{"conv1.weight":3},"pattern":"0123456789abcdef"}"#
        );
        assert_eq!(serde_json::from_str::<TrialRecord>(&line).unwrap(), record(1, 2, 90));
    }

    #[test]
    fn amounts_as_text() {
        let cases = [(Amount::Rate(1e-5), "1e-5"), (Amount::Rate(0.0), "0"), (Amount::Rate(0.25), "0.25")];
        for (amount, text) in cases {
            assert_eq!(amount.to_string(), text);
        }
        assert_eq!(Amount::Count(1).to_string(), "1");
    }
}
