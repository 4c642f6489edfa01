//! The types of tensors in GGUF files.

use bitquake_bits::{Blocks, Format, Layout};

/// A type of the file format: its number, and how its words lie.
#[derive(Debug)]
pub(super) struct GgufType {
    /// The number in the file.
    pub(super) id: u32,
    /// The name in listings.
    pub(super) name: &'static str,
    /// The elements of a block; 1 for plain numbers.
    pub(super) block_words: u64,
    /// The bytes of a block.
    pub(super) block_bytes: u64,
    /// What can be read and changed; nothing of types that are only listed.
    pub(super) parts: &'static [BlockPart],
}

/// Words that every block has some of.
#[derive(Debug)]
pub(super) struct BlockPart {
    /// What is put behind the tensor's name.
    pub(super) suffix: &'static str,
    pub(super) format: Format,
    /// Words in a block.
    pub(super) words: u64,
    /// The byte of the block at which they start.
    offset: u64,
    /// Words before the next one goes into the upper bits of the first one's byte.
    plane: u64,
}

impl BlockPart {
    /// Where the words lie in blocks of this size.
    pub(super) fn layout(&self, block_bytes: u64) -> Layout {
        if self.words * u64::from(self.format.width()) == 8 * block_bytes {
            return Layout::packed(self.format);
        }
        let blocks = Blocks {
            block_words: self.words,
            block_bits: 8 * block_bytes,
            offset_bits: 8 * self.offset,
            plane_words: self.plane,
            plane_bits: 8 * self.format.bytes() as u64,
        };
        Layout::blocks(self.format, blocks)
    }
}

const fn plain(id: u32, name: &'static str, block_bytes: u64, parts: &'static [BlockPart]) -> GgufType {
    GgufType { id, name, block_words: 1, block_bytes, parts }
}

const fn blocks(id: u32, name: &'static str, bytes: u64, parts: &'static [BlockPart]) -> GgufType {
    GgufType { id, name, block_words: 32, block_bytes: bytes, parts }
}

const fn listed(id: u32, name: &'static str, block_words: u64, block_bytes: u64) -> GgufType {
    GgufType { id, name, block_words, block_bytes, parts: &[] }
}

const fn number(format: Format) -> BlockPart {
    BlockPart { suffix: "", format, words: 1, offset: 0, plane: 1 }
}

/// One number for each block.
const fn one(suffix: &'static str, format: Format, offset: u64) -> BlockPart {
    BlockPart { suffix, format, words: 1, offset, plane: 1 }
}

/// The 32 codes of a block; of nibbles, the first 16 are the lower halves of bytes and the others the upper ones.
const fn codes(format: Format, offset: u64) -> BlockPart {
    BlockPart { suffix: "", format, words: 32, offset, plane: if format.width() == 4 { 16 } else { 32 } }
}

/// Every type of the format that is known; the numbers are those of ggml's `ggml_type`.
#[rustfmt::skip]
pub(super) const TYPES: &[GgufType] = &[
    plain(0, "f32", 4, &[number(Format::F32)]),
    plain(1, "f16", 2, &[number(Format::F16)]),
    plain(24, "i8", 1, &[number(Format::I8)]),
    plain(25, "i16", 2, &[number(Format::I16)]),
    plain(26, "i32", 4, &[number(Format::I32)]),
    plain(27, "i64", 8, &[number(Format::I64)]),
    plain(28, "f64", 8, &[number(Format::F64)]),
    plain(30, "bf16", 2, &[number(Format::BF16)]),
    blocks(2, "q4_0", 18, &[codes(Format::unsigned(4), 2), one("@scale", Format::F16, 0)]),
    blocks(3, "q4_1", 20, &[codes(Format::unsigned(4), 4), one("@scale", Format::F16, 0), one("@min", Format::F16, 2)]),
    blocks(8, "q8_0", 34, &[codes(Format::I8, 2), one("@scale", Format::F16, 0)]),
    // The sum is the scale times the sum of the codes: it repeats what they say.
    blocks(9, "q8_1", 36, &[codes(Format::I8, 4), one("@scale", Format::F16, 0), one("@sum", Format::F16, 2)]),
    blocks(39, "mxfp4", 17, &[codes(Format::F4E2M1, 1), one("@scale", Format::F8E8M0, 0)]),
    // The fifth bit of each code lies apart from the other four.
    listed(6, "q5_0", 32, 22),
    listed(7, "q5_1", 32, 24),
    listed(10, "q2_k", 256, 84),
    listed(11, "q3_k", 256, 110),
    listed(12, "q4_k", 256, 144),
    listed(13, "q5_k", 256, 176),
    listed(14, "q6_k", 256, 210),
    listed(15, "q8_k", 256, 292),
    listed(16, "iq2_xxs", 256, 66),
    listed(17, "iq2_xs", 256, 74),
    listed(18, "iq3_xxs", 256, 98),
    listed(19, "iq1_s", 256, 50),
    listed(20, "iq4_nl", 32, 18),
    listed(21, "iq3_s", 256, 110),
    listed(22, "iq2_s", 256, 82),
    listed(23, "iq4_xs", 256, 136),
    listed(29, "iq1_m", 256, 56),
    listed(34, "tq1_0", 256, 54),
    listed(35, "tq2_0", 256, 66),
    listed(40, "nvfp4", 64, 36),
];

/// The type of a number; `None` if it is not known.
pub(super) fn find(id: u32) -> Option<&'static GgufType> {
    TYPES.iter().find(|kind| kind.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the types that can be read, every bit of a block belongs to one word of one part.
    #[test]
    fn parts_cover_their_block() {
        for kind in TYPES.iter().filter(|kind| !kind.parts.is_empty()) {
            let mut owners = vec![0; 2 * 8 * kind.block_bytes as usize];
            for part in kind.parts {
                let layout = part.layout(kind.block_bytes);
                let bits = 2 * part.words * u64::from(part.format.width());
                assert_eq!(layout.bytes_needed(2 * part.words), Some(2 * kind.block_bytes), "{}", kind.name);
                (0..bits).for_each(|bit| owners[layout.position(bit) as usize] += 1);
            }
            assert!(owners.iter().all(|&count| count == 1), "{}: {owners:?}", kind.name);
        }
    }

    #[test]
    fn numbers_and_names_are_unique() {
        for (index, kind) in TYPES.iter().enumerate() {
            assert!(TYPES[..index].iter().all(|other| other.id != kind.id && other.name != kind.name));
        }
    }
}
