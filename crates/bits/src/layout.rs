//! Where the words of a tensor lie in its bytes.

use std::sync::Arc;

use crate::Format;

/// Where the words of a tensor lie in its bytes.
///
/// Words are put into *slots*, the places in memory order; elements are counted over the flattened tensor in C order, and
/// element `i` is in slot `i` unless the layout is [`strided`](Self::strided). Faults never see a layout: they speak of
/// elements and bits, and [`position`](Self::position) says where those are.
///
/// ```
/// use bitquake_bits::{Format, Layout};
/// let nibbles = Layout::packed(Format::signed(4));
/// assert_eq!(nibbles.position(3 * 4), 12); // element 3 is the high half of byte 1
/// let padded = Layout::padded(Format::signed(4), 1);
/// assert_eq!(padded.position(3 * 4), 24); // one in a byte: byte 3
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    width: u64,
    blocks: Blocks,
    is_big_endian: bool,
    view: Option<Arc<View>>,
}

/// Words in blocks of fixed size, with other things between them: word `j` of a block starts at bit
/// `offset_bits + (j % plane_words) * plane_bits + (j / plane_words) * width` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Words in a block, at least 1.
    pub block_words: u64,
    /// Bits from one block to the next.
    pub block_bits: u64,
    /// Where the first word starts.
    pub offset_bits: u64,
    /// Words before the next one goes beside the first, at least 1.
    pub plane_words: u64,
    /// Bits from one word to the next.
    pub plane_bits: u64,
}

/// A shape laid over the slots.
#[derive(Clone, Debug, PartialEq, Eq)]
struct View {
    shape: Vec<u64>,
    strides: Vec<u64>,
    offset: u64,
}

impl Layout {
    /// One word after the other without gaps, the low bits of each byte first; little-endian.
    #[must_use]
    pub fn packed(format: Format) -> Layout {
        Layout::spaced(format, format.width().into())
    }

    /// Each word in the low bits of its own `container` of whole bytes, little-endian. The bits above are not part of the
    /// tensor: nothing reads or hits them.
    ///
    /// # Panics
    /// If the container is narrower than the word.
    #[must_use]
    pub fn padded(format: Format, container: u64) -> Layout {
        assert!(container * 8 >= u64::from(format.width()), "a container of {container} bytes for {format}");
        Layout::spaced(format, container * 8)
    }

    fn spaced(format: Format, block_bits: u64) -> Layout {
        let width = format.width().into();
        let blocks =
            Blocks { block_words: 1, block_bits, offset_bits: 0, plane_words: 1, plane_bits: block_bits };
        Layout { width, blocks, is_big_endian: false, view: None }
    }

    /// Words in blocks, see [`Blocks`].
    ///
    /// # Panics
    /// If the fields are 0 where they must not be, or if a word does not lie wholly in its block.
    #[must_use]
    pub fn blocks(format: Format, blocks: Blocks) -> Layout {
        let width = u64::from(format.width());
        assert!(blocks.block_words > 0 && blocks.plane_words > 0, "blocks of no words: {blocks:?}");
        let last_beside = (blocks.block_words - 1) / blocks.plane_words;
        let last_in_plane = blocks.plane_words.min(blocks.block_words) - 1;
        let end = blocks.offset_bits + last_in_plane * blocks.plane_bits + (last_beside + 1) * width;
        assert!(end <= blocks.block_bits, "words of {format} end at bit {end} of {blocks:?}");
        Layout { width, blocks, is_big_endian: false, view: None }
    }

    /// The same with the most significant byte of each word first.
    ///
    /// # Panics
    /// If words are not whole bytes.
    #[must_use]
    pub fn big_endian(self) -> Layout {
        assert!(self.width.is_multiple_of(8), "{} bits are no whole bytes", self.width);
        Layout { is_big_endian: self.width > 8, ..self }
    }

    /// A tensor of `shape` laid over these slots: the element with the indices `i` is in slot
    /// `offset + sum(i * strides)`. Strides count words. `None` if the last slot's number overflows.
    ///
    /// # Panics
    /// If there are not as many strides as dimensions.
    #[must_use]
    pub fn strided(self, shape: &[u64], strides: &[u64], offset: u64) -> Option<Layout> {
        assert_eq!(shape.len(), strides.len(), "a stride for each dimension");
        let view = View { shape: shape.to_vec(), strides: strides.to_vec(), offset };
        view.last_slot()?;
        let is_plain = offset == 0 && view.is_c_order();
        Some(Layout { view: (!is_plain).then(|| Arc::new(view)), ..self })
    }

    /// Whether logical bit addresses are the places in the bytes.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.view.is_none()
            && !self.is_big_endian
            && self.blocks.block_words == 1
            && self.blocks.offset_bits == 0
            && self.blocks.block_bits == self.width
    }

    /// Where the bit of a logical bit address (`element * width + bit`) lies: bit `p % 8` of byte `p / 8`.
    ///
    /// The element must exist; for one that does not the result may be any place.
    #[must_use]
    pub fn position(&self, address: u64) -> u64 {
        let (element, bit) = (address / self.width, address % self.width);
        let bit = if self.is_big_endian { self.width - 8 - bit / 8 * 8 + bit % 8 } else { bit };
        self.start(element) + bit
    }

    /// Whether the bits of a word lie one after the other from [`start`](Self::start) on.
    pub(crate) fn is_little_endian(&self) -> bool {
        !self.is_big_endian
    }

    /// The first bit of an element's word.
    pub(crate) fn start(&self, element: u64) -> u64 {
        let slot = self.view.as_ref().map_or(element, |view| view.slot(element));
        let Blocks { block_words, block_bits, offset_bits, plane_words, plane_bits } = self.blocks;
        if block_words == 1 {
            return slot * block_bits + offset_bits;
        }
        let within = slot % block_words;
        slot / block_words * block_bits
            + offset_bits
            + within % plane_words * plane_bits
            + within / plane_words * self.width
    }

    /// How many bytes hold `elements` words, whole blocks counted; `None` if that overflows.
    ///
    /// For a strided layout the shape counts, and `elements` must be its product.
    #[must_use]
    pub fn bytes_needed(&self, elements: u64) -> Option<u64> {
        let slots = match &self.view {
            _ if elements == 0 => 0,
            Some(view) => view.last_slot()?.checked_add(1)?,
            None => elements,
        };
        let bits = slots.div_ceil(self.blocks.block_words).checked_mul(self.blocks.block_bits)?;
        Some(bits.div_ceil(8))
    }
}

impl View {
    fn slot(&self, element: u64) -> u64 {
        let mut rest = element;
        let mut slot = self.offset;
        for (&dim, &stride) in self.shape.iter().zip(&self.strides).rev() {
            slot += rest % dim.max(1) * stride;
            rest /= dim.max(1);
        }
        slot
    }

    fn last_slot(&self) -> Option<u64> {
        let steps = |(&dim, &stride): (&u64, &u64)| dim.saturating_sub(1).checked_mul(stride);
        let mut last = self.offset;
        for step in self.shape.iter().zip(&self.strides).map(steps) {
            last = last.checked_add(step?)?;
        }
        Some(last)
    }

    fn is_c_order(&self) -> bool {
        let mut next = 1_u64;
        self.shape.iter().zip(&self.strides).rev().all(|(&dim, &stride)| {
            let fits = dim <= 1 || stride == next;
            next = next.saturating_mul(dim);
            fits
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_addresses_are_places() {
        for format in [Format::F32, Format::signed(3), Format::U8] {
            let layout = Layout::packed(format);
            assert!(layout.is_packed());
            assert!((0..500).all(|address| layout.position(address) == address));
        }
        assert_eq!(Layout::packed(Format::signed(3)).bytes_needed(3), Some(2));
        assert_eq!(Layout::packed(Format::F64).bytes_needed(u64::MAX), None);
        assert!(Layout::packed(Format::U8).big_endian().is_packed());
        assert!(
            Layout::packed(Format::U8).strided(&[2, 3], &[3, 1], 0).is_some_and(|layout| layout.is_packed())
        );
    }

    #[test]
    fn big_endian_words() {
        let layout = Layout::packed(Format::I32).big_endian();
        assert!(!layout.is_packed());
        // Bit 0 of element 1 is in its last byte, byte 7; bit 31 is the top of byte 4.
        assert_eq!((layout.position(32), layout.position(63)), (56, 39));
    }

    #[test]
    fn two_planes_of_nibbles_behind_a_scale() {
        let blocks =
            Blocks { block_words: 32, block_bits: 144, offset_bits: 16, plane_words: 16, plane_bits: 8 };
        let layout = Layout::blocks(Format::unsigned(4), blocks);
        let cases = [(0, 16), (15, 16 + 120), (16, 20), (31, 16 + 124), (32, 144 + 16)];
        for (element, start) in cases {
            assert_eq!(layout.position(element * 4), start, "element {element}");
        }
        assert_eq!(layout.bytes_needed(64), Some(36));
    }

    #[test]
    fn a_transposed_view_with_an_offset() {
        let layout = Layout::packed(Format::U16).strided(&[2, 3], &[1, 2], 4).unwrap();
        let slots: Vec<u64> = (0..6).map(|element| layout.position(element * 16) / 16).collect();
        assert_eq!(slots, [4, 6, 8, 5, 7, 9]);
        assert_eq!(layout.bytes_needed(6), Some(20));
        assert_eq!(Layout::packed(Format::U8).strided(&[2, 2], &[u64::MAX, u64::MAX], 0), None);
    }
}
