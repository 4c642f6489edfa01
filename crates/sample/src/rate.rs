//! A probability per bit, and the same probability as a hazard.

/// A bit error rate: the probability, in `[0, 1]`, that one bit is faulty.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(pub(crate) f64);

/// A number that is no probability.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("rate {0} is not a probability in [0, 1]")]
pub struct RateError(
    /// The number given.
    pub f64,
);

impl Rate {
    /// Never.
    pub const ZERO: Self = Self(0.0);
    /// Always.
    pub const ONE: Self = Self(1.0);

    /// Takes a fraction in `[0, 1]`.
    ///
    /// # Errors
    /// [`RateError`] when it is NaN or outside.
    pub fn new(fraction: f64) -> Result<Self, RateError> {
        if (0.0..=1.0).contains(&fraction) { Ok(Self(fraction)) } else { Err(RateError(fraction)) }
    }

    /// The fraction, in `[0, 1]`.
    #[must_use]
    pub fn fraction(self) -> f64 {
        self.0
    }

    /// The nearest probability: 0 for NaN and below 0, 1 above 1. For numbers that rounding may have pushed out.
    #[must_use]
    pub fn clamped(fraction: f64) -> Self {
        Self(if fraction > 0.0 { fraction.min(1.0) } else { 0.0 })
    }

    /// The probability that both this and an independent event of probability `share` happen.
    #[must_use]
    pub fn scaled(self, share: f64) -> Self {
        Self::clamped(self.0 * share)
    }

    /// The probability of this given `other`, of which it is a part: their ratio.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        Self::clamped(self.0 / other.0)
    }

    /// Whether the rate is above a random fraction given as a count of 2^-128: true with the probability of the rate, and
    /// nested, because a higher rate exceeds every fraction that this one does.
    #[must_use]
    pub fn exceeds(self, fraction: u128) -> bool {
        scaled_to_2_128(self.0).is_none_or(|limit| fraction < limit)
    }

    /// The hazard `-ln(1 - p)`: a site hit by a Poisson process of unit intensity during this time is hit at least once with
    /// probability `p` exactly. `0` for `p = 0`, infinite for `p = 1`, at most 36.8 between.
    ///
    /// Computed by the software logarithm of `libm`, so that no platform's own decides a bit.
    #[must_use]
    pub fn hazard(self) -> f64 {
        if self.0 == 0.0 { 0.0 } else { -libm::log1p(-self.0) }
    }
}

/// A fraction as a count of 2^-128; `None` for 1 and more.
pub(crate) fn scaled_to_2_128(value: f64) -> Option<u128> {
    const TWO_64: f64 = 18_446_744_073_709_551_616.0;
    (value < 1.0).then_some((value * TWO_64 * TWO_64) as u128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_probabilities_are_rates() {
        for bad in [f64::NAN, -1e-300, 1.0 + f64::EPSILON, f64::INFINITY] {
            assert!(Rate::new(bad).is_err(), "{bad}");
        }
        for good in [0.0, -0.0, 1e-300, 0.5, 1.0] {
            assert_eq!(Rate::new(good).map(Rate::fraction), Ok(good));
        }
    }

    #[test]
    fn exceeds_is_a_threshold() {
        assert!(Rate(1.0).exceeds(u128::MAX) && !Rate(0.0).exceeds(0));
        assert!(Rate(0.5).exceeds((1 << 127) - 1) && !Rate(0.5).exceeds(1 << 127));
        assert!(Rate(1e-15).exceeds(340_282_366_920_938_463_463_374u128) && !Rate(1e-15).exceeds(1 << 79));
    }

    #[test]
    fn hazards_are_pinned() {
        let hazard = |p: f64| Rate(p).hazard();
        assert_eq!(hazard(0.0).to_bits(), 0.0f64.to_bits());
        assert_eq!(hazard(1.0), f64::INFINITY);
        assert_eq!(hazard(1e-15), 1.000_000_000_000_000_7e-15);
        assert_eq!(hazard(0.5), std::f64::consts::LN_2);
        assert!(hazard(1.0 - f64::EPSILON / 2.0) < 36.8);
    }
}
