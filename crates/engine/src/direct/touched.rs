//! Which outputs faults can reach.

use std::collections::BTreeMap;
use std::ops::Range;

/// The outputs of a node that given faults can change. It means something to the [`DirectNode`](crate::DirectNode) that made
/// it, and to no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// By channel, column, or element of the stored tensor: whatever the operator's outputs go together by.
    units: BTreeMap<usize, Part>,
}

/// How much of a unit is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// What these places of a convolution's window reach; sorted.
    Taps(Vec<usize>),
}

impl Touched {
    /// Whether no output can change.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// How many output channels (`Conv`, `BatchNormalization`), columns (`Gemm`, `MatMul`, `LayerNormalization`) or elements
    /// of the stored operand (elementwise operators) are reached, also in part.
    pub fn units(&self) -> usize {
        self.units.len()
    }

    /// Adds what other faults of the same node reach.
    pub fn join(&mut self, other: Touched) {
        for (unit, part) in other.units {
            match part {
                Part::All => self.all_of(unit),
                Part::Taps(taps) => taps.into_iter().for_each(|tap| self.tap_of(unit, tap)),
            }
        }
    }

    pub(super) fn all_of(&mut self, unit: usize) {
        self.units.insert(unit, Part::All);
    }

    pub(super) fn tap_of(&mut self, unit: usize, tap: usize) {
        if let Part::Taps(taps) = self.units.entry(unit).or_insert(Part::Taps(Vec::new()))
            && let Err(place) = taps.binary_search(&tap)
        {
            taps.insert(place, tap);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Part)> {
        self.units.iter().map(|(&unit, part)| (unit, part))
    }
}

/// Ranges in any order, to be sorted and joined.
#[derive(Default)]
pub(super) struct Ranges(Vec<Range<usize>>);

impl Ranges {
    pub(super) fn push(&mut self, range: Range<usize>) {
        if !range.is_empty() {
            self.0.push(range);
        }
    }

    pub(super) fn finish(mut self) -> Vec<Range<usize>> {
        self.0.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<usize>> = Vec::new();
        for range in self.0 {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_sorted_and_joined() {
        let mut ranges = Ranges::default();
        for range in [8..9, 0..2, 5..5, 1..4, 4..5] {
            ranges.push(range);
        }
        assert_eq!(ranges.finish(), [0..5, 8..9]);
    }

    #[test]
    fn a_whole_unit_takes_in_its_parts() {
        let mut touched = Touched::default();
        for tap in [3, 1, 3] {
            touched.tap_of(7, tap);
        }
        assert_eq!(touched.iter().collect::<Vec<_>>(), [(7, &Part::Taps(vec![1, 3]))]);
        let mut all = Touched::default();
        all.all_of(7);
        all.join(touched.clone());
        assert_eq!(all.iter().collect::<Vec<_>>(), [(7, &Part::All)]);
        touched.join(all);
        assert_eq!(touched.iter().collect::<Vec<_>>(), [(7, &Part::All)]);
        assert_eq!((touched.units(), touched.is_empty()), (1, false));
    }
}
