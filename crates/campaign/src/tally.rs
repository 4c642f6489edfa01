//! What the faults of a trial changed, counted.

use std::collections::BTreeMap;

use bitquake_fault::{Explanation, FlipCounts};

/// Flips of a trial, in all exposed state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) flips: u64,
    pub(crate) dormant: u64,
    pub(crate) to_one: u64,
    pub(crate) became_nan: u64,
    pub(crate) became_inf: u64,
    pub(crate) by_bit: BTreeMap<u32, u64>,
    pub(crate) by_tensor: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds what happened to stored words; `seen` tells what became of the floats that the network computes with.
    pub(crate) fn add(&mut self, stored: &Explanation, seen: &FlipCounts, dormant: u64) {
        self.flips += stored.total.flips;
        self.dormant += dormant;
        self.to_one += stored.total.to_one;
        self.became_nan += seen.became_nan;
        self.became_inf += seen.became_inf;
        for (bit, flips) in (0..).zip(&stored.total.by_bit).filter(|(_, flips)| **flips > 0) {
            *self.by_bit.entry(bit).or_default() += flips;
        }
        for tensor in &stored.tensors {
            *self.by_tensor.entry(tensor.tensor.clone()).or_default() += tensor.counts.flips;
        }
    }
}

impl Tally {
    /// Adds what was counted elsewhere.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.flips += other.flips;
        self.dormant += other.dormant;
        self.to_one += other.to_one;
        self.became_nan += other.became_nan;
        self.became_inf += other.became_inf;
        other.by_bit.iter().for_each(|(bit, flips)| *self.by_bit.entry(*bit).or_default() += flips);
        for (tensor, flips) in &other.by_tensor {
            *self.by_tensor.entry(tensor.clone()).or_default() += flips;
        }
    }
}
