//! The loop bodies of the streaming kernels, written once, plainly, so that the compiler can vectorise them.
//!
//! Every function here is inlined into one copy for each instruction set (see `dispatch`). They check nothing: slices
//! that do not fit each other are cut to the shortest.

use super::hamming::Count;
use super::word::Word;

/// A bitwise operation on bytes; words of any width are bytes to it.
pub(super) trait Op {
    fn apply(left: u8, right: u8) -> u8;
}

macro_rules! ops {
    ($($name:ident = |$left:ident, $right:ident| $result:expr;)*) => { $(
        pub(super) struct $name;

        impl Op for $name {
            #[inline(always)]
            fn apply($left: u8, $right: u8) -> u8 {
                $result
            }
        }
    )* };
}

ops! {
    And = |left, right| left & right;
    Or = |left, right| left | right;
    Xor = |left, right| left ^ right;
    AndNot = |left, right| left & !right;
}

#[inline(always)]
pub(super) fn in_place<O: Op>(left: &mut [u8], right: &[u8]) {
    for (left, right) in left.iter_mut().zip(right) {
        *left = O::apply(*left, *right);
    }
}

#[inline(always)]
pub(super) fn into<O: Op>(left: &[u8], right: &[u8], out: &mut [u8]) {
    for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
        *out = O::apply(*left, *right);
    }
}

#[inline(always)]
pub(super) fn set(words: &mut [u8], set1: &[u8], set0: &[u8]) {
    for ((word, set1), set0) in words.iter_mut().zip(set1).zip(set0) {
        *word = (*word | *set1) & !*set0;
    }
}

#[inline(always)]
pub(super) fn each<W: Word>(words: &mut [W], keep: W, toggle: W) {
    for word in words {
        *word = (*word & keep) ^ toggle;
    }
}

/// Like `each` with a mask that repeats after `8 * M` bytes, for whole repetitions.
#[inline(always)]
pub(super) fn repeat<const M: u32>(bytes: &mut [u8], keep: &[u8; BLOCK], toggle: &[u8; BLOCK]) {
    let period = 8 * M as usize;
    for block in bytes.chunks_exact_mut(period) {
        for ((byte, keep), toggle) in block.iter_mut().zip(&keep[..period]).zip(&toggle[..period]) {
            *byte = (*byte & keep) ^ toggle;
        }
    }
}

#[inline(always)]
pub(super) fn hamming_total(left: &[u8], right: &[u8]) -> u64 {
    let (left, right) = (left.as_chunks::<8>(), right.as_chunks::<8>());
    let mut total = 0;
    for (left, right) in left.0.iter().zip(right.0) {
        total += u64::from((u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right)).count_ones());
    }
    for (left, right) in left.1.iter().zip(right.1) {
        total += u64::from((left ^ right).count_ones());
    }
    total
}

/// Flips the bits of the mask in `bytes`, and counts them.
#[inline(always)]
pub(super) fn flip_counted(bytes: &mut [u8], mask: &[u8]) -> u64 {
    let (bytes, mask) = (bytes.as_chunks_mut::<8>(), mask.as_chunks::<8>());
    let mut total = 0;
    for (word, mask) in bytes.0.iter_mut().zip(mask.0) {
        let mask = u64::from_le_bytes(*mask);
        *word = (u64::from_le_bytes(*word) ^ mask).to_le_bytes();
        total += u64::from(mask.count_ones());
    }
    for (byte, mask) in bytes.1.iter_mut().zip(mask.1) {
        *byte ^= mask;
        total += u64::from(mask.count_ones());
    }
    total
}

#[inline(always)]
pub(super) fn hamming_each<W: Word, C: Count>(left: &[W], right: &[W], out: &mut [C]) {
    for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
        *out = C::from((*left ^ *right).ones());
    }
}

#[inline(always)]
pub(super) fn widen<C: Count>(bytes: &[u8], out: &mut [C]) {
    for (out, byte) in out.iter_mut().zip(bytes) {
        *out = C::from(*byte);
    }
}

/// `right` becomes `left` with the highest bit in which they differ toggled.
#[inline(always)]
pub(super) fn project_msb<W: Word>(left: &[W], right: &mut [W]) {
    for (right, left) in right.iter_mut().zip(left) {
        let mut seen = *left ^ *right;
        let mut shift = 1;
        while shift < W::BITS {
            seen = seen | seen >> shift;
            shift *= 2;
        }
        // `seen` has all bits up to the highest differing one; the shift leaves out that one.
        *right = *left ^ seen ^ seen >> 1;
    }
}

/// The bits of words, as bools, the least significant first.
#[inline(always)]
pub(super) fn spread_bits(bytes: &[u8], out: &mut [bool]) {
    for (out, byte) in out.as_chunks_mut::<8>().0.iter_mut().zip(bytes) {
        // Byte `b` keeps bit `b` of its own copy; the sum carries that to the byte's highest bit.
        let lanes = (u64::from(*byte) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
        let lanes = ((lanes + 0x0040_6070_787c_7e7f) >> 7) & 0x0101_0101_0101_0101;
        *out = lanes.to_le_bytes().map(|lane| lane != 0);
    }
}

/// The inverse of `spread_bits`.
#[inline(always)]
pub(super) fn gather_bits(bools: &[bool], out: &mut [u8]) {
    for (out, bools) in out.iter_mut().zip(bools.as_chunks::<8>().0) {
        let lanes = u64::from_le_bytes(bools.map(u8::from));
        // Product: bool `b` lies at bit 8 b and is moved to bit 56 + b; no two terms meet, so nothing is carried.
        *out = (lanes.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
    }
}

/// Codes that are packed at a time: eight groups of eight, so that every group fills whole bytes and all of them whole
/// `u64`s, whatever the width.
pub(super) const BLOCK: usize = 64;

/// Eight codes, one in each byte, moved together into the lowest `8 * M` bits.
#[inline(always)]
fn squeeze<const M: u32>(codes: u64) -> u64 {
    let pairs = codes & 0x00ff_00ff_00ff_00ff | (codes & 0xff00_ff00_ff00_ff00) >> (8 - M);
    let fours = pairs & 0x0000_ffff_0000_ffff | (pairs & 0xffff_0000_ffff_0000) >> (16 - 2 * M);
    fours & 0x0000_0000_ffff_ffff | (fours & 0xffff_ffff_0000_0000) >> (32 - 4 * M)
}

/// The inverse of `squeeze`; higher bits are ignored.
#[inline(always)]
fn stretch<const M: u32>(packed: u64) -> u64 {
    let low = |bits: u32| u64::MAX >> (64 - bits);
    let fours = packed & low(4 * M) | (packed >> (4 * M) & low(4 * M)) << 32;
    let half = low(2 * M) | low(2 * M) << 32;
    let pairs = fours & half | (fours >> (2 * M) & half) << 16;
    let quarter = low(M) * 0x0001_0001_0001_0001;
    pairs & quarter | (pairs >> M & quarter) << 8
}

/// Packs whole blocks of codes; returns the bits that occur in any code. A code of more than `M` bits spoils its
/// neighbours, and shows in the result.
#[inline(always)]
pub(super) fn pack<const M: u32>(codes: &[u8], out: &mut [u8]) -> u8 {
    let group = 8 * M as usize; // bits of a packed group, and bytes of a packed block
    let mut seen = [0; 8];
    for (codes, out) in codes.as_chunks::<BLOCK>().0.iter().zip(out.chunks_exact_mut(group)) {
        let mut lanes = [0; 8];
        for ((lane, seen), codes) in lanes.iter_mut().zip(&mut seen).zip(codes.as_chunks::<8>().0) {
            let codes = u64::from_le_bytes(*codes);
            *seen |= codes;
            *lane = squeeze::<M>(codes);
        }
        let mut packed = [0; 9];
        for (j, lane) in lanes.into_iter().enumerate() {
            let (word, shift) = (j * group / 64, j * group % 64);
            packed[word] |= lane << shift;
            if shift + group > 64 {
                packed[word + 1] |= lane >> (64 - shift);
            }
        }
        for (out, packed) in out.as_chunks_mut::<8>().0.iter_mut().zip(packed) {
            *out = packed.to_le_bytes();
        }
    }
    let seen = seen.into_iter().fold(0, |all, lane| all | lane);
    seen.to_le_bytes().into_iter().fold(0, |all, byte| all | byte)
}

/// The inverse of `pack`, for whole blocks; or, with `COUNT`, the number of bits in which each code of `bytes` differs from
/// that of `other`, which is not looked at otherwise.
#[inline(always)]
pub(super) fn unpack<const M: u32, const COUNT: bool>(bytes: &[u8], other: &[u8], out: &mut [u8]) {
    let group = 8 * M as usize;
    for (index, (bytes, out)) in bytes.chunks_exact(group).zip(out.as_chunks_mut::<BLOCK>().0).enumerate() {
        let mut packed = [0; 9];
        for (packed, bytes) in packed.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *packed = u64::from_le_bytes(*bytes);
        }
        if COUNT {
            for (packed, bytes) in packed.iter_mut().zip(other[index * group..][..group].as_chunks::<8>().0) {
                *packed ^= u64::from_le_bytes(*bytes);
            }
        }
        let mut lanes = [0; 8];
        for (j, lane) in lanes.iter_mut().enumerate() {
            let (word, shift) = (j * group / 64, j * group % 64);
            *lane = packed[word] >> shift;
            if shift + group > 64 {
                *lane |= packed[word + 1] << (64 - shift);
            }
        }
        for (out, lane) in out.as_chunks_mut::<8>().0.iter_mut().zip(lanes) {
            *out = stretch::<M>(lane).to_le_bytes();
        }
        if COUNT {
            for out in out {
                *out = out.ones();
            }
        }
    }
}
