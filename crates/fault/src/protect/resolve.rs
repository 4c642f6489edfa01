//! From the flips that happen to the flips that the network sees.

use bitquake_bits::Words;
use serde::Serialize;

use super::code::Code;
use super::codec::{Decoded, Verdict};
use super::elements::replace_elements;
use super::protection::{OnDetection, ProtectError};
use super::space::CheckSpace;

/// The flips of one trial in a protected tensor. Stuck bits are flips where they differ from what is stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawFlips<'a> {
    /// Bit addresses in the tensor, rising.
    pub data: &'a [u64],
    /// For each [part](CheckSpace::parts), bit addresses in it, rising. Empty: no flips in any.
    pub parts: &'a [&'a [u64]],
}

/// What a protection made of [`RawFlips`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// The flips of the tensor that the network sees: bit addresses, rising.
    pub seen: Vec<u64>,
    /// What happened.
    pub outcomes: Outcomes,
}

/// What happened to the code words and bits of a trial.
///
/// `corrected + detected + miscorrected + silent == words_hit`; all other words are clean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Code words with at least one wrong bit.
    pub words_hit: u64,
    /// Code words whose wrong bits were all corrected (CE).
    pub corrected: u64,
    /// Code words with an error that was detected and not corrected (DUE).
    pub detected: u64,
    /// Code words that were "corrected" to wrong data.
    pub miscorrected: u64,
    /// Code words with wrong data in which no error was seen.
    pub silent: u64,
    /// Flips in the tensor, before protection.
    pub raw_flips: u64,
    /// Of these, the flips of bits that no code word has.
    pub unprotected_flips: u64,
    /// Flips in check bits and copies.
    pub check_flips: u64,
    /// Flips in the tensor that the network sees.
    pub seen_flips: u64,
    /// Elements that were zeroed on detection.
    pub zeroed: u64,
    /// Elements that a range guard replaced.
    pub guarded: u64,
}

impl Resolution {
    /// Flips that no code word has.
    pub(super) fn undecoded(flips: &[u64]) -> Self {
        let count = flips.len() as u64;
        let outcomes =
            Outcomes { raw_flips: count, unprotected_flips: count, seen_flips: count, ..Outcomes::default() };
        Self { seen: flips.to_vec(), outcomes }
    }
}

impl Outcomes {
    /// Adds those of another tensor or trial.
    pub fn add(&mut self, other: &Self) {
        self.words_hit += other.words_hit;
        self.corrected += other.corrected;
        self.detected += other.detected;
        self.miscorrected += other.miscorrected;
        self.silent += other.silent;
        self.raw_flips += other.raw_flips;
        self.unprotected_flips += other.unprotected_flips;
        self.check_flips += other.check_flips;
        self.seen_flips += other.seen_flips;
        self.zeroed += other.zeroed;
        self.guarded += other.guarded;
    }

    fn count(&mut self, verdict: Verdict) {
        self.words_hit += 1;
        match verdict {
            Verdict::Clean => self.words_hit -= 1,
            Verdict::Corrected => self.corrected += 1,
            Verdict::Detected => self.detected += 1,
            Verdict::Miscorrected => self.miscorrected += 1,
            Verdict::Silent => self.silent += 1,
        }
    }
}

/// A wrong bit: the code word that has it, and its place among the data and check bits of that word.
type Wrong = (u64, u32);

impl CheckSpace {
    /// Decodes: the flips that the network sees, and what became of each code word that was hit. Time and memory
    /// follow the flips (and, with [`OnDetection::Zero`], the elements zeroed), never the tensor.
    ///
    /// `words` are the clean words of the tensor; only [`OnDetection::Zero`] asks for them.
    ///
    /// # Errors
    /// [`ProtectError`] for flips that do not rise or lie outside, and for words that are needed and missing, of
    /// another tensor, or of a format without zero.
    ///
    /// ```
    /// use bitquake_bits::Format;
    /// use bitquake_fault::protect::{Kind, Protection, RawFlips};
    /// let space = Protection::new(Kind::Secded).layout(Format::F32, 100)?;
    /// // One wrong bit in the first 64, two in the next, one in the check bits of the third.
    /// let raw = RawFlips { data: &[30, 64, 65], parts: &[&[17]] };
    /// let resolution = space.resolve(&raw, None)?;
    /// assert_eq!(resolution.seen, [64, 65]);
    /// assert_eq!((resolution.outcomes.corrected, resolution.outcomes.detected), (2, 1));
    /// # Ok::<(), bitquake_fault::protect::ProtectError>(())
    /// ```
    pub fn resolve(&self, raw: &RawFlips<'_>, words: Option<&Words<'_>>) -> Result<Resolution, ProtectError> {
        self.check_raw(raw)?;
        words.map_or(Ok(()), |words| self.check_words(words))?;
        let mut result = Resolution::default();
        let wrong = self.wrong_bits(raw, &mut result);
        let zeroed = self.decode_words(&wrong, &mut result);
        // One list of rising flips and, with an interleave, some of other words between them: the sort that finds
        // such runs.
        result.seen.sort();
        if !zeroed.is_empty() {
            let words = words.ok_or(ProtectError::NoWords)?;
            let zero = self.zero.ok_or(ProtectError::NoZero { format: self.format })?;
            result.seen = replace_elements(&result.seen, &zeroed, zero, words);
            result.outcomes.zeroed = zeroed.len() as u64;
        }
        result.outcomes.seen_flips = result.seen.len() as u64;
        Ok(result)
    }

    /// The wrong bits of all code words, by word; unprotected flips go straight to the result.
    fn wrong_bits(&self, raw: &RawFlips<'_>, result: &mut Resolution) -> Vec<Wrong> {
        let tiling = &self.tiling;
        let mut wrong: Vec<Wrong> = Vec::with_capacity(raw.data.len());
        for &address in raw.data {
            match tiling.number(address) {
                Some(number) => wrong.push(tiling.place(number)),
                None => result.seen.push(address),
            }
        }
        for (part, addresses) in (0_u32..).zip(raw.parts) {
            wrong.extend(addresses.iter().map(|&address| self.check_bit(part, address)));
        }
        let outcomes = &mut result.outcomes;
        outcomes.raw_flips = raw.data.len() as u64;
        outcomes.unprotected_flips = result.seen.len() as u64;
        outcomes.check_flips = raw.parts.iter().map(|addresses| addresses.len() as u64).sum();
        wrong.sort();
        wrong
    }

    /// The code word and the place of a bit of a part.
    fn check_bit(&self, part: u32, address: u64) -> Wrong {
        if let Code::Repetition { .. } = self.codec.code() {
            // Every bit is a word, its copies are the check bits.
            return (address, 1 + part);
        }
        let (word, place) = self.tiling.check_place(address);
        (word, self.tiling.data_bits + place)
    }

    /// Decodes each word that was hit; returns the elements to be zeroed, rising.
    fn decode_words(&self, wrong: &[Wrong], result: &mut Resolution) -> Vec<u64> {
        let (mut places, mut zeroed) = (Vec::new(), Vec::new());
        for bits in wrong.chunk_by(|a, b| a.0 == b.0) {
            let word = bits[0].0;
            places.clear();
            places.extend(bits.iter().map(|bit| bit.1));
            let (verdict, decoded) = self.codec.judge_shortened(&places, self.tiling.bits_of_word(word));
            result.outcomes.count(verdict);
            if decoded == Decoded::Detected && self.on_detection == OnDetection::Zero {
                zeroed.extend(self.elements_of(word));
            }
            if verdict != Verdict::Corrected {
                self.push_seen(word, &places, &decoded, &mut result.seen);
            }
        }
        zeroed.sort_unstable();
        zeroed.dedup();
        zeroed
    }

    /// The wrong data bits of a word after its correction: in one of the two lists, but not in both.
    fn push_seen(&self, word: u64, wrong: &[u32], decoded: &Decoded, seen: &mut Vec<u64>) {
        let flips: &[u16] = if let Decoded::Corrected(flips) = decoded { flips } else { &[] };
        let remaining =
            wrong.iter().copied().filter(|&bit| !flips.iter().any(|&flip| u32::from(flip) == bit));
        let added = flips.iter().map(|&flip| u32::from(flip)).filter(|flip| !wrong.contains(flip));
        let data = remaining.chain(added).filter(|&place| place < self.tiling.data_bits);
        seen.extend(data.map(|place| self.tiling.address(self.tiling.number_of(word, place))));
    }

    /// The elements that have a bit in a code word.
    fn elements_of(&self, word: u64) -> impl Iterator<Item = u64> {
        let selected = u64::from(self.tiling.selected());
        (0..self.tiling.bits_of_word(word)).map(move |place| self.tiling.number_of(word, place) / selected)
    }

    fn check_raw(&self, raw: &RawFlips<'_>) -> Result<(), ProtectError> {
        let (given, wanted) = (raw.parts.len(), self.parts().len());
        if given != 0 && given != wanted {
            return Err(ProtectError::Parts { given, wanted });
        }
        let bits = self.tiling.elements * u64::from(self.tiling.width);
        check_addresses("data", raw.data, bits)?;
        let mut parts = self.parts().iter().zip(raw.parts);
        parts.try_for_each(|(part, addresses)| check_addresses(&part.name, addresses, part.bits()))
    }
}

fn check_addresses(part: &str, addresses: &[u64], bits: u64) -> Result<(), ProtectError> {
    let part = || part.to_owned();
    if let Some(pair) = addresses.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(ProtectError::NotRising { part: part(), address: pair[1] });
    }
    match addresses.last() {
        Some(&address) if address >= bits => Err(ProtectError::OutOfBounds { part: part(), address, bits }),
        _ => Ok(()),
    }
}
