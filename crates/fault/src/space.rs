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
    /// Its dimensions, slowest first (C order), with `elements` as product: those of one image where it is an activation, such
    /// as `[channels, rows, columns]`. `[elements]` until [`FaultSpace::with_dims`] says more.
    pub dims: Vec<u64>,
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
    /// A list of protected bits that does not fit a tensor's words.
    #[error("{found} numbers say which bits are protected, but tensor `{tensor}` is {format} with {} bits", format.width())]
    ProtectedLength {
        /// The tensor.
        tensor: String,
        /// Its format.
        format: Format,
        /// How many numbers there are.
        found: usize,
    },
    /// A protected bit that the tensor's words do not have.
    #[error("the protected bits {mask:#x} do not fit tensor `{tensor}`: {format} has {} bits", format.width())]
    ProtectedMask {
        /// The tensor.
        tensor: String,
        /// Its format.
        format: Format,
        /// The mask.
        mask: u64,
    },
    /// A number that is neither 0 nor 1.
    #[error(
        "bit {bit} is protected with the number {value}: it must be 0 or 1, for a bit that never changes"
    )]
    ProtectedFlag {
        /// The bit.
        bit: usize,
        /// The number.
        value: u8,
    },
    /// Nothing is left that may be hit.
    #[error("every selected bit is protected: nothing is left that may be hit")]
    AllProtected,
    /// Dimensions that are not those of a tensor.
    #[error("tensor `{tensor}` has {elements} elements, which are not those of the dimensions {dims:?}")]
    Dims {
        /// The tensor.
        tensor: String,
        /// Its elements.
        elements: u64,
        /// The dimensions given.
        dims: Vec<u64>,
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

/// Bits of every word that never change, whatever the fault model (SPEC 2.1, S14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProtectedBits {
    /// These bits of each format.
    Bits(BitSelection),
    /// The bits that are set.
    Mask(u64),
    /// One number for each bit of a word, bit 0 first: 1 protects it, 0 does not.
    List(Vec<u8>),
}

impl ProtectedBits {
    /// The protected bits of a tensor's words.
    fn mask(&self, tensor: &SpaceTensor) -> Result<u64, SpaceError> {
        let (name, format) = (|| tensor.name.clone(), tensor.format);
        match self {
            Self::Bits(bits) => {
                bits.mask(format).map_err(|source| SpaceError::Bits { tensor: name(), source })
            }
            Self::Mask(mask) if mask & !format.mask() != 0 => {
                Err(SpaceError::ProtectedMask { tensor: name(), format, mask: *mask })
            }
            Self::Mask(mask) => Ok(*mask),
            Self::List(flags) if flags.len() as u64 != u64::from(format.width()) => {
                Err(SpaceError::ProtectedLength { tensor: name(), format, found: flags.len() })
            }
            Self::List(flags) => match flags.iter().position(|&flag| flag > 1) {
                Some(bit) => Err(SpaceError::ProtectedFlag { bit, value: flags[bit] }),
                None => Ok(flags.iter().rev().fold(0, |mask, &flag| mask << 1 | u64::from(flag))),
            },
        }
    }
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
            .map(|candidate| Name { text: candidate.name, by_name_only: candidate.by_name_only, also: &[] })
            .collect();
        let chosen = selector.matches(&names)?;
        let chosen = candidates.into_iter().zip(chosen).filter(|(_, chosen)| *chosen);
        Self::gather(chosen.map(|(candidate, _)| (candidate, bits)))
    }

    /// These bits of these tensors, in this order. Tensors without elements are left out.
    ///
    /// # Errors
    /// [`SpaceError`] when a tensor's format has no such bits, or there are too many.
    pub fn gather<'a>(
        tensors: impl IntoIterator<Item = (Candidate<'a>, BitSelection)>,
    ) -> Result<Self, SpaceError> {
        let (mut space, mut bits) = (Self { tensors: Vec::new() }, 0);
        for (candidate, selection) in tensors {
            bits = space.add(&candidate, selection, bits)?;
        }
        Ok(space)
    }

    /// Adds a tensor to those before it, whose words have so many bits; returns how many there are with its own.
    fn add(&mut self, candidate: &Candidate<'_>, bits: BitSelection, before: u64) -> Result<u64, SpaceError> {
        const LIMIT: u64 = 1 << 56;
        let Candidate { format, elements, .. } = *candidate;
        let name = || candidate.name.to_owned();
        let mask = bits.mask(format).map_err(|source| SpaceError::Bits { tensor: name(), source })?;
        let own = elements.checked_mul(u64::from(format.width()));
        let total = own.and_then(|own| own.checked_add(before)).filter(|total| *total <= LIMIT);
        let total = total.ok_or_else(|| SpaceError::TooLarge { tensor: name(), elements })?;
        if elements > 0 {
            self.tensors.push(SpaceTensor { name: name(), format, elements, mask, dims: vec![elements] });
        }
        Ok(total)
    }

    /// The same space with the dimensions of its tensors, which `dims_of` tells by name; where it tells nothing, they stay as
    /// they are. Only shapes ([`FaultModel::Shape`](crate::FaultModel::Shape)) look at them.
    ///
    /// # Errors
    /// [`SpaceError::Dims`] when the product of the dimensions is not the number of elements.
    ///
    /// ```
    /// use bitquake_bits::{BitSelection, Format};
    /// use bitquake_fault::{Candidate, FaultSpace};
    /// let conv = Candidate { name: "conv1", format: Format::F32, elements: 16 * 32 * 32, by_name_only: false };
    /// let space = FaultSpace::gather([(conv, BitSelection::All)])?.with_dims(|_| Some(vec![16, 32, 32]))?;
    /// assert_eq!(space.tensors()[0].dims, [16, 32, 32]);
    /// assert!(space.with_dims(|_| Some(vec![16, 32])).is_err());
    /// # Ok::<(), bitquake_fault::SpaceError>(())
    /// ```
    pub fn with_dims(mut self, dims_of: impl Fn(&str) -> Option<Vec<u64>>) -> Result<Self, SpaceError> {
        for tensor in &mut self.tensors {
            let Some(dims) = dims_of(&tensor.name) else { continue };
            let product = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim));
            if product != Some(tensor.elements) {
                return Err(SpaceError::Dims {
                    tensor: tensor.name.clone(),
                    elements: tensor.elements,
                    dims,
                });
            }
            tensor.dims = dims;
        }
        Ok(self)
    }

    /// The same space without bits that never change. A tensor whose every selected bit is protected is left out.
    ///
    /// # Errors
    /// [`SpaceError`] when a list is not as long as a tensor's words are wide or holds anything but 0 and 1, when a mask has
    /// bits that a tensor's words have not, or when nothing is left.
    ///
    /// ```
    /// use bitquake_bits::{BitSelection, Format};
    /// use bitquake_fault::{Candidate, FaultSpace, ProtectedBits, Selector};
    /// // 5-bit codes in bytes: the upper three bits are not there.
    /// let w = Candidate { name: "w", format: Format::U8, elements: 10, by_name_only: false };
    /// let space = FaultSpace::select([w], &Selector::all(), BitSelection::All)?;
    /// let space = space.without(&ProtectedBits::List(vec![0, 0, 0, 0, 0, 1, 1, 1]))?;
    /// assert_eq!(space.bits(), 50);
    /// # Ok::<(), bitquake_fault::SpaceError>(())
    /// ```
    pub fn without(&self, protected: &ProtectedBits) -> Result<Self, SpaceError> {
        self.without_in(protected, |_| true)
    }

    /// The same for the tensors alone whose name `is_meant`; the others keep all their bits.
    ///
    /// # Errors
    /// As [`without`](Self::without).
    pub fn without_in(
        &self,
        protected: &ProtectedBits,
        is_meant: impl Fn(&str) -> bool,
    ) -> Result<Self, SpaceError> {
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            let protected = if is_meant(&tensor.name) { protected.mask(tensor)? } else { 0 };
            let mask = tensor.mask & !protected;
            tensors.push(SpaceTensor { mask, ..tensor.clone() });
        }
        tensors.retain(|tensor| tensor.mask != 0);
        if tensors.is_empty() && !self.tensors.is_empty() {
            return Err(SpaceError::AllProtected);
        }
        Ok(Self { tensors })
    }

    /// The part of the space whose bits a mask for each tensor keeps; tensors of which nothing is left are left out.
    ///
    /// ```
    /// use bitquake_bits::{BitSelection, Format};
    /// use bitquake_fault::{Candidate, FaultSpace};
    /// let w = Candidate { name: "w", format: Format::F32, elements: 10, by_name_only: false };
    /// let space = FaultSpace::gather([(w, BitSelection::All)])?;
    /// assert_eq!(space.part(|_| 1 << 30).bits(), 10);
    /// assert!(space.part(|_| 0).tensors().is_empty());
    /// # Ok::<(), bitquake_fault::SpaceError>(())
    /// ```
    #[must_use]
    pub fn part(&self, mask_of: impl Fn(&SpaceTensor) -> u64) -> Self {
        let masked =
            |tensor: &SpaceTensor| SpaceTensor { mask: tensor.mask & mask_of(tensor), ..tensor.clone() };
        Self { tensors: self.tensors.iter().map(masked).filter(|tensor| tensor.mask != 0).collect() }
    }

    /// The bit with a number below [`bits`](Self::bits), counted tensor by tensor, element by element, from bit 0 up: its
    /// tensor and its address there.
    ///
    /// ```
    /// use bitquake_bits::{BitSelection, Format};
    /// use bitquake_fault::{Candidate, FaultSpace};
    /// let tensor = |name, elements| Candidate { name, format: Format::I8, elements, by_name_only: false };
    /// let all = [tensor("a", 2), tensor("b", 5)].map(|tensor| (tensor, BitSelection::Sign));
    /// let space = FaultSpace::gather(all)?; // bit 7 of each word
    /// let site = |number| space.site(number).map(|(tensor, address)| (tensor.name.as_str(), address));
    /// assert_eq!((site(1), site(2), site(7)), (Some(("a", 15)), Some(("b", 7)), None));
    /// # Ok::<(), bitquake_fault::SpaceError>(())
    /// ```
    #[must_use]
    pub fn site(&self, mut number: u64) -> Option<(&SpaceTensor, u64)> {
        for tensor in &self.tensors {
            if number < tensor.bits() {
                return Some((tensor, tensor.addresses(vec![number])[0]));
            }
            number -= tensor.bits();
        }
        None
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

    pub(crate) fn element_and_bit(&self, address: u64) -> (u64, u32) {
        let width = u64::from(self.format.width());
        (address / width, (address % width) as u32)
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
        let tensor = SpaceTensor {
            name: "w".into(),
            format: Format::F32,
            elements: 4,
            mask: 1 << 30 | 1 << 3,
            dims: vec![4],
        };
        assert_eq!(tensor.addresses(vec![0, 1, 2, 7]), [3, 30, 32 + 3, 96 + 30]);
    }

    #[test]
    fn protected_bits_are_left_out() {
        let tensors = [candidate("a", Format::U8, 2), candidate("b", Format::U8, 3)];
        let space = FaultSpace::select(tensors, &Selector::all(), BitSelection::Msb).unwrap();
        let bits = space.without(&ProtectedBits::Bits(BitSelection::Bit(3))).map(|space| space.bits());
        assert_eq!(bits, Ok(5));
        let masks = |protected: ProtectedBits| {
            let space = space.without(&protected)?;
            Ok::<_, SpaceError>(space.tensors().iter().map(|tensor| tensor.mask).collect::<Vec<u64>>())
        };
        assert_eq!(masks(ProtectedBits::Mask(0x7f)).unwrap(), [128, 128]);
        assert_eq!(masks(ProtectedBits::List(vec![1, 1, 1, 1, 1, 1, 1, 0])).unwrap(), [128, 128]);
        assert_eq!(masks(ProtectedBits::Mask(0x80)), Err(SpaceError::AllProtected));
        assert!(matches!(
            masks(ProtectedBits::Mask(0x100)),
            Err(SpaceError::ProtectedMask { mask: 0x100, .. })
        ));
        assert!(matches!(
            masks(ProtectedBits::List(vec![0; 9])),
            Err(SpaceError::ProtectedLength { found: 9, .. })
        ));
        let flags = vec![0, 0, 2, 0, 0, 0, 0, 0];
        assert_eq!(masks(ProtectedBits::List(flags)), Err(SpaceError::ProtectedFlag { bit: 2, value: 2 }));
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let huge = [candidate("w", Format::F32, u64::MAX / 2)];
        let space = FaultSpace::select(huge, &Selector::all(), BitSelection::All);
        assert!(matches!(space, Err(SpaceError::TooLarge { .. })));
    }
}
