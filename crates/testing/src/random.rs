//! Test data from a seed.

/// The SplitMix64 generator: 64 bits of state, the same sequence on every machine.
///
/// For test data only: campaigns draw from the keyed streams of the `sample` crate. Source: Steele, Lea and
/// Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
///
/// ```
/// let mut random = bitquake_testing::SplitMix64::new(7);
/// let share = random.unit();
/// assert!((0.0..1.0).contains(&share));
/// ```
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator whose whole sequence follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number in `0..bound`, every one equally likely (by rejection, so without bias).
    ///
    /// # Panics
    ///
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below 0");
        // The largest multiple of `bound` that fits: words at or above it would favour small results.
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let word = self.next_u64();
            if word < limit {
                return word % bound;
            }
        }
    }

    /// A multiple of 2^-53 in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A standard normal number (Box and Muller, Annals of Mathematical Statistics 29, 1958).
    ///
    /// Its last digits depend on the machine's `ln` and `cos`.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Fills `bytes` with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;
    use crate::{assert_binomial, assert_uniform};

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = SplitMix64::new(1_234_567);
        let first: Vec<u64> = (0..5).map(|_| random.next_u64()).collect();
        let wanted = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(first, wanted);
    }

    #[test]
    fn below_is_uniform() {
        let mut random = SplitMix64::new(1);
        let mut counts = [0; 7];
        for _ in 0..70_000 {
            counts[random.below(7) as usize] += 1;
        }
        assert_uniform(&counts, 1e-6);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn unit_numbers_and_normals_have_their_shares() {
        let mut random = SplitMix64::new(2);
        let small = (0..100_000).filter(|_| random.unit() < 0.3).count();
        assert_binomial(small as u64, 100_000, 0.3, 1e-6);
        let positive = (0..100_000).filter(|_| random.normal() > 1.0).count();
        assert_binomial(positive as u64, 100_000, 0.158_655_253_931_457, 1e-6);
    }

    #[test]
    fn fill_covers_odd_lengths() {
        assert_eq!(SplitMix64::new(3).bytes(11).len(), 11);
        let word = SplitMix64::new(3).next_u64().to_le_bytes();
        assert_eq!(SplitMix64::new(3).bytes(11)[..8], word);
    }

    #[test]
    #[should_panic(expected = "no number is below 0")]
    fn below_zero_panics() {
        SplitMix64::new(0).below(0);
    }
}
