//! The kernels of x86-64. The only unsafe code of protections.
//!
//! Two invariants: a value of [`Avx2`] or [`Avx512`] exists only if the machine has the instructions (`new` asks it),
//! so calling functions that use them is sound; and every load and store is of an array that is as long as the
//! vector.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::kernel::{Block, CheckBlock, Tables};

/// Proof that the machine has AVX-512 F, BW and VBMI, and GFNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(());

/// Proof that the machine has AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx512 {
    pub(super) fn new() -> Option<Self> {
        let is_here = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("gfni");
        is_here.then_some(Self(()))
    }

    pub(super) fn encode(self, tables: &Tables, data: &[Block], check: &mut [CheckBlock]) {
        // SAFETY: `self` proves that the machine has the instructions.
        unsafe { encode_512(tables, data, check) }
    }

    pub(super) fn find(self, tables: &Tables, data: &[Block], check: &[CheckBlock], masks: &mut [u64]) {
        // SAFETY: `self` proves that the machine has the instructions.
        unsafe { find_512(tables, data, check, masks) }
    }
}

impl Avx2 {
    pub(super) fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn encode(self, tables: &Tables, data: &[Block], check: &mut [CheckBlock]) {
        // SAFETY: `self` proves that the machine has the instructions.
        unsafe { encode_256(tables, data, check) }
    }

    pub(super) fn find(self, tables: &Tables, data: &[Block], check: &[CheckBlock], masks: &mut [u64]) {
        // SAFETY: `self` proves that the machine has the instructions.
        unsafe { find_256(tables, data, check, masks) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn encode_512(tables: &Tables, data: &[Block], check: &mut [CheckBlock]) {
    let (order, matrices) = constants_512(tables);
    for (block, check) in data.iter().zip(check) {
        store_512(check, checks_512(order, matrices, block));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
fn find_512(tables: &Tables, data: &[Block], check: &[CheckBlock], masks: &mut [u64]) {
    let (order, matrices) = constants_512(tables);
    for ((block, check), mask) in data.iter().zip(check).zip(masks) {
        *mask = _mm512_cmpneq_epi8_mask(checks_512(order, matrices, block), load_512(check));
    }
}

/// The byte order that puts byte j of words 0 to 7 into the eight bytes j, and the matrix of each j.
#[target_feature(enable = "avx512f")]
fn constants_512(tables: &Tables) -> (__m512i, __m512i) {
    let order: CheckBlock = std::array::from_fn(|i| (8 * (i % 8) + i / 8) as u8);
    let mut matrices = [0; 64];
    for (bytes, matrix) in matrices.as_chunks_mut().0.iter_mut().zip(tables.matrices) {
        *bytes = matrix.to_le_bytes();
    }
    (load_512(&order), load_512(&matrices))
}

/// The check bytes of 64 words.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,gfni")]
#[inline]
fn checks_512(order: __m512i, matrices: __m512i, block: &Block) -> __m512i {
    // For 8 words: eight times eight bytes, to be summed; byte i of each eight belongs to word i.
    let part = |i: usize| {
        let words = load_512(words_of(block, i));
        _mm512_gf2p8affine_epi64_epi8::<0>(_mm512_permutexvar_epi8(order, words), matrices)
    };
    // Sums of two neighbouring eights; a goes to the even eights, b to the odd ones.
    let pair = |a, b| _mm512_xor_si512(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    // Sums of two neighbouring sixteens; a goes below, b above.
    let halves = |a, b| {
        let even = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
        _mm512_xor_si512(even, _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b))
    };
    let quarter = |i| halves(pair(part(i), part(i + 1)), pair(part(i + 2), part(i + 3)));
    halves(quarter(0), quarter(4))
}

/// Words 8 i to 8 i + 7 as bytes.
#[inline]
fn words_of(block: &Block, i: usize) -> &CheckBlock {
    &block.as_flattened().as_chunks().0[i]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load_512(bytes: &CheckBlock) -> __m512i {
    // SAFETY: reads 64 bytes from an array of 64 bytes; no alignment is asked for.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store_512(bytes: &mut CheckBlock, vector: __m512i) {
    // SAFETY: writes 64 bytes to an array of 64 bytes; no alignment is asked for.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}

/// For each place of a byte in a word, what its lower and its upper half decide, once for each 128 bits.
type Nibbles = [[__m256i; 2]; 8];

#[target_feature(enable = "avx2")]
fn encode_256(tables: &Tables, data: &[Block], check: &mut [CheckBlock]) {
    let nibbles = constants_256(tables);
    for (block, check) in data.iter().zip(check) {
        let (halves, _) = block.as_flattened().as_chunks();
        for (half, check) in halves.iter().zip(check.as_chunks_mut().0) {
            store_256(check, checks_256(&nibbles, half));
        }
    }
}

#[target_feature(enable = "avx2")]
fn find_256(tables: &Tables, data: &[Block], check: &[CheckBlock], masks: &mut [u64]) {
    let nibbles = constants_256(tables);
    for ((block, check), mask) in data.iter().zip(check).zip(masks) {
        let (halves, _) = block.as_flattened().as_chunks();
        *mask = 0;
        for (i, (half, check)) in halves.iter().zip(check.as_chunks().0).enumerate() {
            let fits = _mm256_cmpeq_epi8(checks_256(&nibbles, half), load_256(check));
            *mask |= u64::from(!_mm256_movemask_epi8(fits).cast_unsigned()) << (32 * i);
        }
    }
}

#[target_feature(enable = "avx2")]
fn constants_256(tables: &Tables) -> Nibbles {
    tables.nibbles.map(|halves| {
        halves.map(|table| {
            let mut twice = [0; 32];
            twice.as_chunks_mut().0.fill(table);
            load_256(&twice)
        })
    })
}

/// The check bytes of 32 words.
#[target_feature(enable = "avx2")]
#[inline]
fn checks_256(nibbles: &Nibbles, words: &[u8; 256]) -> __m256i {
    let mut places: [__m256i; 8] = [_mm256_setzero_si256(); 8];
    for (vector, bytes) in places.iter_mut().zip(words.as_chunks().0) {
        *vector = load_256(bytes);
    }
    // Within each 128 bits the eight vectors are an array of 128 bytes with an index of 7 bits: 3 for the vector,
    // then 1 for the word in it, then 3 for the place in the word. A round of unpacking turns the index left by one
    // bit; after four the place comes first.
    for _ in 0..4 {
        places = unpack_256(places);
    }
    let low = _mm256_set1_epi8(15);
    let mut sum = _mm256_setzero_si256();
    for (place, [lower, upper]) in places.iter().zip(nibbles) {
        let of_lower = _mm256_shuffle_epi8(*lower, _mm256_and_si256(*place, low));
        let of_upper = _mm256_shuffle_epi8(*upper, _mm256_and_si256(_mm256_srli_epi16::<4>(*place), low));
        sum = _mm256_xor_si256(sum, _mm256_xor_si256(of_lower, of_upper));
    }
    // The lower 128 bits have words 0, 1, 4, 5 ..., the upper ones 2, 3, 6, 7 ...
    let (lower, upper) = (_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    _mm256_set_m128i(_mm_unpackhi_epi16(lower, upper), _mm_unpacklo_epi16(lower, upper))
}

#[target_feature(enable = "avx2")]
#[inline]
fn unpack_256([a, b, c, d, e, f, g, h]: [__m256i; 8]) -> [__m256i; 8] {
    [
        _mm256_unpacklo_epi8(a, e),
        _mm256_unpackhi_epi8(a, e),
        _mm256_unpacklo_epi8(b, f),
        _mm256_unpackhi_epi8(b, f),
        _mm256_unpacklo_epi8(c, g),
        _mm256_unpackhi_epi8(c, g),
        _mm256_unpacklo_epi8(d, h),
        _mm256_unpackhi_epi8(d, h),
    ]
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: reads 32 bytes from an array of 32 bytes; no alignment is asked for.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store_256(bytes: &mut [u8; 32], vector: __m256i) {
    // SAFETY: writes 32 bytes to an array of 32 bytes; no alignment is asked for.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), vector) }
}
