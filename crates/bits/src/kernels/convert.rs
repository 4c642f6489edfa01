//! Words as arrays of bits and as binary text, and back (S1, T3, T4, T8). The round trip loses nothing.

use super::axis::{BitAxis, check_words};
use super::dispatch::{self, Level};
use super::error::{KernelError, check_length, check_width};
use super::output::{head, in_pieces};
use super::word::Word;

/// The bits of every word: shape `[elements, axis.width()]`, flattened (S1).
///
/// ```
/// use bitquake_bits::kernels::{BitAxis, BitOrder, bits};
/// assert_eq!(bits(&[1_u32], BitAxis::of::<u32>())?[..3], [true, false, false]);
/// assert_eq!(bits(&[6_u8], BitAxis::new(3, BitOrder::Msb)?)?, [true, true, false]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Width`] if the axis is wider than a word, [`KernelError::TooWide`] if a word has bits above the axis.
pub fn bits<W: Word>(words: &[W], axis: BitAxis) -> Result<Vec<bool>, KernelError> {
    let mut out = vec![false; words.len().saturating_mul(axis.width() as usize)];
    bits_into(words, axis, &mut out)?;
    Ok(out)
}

/// Like [`bits`], into an array.
///
/// # Errors
/// As [`bits`], and [`KernelError::Length`] if `out` has another length; nothing is written.
pub fn bits_into<W: Word>(words: &[W], axis: BitAxis, out: &mut [bool]) -> Result<(), KernelError> {
    axis.check::<W>("the array of bits", out.len(), words.len())?;
    check_words(words, axis.width())?;
    if cfg!(target_endian = "little") && axis.is_plain::<W>() {
        let bytes: &[u8] = bytemuck::cast_slice(words);
        in_pieces(out, 8, |start, out| dispatch::spread_bits(Level::best(), &bytes[start / 8..], out));
        return Ok(());
    }
    for (word, out) in words.iter().zip(out.chunks_exact_mut(axis.width() as usize)) {
        let word: u64 = (*word).into();
        for (position, out) in (0..).zip(out) {
            *out = word >> axis.bit_at(position) & 1 == 1;
        }
    }
    Ok(())
}

/// The words whose bits these are: the inverse of [`bits`] (T8).
///
/// ```
/// use bitquake_bits::kernels::{BitAxis, BitOrder, from_bits};
/// let words: Vec<u8> = from_bits(&[true, true, false], BitAxis::new(3, BitOrder::Msb)?)?;
/// assert_eq!(words, [6]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Width`] if the axis is wider than a word, [`KernelError::Length`] if the bits end within a word.
pub fn from_bits<W: Word>(bits: &[bool], axis: BitAxis) -> Result<Vec<W>, KernelError> {
    let mut words = vec![W::ZERO; bits.len().div_ceil(axis.width() as usize)];
    from_bits_into(bits, axis, &mut words)?;
    Ok(words)
}

/// Like [`from_bits`], into an array.
///
/// # Errors
/// [`KernelError::Width`] or [`KernelError::Length`]; nothing is written.
pub fn from_bits_into<W: Word>(bits: &[bool], axis: BitAxis, words: &mut [W]) -> Result<(), KernelError> {
    axis.check::<W>("the array of bits", bits.len(), words.len())?;
    if cfg!(target_endian = "little") && axis.is_plain::<W>() {
        let (bits, bytes) = (bits.split_at(head(bits, 8)), bytemuck::cast_slice_mut::<W, u8>(words));
        let bytes = bytes.split_at_mut(bits.0.len() / 8);
        dispatch::gather_bits(Level::best(), bits.0, bytes.0);
        dispatch::gather_bits(Level::best(), bits.1, bytes.1);
        return Ok(());
    }
    for (word, bits) in words.iter_mut().zip(bits.chunks_exact(axis.width() as usize)) {
        let ones = (0..).zip(bits).map(|(position, bit)| u64::from(*bit) << axis.bit_at(position));
        *word = W::of_low_bits(ones.fold(0, |word, bit| word | bit));
    }
    Ok(())
}

/// Every word as binary digits, the most significant first, zero-padded to `width`: the raw pattern, also of what stands
/// for a negative number (T3, T4).
///
/// ```
/// use bitquake_bits::kernels::{as_words, bit_strings};
/// assert_eq!(bit_strings(as_words(&[5_i8, -1]), 8)?, ["00000101", "11111111"]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Width`], or [`KernelError::TooWide`] if a word has bits above the width.
pub fn bit_strings<W: Word>(words: &[W], width: u32) -> Result<Vec<String>, KernelError> {
    check_width(width, W::BITS)?;
    check_words(words, width)?;
    let text = |word: &W| format!("{:0width$b}", Into::<u64>::into(*word), width = width as usize);
    Ok(words.iter().map(text).collect())
}

/// The words of binary digits: the inverse of [`bit_strings`].
///
/// # Errors
/// [`KernelError::Width`], or [`KernelError::Digits`] with the first text that is not exactly `width` binary digits.
pub fn parse_bit_strings<W: Word>(texts: &[impl AsRef<str>], width: u32) -> Result<Vec<W>, KernelError> {
    check_width(width, W::BITS)?;
    let word = |(index, text): (usize, &_)| {
        let text = AsRef::<str>::as_ref(text);
        let binary = text.len() == width as usize && text.bytes().all(|digit| matches!(digit, b'0' | b'1'));
        let word = binary.then(|| u64::from_str_radix(text, 2).ok()).flatten();
        word.map(W::of_low_bits).ok_or_else(|| KernelError::Digits { index, text: text.to_owned(), width })
    };
    texts.iter().enumerate().map(word).collect()
}

/// Lists of protected bits as the arguments of earlier systems give them: entry `b` is 1 where bit `b` never flips (S14).
///
/// ```
/// use bitquake_bits::kernels::protected_mask;
/// assert_eq!(protected_mask::<u8>(&[0, 0, 0, 0, 1, 1, 1, 1])?, 0xf0);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Length`] if the list has not one entry a bit, [`KernelError::Protected`] if an entry is not 0 or 1.
pub fn protected_mask<W: Word>(list: &[u8]) -> Result<W, KernelError> {
    check_length("the list of protected bits", list.len(), W::BITS as usize)?;
    let mut mask = 0;
    for (index, &value) in list.iter().enumerate() {
        if value > 1 {
            return Err(KernelError::Protected { index, value });
        }
        mask |= u64::from(value) << index;
    }
    Ok(W::of_low_bits(mask))
}

/// The bits of a word above a code of `width` bits that lies in it: they are no part of the memory, so they are protected
/// (S14).
///
/// ```
/// use bitquake_bits::kernels::container_mask;
/// assert_eq!(container_mask::<u8>(4)?, 0xf0);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Width`] unless the width is 1 to that of the word.
pub fn container_mask<W: Word>(width: u32) -> Result<W, KernelError> {
    check_width(width, W::BITS)?;
    Ok(!W::low_mask(width))
}
