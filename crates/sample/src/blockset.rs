//! A set of sites within one block: filled in any order, read in order, repeats forgotten.

/// A bitmap.
#[derive(Default)]
pub(crate) struct BlockSet {
    words: Vec<u64>,
}

impl BlockSet {
    /// Forgets everything and makes room for `sites` sites. Zeros are written now, not when the set was last read: what is inserted goes
    /// anywhere, and meets memory that is in the caches.
    pub(crate) fn clear(&mut self, sites: u64) {
        self.words.clear();
        self.words.resize(sites.div_ceil(64) as usize, 0);
    }

    pub(crate) fn insert(&mut self, site: u64) {
        self.words[(site >> 6) as usize] |= 1 << (site & 63);
    }

    /// Inserts all of the first `sites` sites.
    pub(crate) fn insert_all(&mut self, sites: u64) {
        self.words[..sites.div_ceil(64) as usize].fill(u64::MAX);
    }

    /// The bitmap of the first `sites` sites; what lies beyond is forgotten.
    pub(crate) fn first(&mut self, sites: u64) -> &[u64] {
        let words = &mut self.words[..sites.div_ceil(64) as usize];
        if let Some(last) = words.last_mut() {
            *last &= u64::MAX >> (sites.next_multiple_of(64) - sites);
        }
        words
    }
}

/// The sites whose bits are set in a run of words that starts with word `first`, in order.
#[cfg(test)]
fn ones_of(first: u64, words: &[u64]) -> impl Iterator<Item = u64> {
    words.iter().zip(first..).flat_map(|(&word, index)| ones(word).map(move |bit| index * 64 + bit))
}

/// Appends the sites whose bits are set in a run of words that starts with word `first`, in order. How many bits a word has is hard to guess, so a few places are written for every word, whether it
/// has as many bits or not, and the next word overwrites those that it had not.
pub(crate) fn push_ones_of(first: u64, words: &[u64], sites: &mut Vec<u64>) {
    const ALWAYS: usize = 3;
    let count: usize = words.iter().map(|word| word.count_ones() as usize).sum();
    let mut end = sites.len();
    sites.resize(end + count + ALWAYS, 0);
    for (&word, index) in words.iter().zip(first..) {
        let places = &mut sites[end..];
        let mut rest = word;
        for place in &mut places[..ALWAYS] {
            *place = index * 64 + u64::from(rest.trailing_zeros());
            rest &= rest.wrapping_sub(1);
        }
        for (place, bit) in places[ALWAYS..].iter_mut().zip(ones(rest)) {
            *place = index * 64 + bit;
        }
        end += word.count_ones() as usize;
    }
    sites.truncate(end);
}

/// The positions of the set bits of a word, lowest first.
pub(crate) fn ones(mut word: u64) -> impl Iterator<Item = u64> {
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
    fn ones_are_pushed_in_order() {
        let words = [0, 1, 1 << 63 | 1, 0b1011, u64::MAX, 0, 0xF0F0, 0];
        for count in 0..=words.len() {
            let mut sites = vec![7];
            push_ones_of(5, &words[..count], &mut sites);
            let wanted: Vec<u64> = [7].into_iter().chain(ones_of(5, &words[..count])).collect();
            assert_eq!(sites, wanted);
        }
    }

    #[test]
    fn holds_what_was_inserted_once_and_in_order() {
        let mut set = BlockSet::default();
        for round in 0..2 {
            set.clear(1 << 19);
            let sites = [299_999, 0, 63, 64, 4096, 4096, 262_144, 5, 61 + round, 300_000, 500_000];
            sites.iter().for_each(|&site| set.insert(site));
            let mut want = sites[..9].to_vec();
            want.sort_unstable();
            want.dedup();
            assert_eq!(ones_of(0, set.first(300_000)).collect::<Vec<_>>(), want);
        }
        set.clear(1 << 19);
        assert!(set.first(1 << 19).iter().all(|&word| word == 0));
        set.insert_all(130);
        assert_eq!(set.first(130), [u64::MAX, u64::MAX, 3]);
    }
}
