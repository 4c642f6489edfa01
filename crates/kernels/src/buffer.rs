//! Floats at an address that suits the widest vectors.

use std::ops::{Deref, DerefMut};

/// Floats of which the first stands at a multiple of [`ALIGNMENT`](Self::ALIGNMENT) bytes; zeros at first.
///
/// A vector that crosses two cache lines costs two accesses, and in a `Vec<f32>`, which stands at a multiple of 16 bytes, three of four
/// vectors of 64 bytes do. The address never changes while the value lives, moved or not: the length is fixed.
///
/// ```
/// use bitquake_kernels::AlignedBuffer;
///
/// let mut buffer = AlignedBuffer::zeroed(3);
/// assert!(buffer.as_ptr().addr().is_multiple_of(AlignedBuffer::ALIGNMENT));
/// buffer[0] = 9.0;
/// assert_eq!(*buffer, [9.0, 0.0, 0.0]);
/// ```
#[derive(Debug)]
pub struct AlignedBuffer {
    /// Longer than asked for by less than the alignment; never grows, so never moves.
    floats: Vec<f32>,
    /// Where the buffer starts in it.
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// The alignment in bytes: a cache line, and the widest vector of current processors.
    pub const ALIGNMENT: usize = 64;

    /// `len` zeros.
    ///
    /// # Panics
    ///
    /// When `len` floats are more than memory can hold.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        const SPARE: usize = AlignedBuffer::ALIGNMENT / size_of::<f32>() - 1;
        // Asked for as zeros, pages come from the system when they are first touched.
        let floats = vec![0.0; len.checked_add(SPARE).expect("a length that memory can hold")];
        let address = floats.as_ptr().addr();
        let start = (address.next_multiple_of(Self::ALIGNMENT) - address) / size_of::<f32>();
        Self { floats, start, len }
    }
}

impl Deref for AlignedBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.floats[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.floats[self.start..self.start + self.len]
    }
}

impl Clone for AlignedBuffer {
    fn clone(&self) -> Self {
        let mut copy = Self::zeroed(self.len); // another address, so another start
        copy.copy_from_slice(self);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_is_aligned_zeroed_and_stays_where_it_is() {
        for len in [0, 1, 15, 16, 17, 1000, if cfg!(miri) { 1 << 10 } else { 1 << 18 }] {
            let mut first = AlignedBuffer::zeroed(len);
            assert!(first.iter().all(|&float| float == 0.0), "{len}");
            first.fill(2.5);
            for buffer in [first.clone(), first] {
                assert!(buffer.as_ptr().addr().is_multiple_of(AlignedBuffer::ALIGNMENT), "{len}");
                assert_eq!(*buffer, vec![2.5; len]);
                let address = buffer.as_ptr();
                let boxed = Box::new(buffer);
                assert_eq!(boxed.as_ptr(), address, "moving the owner moves no float");
            }
        }
    }

    #[test]
    #[should_panic(expected = "a length that memory can hold")]
    fn a_length_beyond_memory_panics() {
        let _ = AlignedBuffer::zeroed(usize::MAX);
    }
}
