//! The bits that matter most.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::words::BitSite;

/// A bit and its score. Larger scores are greater; of equal ones the bit that comes first is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankedBit {
    /// The bit.
    pub site: BitSite,
    /// Its score; infinite where the flip leads to a level that is no finite number.
    pub score: f64,
}

impl Eq for RankedBit {}

impl Ord for RankedBit {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then_with(|| other.site.cmp(&self.site))
    }
}

impl PartialOrd for RankedBit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best few of many bits.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    most: usize,
    bits: BinaryHeap<Reverse<RankedBit>>,
}

impl Top {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, bits: BinaryHeap::new() }
    }

    pub(crate) fn push(&mut self, bit: RankedBit) {
        if self.bits.len() < self.most {
            self.bits.push(Reverse(bit));
        } else if self.bits.peek().is_some_and(|worst| bit > worst.0) {
            self.bits.pop();
            self.bits.push(Reverse(bit));
        }
    }

    /// The score that a bit behind all these must have more than, to be one of the best.
    pub(crate) fn floor(&self) -> f64 {
        let worst = self.bits.peek().filter(|_| self.bits.len() >= self.most);
        worst.map_or(f64::NEG_INFINITY, |worst| worst.0.score)
    }

    /// The bits, best first.
    pub(crate) fn into_sorted(self) -> Vec<RankedBit> {
        // Sorted by `Reverse`, so the greatest come first.
        self.bits.into_sorted_vec().into_iter().map(|Reverse(bit)| bit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_in_order() {
        let mut top = Top::new(3);
        for (element, score) in
            [1.0, f64::INFINITY, -2.0, 1.0, 1.0, f64::INFINITY, 0.5].into_iter().enumerate()
        {
            let site = BitSite { tensor: 0, element: element as u64, bit: 0 };
            if score > top.floor() {
                top.push(RankedBit { site, score });
            }
        }
        let found: Vec<(u64, f64)> =
            top.into_sorted().into_iter().map(|bit| (bit.site.element, bit.score)).collect();
        assert_eq!(found, [(1, f64::INFINITY), (5, f64::INFINITY), (0, 1.0)]);
    }
}
