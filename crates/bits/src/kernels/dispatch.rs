//! One copy of every streaming loop for each instruction set, and the choice among them.
//!
//! The loops are those of `loops`, compiled three times: for the machine that the executable was built for, for AVX2, and
//! for AVX-512 with its byte, popcount and permutation extensions. All give the same results; a test below compares them.

use std::sync::OnceLock;

use bytemuck::NoUninit;

use super::hamming::Count;
use super::loops::{self, BLOCK, Op};
use super::word::Word;
#[cfg(target_arch = "x86_64")]
use super::x86;

/// An instruction set that this machine has.
///
/// Invariant: a level other than `Portable` exists only after the processor was found to have all its features; the one
/// place that makes them is [`Level::available`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The name of the instruction set that the kernels use here: `portable`, `avx2` or `avx512`.
///
/// It decides the speed, never a result.
pub fn instruction_set() -> &'static str {
    Level::best().name()
}

impl Level {
    pub(super) const PORTABLE: Level = Level(Set::Portable);

    /// The fastest level of this machine.
    #[inline]
    pub(super) fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Level::available().last().unwrap_or(Level::PORTABLE))
    }

    /// The levels of this machine, the fastest last.
    pub(super) fn available() -> impl Iterator<Item = Level> {
        [Some(Level::PORTABLE), Level::avx2(), Level::avx512()].into_iter().flatten()
    }

    pub(super) fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn avx2() -> Option<Level> {
        None
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn avx512() -> Option<Level> {
        None
    }
}

/// Defines `detect`, which looks for a list of features, and the attribute that compiles a function for the same list.
macro_rules! features {
    ($with:ident, $detect:ident, $set:ident, $($feature:tt)*) => {
        #[cfg(target_arch = "x86_64")]
        impl Level {
            #[inline]
            fn $detect() -> Option<Level> {
                let found = true $(&& is_x86_feature_detected!($feature))*;
                found.then_some(Level(Set::$set))
            }
        }

        macro_rules! $with {
            ($item:item) => {
                #[cfg(target_arch = "x86_64")]
                $(#[target_feature(enable = $feature)])*
                $item
            };
        }
    };
}

features!(with_avx2, avx2, Avx2, "avx2" "bmi1" "bmi2" "popcnt");
features!(with_avx512, avx512, Avx512, "avx2" "bmi1" "bmi2" "popcnt" "avx512f" "avx512bw" "avx512cd" "avx512dq"
    "avx512vl" "avx512vbmi" "avx512bitalg" "avx512vpopcntdq");

/// For every loop, a function with the level as its first argument.
macro_rules! dispatched {
    ($(fn $name:ident $(<$($parameter:ident: $bound:ident),*>)? $([const $constant:ident: $of:ty])?
        ($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => { $(
        #[allow(unsafe_code)]
        pub(super) fn $name $(<$($parameter: $bound),*>)? $(<const $constant: $of>)?
            (level: Level, $($argument: $type),*) $(-> $result)? {
            with_avx2! {
                fn avx2 $(<$($parameter: $bound),*>)? $(<const $constant: $of>)? ($($argument: $type),*) $(-> $result)? {
                    loops::$name $(::<$($parameter),*>)? $(::<$constant>)? ($($argument),*)
                }
            }
            with_avx512! {
                fn avx512 $(<$($parameter: $bound),*>)? $(<const $constant: $of>)? ($($argument: $type),*) $(-> $result)? {
                    loops::$name $(::<$($parameter),*>)? $(::<$constant>)? ($($argument),*)
                }
            }
            match level.0 {
                Set::Portable => loops::$name $(::<$($parameter),*>)? $(::<$constant>)? ($($argument),*),
                // SAFETY: the function is safe but for its processor features, and a `Level` of this set exists only
                // after `is_x86_feature_detected!` found exactly those (same list, macro `features`).
                #[cfg(target_arch = "x86_64")]
                Set::Avx2 => unsafe { avx2 $(::<$($parameter),*>)? $(::<$constant>)? ($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Set::Avx512 => unsafe { avx512 $(::<$($parameter),*>)? $(::<$constant>)? ($($argument),*) },
            }
        }
    )* };
}

dispatched! {
    fn in_place<O: Op>(left: &mut [u8], right: &[u8]);
    fn into<O: Op>(left: &[u8], right: &[u8], out: &mut [u8]);
    fn set(words: &mut [u8], set1: &[u8], set0: &[u8]);
    fn each<W: Word>(words: &mut [W], keep: W, toggle: W);
    fn repeat [const M: u32] (bytes: &mut [u8], keep: &[u8; BLOCK], toggle: &[u8; BLOCK]);
    fn hamming_total(left: &[u8], right: &[u8]) -> u64;
    fn flip_counted(bytes: &mut [u8], mask: &[u8]) -> u64;
    fn hamming_each<W: Word, C: Count>(left: &[W], right: &[W], out: &mut [C]);
    fn widen<C: Count>(bytes: &[u8], out: &mut [C]);
    fn project_msb<W: Word>(left: &[W], right: &mut [W]);
    fn spread_bits(bytes: &[u8], out: &mut [bool]);
    fn gather_bits(bools: &[bool], out: &mut [u8]);
}

/// Packs whole blocks of codes of `M` bits, at most 7; returns the bits that occur in any code.
#[allow(unsafe_code)]
pub(super) fn pack<const M: u32>(level: Level, codes: &[u8], out: &mut [u8]) -> u8 {
    match level.0 {
        Set::Portable => loops::pack::<M>(codes, out),
        // SAFETY: as in `dispatched`; the function needs a part of the features of the level.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => unsafe { x86::pack_avx2::<M>(codes, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => unsafe { x86::pack_avx512::<M>(codes, out) },
    }
}

/// Unpacks whole blocks of codes of `M` bits, at most 7; or, with `COUNT`, writes the number of bits in which each code of
/// `bytes` differs from that of `other`. Both may go on behind the blocks; it is faster if they do.
#[allow(unsafe_code)]
pub(super) fn unpack<const M: u32, const COUNT: bool>(
    level: Level,
    bytes: &[u8],
    other: &[u8],
    out: &mut [u8],
) {
    match level.0 {
        Set::Portable => loops::unpack::<M, COUNT>(bytes, other, out),
        // SAFETY: as in `dispatched`; the function needs a part of the features of the level.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => unsafe { x86::unpack_avx2::<M, COUNT>(bytes, other, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => unsafe { x86::unpack_avx512::<M, COUNT>(bytes, other, out) },
    }
}

/// Copies whole lines of 64 bytes to the main memory, past the caches; returns how many elements that were.
///
/// A processor reads a line of memory before it overwrites it, unless it is told that all of it will be: then a third
/// of the traffic of a kernel with one input and one output is saved. Nothing is copied where that cannot be done: on a
/// level without such stores, or if `out` does not begin at a multiple of 64 bytes. Other threads may see these stores
/// only after [`fence`].
#[allow(unsafe_code)]
pub(super) fn stream<T: NoUninit>(level: Level, from: &[T], out: &mut [T]) -> usize {
    match level.0 {
        Set::Portable => 0,
        // SAFETY: as in `dispatched`; the function needs a part of the features of the level.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => unsafe { x86::stream_avx2(from, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => unsafe { x86::stream_avx512(from, out) },
    }
}

/// Orders all stores of [`stream`] before those that follow.
#[allow(unsafe_code)]
pub(super) fn fence(level: Level) {
    match level.0 {
        Set::Portable => {}
        // SAFETY: the instruction belongs to SSE, which every x86-64 processor has, and touches no memory.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 | Set::Avx512 => unsafe { std::arch::x86_64::_mm_sfence() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words without a pattern, the same on every machine.
    fn bytes(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    /// The lengths reach every remainder of the vectors, and every vector.
    fn lengths() -> impl Iterator<Item = usize> {
        (0..200).chain([256, 1000, 1024, 4097])
    }

    /// Runs a kernel on every level and compares what it writes with the portable level.
    fn same_on_all_levels(name: &str, run: impl Fn(Level, usize) -> Vec<u8>) {
        for length in lengths() {
            let expected = run(Level::PORTABLE, length);
            for level in Level::available() {
                assert!(run(level, length) == expected, "{name}, {} elements, {}", length, level.name());
            }
        }
    }

    fn words<W: Word>(seed: u64, length: usize) -> Vec<W> {
        let bytes = bytes(seed, length * size_of::<W>());
        bytes.chunks_exact(size_of::<W>()).map(bytemuck::pod_read_unaligned).collect()
    }

    #[test]
    fn the_first_level_is_portable_and_the_best_is_the_last() {
        let levels: Vec<Level> = Level::available().collect();
        assert_eq!((levels.first(), levels.last()), (Some(&Level::PORTABLE), Some(&Level::best())));
        assert_eq!(instruction_set(), Level::best().name());
    }

    fn bitwise_agrees<O: Op>(name: &str) {
        same_on_all_levels(name, |level, length| {
            let (mut left, right) = (bytes(1, length), bytes(2, length));
            let mut out = vec![0; length];
            into::<O>(level, &left, &right, &mut out);
            in_place::<O>(level, &mut left, &right);
            assert_eq!(left, out);
            out
        });
    }

    #[test]
    fn bitwise_operations_agree() {
        bitwise_agrees::<loops::And>("and");
        bitwise_agrees::<loops::Or>("or");
        bitwise_agrees::<loops::Xor>("xor");
        bitwise_agrees::<loops::AndNot>("and not");
        same_on_all_levels("set", |level, length| {
            let mut words = bytes(1, length);
            set(level, &mut words, &bytes(2, length), &bytes(3, length));
            words
        });
    }

    fn words_agree<W: Word>() {
        same_on_all_levels("each", |level, length| {
            let mut all = words::<W>(1, length);
            let [keep, toggle] = [all.first(), all.last()].map(|word| word.copied().unwrap_or(W::ZERO));
            each(level, &mut all, keep, toggle);
            bytemuck::cast_slice(&all).to_vec()
        });
        same_on_all_levels("project_msb", |level, length| {
            let mut right = words::<W>(2, length);
            project_msb(level, &words::<W>(1, length), &mut right);
            bytemuck::cast_slice(&right).to_vec()
        });
        same_on_all_levels("hamming_each", |level, length| {
            let (mut narrow, mut wide) = (vec![0_u8; length], vec![0_u32; length]);
            hamming_each(level, &words::<W>(1, length), &words::<W>(2, length), &mut narrow);
            hamming_each(level, &words::<W>(1, length), &words::<W>(2, length), &mut wide);
            assert!(narrow.iter().zip(&wide).all(|(narrow, wide)| u32::from(*narrow) == *wide));
            narrow
        });
    }

    #[test]
    fn kernels_of_words_agree() {
        words_agree::<u8>();
        words_agree::<u16>();
        words_agree::<u32>();
        words_agree::<u64>();
    }

    #[test]
    fn counts_and_bits_agree() {
        same_on_all_levels("hamming_total", |level, length| {
            hamming_total(level, &bytes(1, length), &bytes(2, length)).to_le_bytes().to_vec()
        });
        same_on_all_levels("flip_counted", |level, length| {
            let (before, mask) = (bytes(1, length), bytes(2, length));
            let mut after = before.clone();
            let flips = flip_counted(level, &mut after, &mask);
            assert_eq!(flips, hamming_total(Level::PORTABLE, &before, &after));
            assert!(before.iter().zip(&mask).map(|(byte, mask)| byte ^ mask).eq(after.iter().copied()));
            after
        });
        same_on_all_levels("widen", |level, length| {
            let mut wide = vec![0_u32; length];
            widen(level, &bytes(1, length), &mut wide);
            bytemuck::cast_slice(&wide).to_vec()
        });
        same_on_all_levels("spread_bits and gather_bits", |level, length| {
            let (all, mut bools, mut back) = (bytes(1, length), vec![false; 8 * length], vec![0; length]);
            spread_bits(level, &all, &mut bools);
            gather_bits(level, &bools, &mut back);
            assert_eq!(back, all);
            bytemuck::cast_slice(&bools).to_vec()
        });
    }

    fn packing_agrees<const M: u32>() {
        let group = 8 * M as usize;
        same_on_all_levels("pack", |level, blocks| {
            let codes: Vec<u8> =
                bytes(1, blocks % 40 * BLOCK).iter().map(|code| code & u8::low_mask(M)).collect();
            let mut packed = vec![0; blocks % 40 * group];
            let seen = pack::<M>(level, &codes, &mut packed);
            assert_eq!(seen, codes.iter().fold(0, |seen, code| seen | code));
            let mut back = vec![0; codes.len()];
            unpack::<M, false>(level, &packed, &[], &mut back);
            assert_eq!(back, codes);
            packed
        });
        same_on_all_levels("unpack, count and repeat", |level, blocks| {
            let blocks = blocks % 40;
            let (left, right) = (bytes(1, blocks * group + blocks), bytes(2, blocks * group + blocks));
            let (mut codes, mut counts) = (vec![0; blocks * BLOCK], vec![0; blocks * BLOCK]);
            unpack::<M, false>(level, &left, &[], &mut codes);
            unpack::<M, true>(level, &left, &right, &mut counts);
            let masks = |seed| bytes(seed, BLOCK).try_into().unwrap_or([0; BLOCK]);
            let mut repeated = left;
            repeat::<M>(level, &mut repeated, &masks(3), &masks(4));
            [codes, counts, repeated].concat()
        });
        let wide = [u8::MAX; BLOCK];
        for level in Level::available() {
            let seen = pack::<M>(level, &wide, &mut [0; BLOCK][..group]);
            assert_eq!(seen, u8::MAX, "{}: codes that are too wide show", level.name());
        }
    }

    #[test]
    fn packing_of_all_widths_agrees() {
        packing_agrees::<1>();
        packing_agrees::<2>();
        packing_agrees::<3>();
        packing_agrees::<4>();
        packing_agrees::<5>();
        packing_agrees::<6>();
        packing_agrees::<7>();
    }

    #[test]
    fn streaming_copies_whole_lines_from_an_aligned_start_only() {
        #[repr(align(64))]
        struct Lines([u8; 256]);
        let from = bytes(1, 256);
        for level in Level::available() {
            for (start, length) in [(0, 256), (0, 130), (0, 63), (1, 200), (32, 128)] {
                let mut out = Lines([0; 256]);
                let written = stream(level, &from[..length], &mut out.0[start..]);
                fence(level);
                let expected = if level == Level::PORTABLE || start > 0 { 0 } else { length / 64 * 64 };
                assert_eq!(written, expected, "{} {start} {length}", level.name());
                assert_eq!(out.0[start..start + written], from[..written]);
                assert!(out.0[start + written..].iter().all(|byte| *byte == 0));
            }
        }
    }
}
