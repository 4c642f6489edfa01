//! What an attacker may not do.

use serde::{Deserialize, Serialize};

use crate::candidates::Candidate;

/// `[attack.limits]`: bounds on the flips of one trial. Without a number there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bits of one word that may differ from the clean one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_word: Option<u32>,
    /// Flips in one tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_tensor: Option<u64>,
}

impl Limits {
    pub(crate) fn check(self) -> Result<(), String> {
        if self.per_word == Some(0) {
            return Err("per_word is 0: nothing may be flipped; give 1 or more, or leave it out".into());
        }
        if self.per_tensor == Some(0) {
            return Err("per_tensor is 0: nothing may be flipped; give 1 or more, or leave it out".into());
        }
        Ok(())
    }
}

/// What the limits leave after the flips so far.
#[derive(Clone, Debug)]
pub struct Room {
    limits: Limits,
    flips: u64,
    by_tensor: Vec<u64>,
}

impl Room {
    /// The room of a trial in which nothing is flipped, with `flips` as its budget.
    #[must_use]
    pub fn new(limits: Limits, flips: u64, tensors: usize) -> Self {
        Self { limits, flips, by_tensor: vec![0; tensors] }
    }

    /// Flips that the budget leaves.
    #[must_use]
    pub fn flips(&self) -> u64 {
        self.flips
    }

    /// Flips that the budget and the limit on a tensor leave in it.
    #[must_use]
    pub fn in_tensor(&self, tensor: usize) -> u64 {
        let of_tensor =
            self.limits.per_tensor.map_or(u64::MAX, |most| most.saturating_sub(self.by_tensor[tensor]));
        self.flips.min(of_tensor)
    }

    /// Counts a flip in a tensor.
    pub fn take(&mut self, tensor: usize) {
        self.flips = self.flips.saturating_sub(1);
        self.by_tensor[tensor] += 1;
    }

    /// Whether one more bit of a word may be flipped, of which the bits `changed` differ from the clean word.
    #[must_use]
    pub fn allows(&self, changed: u32, bit: u32) -> bool {
        let is_undone = changed >> bit & 1 == 1;
        is_undone || self.limits.per_word.is_none_or(|most| changed.count_ones() < most)
    }

    /// Of the flips of one word, those that may all be made together: flips back, and the best of the others.
    pub(crate) fn keep_within_word(&self, changed: u32, flips: &mut Vec<Candidate>) {
        let Some(most) = self.limits.per_word else { return };
        let mut left = most.saturating_sub(changed.count_ones());
        flips.sort_unstable_by(|a, b| b.cmp(a));
        flips.retain(|candidate| {
            let is_undone = changed >> candidate.site.bit & 1 == 1;
            let is_kept = is_undone || left > 0;
            left -= u32::from(is_kept && !is_undone);
            is_kept
        });
    }
}
