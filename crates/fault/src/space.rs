//! What may be hit.

use bitquake_bits::{BitSelection, BitSelectionError, Format};

use crate::selector::{Name, Selector, SelectorError};

/// A tensor that could belong to a fault space.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its name, unique in its file.
    pub name: &'a str,
    /// How its words are stored.
    pub format: Format,
    /// How many elements it has.
    pub elements: u64,
    /// Globs leave it out: shapes, axes and bounds that a graph keeps as tensors.
    pub by_name_only: bool,
}

/// One tensor of a fault space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceTensor {
    /// Its name.
    pub name: String,
    /// How its words are stored.
    pub format: Format,
    /// How many elements it has.
    pub elements: u64,
    /// The bits of each word that may be hit.
    pub mask: u64,
}

/// All bits that a fault model may choose from, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpace {
    tensors: Vec<SpaceTensor>,
}

/// Why a fault space cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpaceError {
    /// The selection of tensors.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The selection of bits does not exist in a tensor's format.
    #[error("tensor `{tensor}`: {source}")]
    Bits {
        /// The tensor.
        tensor: String,
        /// What its format lacks.
        source: BitSelectionError,
    },
    /// Too many bits to count.
    #[error("tensor `{tensor}` has {elements} elements: the fault space is larger than 2^56 bits")]
    TooLarge {
        /// The tensor at which the count passed the limit.
        tensor: String,
        /// Its elements.
        elements: u64,
    },
}

impl FaultSpace {
    /// The selected bits of the selected tensors. Tensors without elements are left out.
    ///
    /// # Errors
    /// [`SpaceError`] when a pattern matches nothing or a selected tensor's format has no such bits.
    pub fn select<'a>(
        candidates: impl IntoIterator<Item = Candidate<'a>>,
        selector: &Selector,
        bits: BitSelection,
    ) -> Result<Self, SpaceError> {
        let candidates: Vec<Candidate<'_>> = candidates.into_iter().collect();
        let names: Vec<Name<'_>> = candidates
            .iter()
            .map(|candidate| Name { text: candidate.name, by_name_only: candidate.by_name_only })
            .collect();
        let chosen = selector.matches(&names)?;
        let mut space = Self { tensors: Vec::new() };
        for (candidate, _) in candidates.iter().zip(chosen).filter(|(_, chosen)| *chosen) {
            space.add(candidate, bits)?;
        }
        Ok(space)
    }

    fn add(&mut self, candidate: &Candidate<'_>, bits: BitSelection) -> Result<(), SpaceError> {
        const LIMIT: u64 = 1 << 56;
        let name = || candidate.name.to_owned();
        let mask =
            bits.mask(candidate.format).map_err(|source| SpaceError::Bits { tensor: name(), source })?;
        let all = candidate.elements.checked_mul(u64::from(candidate.format.width()));
        if all.and_then(|all| all.checked_add(self.bits())).is_none_or(|total| total > LIMIT) {
            return Err(SpaceError::TooLarge { tensor: name(), elements: candidate.elements });
        }
        if candidate.elements > 0 {
            let Candidate { format, elements, .. } = *candidate;
            self.tensors.push(SpaceTensor { name: name(), format, elements, mask });
        }
        Ok(())
    }

    /// The tensors, in file order.
    #[must_use]
    pub fn tensors(&self) -> &[SpaceTensor] {
        &self.tensors
    }

    /// How many bits may be hit.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.tensors.iter().map(SpaceTensor::bits).sum()
    }
}

impl SpaceTensor {
    /// Bits of each word that may be hit.
    #[must_use]
    pub fn bits_per_word(&self) -> u64 {
        u64::from(self.mask.count_ones())
    }

    /// Bits of the tensor that may be hit.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.elements * self.bits_per_word()
    }

    /// Whether every bit of every word may be hit, so that sites are bit addresses.
    pub(crate) fn is_whole(&self) -> bool {
        self.mask.count_ones() == self.format.width()
    }

    /// Turns sorted sites, counted over the bits that may be hit, into sorted bit addresses.
    pub(crate) fn addresses(&self, mut sites: Vec<u64>) -> Vec<u64> {
        if !self.is_whole() {
            let places: Vec<u64> = (0..64).filter(|bit| self.mask >> bit & 1 == 1).collect();
            let (per_word, width) = (self.bits_per_word(), u64::from(self.format.width()));
            for site in &mut sites {
                *site = *site / per_word * width + places[(*site % per_word) as usize];
            }
        }
        sites
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, format: Format, elements: u64) -> Candidate<'_> {
        Candidate { name, format, elements, by_name_only: false }
    }

    #[test]
    fn counts_the_selected_bits() {
        let tensors =
            [candidate("a", Format::F32, 10), candidate("b", Format::F16, 3), candidate("c", Format::F32, 0)];
        let bits =
            |selection| FaultSpace::select(tensors, &Selector::all(), selection).map(|space| space.bits());
        assert_eq!(bits(BitSelection::All), Ok(10 * 32 + 3 * 16));
        assert_eq!(bits(BitSelection::Exponent), Ok(10 * 8 + 3 * 5));
        assert_eq!(bits(BitSelection::Msb), Ok(13));
        assert!(matches!(bits(BitSelection::Bit(30)), Err(SpaceError::Bits { tensor, .. }) if tensor == "b"));
    }

    #[test]
    fn sites_become_addresses() {
        let tensor =
            SpaceTensor { name: "w".into(), format: Format::F32, elements: 4, mask: 1 << 30 | 1 << 3 };
        assert_eq!(tensor.addresses(vec![0, 1, 2, 7]), [3, 30, 32 + 3, 96 + 30]);
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let huge = [candidate("w", Format::F32, u64::MAX / 2)];
        let space = FaultSpace::select(huge, &Selector::all(), BitSelection::All);
        assert!(matches!(space, Err(SpaceError::TooLarge { .. })));
    }
}
