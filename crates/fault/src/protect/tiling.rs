//! How code words tile the bits of a tensor.

/// The protected bits of a tensor, numbered in their order, cut into code words.
///
/// With an interleave of I, words come in groups of I; in a group, bits (or symbols, `unit` bits each) go to its
/// words in turn. The last words may be shorter: the missing bits are zeros that are not stored and cannot fail. The
/// check bits of a group are stored together, and take turns likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    /// Bits of an element.
    pub(super) width: u32,
    /// The protected bits of an element.
    pub(super) mask: u64,
    /// Elements of the tensor.
    pub(super) elements: u64,
    /// Data bits of a full code word.
    pub(super) data_bits: u32,
    /// Check bits of a code word.
    pub(super) check_bits: u32,
    /// Neighbouring bits that stay together.
    pub(super) unit: u32,
    /// Words of a group.
    pub(super) interleave: u32,
}

impl Tiling {
    /// Protected bits of an element.
    pub(super) fn selected(&self) -> u32 {
        self.mask.count_ones()
    }

    /// Protected bits of the tensor. The caller has seen to it that all bits of the tensor can be counted.
    pub(super) fn bits(&self) -> u64 {
        self.elements * u64::from(self.selected())
    }

    /// Whether bit addresses are the numbers of the protected bits, and code words take them one after the other.
    pub(super) fn is_plain(&self) -> bool {
        self.selected() == self.width && self.interleave == 1
    }

    /// Data bits of a full group.
    fn group_bits(&self) -> u64 {
        u64::from(self.data_bits) * u64::from(self.interleave)
    }

    /// Number of code words.
    pub(super) fn words(&self) -> u64 {
        let interleave = u64::from(self.interleave);
        self.bits() / self.group_bits() * interleave + self.words_of_bits(self.bits() % self.group_bits())
    }

    /// Number of words in a group of so many bits.
    fn words_of_bits(&self, bits: u64) -> u64 {
        bits.div_ceil(self.unit.into()).min(self.interleave.into())
    }

    /// The data bits that a group has.
    fn bits_of_group(&self, group: u64) -> u64 {
        (self.bits() - group * self.group_bits()).min(self.group_bits())
    }

    /// The data bits that a code word has: fewer than a full one only in the last group.
    pub(super) fn bits_of_word(&self, word: u64) -> u32 {
        let interleave = u64::from(self.interleave);
        let (group, place) = (word / interleave, word % interleave);
        let (bits, unit) = (self.bits_of_group(group), u64::from(self.unit));
        let units = bits.div_ceil(unit);
        let missing = if (units - 1) % interleave == place { units * unit - bits } else { 0 };
        ((units - place).div_ceil(interleave) * unit - missing) as u32
    }

    /// The number of the bit of a bit address, if it is protected.
    pub(super) fn number(&self, address: u64) -> Option<u64> {
        let (element, bit) = (address / u64::from(self.width), address % u64::from(self.width));
        let below = self.mask & ((1 << bit) - 1);
        let number = element * u64::from(self.selected()) + u64::from(below.count_ones());
        (self.mask >> bit & 1 == 1).then_some(number)
    }

    /// The bit address of a protected bit: the inverse of [`Tiling::number`].
    pub(super) fn address(&self, number: u64) -> u64 {
        let (element, rank) = (number / u64::from(self.selected()), number % u64::from(self.selected()));
        let rest = (0..rank).fold(self.mask, |rest, _| rest & (rest - 1));
        element * u64::from(self.width) + u64::from(rest.trailing_zeros())
    }

    /// The code word of a protected bit, and its place in it.
    pub(super) fn place(&self, number: u64) -> (u64, u32) {
        let (group, within) = (number / self.group_bits(), number % self.group_bits());
        let (word, place) = self.take_turns(within, self.interleave.into());
        (group * u64::from(self.interleave) + word, place)
    }

    /// The protected bit at a place of a code word: the inverse of [`Tiling::place`].
    pub(super) fn number_of(&self, word: u64, place: u32) -> u64 {
        let interleave = u64::from(self.interleave);
        let (group, in_group) = (word / interleave, word % interleave);
        group * self.group_bits() + self.turn(in_group, place, interleave)
    }

    /// The code word of a check bit address, and which of its check bits it is.
    pub(super) fn check_place(&self, address: u64) -> (u64, u32) {
        let group_bits = u64::from(self.check_bits) * u64::from(self.interleave);
        let (group, within) = (address / group_bits, address % group_bits);
        let words = self.words_of_bits(self.bits_of_group(group));
        let (word, place) = self.take_turns(within, words);
        (group * u64::from(self.interleave) + word, place)
    }

    /// The check bit address of a check bit: the inverse of [`Tiling::check_place`].
    pub(super) fn check_address(&self, word: u64, place: u32) -> u64 {
        let interleave = u64::from(self.interleave);
        let (group, in_group) = (word / interleave, word % interleave);
        let words = self.words_of_bits(self.bits_of_group(group));
        group * interleave * u64::from(self.check_bits) + self.turn(in_group, place, words)
    }

    /// Bit `within` of a group whose units go to `words` words in turn: the word and the place in it.
    fn take_turns(&self, within: u64, words: u64) -> (u64, u32) {
        let unit = u64::from(self.unit);
        let (index, bit) = (within / unit, within % unit);
        (index % words, (index / words * unit + bit) as u32)
    }

    /// The inverse of [`Tiling::take_turns`].
    fn turn(&self, word: u64, place: u32, words: u64) -> u64 {
        let (index, bit) = (u64::from(place / self.unit), u64::from(place % self.unit));
        (index * words + word) * u64::from(self.unit) + bit
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn tilings() -> impl Strategy<Value = Tiling> {
        let word = prop_oneof![
            (1..=20_u32, 1..=5_u32).prop_map(|(data_bits, check_bits)| (data_bits, check_bits, 1)),
            (1..=4_u32).prop_map(|symbols| (4 * symbols, 12, 4)),
        ];
        (word, 1..=12_u32, any::<u64>(), 0..60_u64, 1..=6_u32).prop_map(
            |(word, width, mask, elements, interleave)| {
                let (data_bits, check_bits, unit) = word;
                let mask = (mask & ((1 << width) - 1)).max(1);
                Tiling { width, mask, elements, data_bits, check_bits, unit, interleave }
            },
        )
    }

    proptest! {
        #[test]
        fn every_protected_bit_has_its_own_place(tiling in tilings()) {
            let mut lengths = BTreeMap::<u64, BTreeSet<u32>>::new();
            let mut numbers = 0;
            for address in 0..tiling.elements * u64::from(tiling.width) {
                let is_protected = tiling.mask >> (address % u64::from(tiling.width)) & 1 == 1;
                prop_assert_eq!(tiling.number(address), is_protected.then_some(numbers));
                if is_protected {
                    prop_assert_eq!(tiling.address(numbers), address);
                    let (word, place) = tiling.place(numbers);
                    prop_assert_eq!(tiling.number_of(word, place), numbers);
                    prop_assert!(lengths.entry(word).or_default().insert(place));
                    numbers += 1;
                }
            }
            prop_assert_eq!(numbers, tiling.bits());
            // Words are numbered without gaps, and filled from place 0 on.
            prop_assert!(lengths.keys().copied().eq(0..tiling.words()));
            for (word, places) in lengths {
                prop_assert!(places.into_iter().eq(0..tiling.bits_of_word(word)), "word {}", word);
            }
        }

        #[test]
        fn every_check_bit_has_its_own_address(tiling in tilings()) {
            let mut addresses = BTreeSet::new();
            for word in 0..tiling.words() {
                for place in 0..tiling.check_bits {
                    let address = tiling.check_address(word, place);
                    prop_assert_eq!(tiling.check_place(address), (word, place));
                    addresses.insert(address);
                }
            }
            prop_assert!(addresses.into_iter().eq(0..tiling.words() * u64::from(tiling.check_bits)));
        }
    }

    #[test]
    fn neighbours_belong_to_different_words() {
        let tiling = Tiling {
            width: 8,
            mask: 0xff,
            elements: 16,
            data_bits: 16,
            check_bits: 6,
            unit: 1,
            interleave: 4,
        };
        let words: Vec<u64> = (0..8).map(|number| tiling.place(number).0).collect();
        assert_eq!(words, [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(tiling.place(64), (4, 0));
    }
}
