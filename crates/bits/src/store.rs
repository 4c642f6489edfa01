//! Tensors of words, and anything that holds them by name.

use std::borrow::Cow;

use crate::word::{read_at, write_at};
use crate::{AddressOutOfBounds, Format, Layout};

/// The words of one tensor, to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words<'a> {
    format: Format,
    elements: u64,
    layout: Cow<'a, Layout>,
    bytes: &'a [u8],
}

/// The words of one tensor, to be changed in place.
#[derive(Debug)]
pub struct WordsMut<'a> {
    format: Format,
    elements: u64,
    layout: Cow<'a, Layout>,
    bytes: &'a mut [u8],
}

/// Bytes that are too few for the words that they should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{elements} words of {format} do not fit {bytes} bytes")]
pub struct TooFewBytes {
    /// The words' format.
    pub format: Format,
    /// How many there should be.
    pub elements: u64,
    /// The bytes that are there.
    pub bytes: u64,
}

fn check(format: Format, elements: u64, layout: &Layout, bytes: &[u8]) -> Result<(), TooFewBytes> {
    let bytes = bytes.len() as u64;
    match layout.bytes_needed(elements) {
        Some(needed) if needed <= bytes => Ok(()),
        _ => Err(TooFewBytes { format, elements, bytes }),
    }
}

impl<'a> Words<'a> {
    /// Words in any layout.
    ///
    /// # Errors
    /// [`TooFewBytes`].
    pub fn new(
        format: Format,
        elements: u64,
        layout: &'a Layout,
        bytes: &'a [u8],
    ) -> Result<Self, TooFewBytes> {
        check(format, elements, layout, bytes)?;
        Ok(Self { format, elements, layout: Cow::Borrowed(layout), bytes })
    }

    /// As many packed words as the bytes hold.
    pub fn packed(format: Format, bytes: &'a [u8]) -> Self {
        let elements = bytes.len() as u64 * 8 / u64::from(format.width());
        Self { format, elements, layout: Cow::Owned(Layout::packed(format)), bytes }
    }

    /// The first `elements` of these words: packed narrow words may leave room for more in the last byte.
    ///
    /// # Errors
    /// [`TooFewBytes`].
    pub fn first(self, elements: u64) -> Result<Self, TooFewBytes> {
        check(self.format, elements, &self.layout, self.bytes)?;
        Ok(Self { elements, ..self })
    }

    /// The format of the words.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How many words there are.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// Where the words lie in the bytes.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The bytes that hold the words, and perhaps others between them.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes, if they are the words one after the other: logical bit addresses are then places in them.
    pub fn packed_bytes(&self) -> Option<&'a [u8]> {
        self.layout.is_packed().then_some(self.bytes)
    }

    /// The word of an element; `None` beyond the last.
    pub fn get(&self, element: u64) -> Option<u64> {
        (element < self.elements).then(|| read_at(self.bytes, &self.layout, self.format, element)).flatten()
    }

    /// All words, by element.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.elements).map_while(|element| self.get(element))
    }

    /// The bit at a logical bit address.
    ///
    /// # Errors
    /// [`AddressOutOfBounds`].
    pub fn bit(&self, address: u64) -> Result<bool, AddressOutOfBounds> {
        check_address(address, self.format, self.elements)?;
        crate::bit(self.bytes, self.layout.position(address))
    }
}

impl<'a> WordsMut<'a> {
    /// Words in any layout.
    ///
    /// # Errors
    /// [`TooFewBytes`].
    pub fn new(
        format: Format,
        elements: u64,
        layout: &'a Layout,
        bytes: &'a mut [u8],
    ) -> Result<Self, TooFewBytes> {
        check(format, elements, layout, bytes)?;
        Ok(Self { format, elements, layout: Cow::Borrowed(layout), bytes })
    }

    /// As many packed words as the bytes hold.
    pub fn packed(format: Format, bytes: &'a mut [u8]) -> Self {
        let elements = bytes.len() as u64 * 8 / u64::from(format.width());
        Self { format, elements, layout: Cow::Owned(Layout::packed(format)), bytes }
    }

    /// The first `elements` of these words, as [`Words::first`].
    ///
    /// # Errors
    /// [`TooFewBytes`].
    pub fn first(self, elements: u64) -> Result<Self, TooFewBytes> {
        check(self.format, elements, &self.layout, self.bytes)?;
        Ok(Self { elements, ..self })
    }

    /// The format of the words.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How many words there are.
    pub fn elements(&self) -> u64 {
        self.elements
    }

    /// The same words, to be read.
    pub fn as_words(&self) -> Words<'_> {
        let (format, elements) = (self.format, self.elements);
        Words { format, elements, layout: Cow::Borrowed(&self.layout), bytes: self.bytes }
    }

    /// The bytes, if they are the words one after the other: logical bit addresses are then places in them.
    pub fn packed_bytes(&mut self) -> Option<&mut [u8]> {
        self.layout.is_packed().then_some(&mut *self.bytes)
    }

    /// The word of an element; `None` beyond the last.
    pub fn get(&self, element: u64) -> Option<u64> {
        self.as_words().get(element)
    }

    /// Stores a word; `None`, and nothing is written, beyond the last element or if the word is too wide.
    pub fn set(&mut self, element: u64, word: u64) -> Option<()> {
        if element >= self.elements || word & !self.format.mask() != 0 {
            return None;
        }
        write_at(self.bytes, &self.layout, self.format, element, word)
    }

    /// Replaces the bit at a logical bit address by its complement.
    ///
    /// # Errors
    /// [`AddressOutOfBounds`], and nothing is changed.
    pub fn flip(&mut self, address: u64) -> Result<(), AddressOutOfBounds> {
        check_address(address, self.format, self.elements)?;
        crate::flip(self.bytes, self.layout.position(address))
    }
}

fn check_address(address: u64, format: Format, elements: u64) -> Result<(), AddressOutOfBounds> {
    let bits = elements.saturating_mul(format.width().into());
    if address < bits { Ok(()) } else { Err(AddressOutOfBounds { address, bits }) }
}

/// Named tensors of words in memory, so that one fault pattern can be applied to any holder of them.
///
/// ```
/// use std::collections::BTreeMap;
/// use bitquake_bits::{Format, WordStore, Words, WordsMut};
///
/// struct Weights(BTreeMap<String, Vec<u8>>);
/// impl WordStore for Weights {
///     fn words(&self, tensor: &str) -> Option<Words<'_>> {
///         self.0.get(tensor).map(|bytes| Words::packed(Format::F32, bytes))
///     }
///     fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
///         self.0.get_mut(tensor).map(|bytes| WordsMut::packed(Format::F32, bytes))
///     }
/// }
///
/// let mut store = Weights(BTreeMap::from([("w".to_owned(), vec![0; 8])]));
/// let mut words = store.words_mut("w").ok_or("no such tensor")?;
/// words.flip(32 + 30)?; // bit 30 of element 1
/// assert_eq!(words.get(1).map(|word| Format::F32.decode(word)), Some(2.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait WordStore {
    /// The words of a tensor; `None` if there is no tensor of that name, or if its type is no [`Format`].
    fn words(&self, tensor: &str) -> Option<Words<'_>>;

    /// Like [`words`](Self::words), to be changed in place.
    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>>;
}
