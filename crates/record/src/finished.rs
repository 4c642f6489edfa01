//! Which trials are finished, in little memory.

use std::collections::BTreeMap;

/// Trials a page stands for.
const PAGE: u64 = 32_768;
const WORDS: usize = PAGE as usize / 64;

/// A set of trials: one bit each, in pages of 4 KiB, so that ten million trials of a point take 1.25 MB and a stray large
/// number takes one page.
///
/// ```
/// let mut finished = bitquake_record::FinishedSet::default();
/// assert!(finished.insert(0, 7));
/// assert!(!finished.insert(0, 7), "it was there already");
/// assert!(finished.contains(0, 7) && !finished.contains(1, 7));
/// assert_eq!((finished.len(), finished.of_point(0)), (1, 1));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinishedSet {
    pages: BTreeMap<(u32, u64), Box<[u64; WORDS]>>,
    len: u64,
}

impl FinishedSet {
    /// Adds a trial; false if it was there already.
    pub fn insert(&mut self, point: u32, trial: u64) -> bool {
        let page = self.pages.entry((point, trial / PAGE)).or_insert_with(|| Box::new([0; WORDS]));
        let (word, bit) = place(trial);
        let is_new = page[word] & bit == 0;
        page[word] |= bit;
        self.len += u64::from(is_new);
        is_new
    }

    /// Whether a trial is finished.
    #[must_use]
    pub fn contains(&self, point: u32, trial: u64) -> bool {
        let (word, bit) = place(trial);
        self.pages.get(&(point, trial / PAGE)).is_some_and(|page| page[word] & bit != 0)
    }

    /// How many trials are finished.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many trials of a point are finished.
    #[must_use]
    pub fn of_point(&self, point: u32) -> u64 {
        let pages = self.pages.range((point, 0)..=(point, u64::MAX));
        pages.flat_map(|(_, page)| page.iter()).map(|word| u64::from(word.count_ones())).sum()
    }

    /// The finished trials, by point and number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.pages.iter().flat_map(|(&(point, page), words)| {
            let is_in = move |offset: &u64| {
                let (word, bit) = place(*offset);
                words[word] & bit != 0
            };
            (0..PAGE).filter(is_in).map(move |offset| (point, page * PAGE + offset))
        })
    }
}

/// The word of a page and the bit in it.
fn place(trial: u64) -> (usize, u64) {
    let offset = trial % PAGE;
    ((offset / 64) as usize, 1 << (offset % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_a_set() {
        let (mut set, mut wanted, mut state) = (FinishedSet::default(), BTreeSet::new(), 1_u64);
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (point, trial) = ((state >> 62) as u32, (state >> 30) % 40_000);
            assert_eq!(set.insert(point, trial), wanted.insert((point, trial)));
        }
        for trial in [u64::MAX, u64::MAX - PAGE, 0] {
            assert_eq!(set.insert(u32::MAX, trial), wanted.insert((u32::MAX, trial)));
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), wanted.iter().copied().collect::<Vec<_>>());
        assert_eq!(set.len(), wanted.len() as u64);
        for point in 0..5 {
            let count = wanted.iter().filter(|(of, _)| *of == point).count() as u64;
            assert_eq!(set.of_point(point), count);
        }
        for trial in 0..41_000 {
            assert_eq!(set.contains(2, trial), wanted.contains(&(2, trial)));
        }
    }

    #[test]
    fn ten_million_trials_take_a_megabyte() {
        let mut set = FinishedSet::default();
        (0..10_000_000).for_each(|trial| assert!(set.insert(0, trial)));
        assert_eq!(set.len(), 10_000_000);
        assert!(set.pages.len() * size_of::<[u64; WORDS]>() < 1_260_000);
    }
}
