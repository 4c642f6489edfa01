//! Anything that holds named tensors of words.

use crate::Format;

/// Named tensors of words in memory, so that one fault pattern can be applied to any holder of them.
///
/// The bytes of a tensor are its elements, contiguous, little-endian, in the order of their flat index; the bit
/// address `a` of a tensor is bit `a % 8` of byte `a / 8` ([`flip`](crate::flip)).
///
/// ```
/// use std::collections::BTreeMap;
/// use bitquake_bits::{Format, WordStore, flip, read_word};
///
/// struct Weights(BTreeMap<String, Vec<u8>>);
/// impl WordStore for Weights {
///     fn words(&self, tensor: &str) -> Option<(Format, &[u8])> {
///         self.0.get(tensor).map(|bytes| (Format::F32, bytes.as_slice()))
///     }
///     fn words_mut(&mut self, tensor: &str) -> Option<(Format, &mut [u8])> {
///         self.0.get_mut(tensor).map(|bytes| (Format::F32, bytes.as_mut_slice()))
///     }
/// }
///
/// let mut store = Weights(BTreeMap::from([("w".to_owned(), vec![0; 8])]));
/// let (format, bytes) = store.words_mut("w").ok_or("no such tensor")?;
/// flip(bytes, 32 + 30)?; // bit 30 of element 1
/// assert_eq!(read_word(format, bytes, 1).map(|word| format.decode(word)), Some(2.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait WordStore {
    /// The format and the bytes of a tensor; `None` if there is no tensor of that name whose format is in the table.
    fn words(&self, tensor: &str) -> Option<(Format, &[u8])>;

    /// Like [`words`](Self::words), to be changed in place.
    fn words_mut(&mut self, tensor: &str) -> Option<(Format, &mut [u8])>;
}
