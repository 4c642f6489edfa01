//! Bytes at an address that suits any number format and any vector unit.

use std::ops::{Deref, DerefMut};

/// Bytes of which the first stands at a multiple of [`ALIGNMENT`](Self::ALIGNMENT).
///
/// The address never changes while the value lives, moved or not: the length is fixed.
///
/// ```
/// use bitquake_tensors::AlignedBytes;
///
/// let mut bytes = AlignedBytes::copy_of(&[1, 2, 3]);
/// assert!(bytes.as_ptr().addr().is_multiple_of(AlignedBytes::ALIGNMENT));
/// bytes[0] = 9;
/// assert_eq!(*bytes.clone(), [9, 2, 3]);
/// ```
#[derive(Debug)]
pub struct AlignedBytes {
    /// Longer than asked for by less than the alignment; never grows, so never moves.
    buffer: Vec<u8>,
    /// Where the bytes start in it.
    start: usize,
}

impl AlignedBytes {
    /// The alignment in bytes: a cache line, and the widest vector of current processors.
    pub const ALIGNMENT: usize = 64;

    /// A copy of `source`.
    #[must_use]
    pub fn copy_of(source: &[u8]) -> Self {
        let mut buffer: Vec<u8> = Vec::with_capacity(source.len() + Self::ALIGNMENT - 1);
        let address = buffer.as_ptr().addr();
        let start = address.next_multiple_of(Self::ALIGNMENT) - address;
        buffer.resize(start, 0);
        buffer.extend_from_slice(source); // within the capacity, so the address stays
        Self { buffer, start }
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..]
    }
}

impl Clone for AlignedBytes {
    fn clone(&self) -> Self {
        Self::copy_of(self) // another address, so another start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_is_aligned() {
        for length in [0, 1, 63, 64, 65, 1000, 1 << 20] {
            let source: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let first = AlignedBytes::copy_of(&source);
            for bytes in [first.clone(), first] {
                assert!(bytes.as_ptr().addr().is_multiple_of(AlignedBytes::ALIGNMENT), "{length}");
                assert_eq!(*bytes, *source);
                let address = bytes.as_ptr();
                let boxed = Box::new(bytes);
                assert_eq!(boxed.as_ptr(), address, "moving the owner moves no byte");
            }
        }
    }
}
