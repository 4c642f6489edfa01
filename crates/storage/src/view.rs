//! The memory's words, to be read.

use bitquake_bits::{WordStore, Words, WordsMut};

use crate::memory::Memory;

/// What a memory holds, to be read by fault models and explanations. Nothing can be changed through it: faults reach the
/// network as the flips that [`Memory::translate`] gives.
#[derive(Debug)]
pub struct View<'a, S> {
    pub(crate) memory: &'a Memory,
    pub(crate) native: &'a S,
}

impl<S: WordStore> WordStore for View<'_, S> {
    fn words(&self, name: &str) -> Option<Words<'_>> {
        match self.memory.split(name) {
            None => self.memory.checks(name).or_else(|| self.native.words(name)),
            Some((tensor, None)) => self.memory.coded(tensor).map(|coded| coded.words()),
            Some((tensor, Some(part))) => {
                let parts = self.memory.coded(tensor)?.parts();
                let part = parts.filter(|(name, _)| *name == part).map(|(_, words)| words).next();
                part.or_else(|| self.memory.checks(name))
            }
        }
    }

    /// Always `None`.
    fn words_mut(&mut self, _: &str) -> Option<WordsMut<'_>> {
        None
    }
}
