//! Lists of which a few entries are others.

use std::ops::Index;

/// A list, and the entries that stand in for some of its own.
#[derive(Debug)]
pub(super) struct Patched<'p, T> {
    all: &'p [T],
    /// By place; few, so that looking through them costs nothing.
    others: &'p [(usize, T)],
}

impl<'p, T> Patched<'p, T> {
    /// The list as it is.
    pub(super) fn plain(all: &'p [T]) -> Patched<'p, T> {
        Patched { all, others: &[] }
    }

    pub(super) fn new(all: &'p [T], others: &'p [(usize, T)]) -> Patched<'p, T> {
        Patched { all, others }
    }

    pub(super) fn get(&self, place: usize) -> &'p T {
        let other = self.others.iter().find(|(other, _)| *other == place);
        other.map_or_else(|| &self.all[place], |(_, entry)| entry)
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}

impl<T> Clone for Patched<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Patched<'_, T> {}

impl<T> Index<usize> for Patched<'_, T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        self.get(place)
    }
}
