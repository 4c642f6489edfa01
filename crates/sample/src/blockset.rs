//! A set of sites within one block: filled in any order, read in order, repeats forgotten.

/// A bitmap that is all zero between uses.
#[derive(Default)]
pub(crate) struct BlockSet {
    words: Vec<u64>,
}

impl BlockSet {
    /// Makes room for `sites` sites. The set must be empty.
    pub(crate) fn reserve(&mut self, sites: u64) {
        let words = sites.div_ceil(64) as usize;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }

    pub(crate) fn insert(&mut self, site: u64) {
        self.words[(site >> 6) as usize] |= 1 << (site & 63);
    }

    /// Hands over the bitmap of the first `sites` sites and empties it.
    pub(crate) fn drain(&mut self, sites: u64, take: impl FnOnce(&[u64])) {
        let words = &mut self.words[..sites.div_ceil(64) as usize];
        take(words);
        words.fill(0);
    }
}

/// The sites whose bits are set in a run of words that starts with word `first`, in order.
pub(crate) fn ones_of(first: u64, words: &[u64]) -> impl Iterator<Item = u64> {
    words.iter().zip(first..).flat_map(|(&word, index)| ones(word).map(move |bit| index * 64 + bit))
}

/// The positions of the set bits of a word, lowest first.
fn ones(mut word: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(move || {
        let position = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (position < 64).then_some(position.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_inserted_once_and_in_order() {
        let mut set = BlockSet::default();
        set.reserve(300_000);
        for round in 0..2 {
            let sites = [299_999, 0, 63, 64, 4096, 4096, 262_144, 5, 61 + round];
            sites.iter().for_each(|&site| set.insert(site));
            let mut got = Vec::new();
            set.drain(300_000, |words| got.extend(ones_of(0, words)));
            let mut want = sites.to_vec();
            want.sort_unstable();
            want.dedup();
            assert_eq!(got, want);
        }
        set.drain(300_000, |words| assert!(words.iter().all(|&word| word == 0)));
    }
}
