//! Reading, writing and flipping the words of a byte buffer.

use thiserror::Error;

use crate::{Format, Layout};

/// A bit address past the end of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("bit address {address} is outside the tensor, which has {bits} bits")]
pub struct AddressOutOfBounds {
    /// The bit address asked for.
    pub address: u64,
    /// The number of bits in the buffer; addresses run from 0 to one less.
    pub bits: u64,
}

/// A bit or a word that does not fit its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WordError {
    /// The format has no bit of that number.
    #[error("{format} has no bit {bit}: its {width} bits are 0 to {}", .width - 1)]
    BitOutOfRange {
        /// The format.
        format: Format,
        /// The bit asked for.
        bit: u32,
        /// The format's width in bits.
        width: u32,
    },
    /// The word has bits above the format's width; it is not narrowed.
    #[error("the word 0x{word:x} does not fit the {width} bits of {format}")]
    TooWide {
        /// The format.
        format: Format,
        /// The word.
        word: u64,
        /// The format's width in bits.
        width: u32,
    },
}

/// The word of element `index` of a tensor's packed bytes ([`Layout::packed`]), in the low bits of the result.
///
/// `None` if the buffer does not hold that element wholly.
///
/// ```
/// use bitquake_bits::{Format, read_word};
/// assert_eq!(read_word(Format::U16, &[1, 2, 3, 4], 1), Some(0x0403));
/// assert_eq!(read_word(Format::U16, &[1, 2, 3], 1), None);
/// assert_eq!(read_word(Format::unsigned(4), &[0x21, 0x43], 2), Some(3));
/// ```
pub fn read_word(format: Format, bytes: &[u8], index: usize) -> Option<u64> {
    let start = (index as u64).checked_mul(format.width().into())?;
    read_bits(bytes, start, format)
}

/// Stores `word` as element `index` of a tensor's packed bytes.
///
/// `None`, and nothing is written, if the buffer does not hold that element wholly or `word` has bits above the
/// format's width.
pub fn write_word(format: Format, bytes: &mut [u8], index: usize, word: u64) -> Option<()> {
    if word & !format.mask() != 0 {
        return None;
    }
    let start = (index as u64).checked_mul(format.width().into())?;
    write_bits(bytes, start, format, word)
}

/// The word of an element in any layout; `None` if the bytes end before it does.
pub(crate) fn read_at(bytes: &[u8], layout: &Layout, format: Format, element: u64) -> Option<u64> {
    let word = read_bits(bytes, layout.start(element), format)?;
    Some(if layout.is_little_endian() { word } else { swapped(word, format) })
}

/// Stores the word of an element in any layout; the word must not be wider than the format.
pub(crate) fn write_at(
    bytes: &mut [u8],
    layout: &Layout,
    format: Format,
    element: u64,
    word: u64,
) -> Option<()> {
    let word = if layout.is_little_endian() { word } else { swapped(word, format) };
    write_bits(bytes, layout.start(element), format, word)
}

fn swapped(word: u64, format: Format) -> u64 {
    word.swap_bytes() >> (u64::BITS - format.width())
}

/// The bytes that hold the bits from `start` on, and how far into the first one they begin.
fn span(start: u64, format: Format) -> Option<(std::ops::Range<usize>, u32)> {
    let first = usize::try_from(start / 8).ok()?;
    let shift = (start % 8) as u32;
    Some((first..first.checked_add((shift + format.width()).div_ceil(8) as usize)?, shift))
}

fn read_bits(bytes: &[u8], start: u64, format: Format) -> Option<u64> {
    let (range, shift) = span(start, format)?;
    let source = bytes.get(range)?;
    let mut window = [0; 16];
    window[..source.len()].copy_from_slice(source);
    Some((u128::from_le_bytes(window) >> shift) as u64 & format.mask())
}

fn write_bits(bytes: &mut [u8], start: u64, format: Format, word: u64) -> Option<()> {
    let (range, shift) = span(start, format)?;
    let target = bytes.get_mut(range)?;
    let mut window = [0; 16];
    window[..target.len()].copy_from_slice(target);
    let kept = u128::from_le_bytes(window) & !(u128::from(format.mask()) << shift);
    let new = (kept | u128::from(word) << shift).to_le_bytes();
    target.copy_from_slice(&new[..target.len()]);
    Some(())
}

/// Replaces the bit at a bit address by its complement: bit `address % 8` of byte `address / 8`.
///
/// # Errors
/// [`AddressOutOfBounds`], and nothing is changed.
///
/// ```
/// let mut bytes = 1.0_f32.to_le_bytes();
/// bitquake_bits::flip(&mut bytes, 31)?;
/// assert_eq!(f32::from_le_bytes(bytes), -1.0);
/// # Ok::<(), bitquake_bits::AddressOutOfBounds>(())
/// ```
pub fn flip(bytes: &mut [u8], address: u64) -> Result<(), AddressOutOfBounds> {
    let bits = bit_count(bytes);
    let byte = usize::try_from(address / 8).ok().and_then(|index| bytes.get_mut(index));
    *byte.ok_or(AddressOutOfBounds { address, bits })? ^= 1 << (address % 8);
    Ok(())
}

/// The bit at a bit address: bit `address % 8` of byte `address / 8`.
///
/// # Errors
/// [`AddressOutOfBounds`].
pub fn bit(bytes: &[u8], address: u64) -> Result<bool, AddressOutOfBounds> {
    let byte = usize::try_from(address / 8).ok().and_then(|index| bytes.get(index));
    let byte = byte.ok_or(AddressOutOfBounds { address, bits: bit_count(bytes) })?;
    Ok(byte >> (address % 8) & 1 == 1)
}

fn bit_count(bytes: &[u8]) -> u64 {
    (bytes.len() as u64).saturating_mul(8)
}

/// A word before and after flips, as made by [`describe_flip`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlippedWord {
    /// The word before.
    pub old_word: u64,
    /// The word after.
    pub new_word: u64,
    /// The number that the old word stands for.
    pub old: f64,
    /// The number that the new word stands for.
    pub new: f64,
}

impl FlippedWord {
    /// How many times larger the number became, `new / old` in `f64`; `None` if either is not finite or `old` is 0.
    pub fn ratio(&self) -> Option<f64> {
        (self.old != 0.0 && self.old.is_finite() && self.new.is_finite()).then(|| self.new / self.old)
    }

    /// Whether the flips made a NaN of something else.
    pub fn became_nan(&self) -> bool {
        self.new.is_nan() && !self.old.is_nan()
    }

    /// Whether the flips made an infinity of something that was not infinite.
    pub fn became_infinite(&self) -> bool {
        self.new.is_infinite() && !self.old.is_infinite()
    }
}

/// Flips bits of one word and tells what became of it. A bit named twice is flipped twice, that is, left as it was.
///
/// # Errors
/// [`WordError`] if a bit or the word does not fit the format.
///
/// ```
/// use bitquake_bits::{Format, describe_flip};
/// let flipped = describe_flip(Format::F32, 0x3f00_0000, &[24])?;
/// assert_eq!((flipped.old, flipped.new), (0.5, 0.125));
/// assert_eq!(
///     describe_flip(Format::F16, 0, &[16]).unwrap_err().to_string(),
///     "f16 has no bit 16: its 16 bits are 0 to 15"
/// );
/// # Ok::<(), bitquake_bits::WordError>(())
/// ```
pub fn describe_flip(format: Format, word: u64, bits: &[u32]) -> Result<FlippedWord, WordError> {
    let width = format.width();
    if word & !format.mask() != 0 {
        return Err(WordError::TooWide { format, word, width });
    }
    let mut new_word = word;
    for &bit in bits {
        if bit >= width {
            return Err(WordError::BitOutOfRange { format, bit, width });
        }
        new_word ^= 1 << bit;
    }
    Ok(FlippedWord { old_word: word, new_word, old: format.decode(word), new: format.decode(new_word) })
}
