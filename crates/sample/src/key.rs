//! From (seed, point, trial, tensor, block) to a sequence of random words.

use std::borrow::Cow;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::rate::Rate;
use crate::sequences::Key;

/// Version of the streams. A change of any drawn bit raises it, is announced in CHANGELOG.md, and makes older campaigns
/// refuse to resume. New parts ([`PartKey::numbered`] among them) only add streams and leave it as it is.
pub const STREAM_VERSION: u32 = 1;

/// What decides the random choices of one trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// The campaign's seed.
    pub seed: u64,
    /// Which group of points: points that differ in nothing but their rate (or count) share it, which is what nests their
    /// patterns.
    pub point: u64,
    /// The trial within the point, from 0.
    pub trial: u64,
}

/// What a stream is for; part of its key.
#[derive(Clone, Copy)]
enum Domain {
    Tensor = 0,
    Whole = 1,
    PartTensor = 2,
    PartWhole = 3,
}

impl StreamKey {
    /// The stream of one tensor. Its name is the key, so that neither the order of the tensors in a file nor the selection of
    /// others changes what is drawn for it.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Stream {
        self.stream(Domain::Tensor, &[], name)
    }

    /// The stream of the choices that span all tensors at once.
    #[must_use]
    pub fn whole(&self) -> Stream {
        self.stream(Domain::Whole, &[], "")
    }

    /// The key of one part of the trial's choices, which shares no stream with the trial itself or with another part.
    #[must_use]
    pub fn part(&self, label: impl Into<Cow<'static, str>>) -> PartKey {
        PartKey::from(*self).part(label)
    }

    /// The key of one of many alike parts, as [`PartKey::numbered`].
    #[must_use]
    pub fn numbered(&self, label: &'static str, index: u64) -> PartKey {
        PartKey::from(*self).numbered(label, index)
    }

    fn stream(&self, domain: Domain, path: &[Label], name: &str) -> Stream {
        let mut hash = Sha256::new();
        hash.update(b"bitquake stream");
        hash.update(STREAM_VERSION.to_le_bytes());
        hash.update([domain as u8]);
        for number in [self.seed, self.point, self.trial] {
            hash.update(number.to_le_bytes());
        }
        if !path.is_empty() {
            hash.update((path.len() as u64).to_le_bytes());
            path.iter().for_each(|label| label.add_to(&mut hash));
        }
        hash.update(name.as_bytes());
        Stream { root: ChaCha8Rng::from_seed(hash.finalize().into()) }
    }
}

/// A [`StreamKey`] narrowed to one part of a trial's choices: a part of a mixture, the lengths of bursts, the offset of a map.
///
/// Parts have parts. A key without a label has the very streams of the trial; every other path has streams of its own.
///
/// ```
/// use bitquake_sample::{PartKey, StreamKey};
/// let trial = StreamKey { seed: 42, point: 0, trial: 0 };
/// let lengths = trial.part("lengths").whole().words(0).u64();
/// assert_ne!(lengths, trial.part("offset").whole().words(0).u64());
/// assert_eq!(PartKey::from(trial).whole().words(0).u64(), trial.whole().words(0).u64());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartKey {
    key: StreamKey,
    path: Vec<Label>,
}

/// One step from a trial to a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Label {
    Text(Cow<'static, str>),
    Numbered(&'static str, u64),
}

impl Label {
    /// Length, then text. A number comes behind the complement of the length, which is the length of no text, so that no two
    /// paths are the same bytes.
    fn add_to(&self, hash: &mut Sha256) {
        match self {
            Self::Text(text) => {
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text.as_bytes());
            }
            Self::Numbered(text, index) => {
                hash.update((!(text.len() as u64)).to_le_bytes());
                hash.update(text.as_bytes());
                hash.update(index.to_le_bytes());
            }
        }
    }
}

impl From<StreamKey> for PartKey {
    fn from(key: StreamKey) -> Self {
        Self { key, path: Vec::new() }
    }
}

impl PartKey {
    /// The trial that the part belongs to.
    #[must_use]
    pub fn trial(&self) -> StreamKey {
        self.key
    }

    /// The key of a part of this part.
    #[must_use]
    pub fn part(&self, label: impl Into<Cow<'static, str>>) -> Self {
        self.step(Label::Text(label.into()))
    }

    /// The key of one of many alike parts, such as image 17 of a trial: no text is made of the number. It shares no stream with
    /// any other part, one labelled with the same text and number among them.
    ///
    /// ```
    /// use bitquake_sample::StreamKey;
    /// let trial = StreamKey { seed: 42, point: 0, trial: 0 };
    /// let first = |image| trial.numbered("image", image).whole().words(0).u64();
    /// assert_ne!(first(0), first(1));
    /// ```
    #[must_use]
    pub fn numbered(&self, label: &'static str, index: u64) -> Self {
        self.step(Label::Numbered(label, index))
    }

    fn step(&self, label: Label) -> Self {
        let mut path = Vec::with_capacity(self.path.len() + 1);
        path.extend_from_slice(&self.path);
        path.push(label);
        Self { key: self.key, path }
    }

    /// The part's stream of one tensor, as [`StreamKey::tensor`].
    #[must_use]
    pub fn tensor(&self, name: &str) -> Stream {
        let domain = if self.path.is_empty() { Domain::Tensor } else { Domain::PartTensor };
        self.key.stream(domain, &self.path, name)
    }

    /// The part's stream of the choices that span all tensors at once.
    #[must_use]
    pub fn whole(&self) -> Stream {
        let domain = if self.path.is_empty() { Domain::Whole } else { Domain::PartWhole };
        self.key.stream(domain, &self.path, "")
    }
}

/// The random words that belong to one tensor in one trial: 2^64 independent sequences, one for each block number.
///
/// The key is SHA-256 over the version, the domain, (seed, point, trial) and the name; the words are `ChaCha8`'s with the
/// block number as its stream number.
#[derive(Clone, Debug)]
pub struct Stream {
    root: ChaCha8Rng,
}

impl Stream {
    /// One of the 2^64 sequences, for choices other than [`BernoulliDraw`](crate::BernoulliDraw) and
    /// [`subset`](crate::subset()): those read sequences of their own choice, so give such choices a [`PartKey`].
    #[must_use]
    pub fn words(&self, sequence: u64) -> Words {
        self.block(sequence)
    }

    /// The key, for [`Ahead`](crate::sequences::Ahead).
    pub(crate) fn key(&self) -> Key {
        let seed = self.root.get_seed();
        std::array::from_fn(|word| u32::from_le_bytes(seed.as_chunks().0[word]))
    }

    /// The sequence of one block.
    pub(crate) fn block(&self, block: u64) -> Words {
        let mut rng = self.root.clone();
        rng.set_stream(block);
        Words { rng }
    }
}

/// A sequence of random words, read from its start.
#[derive(Clone, Debug)]
pub struct Words {
    rng: ChaCha8Rng,
}

impl Words {
    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// True with the probability `rate`: exact to the last digit of a double, certain for 0 and 1.
    pub fn chance(&mut self, rate: Rate) -> bool {
        rate.exceeds(self.u128())
    }

    /// 128 random bits.
    pub fn u128(&mut self) -> u128 {
        let high = self.u64();
        (u128::from(high) << 64) | u128::from(self.u64())
    }

    /// Uniform below `bound`, by Lemire's multiply and reject (ACM TOMACS 29(1), 2019).
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below 0");
        loop {
            let product = u128::from(self.u64()) * u128::from(bound);
            let low = product as u64;
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (product >> 64) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: StreamKey = StreamKey { seed: 42, point: 0, trial: 0 };

    fn first(stream: &Stream, block: u64) -> u64 {
        stream.block(block).u64()
    }

    #[test]
    fn every_part_of_the_key_changes_the_words() {
        let streams = [
            KEY.tensor("w"),
            KEY.tensor("v"),
            KEY.whole(),
            StreamKey { seed: 43, ..KEY }.tensor("w"),
            StreamKey { point: 1, ..KEY }.tensor("w"),
            StreamKey { trial: 1, ..KEY }.tensor("w"),
            KEY.part("a").tensor("w"),
            KEY.part("a").whole(),
            KEY.part("b").tensor("w"),
            KEY.part("a").part("b").tensor("w"),
            KEY.part("ab").tensor("w"),
            KEY.part("").tensor("w"),
            KEY.numbered("a", 0).tensor("w"),
            KEY.numbered("a", 1).tensor("w"),
            KEY.numbered("a", 1).whole(),
            KEY.numbered("", 1).tensor("w"),
            KEY.part("a 1").tensor("w"),
            KEY.part("a").numbered("a", 1).tensor("w"),
        ];
        let mut words: Vec<u64> =
            streams.iter().flat_map(|stream| [0, 1, u64::MAX].map(|block| first(stream, block))).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 54);
    }

    #[test]
    fn first_words_are_pinned() {
        let stream = KEY.tensor("conv1.weight");
        assert_eq!(
            [first(&stream, 0), first(&stream, 1)],
            [16_461_384_589_575_474_254, 18_213_225_693_220_128_004]
        );
    }

    #[test]
    fn first_words_of_parts_are_pinned() {
        let part = KEY.part("lengths");
        assert_eq!([first(&part.tensor("w"), 0), first(&part.whole(), 0)], PINNED_PARTS);
        let (root, none) = (KEY.tensor("w"), PartKey::from(KEY).tensor("w"));
        assert_eq!(first(&root, 3), first(&none, 3), "a key without a label is the trial's own");
    }

    #[test]
    fn first_words_of_numbered_parts_are_pinned() {
        let part = KEY.numbered("image", 17);
        assert_eq!([first(&part.tensor("w"), 0), first(&part.whole(), 0)], PINNED_NUMBERED);
    }

    const PINNED_NUMBERED: [u64; 2] = [10_769_094_472_927_367_020, 3_955_031_272_227_804_475];

    const PINNED_PARTS: [u64; 2] = [14_683_100_468_494_230_494, 18_179_240_774_249_461_765];

    #[test]
    fn chances_are_certain_at_0_and_1() {
        let mut words = KEY.whole().block(0);
        assert!((0..1000).all(|_| words.chance(Rate(1.0)) && !words.chance(Rate(0.0))));
    }

    #[test]
    fn below_stays_below() {
        let mut words = KEY.whole().block(0);
        for bound in [1, 2, 3, 1000, u64::MAX / 2 + 2, u64::MAX] {
            assert!((0..200).all(|_| words.below(bound) < bound), "{bound}");
        }
    }
}
