//! The trailing axis of an array of bits.

use super::error::{KernelError, check_length, check_width};
use super::word::Word;

/// Which end of a word comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BitOrder {
    /// Position 0 is bit 0, the least significant.
    #[default]
    Lsb,
    /// Position 0 is the most significant bit.
    Msb,
}

/// The trailing axis of an array of bits of shape `[elements, width]`, one entry a bit of a word.
///
/// ```
/// use bitquake_bits::kernels::{BitAxis, BitOrder};
/// let codes = BitAxis::new(5, BitOrder::Msb)?;
/// assert_eq!((codes.bit_at(0), codes.bit_at(4)), (4, 0));
/// assert_eq!(BitAxis::of::<u32>().bit_at(7), 7);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BitAxis {
    width: u32,
    order: BitOrder,
}

impl BitAxis {
    /// An axis of `width` entries: the lowest `width` bits of every word. The bits above are not part of the array.
    ///
    /// # Errors
    /// [`KernelError::Width`] unless the width is 1 to 64. A word narrower than that is refused where it is used.
    pub fn new(width: u32, order: BitOrder) -> Result<BitAxis, KernelError> {
        check_width(width, u64::BITS)?;
        Ok(BitAxis { width, order })
    }

    /// All bits of a word type, the least significant first.
    pub fn of<W: Word>() -> BitAxis {
        BitAxis { width: W::BITS, order: BitOrder::Lsb }
    }

    /// The same bits, the most significant first.
    pub fn msb_first(self) -> BitAxis {
        BitAxis { order: BitOrder::Msb, ..self }
    }

    /// The number of entries.
    pub fn width(self) -> u32 {
        self.width
    }

    /// Which bit comes first.
    pub fn order(self) -> BitOrder {
        self.order
    }

    /// The bit at a position below the width; also the position of a bit, since the map is its own inverse.
    ///
    /// A position at or past the width gives that number back or 0; no word has such a bit.
    pub fn bit_at(self, position: u32) -> u32 {
        match self.order {
            BitOrder::Lsb => position,
            BitOrder::Msb => (self.width - 1).saturating_sub(position),
        }
    }

    /// Whether the axis shows whole words as they lie in memory.
    pub(super) fn is_plain<W: Word>(self) -> bool {
        self.width == W::BITS && self.order == BitOrder::Lsb
    }

    /// Refuses an array that is not of shape `[elements, width]`, and a word narrower than the axis.
    pub(super) fn check<W: Word>(
        self,
        what: &'static str,
        entries: usize,
        elements: usize,
    ) -> Result<(), KernelError> {
        check_width(self.width, W::BITS)?;
        check_length(what, entries, elements.saturating_mul(self.width as usize))
    }
}

/// Refuses words with bits above a width; the first such word is named.
pub(super) fn check_words<W: Word>(words: &[W], width: u32) -> Result<(), KernelError> {
    let above = !W::low_mask(width);
    // The whole slice at once first: it is the usual case, and fast.
    if words.iter().fold(W::ZERO, |seen, word| seen | *word) & above == W::ZERO {
        return Ok(());
    }
    let wide = words.iter().enumerate().find(|(_, word)| **word & above != W::ZERO);
    wide.map_or(Ok(()), |(index, word)| Err(KernelError::TooWide { index, word: (*word).into(), width }))
}
