//! And, or, xor of whole tensors, and masks that are the same for every element (S2, S4, S5, S6).

use super::axis::{BitAxis, check_words};
use super::convert::from_bits_into;
use super::dispatch::{self, Level};
use super::error::{KernelError, check_length, check_width};
use super::loops;
use super::output::{head, in_pieces};
use super::word::Word;

/// A bitwise operation on two tensors of words of the same type and number (S2). Nothing is broadcast.
///
/// ```
/// use bitquake_bits::kernels::Bitwise;
/// assert_eq!(Bitwise::And.of(&[1_u8], &[3])?, [1]);
/// assert_eq!(Bitwise::Or.of(&[1_u8], &[3])?, [3]);
/// let mut words = [1_u8];
/// Bitwise::Xor.in_place(&mut words, &[3])?;
/// assert_eq!(words, [2]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bitwise {
    /// Bits that both have.
    And,
    /// Bits that either has.
    Or,
    /// Bits that differ; with a mask of flips this injects them, and a second time undoes it.
    Xor,
    /// Bits of the left that the right does not have: with a mask of stuck-at-0 bits this forces them.
    AndNot,
}

impl Bitwise {
    /// Replaces every left word by the result.
    ///
    /// # Errors
    /// [`KernelError::Length`] if the numbers of words differ; nothing is changed.
    pub fn in_place<W: Word>(self, left: &mut [W], right: &[W]) -> Result<(), KernelError> {
        check_length("the right operand", right.len(), left.len())?;
        let head = head(left, 1);
        let (left, right) = (left.split_at_mut(head), right.split_at(head));
        for (left, right) in [(left.0, right.0), (left.1, right.1)] {
            self.bytes_in_place(bytemuck::cast_slice_mut(left), bytemuck::cast_slice(right));
        }
        Ok(())
    }

    fn bytes_in_place(self, left: &mut [u8], right: &[u8]) {
        let level = Level::best();
        match self {
            Bitwise::And => dispatch::in_place::<loops::And>(level, left, right),
            Bitwise::Or => dispatch::in_place::<loops::Or>(level, left, right),
            Bitwise::Xor => dispatch::in_place::<loops::Xor>(level, left, right),
            Bitwise::AndNot => dispatch::in_place::<loops::AndNot>(level, left, right),
        }
    }

    /// Writes every result into `out`.
    ///
    /// # Errors
    /// [`KernelError::Length`] if the three numbers of words are not the same; nothing is written.
    pub fn into<W: Word>(self, left: &[W], right: &[W], out: &mut [W]) -> Result<(), KernelError> {
        check_length("the right operand", right.len(), left.len())?;
        check_length("the output", out.len(), left.len())?;
        let (left, right): (&[u8], &[u8]) = (bytemuck::cast_slice(left), bytemuck::cast_slice(right));
        in_pieces(bytemuck::cast_slice_mut(out), 1, |start, out: &mut [u8]| {
            let (level, left, right) = (Level::best(), &left[start..], &right[start..]);
            match self {
                Bitwise::And => dispatch::into::<loops::And>(level, left, right, out),
                Bitwise::Or => dispatch::into::<loops::Or>(level, left, right, out),
                Bitwise::Xor => dispatch::into::<loops::Xor>(level, left, right, out),
                Bitwise::AndNot => dispatch::into::<loops::AndNot>(level, left, right, out),
            }
        });
        Ok(())
    }

    /// The results, newly allocated.
    ///
    /// # Errors
    /// [`KernelError::Length`] if the numbers of words differ.
    pub fn of<W: Word>(self, left: &[W], right: &[W]) -> Result<Vec<W>, KernelError> {
        let mut out = left.to_vec();
        self.in_place(&mut out, right)?;
        Ok(out)
    }
}

/// Flips the bits that are set in a mask, as [`Bitwise::Xor`] does, and tells how many they are.
///
/// ```
/// use bitquake_bits::kernels::flip_counted;
/// let mut codes = [0b001_u8, 0b001];
/// assert_eq!(flip_counted(&mut codes, &[0b100, 0b011])?, 3);
/// assert_eq!(codes, [0b101, 0b010]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Length`] if the numbers of words differ; nothing is changed.
pub fn flip_counted<W: Word>(words: &mut [W], mask: &[W]) -> Result<u64, KernelError> {
    check_length("the mask", mask.len(), words.len())?;
    let head = head(words, 1);
    let (words, mask) = (words.split_at_mut(head), mask.split_at(head));
    let flip = |words: &mut [W], mask: &[W]| {
        dispatch::flip_counted(Level::best(), bytemuck::cast_slice_mut(words), bytemuck::cast_slice(mask))
    };
    Ok(flip(words.0, mask.0) + flip(words.1, mask.1))
}

/// Flips the bits that are true in a mask of shape `[elements, axis.width()]` (S4).
///
/// ```
/// use bitquake_bits::kernels::{BitAxis, BitOrder, flip_bits};
/// let mut codes = [0b001_u8, 0b001];
/// let mask = [true, false, false, false, false, true];
/// flip_bits(&mut codes, &mask, BitAxis::new(3, BitOrder::Lsb)?)?;
/// assert_eq!(codes, [0b000, 0b101]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Length`] or [`KernelError::Width`]; nothing is changed.
pub fn flip_bits<W: Word>(words: &mut [W], mask: &[bool], axis: BitAxis) -> Result<(), KernelError> {
    axis.check::<W>("the mask", mask.len(), words.len())?;
    let mut flips = [W::ZERO; BLOCK];
    for (words, mask) in words.chunks_mut(BLOCK).zip(mask.chunks(BLOCK * axis.width() as usize)) {
        let flips = &mut flips[..words.len()];
        from_bits_into(mask, axis, flips)?;
        Bitwise::Xor.in_place(words, flips)?;
    }
    Ok(())
}

/// Sets the bits that are true in `set1` and clears those that are true in `set0`; `set0` wins where both are (S5).
/// Both masks have the shape `[elements, axis.width()]`.
///
/// ```
/// use bitquake_bits::kernels::{BitAxis, BitOrder, set_bits};
/// let mut codes = [0b01_u8];
/// set_bits(&mut codes, &[false, true], &[true, false], BitAxis::new(2, BitOrder::Lsb)?)?;
/// assert_eq!(codes, [0b10]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Length`] or [`KernelError::Width`]; nothing is changed.
pub fn set_bits<W: Word>(
    words: &mut [W],
    set1: &[bool],
    set0: &[bool],
    axis: BitAxis,
) -> Result<(), KernelError> {
    axis.check::<W>("the mask of bits to set", set1.len(), words.len())?;
    axis.check::<W>("the mask of bits to clear", set0.len(), words.len())?;
    let bits = BLOCK * axis.width() as usize;
    let (mut ones, mut zeros) = ([W::ZERO; BLOCK], [W::ZERO; BLOCK]);
    for ((words, set1), set0) in words.chunks_mut(BLOCK).zip(set1.chunks(bits)).zip(set0.chunks(bits)) {
        let (ones, zeros) = (&mut ones[..words.len()], &mut zeros[..words.len()]);
        from_bits_into(set1, axis, ones)?;
        from_bits_into(set0, axis, zeros)?;
        set_words(words, ones, zeros)?;
    }
    Ok(())
}

/// Like [`set_bits`], with a word of bits to set and a word of bits to clear for every element.
///
/// # Errors
/// [`KernelError::Length`] if the numbers of words differ; nothing is changed.
pub fn set_words<W: Word>(words: &mut [W], set1: &[W], set0: &[W]) -> Result<(), KernelError> {
    check_length("the mask of bits to set", set1.len(), words.len())?;
    check_length("the mask of bits to clear", set0.len(), words.len())?;
    let head = head(words, 1);
    let (words, set1, set0) = (words.split_at_mut(head), set1.split_at(head), set0.split_at(head));
    for (words, set1, set0) in [(words.0, set1.0, set0.0), (words.1, set1.1, set0.1)] {
        let words = bytemuck::cast_slice_mut(words);
        dispatch::set(Level::best(), words, bytemuck::cast_slice(set1), bytemuck::cast_slice(set0));
    }
    Ok(())
}

/// Flips the same bits of every word.
pub fn flip_each<W: Word>(words: &mut [W], mask: W) {
    keep_and_toggle(words, !W::ZERO, mask);
}

/// Sets the same bits of every word and clears others; `set0` wins where both name a bit.
pub fn set_each<W: Word>(words: &mut [W], set1: W, set0: W) {
    // What is forced is dropped first, then put back where it is 1.
    keep_and_toggle(words, !(set1 | set0), set1 & !set0);
}

fn keep_and_toggle<W: Word>(words: &mut [W], keep: W, toggle: W) {
    let (head, words) = words.split_at_mut(head(words, 1));
    dispatch::each(Level::best(), head, keep, toggle);
    dispatch::each(Level::best(), words, keep, toggle);
}

/// Clears the `count` lowest bits of every word (S6).
///
/// ```
/// let mut codes = [0b10111_u8];
/// bitquake_bits::kernels::set_zero(&mut codes, 3)?;
/// assert_eq!(codes, [0b10000]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::LowBits`] if a word has fewer bits; nothing is changed.
pub fn set_zero<W: Word>(words: &mut [W], count: u32) -> Result<(), KernelError> {
    if count > W::BITS {
        return Err(KernelError::LowBits { bits: count, width: W::BITS });
    }
    set_each(words, W::ZERO, W::low_mask(count));
    Ok(())
}

/// Flips single bits, given as (element, bit) (T1, T7). A bit named twice is flipped twice, that is, left as it was.
///
/// All sites are checked before the first flip.
///
/// ```
/// use bitquake_bits::kernels::{KernelError, as_words_mut, flip_at};
/// let mut weights = [0.5_f32, 1.0];
/// flip_at(as_words_mut(&mut weights), &[(0, 24), (1, 31)])?;
/// assert_eq!(weights, [0.125, -1.0]);
/// let error = flip_at(as_words_mut(&mut weights), &[(0, 0), (2, 0)]).unwrap_err();
/// assert_eq!(error.to_string(), "element 2 is outside the tensor, which has 2 elements");
/// assert_eq!(weights, [0.125, -1.0]);
/// # Ok::<(), KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Index`] or [`KernelError::Bit`]; nothing is changed.
pub fn flip_at<W: Word>(words: &mut [W], sites: &[(u64, u32)]) -> Result<(), KernelError> {
    let bound = words.len() as u64;
    for &(index, bit) in sites {
        if index >= bound {
            return Err(KernelError::Index { index, bound });
        }
        if bit >= W::BITS {
            return Err(KernelError::Bit { bit, width: W::BITS });
        }
    }
    for &(index, bit) in sites {
        // The index is below a length in memory, so it is a `usize`.
        let word = &mut words[index as usize];
        *word = *word ^ W::of_low_bits(1 << bit);
    }
    Ok(())
}

/// Refuses words with bits above a width, such as codes that are no code of `width` bits.
///
/// # Errors
/// [`KernelError::Width`], or [`KernelError::TooWide`] with the first word that has bits above the width.
pub fn check_codes<W: Word>(words: &[W], width: u32) -> Result<(), KernelError> {
    check_width(width, W::BITS)?;
    check_words(words, width)
}

/// Elements whose bool masks are turned into words at a time: few enough to stay in the first level of the cache.
const BLOCK: usize = 1024;
