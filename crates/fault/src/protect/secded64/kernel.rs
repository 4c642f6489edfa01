//! Which instructions to use, and the tables they need.

use crate::protect::code::{Code, Columns};
use crate::protect::codec::secded;

/// Words that a kernel handles at once, so that the bad ones fit into a `u64`.
pub(super) const BLOCK_WORDS: usize = 64;
/// Words as they lie in memory.
pub(super) type Block = [[u8; 8]; BLOCK_WORDS];
/// Their check bytes.
pub(super) type CheckBlock = [u8; BLOCK_WORDS];

/// The code, in the shape that each kernel likes.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "two tables are for vector kernels"))]
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// `bytes[j][x]`: the check bits decided by a byte of value x at place j of a word.
    bytes: [[u8; 256]; 8],
    /// `nibbles[j][h][x]`: the same for the lower (h = 0) or upper half of the byte.
    pub(super) nibbles: [[[u8; 16]; 2]; 8],
    /// `matrices[j]`: the same as an 8 by 8 bit matrix; byte 7 - i is the row of check bit i.
    pub(super) matrices: [u64; 8],
    /// For each syndrome the bits to flip in the word and in its check byte: one in all, or none.
    fixes: [(u64, u8); 256],
}

impl Tables {
    pub(super) fn new(columns: Columns) -> Self {
        let check_bits = Code::Secded { data_bits: 64, columns }.check_bits();
        let columns = secded::columns(64, check_bits, columns);
        let decided = |place: usize, value: usize| {
            let set = (0..8).filter(|bit| value >> bit & 1 == 1);
            set.fold(0, |sum, bit| sum ^ columns[8 * place + bit] as u8)
        };
        let row = |place: usize, check: usize| {
            (0..8).fold(0, |row, bit| row | u64::from(columns[8 * place + bit] >> check & 1) << bit)
        };
        Self {
            bytes: std::array::from_fn(|place| std::array::from_fn(|value| decided(place, value))),
            nibbles: std::array::from_fn(|place| {
                [0, 4].map(|shift| std::array::from_fn(|value| decided(place, value << shift)))
            }),
            matrices: std::array::from_fn(|place| {
                (0..8).fold(0, |matrix, check| matrix | row(place, check) << (8 * (7 - check)))
            }),
            fixes: fixes(&secded::table(&columns, check_bits)),
        }
    }

    /// The check byte of a word.
    #[inline]
    pub(super) fn encode(&self, word: [u8; 8]) -> u8 {
        let [a, b, c, d, e, f, g, h] = word;
        let t = &self.bytes;
        t[0][usize::from(a)]
            ^ t[1][usize::from(b)]
            ^ t[2][usize::from(c)]
            ^ t[3][usize::from(d)]
            ^ t[4][usize::from(e)]
            ^ t[5][usize::from(f)]
            ^ t[6][usize::from(g)]
            ^ t[7][usize::from(h)]
    }

    /// Flips the one wrong bit that a syndrome tells; false if it tells of more. Without branches: which bit it is,
    /// and whether, cannot be foreseen.
    #[inline]
    pub(super) fn correct(&self, word: &mut [u8; 8], check: &mut u8, syndrome: u8) -> bool {
        let (in_word, in_check) = self.fixes[usize::from(syndrome)];
        *word = (u64::from_le_bytes(*word) ^ in_word).to_le_bytes();
        *check ^= in_check;
        in_word | u64::from(in_check) != 0
    }
}

fn fixes(wrong: &[u16]) -> [(u64, u8); 256] {
    std::array::from_fn(|syndrome| match wrong.get(syndrome) {
        None | Some(0) => (0, 0),
        Some(number @ 1..=64) => (1 << (number - 1), 0),
        Some(number) => (0, 1 << (number - 65)),
    })
}

/// A set of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx512(super::x86::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(super::x86::Avx2),
    Portable,
}

impl Kernel {
    /// Those that this machine has, fastest first.
    pub(super) fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let vector = [super::x86::Avx512::new().map(Self::Avx512), super::x86::Avx2::new().map(Self::Avx2)];
        #[cfg(not(target_arch = "x86_64"))]
        let vector: [Option<Self>; 0] = [];
        vector.into_iter().flatten().chain([Self::Portable]).collect()
    }

    pub(super) fn fastest() -> Self {
        Self::available().into_iter().next().unwrap_or(Self::Portable)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            Self::Portable => "portable",
        }
    }

    /// The check bytes of whole blocks.
    pub(super) fn encode(self, tables: &Tables, data: &[Block], check: &mut [CheckBlock]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(kernel) => kernel.encode(tables, data, check),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(kernel) => kernel.encode(tables, data, check),
            Self::Portable => {
                let words = data.as_flattened().iter().zip(check.as_flattened_mut());
                words.for_each(|(word, check)| *check = tables.encode(*word));
            }
        }
    }

    /// For each block the set of words whose check byte does not fit.
    pub(super) fn find(self, tables: &Tables, data: &[Block], check: &[CheckBlock], masks: &mut [u64]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(kernel) => kernel.find(tables, data, check, masks),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(kernel) => kernel.find(tables, data, check, masks),
            Self::Portable => {
                for ((block, check), mask) in data.iter().zip(check).zip(masks) {
                    let is_bad = |(word, check): (&[u8; 8], &u8)| tables.encode(*word) != *check;
                    let words = block.iter().zip(check).enumerate();
                    *mask = words.fold(0, |mask, (i, word)| mask | u64::from(is_bad(word)) << i);
                }
            }
        }
    }
}
