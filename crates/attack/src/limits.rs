//! What an attacker may not do.

use std::collections::{BTreeMap, BTreeSet};

use bitquake_fault::FaultPattern;
use serde::{Deserialize, Serialize};

use crate::candidates::Candidate;
use crate::words::{AttackedTensor, AttackedWords, BitSite};

/// `[attack.limits]`: bounds on the flips of one trial. Without a number there is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bits of one word that may differ from the clean one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_word: Option<u32>,
    /// Flips in one tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_tensor: Option<u64>,
    /// Flips in one page, or row of a DRAM. Each tensor begins with a page of its own, its words packed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_page: Option<u64>,
    /// Bytes of a page; 4096 by default.
    pub page_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_word: None, per_tensor: None, per_page: None, page_bytes: 4096 }
    }
}

impl Limits {
    /// That something may be flipped.
    ///
    /// # Errors
    /// The key that is 0.
    pub fn check(self) -> Result<(), String> {
        let bounds = [
            ("per_word", self.per_word.map(u64::from)),
            ("per_tensor", self.per_tensor),
            ("per_page", self.per_page),
        ];
        if let Some((key, _)) = bounds.iter().find(|(_, bound)| *bound == Some(0)) {
            return Err(format!("{key} is 0: nothing may be flipped; give 1 or more, or leave it out"));
        }
        if self.page_bytes == 0 {
            return Err("page_bytes is 0; it must be at least 1".into());
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
    /// Flips by tensor and page.
    by_page: BTreeMap<(usize, u64), u64>,
    /// Of each tensor the bit addresses that can be flipped at all; all if none.
    feasible: Option<Vec<BTreeSet<u64>>>,
}

impl Room {
    /// The room of a trial in which nothing is flipped, with `flips` as its budget.
    #[must_use]
    pub fn new(limits: Limits, flips: u64, tensors: usize) -> Self {
        Self { limits, flips, by_tensor: vec![0; tensors], by_page: BTreeMap::new(), feasible: None }
    }

    /// The same where nothing but the flips of a pattern can be made, each of them once: cells flip in one direction.
    #[must_use]
    pub fn with_feasible(self, pattern: &FaultPattern, words: &AttackedWords) -> Self {
        let of_tensor = |tensor: &AttackedTensor| {
            let flips = pattern.tensors().iter().filter(|flips| flips.tensor == tensor.name());
            flips.flat_map(|flips| flips.addresses.iter().copied()).collect()
        };
        Self { feasible: Some(words.tensors().iter().map(of_tensor).collect()), ..self }
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

    /// Counts a flip of a tensor's bit.
    pub fn take(&mut self, tensor: &AttackedTensor, site: BitSite) {
        self.flips = self.flips.saturating_sub(1);
        self.by_tensor[site.tensor] += 1;
        *self.by_page.entry(self.page(tensor, site)).or_default() += 1;
    }

    /// Whether a bit of a tensor may be flipped now. Flipping a bit back frees its word, and counts for its tensor and page.
    #[must_use]
    pub fn allows(&self, tensor: &AttackedTensor, site: BitSite) -> bool {
        let changed = tensor.changed(site.element);
        let is_back = changed >> site.bit & 1 == 1;
        let fits_word = is_back || self.limits.per_word.is_none_or(|most| changed.count_ones() < most);
        let is_feasible = self
            .feasible
            .as_ref()
            .is_none_or(|feasible| !is_back && feasible[site.tensor].contains(&address(tensor, site)));
        fits_word && is_feasible && self.in_page(tensor, site) > 0
    }

    /// Of the flips of one word that are allowed, those that may all be made together: flips back, and the best of the others.
    pub(crate) fn keep_within_word(&self, changed: u32, flips: &mut Vec<Candidate>) {
        let Some(most) = self.limits.per_word else { return };
        let mut left = most.saturating_sub(changed.count_ones());
        flips.sort_unstable_by(|a, b| b.cmp(a));
        flips.retain(|candidate| {
            let is_back = changed >> candidate.site.bit & 1 == 1;
            let is_kept = is_back || left > 0;
            left -= u32::from(is_kept && !is_back);
            is_kept
        });
    }

    /// Whether pages have a limit.
    pub(crate) fn limits_pages(&self) -> bool {
        self.limits.per_page.is_some()
    }

    /// Of the flips of a tensor, best first, those that may all be made together: the best of each page.
    pub(crate) fn keep_within_pages(&self, tensor: &AttackedTensor, flips: &mut Vec<Candidate>) {
        let mut taken: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        flips.retain(|candidate| {
            let taken = taken.entry(self.page(tensor, candidate.site)).or_default();
            let is_kept = *taken < self.in_page(tensor, candidate.site);
            *taken += u64::from(is_kept);
            is_kept
        });
    }

    /// Flips that the limit on a page leaves in that of a bit.
    fn in_page(&self, tensor: &AttackedTensor, site: BitSite) -> u64 {
        let Some(most) = self.limits.per_page else { return u64::MAX };
        most.saturating_sub(self.by_page.get(&self.page(tensor, site)).copied().unwrap_or(0))
    }

    fn page(&self, tensor: &AttackedTensor, site: BitSite) -> (usize, u64) {
        (site.tensor, address(tensor, site) / 8 / self.limits.page_bytes)
    }
}

fn address(tensor: &AttackedTensor, site: BitSite) -> u64 {
    site.element * u64::from(tensor.format().width()) + u64::from(site.bit)
}
