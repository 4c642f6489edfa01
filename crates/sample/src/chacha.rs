//! ChaCha8 blocks, many at once.
//!
//! A general generator computes the next blocks of one sequence. Draws read the first few words of very many sequences, so here any
//! blocks of any sequences lie side by side in the lanes of vector registers. The words are those of
//! [`ChaCha8Rng`](rand_chacha::ChaCha8Rng) (Bernstein, "ChaCha, a variant of Salsa20", 2008, with a 64-bit counter and a 64-bit
//! stream number).

/// Words of one block.
pub(crate) const WORDS: usize = 16;

/// The words of a block.
pub(crate) type Block = [u32; WORDS];

/// A block of a sequence, both numbered from 0.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) block: u64,
}

/// "expand 32-byte k"
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
const DOUBLE_ROUNDS: usize = 4;

/// Computes the block of each place. The slices have the same length.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn fill(key: &[u32; 8], places: &[Place], blocks: &mut [Block]) {
    portable(key, places, blocks);
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) use x86::fill;

/// Computes the block of each place, one after the other.
fn portable(key: &[u32; 8], places: &[Place], blocks: &mut [Block]) {
    for (place, block) in places.iter().zip(blocks) {
        let first = first_state(key, *place);
        let mut state = first;
        for _ in 0..DOUBLE_ROUNDS {
            for column in 0..4 {
                quarter_round(&mut state, [column, 4 + column, 8 + column, 12 + column]);
            }
            for column in 0..4 {
                let turned = |row: usize| 4 * row + (column + row) % 4;
                quarter_round(&mut state, [column, turned(1), turned(2), turned(3)]);
            }
        }
        *block = std::array::from_fn(|word| state[word].wrapping_add(first[word]));
    }
}

fn quarter_round(state: &mut Block, [a, b, c, d]: [usize; 4]) {
    for (turn_d, turn_b) in [(16, 12), (8, 7)] {
        state[a] = state[a].wrapping_add(state[b]);
        state[d] = (state[d] ^ state[a]).rotate_left(turn_d);
        state[c] = state[c].wrapping_add(state[d]);
        state[b] = (state[b] ^ state[c]).rotate_left(turn_b);
    }
}

fn first_state(key: &[u32; 8], Place { sequence, block }: Place) -> Block {
    let mut state = [0; WORDS];
    state[..4].copy_from_slice(&CONSTANTS);
    state[4..12].copy_from_slice(key);
    state[12..].copy_from_slice(&[block, block >> 32, sequence, sequence >> 32].map(|word| word as u32));
    state
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Block, CONSTANTS, DOUBLE_ROUNDS, Place, WORDS, portable};

    /// The words of as many blocks as a register has lanes: first the first word of each, then the second of each.
    macro_rules! lanes {
        ($name:ident, $feature:literal, $lanes:literal, $vector:ty, $all:ident, $add:ident, $xor:ident, |$value:ident, $left:ident, $right:ident| $rotated:expr) => {
            #[target_feature(enable = $feature)]
            fn $name(key: &[u32; 8], places: &[Place; $lanes], words: &mut [[u32; $lanes]; WORDS]) {
                #[target_feature(enable = $feature)]
                fn mixed<const $left: i32, const $right: i32>(one: $vector, other: $vector) -> $vector {
                    let $value = $xor(one, other);
                    $rotated
                }
                #[target_feature(enable = $feature)]
                fn quarter_round(state: &mut [$vector; WORDS], a: usize, b: usize, c: usize, d: usize) {
                    state[a] = $add(state[a], state[b]);
                    state[d] = mixed::<16, 16>(state[d], state[a]);
                    state[c] = $add(state[c], state[d]);
                    state[b] = mixed::<12, 20>(state[b], state[c]);
                    state[a] = $add(state[a], state[b]);
                    state[d] = mixed::<8, 24>(state[d], state[a]);
                    state[c] = $add(state[c], state[d]);
                    state[b] = mixed::<7, 25>(state[b], state[c]);
                }
                let mut numbers = [[0; $lanes]; 4];
                for (lane, place) in places.iter().enumerate() {
                    (numbers[0][lane], numbers[1][lane]) = (place.block as u32, (place.block >> 32) as u32);
                    (numbers[2][lane], numbers[3][lane]) =
                        (place.sequence as u32, (place.sequence >> 32) as u32);
                }
                let mut first = [$all(0); WORDS];
                for (word, &constant) in first.iter_mut().zip(CONSTANTS.iter().chain(key)) {
                    *word = $all(constant.cast_signed());
                }
                for (word, numbers) in first[12..].iter_mut().zip(numbers) {
                    // SAFETY: both are as many plain words, of which any bits are a value.
                    *word = unsafe { std::mem::transmute::<[u32; $lanes], $vector>(numbers) };
                }
                let mut state = first;
                for _ in 0..DOUBLE_ROUNDS {
                    quarter_round(&mut state, 0, 4, 8, 12);
                    quarter_round(&mut state, 1, 5, 9, 13);
                    quarter_round(&mut state, 2, 6, 10, 14);
                    quarter_round(&mut state, 3, 7, 11, 15);
                    quarter_round(&mut state, 0, 5, 10, 15);
                    quarter_round(&mut state, 1, 6, 11, 12);
                    quarter_round(&mut state, 2, 7, 8, 13);
                    quarter_round(&mut state, 3, 4, 9, 14);
                }
                for (words, (state, first)) in words.iter_mut().zip(state.into_iter().zip(first)) {
                    // SAFETY: as above.
                    *words = unsafe { std::mem::transmute::<$vector, [u32; $lanes]>($add(state, first)) };
                }
            }
        };
    }

    lanes!(
        avx512,
        "avx512f",
        16,
        __m512i,
        _mm512_set1_epi32,
        _mm512_add_epi32,
        _mm512_xor_si512,
        |value, LEFT, RIGHT| _mm512_rol_epi32::<LEFT>(value)
    );
    lanes!(
        avx2,
        "avx2",
        8,
        __m256i,
        _mm256_set1_epi32,
        _mm256_add_epi32,
        _mm256_xor_si256,
        |value, LEFT, RIGHT| {
            _mm256_or_si256(_mm256_slli_epi32::<LEFT>(value), _mm256_srli_epi32::<RIGHT>(value))
        }
    );

    /// Computes the block of each place. The slices have the same length.
    pub(crate) fn fill(key: &[u32; 8], places: &[Place], blocks: &mut [Block]) {
        if is_x86_feature_detected!("avx512f") {
            fill_avx512(key, places, blocks);
        } else if is_x86_feature_detected!("avx2") {
            fill_avx2(key, places, blocks);
        } else {
            portable(key, places, blocks);
        }
    }

    /// # Panics
    /// Without the feature.
    fn fill_avx512(key: &[u32; 8], places: &[Place], blocks: &mut [Block]) {
        assert!(is_x86_feature_detected!("avx512f"));
        // SAFETY: the feature was just found, and the function has no other precondition.
        by_lanes(places, blocks, |places, words| unsafe { avx512(key, places, words) });
    }

    /// # Panics
    /// Without the feature.
    fn fill_avx2(key: &[u32; 8], places: &[Place], blocks: &mut [Block]) {
        assert!(is_x86_feature_detected!("avx2"));
        // SAFETY: as above.
        by_lanes(places, blocks, |places, words| unsafe { avx2(key, places, words) });
    }

    /// Those that this machine has.
    #[cfg(test)]
    pub(super) fn ways() -> Vec<(&'static str, super::tests::Fill)> {
        let mut ways: Vec<(&'static str, super::tests::Fill)> = Vec::new();
        if is_x86_feature_detected!("avx512f") {
            ways.push(("AVX-512", fill_avx512));
        }
        if is_x86_feature_detected!("avx2") {
            ways.push(("AVX2", fill_avx2));
        }
        ways
    }

    /// All blocks, `L` at a time.
    fn by_lanes<const L: usize>(
        places: &[Place],
        blocks: &mut [Block],
        lanes: impl Fn(&[Place; L], &mut [[u32; L]; WORDS]),
    ) {
        let mut words = [[0; L]; WORDS];
        for (some, blocks) in places.chunks(L).zip(blocks.chunks_mut(L)) {
            let mut all = [Place::default(); L];
            all[..some.len()].copy_from_slice(some);
            lanes(&all, &mut words);
            transpose(&words, blocks);
        }
    }

    /// Not compiled for any wider instruction set: the compiler would gather, which is slower than these squares of four by four.
    #[inline(never)]
    fn transpose<const L: usize>(words: &[[u32; L]; WORDS], blocks: &mut [Block]) {
        for (some, blocks) in blocks.chunks_mut(4).enumerate() {
            for first in (0..WORDS).step_by(4) {
                let row = |row: usize| &words[first + row][4 * some..4 * some + 4];
                let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
                for (lane, block) in blocks.iter_mut().enumerate() {
                    block[first..first + 4].copy_from_slice(&[a[lane], b[lane], c[lane], d[lane]]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    fn reference(seed: [u8; 32], place: Place) -> Block {
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(place.sequence);
        rng.set_word_pos(u128::from(place.block) * WORDS as u128);
        std::array::from_fn(|_| rng.next_u32())
    }

    #[test]
    fn blocks_are_those_of_the_generator() {
        let seed: [u8; 32] = std::array::from_fn(|byte| (byte * 37 % 251) as u8);
        let key = std::array::from_fn(|word| u32::from_le_bytes(seed.as_chunks().0[word]));
        let far = |number: u64| if number % 3 == 2 { u64::MAX - number * number } else { number };
        let place = |i: u64| Place { sequence: far(i), block: far(i / 4 + 1) >> 7 };
        let places: Vec<Place> = (0..53).map(place).collect();
        for count in [0, 1, 3, 4, 5, 8, 9, 15, 16, 17, 32, 53] {
            let places = &places[..count];
            let wanted: Vec<Block> = places.iter().map(|&place| reference(seed, place)).collect();
            for (name, fill) in ways() {
                let mut blocks = vec![[0; WORDS]; count];
                fill(&key, places, &mut blocks);
                assert_eq!(blocks, wanted, "{count} blocks, {name}");
            }
        }
    }

    pub(super) type Fill = fn(&[u32; 8], &[Place], &mut [Block]);

    /// Every way that this machine has.
    fn ways() -> Vec<(&'static str, Fill)> {
        let mut ways: Vec<(&'static str, Fill)> = vec![("chosen", fill), ("portable", portable)];
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        ways.extend(x86::ways());
        ways
    }
}
