//! What compilers do not find in a plain loop: packing and unpacking by the byte shuffles of AVX2 and AVX-512, and stores
//! past the caches.
//!
//! Same contract as the functions of the same name in `loops`: whole blocks, nothing checked. Vectors are read from and
//! written to slices by copying bytes; only the streaming stores take a pointer.

use std::arch::x86_64::*;

use bytemuck::{NoUninit, bytes_of, pod_read_unaligned};

use super::loops::{self, BLOCK};

/// Bytes that a vector store may write beyond the packed bytes that it is there for.
const SLACK: usize = 16;

/// Bytes that are streamed at a time: a line of memory.
const LINE: usize = 64;

/// Packs whole blocks. Products do the shifts: a pair of codes is `low + high * 2^M`, a pair of pairs likewise.
#[target_feature(enable = "avx2")]
pub(super) fn pack_avx2<const M: u32>(codes: &[u8], out: &mut [u8]) -> u8 {
    let group = 8 * M as usize;
    let pairs = _mm256_set1_epi16((1 | 1 << (8 + M)) as i16);
    let fours = _mm256_set1_epi32(1 | 1 << (16 + 2 * M));
    let low = _mm256_set1_epi64x(0xffff_ffff);
    let join = _mm_cvtsi32_si128(4 * M as i32);
    let close: __m256i = pod_read_unaligned(&close_up::<32>(M as usize, 16));
    let mut seen = _mm256_setzero_si256();
    let (blocks, _) = codes.as_chunks::<BLOCK>();
    let mut done = 0;
    for block in blocks {
        let Some(out) = out.get_mut(done * group..(done + 1) * group + SLACK) else { break };
        for (half, codes) in block.as_chunks::<32>().0.iter().enumerate() {
            let codes: __m256i = pod_read_unaligned(codes);
            seen = _mm256_or_si256(seen, codes);
            let packed = _mm256_madd_epi16(_mm256_maddubs_epi16(pairs, codes), fours);
            let high = _mm256_sll_epi64(_mm256_srli_epi64::<32>(packed), join);
            let packed = _mm256_or_si256(_mm256_and_si256(packed, low), high);
            let packed = _mm256_shuffle_epi8(packed, close);
            let at = half * group / 2;
            out[at..at + 16].copy_from_slice(bytes_of(&_mm256_castsi256_si128(packed)));
            let at = at + group / 4;
            out[at..at + 16].copy_from_slice(bytes_of(&_mm256_extracti128_si256::<1>(packed)));
        }
        done += 1;
    }
    let rest = loops::pack::<M>(&codes[done * BLOCK..], &mut out[done * group..]);
    all_bits(bytes_of(&seen)) | rest
}

/// Packs whole blocks, one vector at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn pack_avx512<const M: u32>(codes: &[u8], out: &mut [u8]) -> u8 {
    let group = 8 * M as usize;
    let pairs = _mm512_set1_epi16((1 | 1 << (8 + M)) as i16);
    let fours = _mm512_set1_epi32(1 | 1 << (16 + 2 * M));
    let low = _mm512_set1_epi64(0xffff_ffff);
    let join = _mm_cvtsi32_si128(4 * M as i32);
    let close: __m512i = pod_read_unaligned(&close_up::<BLOCK>(M as usize, BLOCK));
    let mut seen = _mm512_setzero_si512();
    let (blocks, _) = codes.as_chunks::<BLOCK>();
    let mut done = 0;
    let store = group.next_power_of_two();
    for block in blocks {
        let Some(out) = out.get_mut(done * group..done * group + store) else { break };
        let codes: __m512i = pod_read_unaligned(block);
        seen = _mm512_or_si512(seen, codes);
        let packed = _mm512_madd_epi16(_mm512_maddubs_epi16(pairs, codes), fours);
        let high = _mm512_sll_epi64(_mm512_srli_epi64::<32>(packed), join);
        let packed = _mm512_or_si512(_mm512_and_si512(packed, low), high);
        let packed = _mm512_permutexvar_epi8(close, packed);
        // The next block writes over what is too much.
        out.copy_from_slice(&bytes_of(&packed)[..store]);
        done += 1;
    }
    let rest = loops::pack::<M>(&codes[done * BLOCK..], &mut out[done * group..]);
    all_bits(bytes_of(&seen)) | rest
}

/// Unpacks whole blocks: every code is brought into 16 bits of its own, moved to their top by a product, and down again.
#[target_feature(enable = "avx2")]
pub(super) fn unpack_avx2<const M: u32, const COUNT: bool>(bytes: &[u8], other: &[u8], out: &mut [u8]) {
    let group = 8 * M as usize;
    let spread: __m256i = pod_read_unaligned(&spread_pairs(M as usize));
    let lift: __m256i = pod_read_unaligned(bytes_of(&lift(M)));
    let lower = _mm_cvtsi32_si128(16 - M as i32);
    let wide = |packed: __m128i| {
        let packed = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(packed), spread);
        _mm256_srl_epi16(_mm256_mullo_epi16(packed, lift), lower)
    };
    let mut done = 0;
    for block in out.as_chunks_mut::<BLOCK>().0 {
        let here = done * group..(done + 1) * group + SLACK;
        let Some(bytes) = bytes.get(here.clone()) else { break };
        let other = if COUNT { other.get(here) } else { Some(bytes) };
        let Some(other) = other else { break };
        let packed = |at: usize| {
            let packed: __m128i = pod_read_unaligned(&bytes[at..at + 16]);
            if COUNT { _mm_xor_si128(packed, pod_read_unaligned(&other[at..at + 16])) } else { packed }
        };
        for (half, codes) in block.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let at = half * group / 2;
            let both = _mm256_packus_epi16(wide(packed(at)), wide(packed(at + group / 4)));
            let result = _mm256_permute4x64_epi64::<0b11_01_10_00>(both);
            let result = if COUNT { ones_avx2(result) } else { result };
            codes.copy_from_slice(bytes_of(&result));
        }
        done += 1;
    }
    let other = other.get(done * group..).unwrap_or_default();
    loops::unpack::<M, COUNT>(&bytes[done * group..], other, &mut out[done * BLOCK..]);
}

/// Unpacks whole blocks: the bytes of eight codes are brought into 64 bits, of which eight unaligned bytes are taken.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512bitalg")]
pub(super) fn unpack_avx512<const M: u32, const COUNT: bool>(bytes: &[u8], other: &[u8], out: &mut [u8]) {
    let group = 8 * M as usize;
    let spread: __m512i = pod_read_unaligned(&spread_groups(M as usize));
    let offsets: [u8; 8] = std::array::from_fn(|code| code as u8 * M as u8);
    let offsets = _mm512_set1_epi64(i64::from_le_bytes(offsets));
    let mask = _mm512_set1_epi8(i8::MAX >> (7 - M));
    let mut done = 0;
    for block in out.as_chunks_mut::<BLOCK>().0 {
        let here = done * group..done * group + BLOCK;
        let Some(bytes) = bytes.get(here.clone()) else { break };
        let mut packed: __m512i = pod_read_unaligned(bytes);
        if COUNT {
            let Some(other) = other.get(here) else { break };
            packed = _mm512_xor_si512(packed, pod_read_unaligned(other));
        }
        let packed = _mm512_permutexvar_epi8(spread, packed);
        let codes = _mm512_and_si512(_mm512_multishift_epi64_epi8(offsets, packed), mask);
        let result = if COUNT { _mm512_popcnt_epi8(codes) } else { codes };
        block.copy_from_slice(bytes_of(&result));
        done += 1;
    }
    let other = other.get(done * group..).unwrap_or_default();
    loops::unpack::<M, COUNT>(&bytes[done * group..], other, &mut out[done * BLOCK..]);
}

/// The number of set bits of each byte, from a table of those of half a byte.
#[target_feature(enable = "avx2")]
fn ones_avx2(bytes: __m256i) -> __m256i {
    let table = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, //
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
    );
    let half = _mm256_set1_epi8(15);
    let low = _mm256_shuffle_epi8(table, _mm256_and_si256(bytes, half));
    let high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), half));
    _mm256_add_epi8(low, high)
}

/// See `dispatch::stream`.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2")]
pub(super) fn stream_avx2<T: NoUninit>(from: &[T], out: &mut [T]) -> usize {
    let from: &[u8] = bytemuck::cast_slice(from);
    let lines = lines_of(out).min(from.len() / LINE);
    let out: *mut __m256i = out.as_mut_ptr().cast();
    for (index, from) in from.as_chunks::<32>().0.iter().take(2 * lines).enumerate() {
        // SAFETY: `out` begins at a multiple of 64 and has at least `lines` lines that may be written (`lines_of`). The bytes
        // are those of as many values of the type, so they are values of the type there.
        unsafe { _mm256_stream_si256(out.add(index), pod_read_unaligned(from)) };
    }
    lines * LINE / size_of::<T>()
}

/// See `dispatch::stream`.
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
pub(super) fn stream_avx512<T: NoUninit>(from: &[T], out: &mut [T]) -> usize {
    let from: &[u8] = bytemuck::cast_slice(from);
    let lines = lines_of(out).min(from.len() / LINE);
    let out: *mut __m512i = out.as_mut_ptr().cast();
    for (index, from) in from.as_chunks::<LINE>().0.iter().take(lines).enumerate() {
        // SAFETY: `out` begins at a multiple of 64 and has at least `lines` lines that may be written (`lines_of`). The bytes
        // are those of as many values of the type, so they are values of the type there.
        unsafe { _mm512_stream_si512(out.add(index), pod_read_unaligned(from)) };
    }
    lines * LINE / size_of::<T>()
}

/// The number of whole lines of an array that begins with one; 0 if it does not, or if its elements do not fill lines.
fn lines_of<T>(array: &[T]) -> usize {
    let fits = array.as_ptr().addr().is_multiple_of(LINE) && LINE.is_multiple_of(size_of::<T>().max(1));
    if fits { size_of_val(array) / LINE } else { 0 }
}

/// Where each byte comes from when the lowest `m` of every eight bytes move together, within lanes of `lane` bytes.
/// Places past the last are filled with whatever.
fn close_up<const N: usize>(m: usize, lane: usize) -> [u8; N] {
    std::array::from_fn(|at| {
        let at = at % lane;
        (at / m * 8 + at % m).min(lane - 1) as u8
    })
}

/// The two bytes that hold code `j` of each group of eight, for two groups, within the 16 bytes that start with them.
fn spread_pairs(m: usize) -> [u8; 32] {
    std::array::from_fn(|at| {
        let (group, code, byte) = (at / 16, at % 16 / 2, at % 2);
        (group * m + code * m / 8 + byte) as u8
    })
}

/// The product that moves code `j` of a group to the top of its 16 bits.
fn lift(m: u32) -> [u16; 16] {
    std::array::from_fn(|code| 1 << (16 - m - code as u32 * m % 8))
}

/// The bytes of each group of eight codes; those behind them are whatever.
fn spread_groups(m: usize) -> [u8; BLOCK] {
    std::array::from_fn(|at| (at / 8 * m + at % 8) as u8)
}

fn all_bits(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |all, byte| all | byte)
}
