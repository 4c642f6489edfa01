//! The bit kernels against naive per-bit references and the vectors of SPEC 1.2 and 2.1.

#![expect(clippy::excessive_precision, reason = "the numbers as they are published")]

use bitquake_bits::kernels::*;
use bitquake_testing::{SplitMix64, assert_cases};
use proptest::prelude::*;

fn naive_bits(word: u64, width: u32) -> Vec<bool> {
    (0..width).map(|bit| word / 2_u64.pow(bit) % 2 == 1).collect()
}

fn naive_word(bits: &[bool]) -> u64 {
    bits.iter().rev().fold(0, |word, bit| 2 * word + u64::from(*bit))
}

fn all_pairs() -> (Vec<u8>, Vec<u8>) {
    (0..=u8::MAX).flat_map(|left| (0..=u8::MAX).map(move |right| (left, right))).unzip()
}

/// Per bit, for every pair of bytes.
fn per_bit(rule: impl Fn(bool, bool) -> bool) -> Vec<u8> {
    let (left, right) = all_pairs();
    let word = |(left, right): (u8, u8)| {
        let pairs = naive_bits(left.into(), 8).into_iter().zip(naive_bits(right.into(), 8));
        naive_word(&pairs.map(|(left, right)| rule(left, right)).collect::<Vec<_>>()) as u8
    };
    left.into_iter().zip(right).map(word).collect()
}

#[test]
fn bitwise_operations_on_all_bytes() {
    let (left, right) = all_pairs();
    type Rule = fn(bool, bool) -> bool;
    let rules: [(Bitwise, Rule); 4] = [
        (Bitwise::And, |a, b| a && b),
        (Bitwise::Or, |a, b| a || b),
        (Bitwise::Xor, |a, b| a != b),
        (Bitwise::AndNot, |a, b| a && !b),
    ];
    for (op, rule) in rules {
        let expected = per_bit(rule);
        let mut out = vec![0; left.len()];
        op.into(&left, &right, &mut out).unwrap();
        assert_eq!(out, expected, "{op:?}");
        assert_eq!(op.of(&left, &right).unwrap(), expected, "{op:?}");
    }
}

#[test]
fn flips_of_a_mask_are_made_and_counted() {
    let (before, mask) = all_pairs();
    let wanted = per_bit(|bit, is_flipped| bit != is_flipped);
    // From every place within a line of memory, and to every place.
    for (start, end) in (0..130).map(|i| (i, before.len() - 7 * i)).chain([(5, 5), (0, 3)]) {
        let mut words = before.clone();
        let flips = flip_counted(&mut words[start..end], &mask[start..end]).unwrap();
        assert_eq!(flips, mask[start..end].iter().map(|mask| u64::from(mask.count_ones())).sum::<u64>());
        assert!(words[start..end] == wanted[start..end], "{start}..{end}");
        assert!(words[..start] == before[..start] && words[end..] == before[end..], "{start}..{end}");
    }
    let mut words = [1_u16, 2, 3];
    assert_eq!(flip_counted(&mut words, &[0x8001, 0, 0xffff]).unwrap(), 18);
    assert_eq!(words, [0x8000, 2, 0xfffc]);
    let error = flip_counted(&mut words, &[1, 1]).unwrap_err();
    assert!(matches!(error, KernelError::Length { .. }) && words == [0x8000, 2, 0xfffc], "{error}");
}

#[test]
fn distances_of_all_bytes() {
    let (left, right) = all_pairs();
    let expected: Vec<u32> = per_bit(|a, b| a != b)
        .into_iter()
        .map(|word| naive_bits(word.into(), 8).into_iter().filter(|bit| *bit).count() as u32)
        .collect();
    assert_eq!(hamming(&left, &right).unwrap(), expected);
    let mut narrow = vec![0_u8; left.len()];
    hamming_into(&left, &right, &mut narrow).unwrap();
    assert!(narrow.iter().zip(&expected).all(|(narrow, wide)| u32::from(*narrow) == *wide));
    assert_eq!(hamming_total(&left, &right).unwrap(), expected.iter().map(|count| u64::from(*count)).sum());
}

#[test]
fn projections_of_all_bytes() {
    let (left, right) = all_pairs();
    let expected: Vec<u8> = left
        .iter()
        .zip(&right)
        .map(|(left, right)| {
            let highest = (0..8).rev().find(|bit| (left >> bit ^ right >> bit) & 1 == 1);
            highest.map_or(*left, |bit| left ^ 1 << bit)
        })
        .collect();
    assert_eq!(msb_projection(&left, &right).unwrap(), expected);
}

#[test]
fn bits_of_all_bytes_in_both_orders() {
    let words: Vec<u8> = (0..=u8::MAX).collect();
    let expected: Vec<bool> = words.iter().flat_map(|word| naive_bits((*word).into(), 8)).collect();
    let axis = BitAxis::of::<u8>();
    assert_eq!(bits(&words, axis).unwrap(), expected);
    assert_eq!(from_bits::<u8>(&expected, axis).unwrap(), words);
    let reversed: Vec<bool> = expected.chunks(8).flat_map(|bits| bits.iter().rev().copied()).collect();
    assert_eq!(bits(&words, axis.msb_first()).unwrap(), reversed);
    assert_eq!(from_bits::<u8>(&reversed, axis.msb_first()).unwrap(), words);
}

/// SPEC 2.1.
#[test]
fn published_vectors() {
    let axis = BitAxis::of::<u32>();
    let one = bits(as_words(&[1_i32]), axis).unwrap();
    assert_eq!(one, std::iter::once(true).chain([false; 31]).collect::<Vec<_>>());
    assert_eq!(hamming(&[1_u32], &[0]).unwrap(), [1]);
    assert_eq!(Bitwise::And.of(&[1_u32], &[3]).unwrap(), [1]);
    assert_eq!(Bitwise::Or.of(&[1_u32], &[3]).unwrap(), [3]);
    assert_eq!(Bitwise::Xor.of(&[1_u32], &[3]).unwrap(), [2]);
    let (bit0, bit1) = (one, bits(&[2_u32], axis).unwrap());
    let mut word = [1_u32];
    flip_bits(&mut word, &bit0, axis).unwrap();
    assert_eq!(word, [0]);
    let mut word = [1_u32];
    set_bits(&mut word, &bit1, &bit0, axis).unwrap();
    assert_eq!(word, [2]);
    assert_cases((0..8).zip([129, 130, 132, 136, 144, 160, 192, 0]).map(|(b, to)| (b, b, to)), |bit| {
        let mut word = [128_u8];
        flip_at(&mut word, &[(0, bit)]).unwrap();
        word[0]
    });
    assert_eq!(msb_projection(&[0b0101_u8], &[0b1001]).unwrap(), [0b1101]);
    let mut word = [0b10111_u8];
    set_zero(&mut word, 3).unwrap();
    assert_eq!(word, [0b10000]);
}

/// SPEC 1.2.
#[test]
fn float_vectors() {
    let rows = [
        (-1099712250, -0.2380104959011078_f32, "10111110011100111011100100000110"),
        (1020618774, 0.026050608605146408, "00111100110101010110100000010110"),
        (1046115288, 0.21333253383636475, "00111110010110100111001111011000"),
        (-1096991409, -0.3071083724498749, "10111110100111010011110101001111"),
        (-1096167765, -0.3316548764705658, "10111110101010011100111010101011"),
        (1050902816, 0.31934452056884766, "00111110101000111000000100100000"),
        (-1117487605, -0.05578426644206047, "10111101011001000111111000001011"),
        (1051193350, 0.3280031085014343, "00111110101001111111000000000110"),
        (1039613558, 0.12072460353374481, "00111101111101110011111001110110"),
    ];
    for (view, value, text) in rows {
        assert_eq!(as_words(&[value]), as_words(&[view]));
        assert_eq!(bit_strings(as_words(&[value]), 32).unwrap(), [text]);
        assert_eq!(from_words::<i32>(&parse_bit_strings(&[text], 32).unwrap()), [view]);
        let axis = BitAxis::of::<u32>().msb_first();
        let row: Vec<bool> = text.bytes().map(|digit| digit == b'1').collect();
        assert_eq!(bits(as_words(&[value]), axis).unwrap(), row);
    }
    let flips = [
        (0.5_f32, 0, 0.5000000596046448_f32),
        (0.5, 12, 0.500244140625),
        (0.5, 22, 0.75),
        (0.5, 23, 1.0),
        (0.5, 24, 0.125),
        (0.5, 29, 2.710505431213761e-20),
        (0.5, 30, 1.7014118346046923e38),
        (0.5, 31, -0.5),
        (1.0, 30, f32::INFINITY),
        (0.0, 30, 2.0),
        (0.0, 31, -0.0),
        (0.026050608605146408, 24, 0.10420243442058563),
    ];
    for (value, bit, expected) in flips {
        let mut flipped = [value];
        flip_at(as_words_mut(&mut flipped), &[(0, bit)]).unwrap();
        assert_eq!(flipped[0].to_bits(), expected.to_bits(), "{value} bit {bit}");
        let mut flipped = [value];
        flip_each(as_words_mut(&mut flipped), 1 << bit);
        assert_eq!(flipped[0].to_bits(), expected.to_bits(), "{value} bit {bit}");
    }
    let mut nan = [1.5_f32];
    flip_at(as_words_mut(&mut nan), &[(0, 30)]).unwrap();
    assert!(nan[0].is_nan());
}

#[test]
fn negative_numbers_print_as_raw_patterns() {
    assert_eq!(bit_strings(as_words(&[-101_i32]), 32).unwrap(), ["11111111111111111111111110011011"]);
    assert_eq!(bit_strings(&[5_u8], 3).unwrap(), ["101"]);
    let error = bit_strings(&[1_u8, 8], 3).unwrap_err();
    assert_eq!(error, KernelError::TooWide { index: 1, word: 8, width: 3 });
    assert_eq!(error.to_string(), "the word 0x8 of element 1 does not fit 3 bits");
    for text in ["", "10", "1010", "1x0", "+10", "0b1"] {
        let expected = KernelError::Digits { index: 1, text: text.into(), width: 3 };
        assert_eq!(parse_bit_strings::<u8>(&["101", text], 3), Err(expected));
    }
}

fn reference<W: Word>(words: &[W], rule: impl Fn(usize, u32, bool) -> bool) -> Vec<W> {
    let word = |(index, word): (usize, &W)| {
        let bits = naive_bits((*word).into(), W::BITS);
        let bits: Vec<bool> = (0..).zip(bits).map(|(bit, stored)| rule(index, bit, stored)).collect();
        W::of_low_bits(naive_word(&bits))
    };
    words.iter().enumerate().map(word).collect()
}

fn uniforms(seed: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..count).map(|_| (random.next_u64() >> 40) as f32 / 16_777_216.0).collect()
}

macro_rules! every_word {
    ($($name:ident: $word:ty),*) => { $(
        proptest! {
            #[test]
            fn $name(
                pairs in prop::collection::vec((any::<$word>(), any::<$word>(), any::<$word>()), 0..70),
                count in 0..=<$word>::BITS,
                mask: $word,
                seed: u64,
            ) {
                let a: Vec<$word> = pairs.iter().map(|pair| pair.0).collect();
                let b: Vec<$word> = pairs.iter().map(|pair| pair.1).collect();
                let c: Vec<$word> = pairs.iter().map(|pair| pair.2).collect();
                let has = |words: &[$word], index: usize, bit: u32| words[index] >> bit & 1 == 1;
                let axis = BitAxis::of::<$word>();

                let xor = reference(&a, |i, bit, stored| stored != has(&b, i, bit));
                prop_assert_eq!(&Bitwise::Xor.of(&a, &b).unwrap(), &xor);
                let ones: Vec<u32> = xor.iter().map(|word| word.count_ones()).collect();
                prop_assert_eq!(&hamming(&a, &b).unwrap(), &ones);
                prop_assert_eq!(hamming_total(&a, &b).unwrap(), ones.iter().map(|n| u64::from(*n)).sum::<u64>());

                let set = reference(&a, |i, bit, stored| (stored || has(&b, i, bit)) && !has(&c, i, bit));
                let mut words = a.clone();
                set_words(&mut words, &b, &c).unwrap();
                prop_assert_eq!(&words, &set);
                for axis in [axis, axis.msb_first()] {
                    let (set1, set0) = (bits(&b, axis).unwrap(), bits(&c, axis).unwrap());
                    let mut words = a.clone();
                    set_bits(&mut words, &set1, &set0, axis).unwrap();
                    prop_assert_eq!(&words, &set);
                    let mut words = a.clone();
                    flip_bits(&mut words, &set1, axis).unwrap();
                    prop_assert_eq!(&words, &xor);
                    prop_assert_eq!(&from_bits::<$word>(&set1, axis).unwrap(), &b);
                }
                let mut words = a.clone();
                set_each(&mut words, mask, mask >> 1);
                let both = reference(&a, |_, bit, stored| (stored || mask >> bit & 1 == 1) && (mask >> 1) >> bit & 1 == 0);
                prop_assert_eq!(&words, &both);
                let mut words = a.clone();
                set_zero(&mut words, count).unwrap();
                prop_assert_eq!(&words, &reference(&a, |_, bit, stored| stored && bit >= count));

                let text = bit_strings(&a, <$word>::BITS).unwrap();
                prop_assert_eq!(&parse_bit_strings::<$word>(&text, <$word>::BITS).unwrap(), &a);

                let rand = uniforms(seed, a.len() * <$word>::BITS as usize);
                let at = |i: usize, bit: u32| rand[i * <$word>::BITS as usize + bit as usize];
                let flipped = reference(&a, |i, bit, stored| {
                    let free = mask >> bit & 1 == 0 && has(&b, i, 0);
                    stored != (free && at(i, bit) < if stored { 0.7 } else { 0.2 })
                });
                let elements: Vec<bool> = (0..a.len()).map(|i| has(&b, i, 0)).collect();
                let mut words = a.clone();
                let flip = RandomFlip::new(0.2_f32, 0.7, axis).elements(&elements).protected(mask.into());
                let flips = flip.apply(&mut words, &rand).unwrap();
                prop_assert_eq!(&words, &flipped);
                prop_assert_eq!(flips, hamming_total(&a, &words).unwrap());
                let by_bit = flips_by_bit(&a, &words).unwrap();
                for (bit, count) in (0..).zip(by_bit) {
                    let changed = |to: bool| (0..a.len()).filter(|i| has(&words, *i, bit) == to && has(&a, *i, bit) != to).count() as u64;
                    prop_assert_eq!(count, FlipCount { to_one: changed(true), to_zero: changed(false) });
                }
            }
        }
    )* };
}

every_word!(kernels_of_u8: u8, kernels_of_u16: u16, kernels_of_u32: u32, kernels_of_u64: u64);

#[test]
fn random_flips_are_strict_and_exact_at_the_ends() {
    let axis = BitAxis::of::<u8>();
    let words: Vec<u8> = (0..=u8::MAX).collect();
    let rand = uniforms(1, 8 * words.len());
    let flipped =
        |p0, p1| Bitwise::Xor.of(&words, &RandomFlip::new(p0, p1, axis).masks(&words, &rand).unwrap());
    assert_eq!(flipped(0.0, 0.0).unwrap(), words);
    assert_eq!(flipped(1.0, 1.0).unwrap(), words.iter().map(|word| !word).collect::<Vec<_>>());
    assert_eq!(flipped(0.0, 1.0).unwrap(), [0; 256], "every stored 1 is lost");
    assert_eq!(flipped(1.0, 0.0).unwrap(), [255; 256]);
    let at_the_limit = RandomFlip::new(0.25_f64, 0.25, axis).masks(&[0_u8], &[0.25; 8]).unwrap();
    assert_eq!(at_the_limit, [0], "0.25 is not below 0.25");
    let below = RandomFlip::new(0.25_f64, 0.25, axis).masks(&[0_u8], &[0.25_f64.next_down(); 8]).unwrap();
    assert_eq!(below, [255]);
}

/// SPEC 2.10, 9: the sign bit of an `i32` used the wrong rate.
#[test]
fn the_sign_bit_obeys_its_own_rate() {
    let axis = BitAxis::of::<u32>();
    for (value, bit_is_set) in [(-1_i32, true), (i32::MIN, true), (i32::MAX, false), (0, false)] {
        let words = as_words(std::slice::from_ref(&value));
        let lost = RandomFlip::new(0.0_f32, 1.0, axis).masks(words, &[0.5; 32]).unwrap();
        assert_eq!(lost[0] >> 31 == 1, bit_is_set, "{value}");
        let won = RandomFlip::new(1.0_f32, 0.0, axis).masks(words, &[0.5; 32]).unwrap();
        assert_eq!(won[0] >> 31 == 1, !bit_is_set, "{value}");
    }
}

#[test]
fn rates_of_each_bit_and_narrow_codes_in_bytes() {
    // Two codes of 3 bits; the array's last axis begins with the most significant bit.
    let axis = BitAxis::new(3, BitOrder::Msb).unwrap();
    let words = [0b000_u8, 0b111];
    let p0 = [1.0_f32, 0.0, 0.0, 1.0, 1.0, 1.0];
    let p1 = [0.0_f32, 0.0, 0.0, 0.0, 0.0, 1.0];
    let flip = RandomFlip::per_bit(&p0, &p1, axis);
    assert_eq!(flip.masks(&words, &[0.5; 6]).unwrap(), [0b100, 0b001]);
    assert_eq!(flip.elements(&[false, true]).masks(&words, &[0.5; 6]).unwrap(), [0, 0b001]);
    assert_eq!(flip.protected(0b001).masks(&words, &[0.5; 6]).unwrap(), [0b100, 0]);
    let eight = BitAxis::of::<u8>();
    let unused = container_mask::<u8>(4).unwrap();
    let all = RandomFlip::new(1.0_f32, 1.0, eight).protected(unused.into());
    assert_eq!(all.masks(&[0xa5_u8], &[0.0; 8]).unwrap(), [0x0f]);
}

#[test]
fn rates_are_met_on_average() {
    let words = vec![0x0f_u8; 20_000];
    let rand = uniforms(7, 8 * words.len());
    let masks = RandomFlip::new(0.01, 0.03, BitAxis::of::<u8>()).masks(&words, &rand).unwrap();
    let flips = |part: u8| masks.iter().map(|mask| u64::from((mask & part).count_ones())).sum::<u64>();
    // False alarms: 1e-6 each.
    bitquake_testing::assert_binomial(flips(0xf0), 80_000, 0.01, 1e-6);
    bitquake_testing::assert_binomial(flips(0x0f), 80_000, 0.03, 1e-6);
}

#[test]
fn wrong_rates_and_uniforms_are_named() {
    let axis = BitAxis::of::<u8>();
    for (p0, p1, what) in [(-0.1, 0.5, "p0"), (0.5, 1.1, "p1"), (f64::NAN, 0.5, "p0")] {
        let error = RandomFlip::new(p0, p1, axis).masks(&[0_u8], &[0.5; 8]).unwrap_err();
        assert!(matches!(error, KernelError::Probability { what: named, index: 0, .. } if named == what));
    }
    let mut p1 = [0.5; 8];
    p1[3] = 2.0;
    let error = RandomFlip::per_bit(&[0.5; 8], &p1, axis).masks(&[0_u8], &[0.5; 8]).unwrap_err();
    assert_eq!(error.to_string(), "p1 is 2 at index 3, which is no probability from 0 to 1");
    for value in [1.0, -0.5, f64::NAN] {
        let mut rand = [0.5; 8];
        rand[5] = value;
        let mut words = [7_u8];
        let error = RandomFlip::new(1.0, 1.0, axis).apply(&mut words, &rand).unwrap_err();
        assert!(matches!(error, KernelError::Uniform { index: 5, .. }), "{error}");
        assert_eq!(words, [7]);
    }
}

/// The published rule by a full sort, against the selection.
fn sorted_projection(original: &[u8], perturbed: &[u8], k: usize) -> Vec<u8> {
    let mut order: Vec<usize> = (0..original.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(original[*i].abs_diff(perturbed[*i])));
    let mut out = original.to_vec();
    let msb = msb_projection(original, perturbed).expect("equal lengths");
    for index in order.into_iter().take(k) {
        out[index] = msb[index];
    }
    out
}

proptest! {
    #[test]
    fn hamming_projection_is_the_full_sort(
        pairs in prop::collection::vec((any::<u8>(), any::<u8>()), 0..60),
        bound in 0.0..70.0_f64,
    ) {
        let (original, perturbed): (Vec<u8>, Vec<u8>) = pairs.into_iter().unzip();
        let k = (bound.ceil() as usize).min(original.len().saturating_sub(1));
        let projected = hamming_projection(&original, &perturbed, bound).unwrap();
        prop_assert_eq!(&projected, &sorted_projection(&original, &perturbed, k));
        let distances = hamming(&original, &projected).unwrap();
        prop_assert!(distances.iter().all(|distance| *distance <= 1));
        prop_assert!(distances.iter().sum::<u32>() as usize <= k);
        let decoded = |a: u8, b: u8| real_distance(f64::from(b) - f64::from(a));
        prop_assert_eq!(&hamming_projection_by(&original, &perturbed, bound, decoded).unwrap(), &projected);
    }
}

#[test]
fn hamming_projection_cases() {
    // Ties go to the lower index, and differences of bytes do not wrap (SPEC 2.10, 16).
    assert_eq!(hamming_projection(&[0_u8; 4], &[4, 4, 4, 4], 2.0).unwrap(), [4, 4, 0, 0]);
    assert_eq!(hamming_projection(&[250_u8, 0, 0], &[0, 6, 0], 1.0).unwrap(), [250 ^ 128, 0, 0]);
    assert_eq!(hamming_projection(&[0_u8, 0], &[1, 2], 1e300).unwrap(), [0, 2], "n - 1 at most");
    assert_eq!(hamming_projection(&[1_u8], &[2], 5.0).unwrap(), [1]);
    assert_eq!(hamming_projection::<u8>(&[], &[], 1.0).unwrap(), []);
    assert_eq!(hamming_projection(&[1_u8, 2], &[3, 3], 0.0).unwrap(), [1, 2]);
    // Signed: -128 to 127 is further than -1 to 1.
    assert_eq!(hamming_projection(&[-1_i8, -128, 0], &[1, 127, 0], 1.0).unwrap(), [-1, 0, 0]);
    // Floats: NaN is the furthest; the infinite next.
    let flipped = hamming_projection(&[1.0_f32, 1.5, 2.0], &[f32::INFINITY, f32::NAN, 2.0], 1.0).unwrap();
    assert_eq!(flipped[0], 1.0);
    assert!(flipped[1].is_nan());
    for bound in [-1.0, f64::NAN] {
        assert!(matches!(hamming_projection(&[1_u8], &[2], bound), Err(KernelError::Bound { .. })));
    }
}

#[test]
fn arrays_that_do_not_fit_are_refused_and_nothing_changes() {
    let axis = BitAxis::of::<u8>();
    let wrong = |what, actual, expected| Err(KernelError::Length { what, actual, expected });
    let mut words = [1_u8, 2];
    assert_eq!(Bitwise::Xor.in_place(&mut words, &[1]), wrong("the right operand", 1, 2));
    assert_eq!(Bitwise::Xor.into(&words, &[1, 2], &mut [0; 3]), wrong("the output", 3, 2));
    assert_eq!(hamming_total(&words, &[1, 2, 3]), Err(wrong("the right operand", 3, 2).unwrap_err()));
    assert!(hamming(&words, &[1]).is_err() && flips_by_bit(&words, &[1]).is_err());
    assert_eq!(flip_bits(&mut words, &[true; 15], axis), wrong("the mask", 15, 16));
    assert_eq!(
        set_bits(&mut words, &[true; 16], &[true; 8], axis),
        wrong("the mask of bits to clear", 8, 16)
    );
    assert_eq!(set_words(&mut words, &[1], &[1, 2]), wrong("the mask of bits to set", 1, 2));
    assert_eq!(from_bits::<u8>(&[true; 9], axis), Err(wrong("the array of bits", 9, 16).unwrap_err()));
    assert!(msb_projection(&words, &[1]).is_err() && hamming_projection(&words, &[1], 1.0).is_err());
    let error = Bitwise::And.in_place(&mut words, &[1, 2, 3]).unwrap_err().to_string();
    assert_eq!(error, "the right operand has 3 elements, but 2 are needed");
    assert_eq!(words, [1, 2]);

    let wide = BitAxis::new(9, BitOrder::Lsb).unwrap();
    assert_eq!(bits(&words, wide), Err(KernelError::Width { width: 9, max: 8 }));
    assert_eq!(BitAxis::new(0, BitOrder::Lsb), Err(KernelError::Width { width: 0, max: 64 }));
    assert_eq!(BitAxis::new(65, BitOrder::Msb), Err(KernelError::Width { width: 65, max: 64 }));
    let narrow = BitAxis::new(1, BitOrder::Lsb).unwrap();
    assert_eq!(bits(&words, narrow), Err(KernelError::TooWide { index: 1, word: 2, width: 1 }));
    assert_eq!(set_zero(&mut words, 9), Err(KernelError::LowBits { bits: 9, width: 8 }));
    assert_eq!(flip_at(&mut words, &[(0, 1), (1, 8)]), Err(KernelError::Bit { bit: 8, width: 8 }));
    assert_eq!(flip_at(&mut words, &[(0, 1), (2, 0)]), Err(KernelError::Index { index: 2, bound: 2 }));
    assert_eq!(check_codes(&words, 1), Err(KernelError::TooWide { index: 1, word: 2, width: 1 }));
    assert_eq!(words, [1, 2]);
    assert_eq!(
        protected_mask::<u8>(&[0; 7]).unwrap_err(),
        wrong("the list of protected bits", 7, 8).unwrap_err()
    );
    assert_eq!(
        protected_mask::<u8>(&[0, 0, 2, 0, 0, 0, 0, 0]),
        Err(KernelError::Protected { index: 2, value: 2 })
    );
    assert_eq!(container_mask::<u8>(9), Err(KernelError::Width { width: 9, max: 8 }));
}

#[test]
fn large_outputs_are_the_same() {
    // Beyond the size from which outputs are written past the caches, and off its alignment.
    let length = (9 << 20) + 77;
    let mut random = SplitMix64::new(3);
    let mut bytes = |n: usize| -> Vec<u8> {
        (0..n.div_ceil(8)).flat_map(|_| random.next_u64().to_le_bytes()).take(n).collect()
    };
    let (a, b) = (bytes(length), bytes(length));
    for start in [0, 1, 48, 63] {
        let (a, b) = (&a[start..], &b[start..]);
        let mut out = vec![0; a.len()];
        Bitwise::Xor.into(a, b, &mut out).unwrap();
        assert!(out.iter().zip(a.iter().zip(b)).all(|(out, (a, b))| *out == a ^ b));
        let mut out = vec![0_u8; a.len()];
        hamming_into(a, b, &mut out).unwrap();
        assert!(out.iter().zip(a.iter().zip(b)).all(|(out, (a, b))| u32::from(*out) == (a ^ b).count_ones()));
    }
    let few = &a[..(2 << 20) + 3];
    let flags = bits(few, BitAxis::of::<u8>()).unwrap();
    assert!(flags.chunks(8).zip(few).all(|(bits, word)| naive_word(bits) == u64::from(*word)));
    assert!(
        hamming(few, &b[..few.len()])
            .unwrap()
            .iter()
            .zip(few.iter().zip(&b))
            .all(|(n, (a, b))| *n == (a ^ b).count_ones())
    );
}

#[test]
fn threads_give_the_same_and_any_number_will_do() {
    let a: Vec<u32> = (0..1000_u32).map(|i| i.wrapping_mul(0x9e37_79b9)).collect();
    let b: Vec<u32> = a.iter().map(|word| word.rotate_left(7)).collect();
    let expected = Bitwise::Xor.of(&a, &b).unwrap();
    for threads in [0, 1, 2, 3, 7, 5000] {
        let mut words = a.clone();
        let done = on_threads(threads, (&mut words[..], &b[..]), |(a, b)| Bitwise::Xor.in_place(a, b));
        assert_eq!(done.len(), threads.clamp(1, 1000));
        assert!(done.iter().all(Result::is_ok));
        assert_eq!(words, expected);
        let sums = on_threads(threads, (&a[..], &b[..]), |(a, b)| hamming_total(a, b).unwrap());
        assert_eq!(sums.iter().sum::<u64>(), hamming_total(&a, &b).unwrap());
    }
    let lengths = on_threads(3, &a[..0], <[u32]>::len);
    assert_eq!(lengths, [0]);
    let firsts = on_threads(4, Groups { array: &a[..10], size: 4 }, |piece| piece.array.len());
    assert_eq!(firsts, [4, 4, 2], "whole groups, the last incomplete");
}

#[test]
fn shapes_and_fractions() {
    assert_eq!(flat_index(&[432, 3, 3, 3], &[431, 2, 2, 2]).unwrap(), 432 * 27 - 1);
    assert_eq!(flat_index(&[], &[]).unwrap(), 0);
    assert_eq!(multi_index(&[], 0).unwrap(), [0_u64; 0]);
    for flat in 0..24 {
        let index = multi_index(&[2, 3, 4], flat).unwrap();
        assert_eq!(flat_index(&[2, 3, 4], &index), Ok(flat));
    }
    assert_eq!(multi_index(&[2, 3], 6), Err(ShapeError::Flat { index: 6, bound: 6 }));
    assert_eq!(multi_index(&[2, 0], 0), Err(ShapeError::Flat { index: 0, bound: 0 }));
    assert_eq!(flat_index(&[2, 3], &[0, 3]), Err(ShapeError::Axis { index: 3, axis: 1, bound: 3 }));
    assert_eq!(flat_index(&[2, 3], &[0]), Err(ShapeError::Rank { actual: 1, expected: 2 }));
    assert!(matches!(flat_index(&[u64::MAX, 2], &[0, 0]), Err(ShapeError::TooLarge { .. })));
    assert_eq!(check_indices(&[0, 5, 6, 7], 6), Err(ShapeError::Flat { index: 6, bound: 6 }));
    assert_eq!(check_indices(&[0, 5], 6), Ok(()));

    let filters = [64, 3, 3, 3];
    let rows: [(f64, Of, &[u64], u64, u64); 10] = [
        (0.05, Of::Elements, &filters, 86, 1728),
        (0.05, Of::Rows, &filters, 3, 64),
        (0.05, Of::Bits(32), &filters, 2765, 55_296),
        (0.05, Of::Elements, &[1], 1, 1),
        (1e-9, Of::Elements, &[1000], 1, 1000),
        (0.0, Of::Elements, &[1000], 0, 1000),
        (1.0, Of::Elements, &[1000], 1000, 1000),
        (0.5, Of::Elements, &[5], 3, 5),
        (0.5, Of::Rows, &[], 1, 1),
        (0.0, Of::Elements, &[0], 0, 0),
    ];
    assert_cases(
        rows.map(|(fraction, of, shape, count, population)| {
            (format!("{fraction} of {of:?} {shape:?}"), (fraction, of, shape), Ok((count, population)))
        }),
        |(fraction, of, shape)| sample_size(fraction, of, shape).map(|size| (size.count, size.population)),
    );
    for fraction in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(sample_size(fraction, Of::Elements, &[3]), Err(ShapeError::Fraction { .. })));
    }
    let error = sample_size(0.5, Of::Rows, &[3, 0]).unwrap_err().to_string();
    assert_eq!(error, "a fraction of 0.5 selects nothing: the shape [3, 0] has no elements");
}
