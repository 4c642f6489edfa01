//! How many bits differ, where, and in which direction (S3, T13).

use super::dispatch::{self, Level};
use super::error::{KernelError, check_length};
use super::output::{head, in_pieces};
use super::word::Word;

mod sealed {
    /// Keeps [`Count`](super::Count) to the types of this module.
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u32 {}
}

/// A number of bits of one word, 0 to 64: `u32`, or `u8` where memory counts.
pub trait Count: sealed::Sealed + bytemuck::Pod + Default + From<u8> + Send {}
impl Count for u8 {}
impl Count for u32 {}

/// The number of bits in which each word differs from the other tensor's (S3).
///
/// ```
/// assert_eq!(bitquake_bits::kernels::hamming(&[1_u8, 0xff], &[0, 0])?, [1, 8]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Length`] if the numbers of words differ.
pub fn hamming<W: Word>(left: &[W], right: &[W]) -> Result<Vec<u32>, KernelError> {
    let mut out = vec![0; left.len()];
    hamming_into(left, right, &mut out)?;
    Ok(out)
}

/// Like [`hamming`], into an array of `u32` or `u8`.
///
/// # Errors
/// [`KernelError::Length`] if the three lengths are not the same; nothing is written.
pub fn hamming_into<W: Word, C: Count>(left: &[W], right: &[W], out: &mut [C]) -> Result<(), KernelError> {
    check_length("the right operand", right.len(), left.len())?;
    check_length("the output", out.len(), left.len())?;
    in_pieces(out, 1, |start, out| {
        dispatch::hamming_each(Level::best(), &left[start..], &right[start..], out);
    });
    Ok(())
}

/// The number of bits in which two tensors differ, all words together.
///
/// ```
/// assert_eq!(bitquake_bits::kernels::hamming_total(&[1_u8, 0xff], &[0, 0])?, 9);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Length`] if the numbers of words differ.
pub fn hamming_total<W: Word>(left: &[W], right: &[W]) -> Result<u64, KernelError> {
    check_length("the right operand", right.len(), left.len())?;
    Ok(bytes_total(bytemuck::cast_slice(left), bytemuck::cast_slice(right)))
}

/// The number of bits in which bytes differ.
pub(super) fn bytes_total(left: &[u8], right: &[u8]) -> u64 {
    let head = head(left, 1);
    let (left, right) = (left.split_at(head), right.split_at(head));
    dispatch::hamming_total(Level::best(), left.0, right.0)
        + dispatch::hamming_total(Level::best(), left.1, right.1)
}

/// The flips of one bit position, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlipCount {
    /// Bits that were 0 and are 1.
    pub to_one: u64,
    /// Bits that were 1 and are 0.
    pub to_zero: u64,
}

/// The flips between two tensors, counted by bit: entry `b` is that of bit `b` (T13). The time follows the flips, but for
/// one comparison of the tensors.
///
/// ```
/// use bitquake_bits::kernels::{FlipCount, flips_by_bit};
/// let flips = flips_by_bit(&[0b01_u8, 0b11], &[0b10, 0b11])?;
/// assert_eq!(flips[0], FlipCount { to_one: 0, to_zero: 1 });
/// assert_eq!(flips[1], FlipCount { to_one: 1, to_zero: 0 });
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Length`] if the numbers of words differ.
pub fn flips_by_bit<W: Word>(before: &[W], after: &[W]) -> Result<Vec<FlipCount>, KernelError> {
    check_length("the tensor after", after.len(), before.len())?;
    let mut counts = vec![FlipCount::default(); W::BITS as usize];
    for (before, after) in before.chunks(256).zip(after.chunks(256)) {
        if before != after {
            count_flips(before, after, &mut counts);
        }
    }
    Ok(counts)
}

fn count_flips<W: Word>(before: &[W], after: &[W], counts: &mut [FlipCount]) {
    for (before, after) in before.iter().zip(after) {
        let mut flips: u64 = (*before ^ *after).into();
        while flips != 0 {
            let bit = flips.trailing_zeros();
            let count = &mut counts[bit as usize];
            let ones: u64 = (*after).into();
            count.to_one += ones >> bit & 1;
            count.to_zero += 1 - (ones >> bit & 1);
            flips &= flips - 1;
        }
    }
}
