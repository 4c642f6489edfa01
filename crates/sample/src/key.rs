//! From (seed, point, trial, tensor, block) to a sequence of random words.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// Version of the streams. A change of any drawn bit raises it, is announced in CHANGELOG.md, and makes older campaigns
/// refuse to resume.
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
}

impl StreamKey {
    /// The stream of one tensor. Its name is the key, so that neither the order of the tensors in a file nor the selection of
    /// others changes what is drawn for it.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Stream {
        self.stream(Domain::Tensor, name)
    }

    /// The stream of the choices that span all tensors at once.
    #[must_use]
    pub fn whole(&self) -> Stream {
        self.stream(Domain::Whole, "")
    }

    fn stream(&self, domain: Domain, name: &str) -> Stream {
        let mut hash = Sha256::new();
        hash.update(b"bitquake stream");
        hash.update(STREAM_VERSION.to_le_bytes());
        hash.update([domain as u8]);
        for number in [self.seed, self.point, self.trial] {
            hash.update(number.to_le_bytes());
        }
        hash.update(name.as_bytes());
        Stream { root: ChaCha8Rng::from_seed(hash.finalize().into()) }
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
    /// The sequence of one block.
    pub(crate) fn block(&self, block: u64) -> Words {
        let mut rng = self.root.clone();
        rng.set_stream(block);
        Words { rng }
    }
}

/// A sequence of random words, read from its start.
pub(crate) struct Words {
    rng: ChaCha8Rng,
}

impl Words {
    pub(crate) fn u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number of `width` random bits.
    pub(crate) fn bits(&mut self, width: u32) -> u64 {
        if width <= 32 {
            u64::from(self.rng.next_u32()) & ((1 << width) - 1)
        } else {
            self.u64() & ((1 << width) - 1)
        }
    }

    pub(crate) fn u128(&mut self) -> u128 {
        let high = self.u64();
        (u128::from(high) << 64) | u128::from(self.u64())
    }

    /// Uniform below `bound` (at least 1), by Lemire's multiply and reject (ACM TOMACS 29(1), 2019).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
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
        ];
        let mut words: Vec<u64> =
            streams.iter().flat_map(|stream| [0, 1, u64::MAX].map(|block| first(stream, block))).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 18);
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
    fn below_stays_below() {
        let mut words = KEY.whole().block(0);
        for bound in [1, 2, 3, 1000, u64::MAX / 2 + 2, u64::MAX] {
            assert!((0..200).all(|_| words.below(bound) < bound), "{bound}");
        }
    }
}
