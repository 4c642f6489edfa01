//! What reports show of a campaign, in memory that does not grow with the number of trials.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BinaryHeap};

use crate::error::RecordError;
use crate::golden::Golden;
use crate::summary::{PointSummary, Summariser, SummaryOptions};
use crate::trial::TrialRecord;
use crate::vulnerability::{Vulnerability, VulnerabilityTally};

/// Trials of each point that are kept for drawing.
const SHOWN: usize = 500;

/// A campaign without its single trials: summaries, totals, the worst trials, and a sample of trials to draw.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The golden run.
    pub golden: Golden,
    /// The resolved configuration, as written.
    pub campaign: String,
    /// How the trials were summarised.
    pub options: SummaryOptions,
    /// One summary a point.
    pub points: Vec<PointSummary>,
    /// Finished trials, those of no point included.
    pub trials: u64,
    /// Flips at each bit position, over all trials.
    pub by_bit: BTreeMap<u32, u64>,
    /// Flips in each tensor, over all trials.
    pub by_tensor: BTreeMap<String, u64>,
    /// The trial with the lowest score at each point that has trials with one.
    pub worst: BTreeMap<u32, TrialRecord>,
    /// At most 500 trials of each point, by number. Which they are hangs on their numbers alone, so that drawing them again gives
    /// the same picture.
    pub shown: BTreeMap<u32, Vec<ShownTrial>>,
    /// Whether the memory is protected.
    pub is_protected: bool,
    /// Where upsets do harm, as far as trials with a single fault tell.
    pub vulnerability: Option<Vulnerability>,
}

/// A trial as a dot on a plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownTrial {
    /// Its number.
    pub trial: u64,
    /// Its [`TrialRecord::score`].
    pub score: f64,
}

impl Overview {
    /// The overview of some trials, each looked at once.
    ///
    /// # Errors
    /// [`RecordError::Stats`] as for [`summarise`](crate::summarise).
    pub fn of<T: Borrow<TrialRecord>>(
        golden: Golden,
        campaign: String,
        trials: impl IntoIterator<Item = T>,
        options: SummaryOptions,
    ) -> Result<Self, RecordError> {
        let mut builder = OverviewBuilder::new(golden, campaign, options)?;
        trials.into_iter().try_for_each(|trial| builder.add(trial.borrow()))?;
        builder.finish()
    }

    /// The summary of a point.
    #[must_use]
    pub fn point(&self, point: u32) -> Option<&PointSummary> {
        self.points.iter().find(|summary| summary.point == point)
    }
}

/// An overview being made, trial by trial.
#[derive(Debug)]
pub struct OverviewBuilder {
    golden: Golden,
    campaign: String,
    options: SummaryOptions,
    summariser: Summariser,
    trials: u64,
    by_bit: BTreeMap<u32, u64>,
    by_tensor: BTreeMap<String, u64>,
    worst: BTreeMap<u32, TrialRecord>,
    shown: BTreeMap<u32, Sample>,
    is_protected: bool,
    vulnerability: VulnerabilityTally,
}

impl OverviewBuilder {
    /// Nothing yet.
    ///
    /// # Errors
    /// [`RecordError::Stats`] when the confidence is not in (0, 1).
    pub fn new(golden: Golden, campaign: String, options: SummaryOptions) -> Result<Self, RecordError> {
        Ok(Self {
            summariser: Summariser::new(&golden, options)?,
            vulnerability: VulnerabilityTally::new(&golden),
            golden,
            campaign,
            options,
            trials: 0,
            by_bit: BTreeMap::new(),
            by_tensor: BTreeMap::new(),
            worst: BTreeMap::new(),
            shown: BTreeMap::new(),
            is_protected: false,
        })
    }

    /// The golden run.
    #[must_use]
    pub fn golden(&self) -> &Golden {
        &self.golden
    }

    /// Takes one more trial.
    ///
    /// # Errors
    /// [`RecordError::Stats`] when a number of it is none.
    pub fn add(&mut self, trial: &TrialRecord) -> Result<(), RecordError> {
        self.summariser.add(&self.golden, trial)?;
        self.vulnerability.add(&self.golden, trial)?;
        self.trials += 1;
        self.is_protected |= trial.protection.is_some();
        for (bit, flips) in &trial.by_bit {
            let sum = self.by_bit.entry(*bit).or_default();
            *sum = sum.saturating_add(*flips);
        }
        for (tensor, flips) in &trial.by_tensor {
            match self.by_tensor.get_mut(tensor) {
                Some(sum) => *sum = sum.saturating_add(*flips),
                None => drop(self.by_tensor.insert(tensor.clone(), *flips)),
            }
        }
        let score = |trial: &TrialRecord| trial.score(&self.golden.metrics);
        let Some(own) = score(trial) else { return Ok(()) };
        let is_worse = |worst: &TrialRecord| (Some(own), trial.trial) < (score(worst), worst.trial);
        if self.worst.get(&trial.point).is_none_or(is_worse) {
            self.worst.insert(trial.point, trial.clone());
        }
        self.shown.entry(trial.point).or_default().add(ShownTrial { trial: trial.trial, score: own });
        Ok(())
    }

    /// The overview of the trials taken.
    ///
    /// # Errors
    /// [`RecordError::Stats`] when a spread is beyond the largest `f64`.
    pub fn finish(self) -> Result<Overview, RecordError> {
        Ok(Overview {
            points: self.summariser.finish(&self.golden)?,
            vulnerability: self.vulnerability.finish(&self.golden, self.options)?,
            golden: self.golden,
            campaign: self.campaign,
            options: self.options,
            trials: self.trials,
            by_bit: self.by_bit,
            by_tensor: self.by_tensor,
            worst: self.worst,
            shown: self.shown.into_iter().map(|(point, sample)| (point, sample.finish())).collect(),
            is_protected: self.is_protected,
        })
    }
}

/// The trials whose numbers have the smallest digests: a sample that does not hang on their order.
#[derive(Debug, Default)]
struct Sample {
    kept: BinaryHeap<(u64, u64, u64)>,
}

impl Sample {
    fn add(&mut self, shown: ShownTrial) {
        let entry = (mixed(shown.trial), shown.trial, shown.score.to_bits());
        if self.kept.len() < SHOWN {
            self.kept.push(entry);
        } else if let Some(mut largest) = self.kept.peek_mut()
            && entry < *largest
        {
            *largest = entry;
        }
    }

    fn finish(self) -> Vec<ShownTrial> {
        let dot = |(_, trial, score): (u64, u64, u64)| ShownTrial { trial, score: f64::from_bits(score) };
        let mut shown: Vec<ShownTrial> = self.kept.into_iter().map(dot).collect();
        shown.sort_by_key(|shown| shown.trial);
        shown
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn mixed(number: u64) -> u64 {
    let x = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Amount;
    use crate::summary::tests::golden;
    use crate::trial::tests::record;

    fn overview(trials: &[TrialRecord]) -> Overview {
        let golden = golden(&[Amount::Rate(1e-5), Amount::Rate(1e-4)]);
        Overview::of(golden, String::new(), trials, SummaryOptions::default()).unwrap()
    }

    #[test]
    fn totals_and_worst_trials() {
        let mut trials = [record(0, 0, 90), record(0, 1, 70), record(0, 2, 70), record(7, 0, 1)];
        trials[3].by_bit.insert(30, u64::MAX);
        let all = overview(&trials);
        assert_eq!((all.trials, all.points[0].trials, all.points[1].trials), (4, 3, 0));
        assert_eq!((all.by_bit[&3], all.by_bit[&30], all.by_tensor["conv1.weight"]), (4, u64::MAX, 12));
        assert_eq!((all.worst[&0].trial, all.worst.get(&1)), (1, None));
        assert_eq!(all.points[0].worst_trial, Some(1));
        assert_eq!(all.shown[&0][1], ShownTrial { trial: 1, score: 0.7 });
    }

    #[test]
    fn a_sample_of_many_trials_does_not_hang_on_their_order() {
        let trials: Vec<TrialRecord> = (0..3000).map(|trial| record(0, trial, trial % 100)).collect();
        let shown = overview(&trials).shown[&0].clone();
        let back: Vec<TrialRecord> = trials.iter().rev().cloned().collect();
        assert_eq!(overview(&back).shown[&0], shown);
        assert!(shown.len() == SHOWN && shown.is_sorted_by_key(|shown| shown.trial));
        // Spread evenly: each fifth has 100 of them, give or take 5 standard deviations (false alarm below 1e-5).
        for fifth in 0..5 {
            let count = shown.iter().filter(|shown| shown.trial / 600 == fifth).count();
            assert!(count.abs_diff(100) < 45, "{fifth}: {count}");
        }
    }
}
