//! One concrete draw from a fault model.

use std::collections::BTreeMap;

use bitquake_bits::{Format, WordStore, Words, WordsMut};
use rayon::prelude::*;

/// The flips of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFlips {
    /// The tensor's name.
    pub tensor: String,
    /// Its format when the pattern was made.
    pub format: Format,
    /// Its number of elements when the pattern was made.
    pub elements: u64,
    /// Bit addresses (element times width plus bit), rising, none twice.
    pub addresses: Vec<u64>,
}

/// Which bits of which tensors are flipped: a value that can be saved, replayed, composed, explained and undone.
///
/// Tensors are sorted by name and have at least one flip; so two patterns are equal exactly when they flip the same bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPattern {
    tensors: Vec<TensorFlips>,
}

/// A pattern does not fit what it is applied to, or is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The tensor does not exist.
    #[error("the pattern flips bits of tensor `{tensor}`, which is not there")]
    NoTensor {
        /// The tensor's name.
        tensor: String,
    },
    /// The tensor exists with another format.
    #[error("the pattern was made for tensor `{tensor}` as {wanted}, here it is {found}")]
    OtherFormat {
        /// The tensor's name.
        tensor: String,
        /// The pattern's format.
        wanted: Format,
        /// The store's format.
        found: Format,
    },
    /// The tensor exists with another size.
    #[error("the pattern was made for tensor `{tensor}` with {wanted} elements, here it has {found}")]
    OtherSize {
        /// The tensor's name.
        tensor: String,
        /// The pattern's number of elements.
        wanted: u64,
        /// The store's number of elements.
        found: u64,
    },
    /// A bit address lies beyond the tensor.
    #[error("tensor `{tensor}`: element {index} is out of bounds, there are {elements}")]
    OutOfBounds {
        /// The tensor's name.
        tensor: String,
        /// The element addressed.
        index: u64,
        /// The number of elements.
        elements: u64,
    },
    /// Bit addresses do not rise.
    #[error("tensor `{tensor}`: bit {bit} of element {index} is out of order or named twice")]
    NotRising {
        /// The tensor's name.
        tensor: String,
        /// The element.
        index: u64,
        /// The bit.
        bit: u64,
    },
    /// A tensor is listed twice.
    #[error("tensor `{tensor}` is listed twice")]
    ListedTwice {
        /// The tensor's name.
        tensor: String,
    },
}

impl TensorFlips {
    pub(crate) fn element_and_bit(&self, address: u64) -> (u64, u32) {
        let width = u64::from(self.format.width());
        (address / width, (address % width) as u32)
    }

    fn check(&self) -> Result<(), PatternError> {
        let tensor = || self.tensor.clone();
        if let Some(pair) = self.addresses.windows(2).find(|pair| pair[0] >= pair[1]) {
            let (index, bit) = self.element_and_bit(pair[1]);
            return Err(PatternError::NotRising { tensor: tensor(), index, bit: bit.into() });
        }
        let last = self.addresses.last().map(|&last| self.element_and_bit(last).0);
        match last.filter(|&index| index >= self.elements) {
            Some(index) => {
                Err(PatternError::OutOfBounds { tensor: tensor(), index, elements: self.elements })
            }
            None => Ok(()),
        }
    }

    /// That the tensor in the store is the one the flips were made for.
    fn check_store(&self, found: Option<Words<'_>>) -> Result<(), PatternError> {
        match found {
            Some(words) => self.check_same(words.format(), words.elements()),
            None => Err(PatternError::NoTensor { tensor: self.tensor.clone() }),
        }
    }

    /// That a tensor of this format and size is the one the flips were made for.
    pub(crate) fn check_same(&self, format: Format, elements: u64) -> Result<(), PatternError> {
        let tensor = || self.tensor.clone();
        if format != self.format {
            Err(PatternError::OtherFormat { tensor: tensor(), wanted: self.format, found: format })
        } else if elements != self.elements {
            Err(PatternError::OtherSize { tensor: tensor(), wanted: self.elements, found: elements })
        } else {
            Ok(())
        }
    }
}

impl FaultPattern {
    /// The pattern without flips.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// A pattern from the flips of each tensor, in any order of tensors; tensors without flips are dropped.
    ///
    /// # Errors
    /// [`PatternError`] when a tensor is listed twice, or addresses do not rise or lie outside.
    pub fn new(mut tensors: Vec<TensorFlips>) -> Result<Self, PatternError> {
        tensors.sort_by(|a, b| a.tensor.cmp(&b.tensor));
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].tensor == pair[1].tensor) {
            return Err(PatternError::ListedTwice { tensor: pair[0].tensor.clone() });
        }
        tensors.iter().try_for_each(TensorFlips::check)?;
        tensors.retain(|flips| !flips.addresses.is_empty());
        Ok(Self { tensors })
    }

    /// The flips by tensor, sorted by name.
    #[must_use]
    pub fn tensors(&self) -> &[TensorFlips] {
        &self.tensors
    }

    /// Number of bits flipped.
    #[must_use]
    pub fn flips(&self) -> u64 {
        self.tensors.iter().map(|flips| flips.addresses.len() as u64).sum()
    }

    /// Flips the bits. Doing it again undoes it.
    ///
    /// # Errors
    /// [`PatternError`] when the store is not what the pattern was made for; then nothing has been changed.
    pub fn apply(&self, store: &mut impl WordStore) -> Result<(), PatternError> {
        self.check_fits(store)?;
        for flips in &self.tensors {
            if let Some(words) = store.words_mut(&flips.tensor) {
                flip_words(words, &flips.addresses);
            }
        }
        Ok(())
    }

    /// That every tensor of the pattern is in the store with the same format and size.
    ///
    /// # Errors
    /// [`PatternError`] names the first that is not.
    pub fn check_fits(&self, store: &impl WordStore) -> Result<(), PatternError> {
        self.tensors.iter().try_for_each(|flips| flips.check_store(store.words(&flips.tensor)))
    }

    /// The pattern that turns the named tensors of one store into those of another.
    ///
    /// # Errors
    /// [`PatternError`] when a tensor is missing in either or differs in format or size.
    pub fn between<'a>(
        tensors: impl IntoIterator<Item = &'a str>,
        from: &impl WordStore,
        to: &impl WordStore,
    ) -> Result<Self, PatternError> {
        let one = |tensor: &str| {
            let missing = || PatternError::NoTensor { tensor: tensor.to_owned() };
            let old = from.words(tensor).ok_or_else(missing)?;
            let (tensor, format, elements) = (tensor.to_owned(), old.format(), old.elements());
            let mut flips = TensorFlips { tensor, format, elements, addresses: Vec::new() };
            flips.check_store(to.words(&flips.tensor))?;
            let new = to.words(&flips.tensor).ok_or_else(missing)?;
            flips.addresses = differing_bits(&old, &new);
            Ok(flips)
        };
        Self::new(tensors.into_iter().map(one).collect::<Result<_, PatternError>>()?)
    }

    /// The pattern that does what `self` and then `other` do: bits flipped by both are flipped by neither.
    ///
    /// # Errors
    /// [`PatternError`] when the two were made for different versions of a tensor.
    pub fn compose(&self, other: &Self) -> Result<Self, PatternError> {
        let mut by_name: BTreeMap<&str, TensorFlips> =
            self.tensors.iter().map(|flips| (flips.tensor.as_str(), flips.clone())).collect();
        for flips in &other.tensors {
            match by_name.get_mut(flips.tensor.as_str()) {
                None => {
                    by_name.insert(&flips.tensor, flips.clone());
                }
                Some(ours) => {
                    ours.check_same(flips.format, flips.elements)?;
                    ours.addresses = symmetric_difference(&ours.addresses, &flips.addresses);
                }
            }
        }
        Self::new(by_name.into_values().collect())
    }
}

/// Flips the bits at rising logical addresses, all of which lie within the words.
fn flip_words(mut words: WordsMut<'_>, addresses: &[u64]) {
    match words.packed_bytes() {
        Some(bytes) => flip_all(bytes, addresses),
        None => addresses.iter().for_each(|&address| {
            let flipped = words.flip(address);
            debug_assert!(flipped.is_ok(), "the pattern was checked against the store");
        }),
    }
}

/// Flips bits at rising places, all of which lie within `bytes`.
pub(crate) fn flip_all(bytes: &mut [u8], addresses: &[u64]) {
    const CHUNK: usize = 1 << 20;
    let flip = |bytes: &mut [u8], first: u64, addresses: &[u64]| {
        for &address in addresses {
            bytes[((address - first) / 8) as usize] ^= 1 << (address % 8);
        }
    };
    if addresses.len() < 50_000 {
        return flip(bytes, 0, addresses);
    }
    bytes.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, bytes)| {
        let first = (chunk * CHUNK) as u64 * 8;
        let start = addresses.partition_point(|&address| address < first);
        let end = addresses.partition_point(|&address| address < first + CHUNK as u64 * 8);
        flip(bytes, first, &addresses[start..end]);
    });
}

/// The logical addresses of the bits in which two tensors of one format and size differ, rising.
fn differing_bits(old: &Words<'_>, new: &Words<'_>) -> Vec<u64> {
    let width = u64::from(old.format().width());
    let end = old.elements() * width;
    match (old.packed_bytes(), new.packed_bytes()) {
        // The bits after the last word belong to nothing.
        (Some(old), Some(new)) => differing_places(old, new).take_while(|&place| place < end).collect(),
        _ => {
            let words = (0..).zip(old.iter()).zip(new.iter());
            let differing = words.filter(|((_, old), new)| old != new);
            let bits = differing.flat_map(|((element, old), new)| {
                (0..width)
                    .filter(move |bit| (old ^ new) >> bit & 1 == 1)
                    .map(move |bit| element * width + bit)
            });
            bits.collect()
        }
    }
}

fn differing_places<'a>(old: &'a [u8], new: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
    let differing = old.iter().zip(new).enumerate().filter(|(_, (a, b))| a != b);
    differing.flat_map(|(byte, (a, b))| {
        (0..8).filter(move |bit| (a ^ b) >> bit & 1 == 1).map(move |bit| byte as u64 * 8 + bit)
    })
}

/// Of two rising lists, what is in one but not in both.
fn symmetric_difference(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut all = [a, b].concat();
    all.sort_unstable();
    all.chunk_by(|x, y| x == y).filter(|same| same.len() == 1).map(|same| same[0]).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A store of one tensor.
    pub(crate) struct One(pub(crate) Format, pub(crate) Vec<u8>);

    impl WordStore for One {
        fn words(&self, tensor: &str) -> Option<Words<'_>> {
            (tensor == "w").then(|| Words::packed(self.0, &self.1))
        }
        fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
            (tensor == "w").then(|| WordsMut::packed(self.0, &mut self.1))
        }
    }

    pub(crate) fn flips(addresses: &[u64]) -> TensorFlips {
        TensorFlips { tensor: "w".into(), format: Format::F32, elements: 2, addresses: addresses.to_vec() }
    }

    #[test]
    fn applying_twice_restores_every_byte() {
        let before: Vec<u8> = (0..8).collect();
        let mut store = One(Format::F32, before.clone());
        let pattern = FaultPattern::new(vec![flips(&[0, 30, 33, 63])]).unwrap();
        pattern.apply(&mut store).unwrap();
        assert_eq!(store.1, [1, 1, 2, 3 ^ 0x40, 4 ^ 2, 5, 6, 7 ^ 0x80]);
        pattern.apply(&mut store).unwrap();
        assert_eq!(store.1, before);
    }

    #[test]
    fn a_pattern_for_something_else_changes_nothing() {
        let pattern = FaultPattern::new(vec![flips(&[0])]).unwrap();
        let mut other_format = One(Format::I32, vec![0; 8]);
        assert!(matches!(pattern.apply(&mut other_format), Err(PatternError::OtherFormat { .. })));
        let mut other_size = One(Format::F32, vec![0; 12]);
        let error = pattern.apply(&mut other_size).unwrap_err();
        assert_eq!(error, PatternError::OtherSize { tensor: "w".into(), wanted: 2, found: 3 });
        assert!(other_format.1.iter().chain(&other_size.1).all(|&byte| byte == 0));
    }

    #[test]
    fn what_is_no_pattern() {
        assert!(matches!(
            FaultPattern::new(vec![flips(&[64])]),
            Err(PatternError::OutOfBounds { index: 2, .. })
        ));
        assert!(matches!(
            FaultPattern::new(vec![flips(&[5, 5])]),
            Err(PatternError::NotRising { bit: 5, .. })
        ));
        assert!(matches!(
            FaultPattern::new(vec![flips(&[]), flips(&[1])]),
            Err(PatternError::ListedTwice { .. })
        ));
        assert_eq!(FaultPattern::new(vec![flips(&[])]), Ok(FaultPattern::empty()));
    }

    #[test]
    fn between_two_stores_is_the_pattern_applied() {
        let before = One(Format::F32, (0..8).collect());
        let mut after = One(Format::F32, before.1.clone());
        let pattern = FaultPattern::new(vec![flips(&[0, 30, 63])]).unwrap();
        pattern.apply(&mut after).unwrap();
        assert_eq!(FaultPattern::between(["w"], &before, &after).unwrap(), pattern);
        assert!(matches!(FaultPattern::between(["v"], &before, &after), Err(PatternError::NoTensor { .. })));
    }

    /// A tensor of two big-endian f32 words.
    struct Swapped(bitquake_bits::Layout, Vec<u8>);

    impl WordStore for Swapped {
        fn words(&self, _: &str) -> Option<Words<'_>> {
            Words::new(Format::F32, 2, &self.0, &self.1).ok()
        }
        fn words_mut(&mut self, _: &str) -> Option<WordsMut<'_>> {
            WordsMut::new(Format::F32, 2, &self.0, &mut self.1).ok()
        }
    }

    #[test]
    fn a_pattern_means_the_same_in_any_layout() {
        let layout = bitquake_bits::Layout::packed(Format::F32).big_endian();
        let before = Swapped(layout.clone(), [1.0_f32, 0.5].map(f32::to_be_bytes).concat());
        let mut after = Swapped(layout, before.1.clone());
        let pattern = FaultPattern::new(vec![flips(&[31, 32 + 24])]).unwrap();
        pattern.apply(&mut after).unwrap();
        assert_eq!(after.1, [-1.0_f32, 0.125].map(f32::to_be_bytes).concat());
        assert_eq!(FaultPattern::between(["w"], &before, &after).unwrap(), pattern);
        assert_eq!(pattern.explain(&before).unwrap().total.largest_change, 2.0);
    }

    #[test]
    fn bits_after_the_last_word_are_no_difference() {
        let format = Format::unsigned(3);
        let (old, new) = ([0b1000_0000, 0b0000_0000], [0b1000_0000, 0b1000_0001]);
        let (old, new) = (Words::packed(format, &old), Words::packed(format, &new));
        assert_eq!((old.elements(), differing_bits(&old, &new)), (5, vec![8]));
    }

    #[test]
    fn composing_is_applying_one_after_the_other() {
        let a = FaultPattern::new(vec![flips(&[0, 5, 40])]).unwrap();
        let b = FaultPattern::new(vec![flips(&[5, 41])]).unwrap();
        assert_eq!(a.compose(&b).unwrap(), FaultPattern::new(vec![flips(&[0, 40, 41])]).unwrap());
        assert_eq!(a.compose(&a).unwrap(), FaultPattern::empty());
        assert_eq!(a.compose(&FaultPattern::empty()).unwrap(), a);
    }
}
