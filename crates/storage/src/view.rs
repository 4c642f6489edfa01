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
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        match self.memory.split(tensor) {
            None => self.native.words(tensor),
            Some((tensor, None)) => self.memory.coded(tensor).map(|coded| coded.words()),
            Some((tensor, Some(part))) => {
                self.memory.coded(tensor)?.parts().find(|(name, _)| *name == part).map(|(_, words)| words)
            }
        }
    }

    /// Always `None`.
    fn words_mut(&mut self, _: &str) -> Option<WordsMut<'_>> {
        None
    }
}
