//! A small generator for resampling, keyed by one number.

/// SplitMix64: one 64-bit number a step, a pure function of the seed on every machine.
///
/// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; constants of
/// Stafford's variant 13.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    /// The generator of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A whole number below `n`, every one exactly as likely; `n` is at least 1.
    ///
    /// Source: Lemire, "Fast random integer generation in an interval", ACM Trans. Model. Comput. Simul. 29, 2019.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let unfair = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.next()) * u128::from(n);
            if wide as u64 >= unfair {
                return (wide >> 64) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SplitMix;

    #[test]
    fn the_stream_of_a_seed_is_pinned() {
        let mut random = SplitMix::new(1_234_567);
        let got: [u64; 3] = std::array::from_fn(|_| random.next());
        assert_eq!(got, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    /// A fair generator fails here with probability 1e-6.
    #[test]
    fn numbers_below_are_even() {
        let mut random = SplitMix::new(3);
        let mut counts = vec![0_u64; 7];
        (0..70_000).for_each(|_| counts[random.below(7) as usize] += 1);
        bitquake_testing::assert_uniform(&counts, 1e-6);
    }
}
