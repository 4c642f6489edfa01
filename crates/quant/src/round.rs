//! How quotients become integers.

/// The rounding of a quantizer, with the cases that its family makes of the field `rounding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// To the nearest, halves to even.
    HalfEven,
    /// `floor(|x| + 1/2)` with the sign of x: what `quantized_bits` does when its alpha is automatic.
    HalfAway,
    /// The fraction is dropped.
    TowardZero,
    /// Down.
    Floor,
    /// Up with a probability equal to the fraction.
    Stochastic,
}

impl Round {
    /// Rounds a float32; `uniform` is in `[0, 1)` and counts for [`Round::Stochastic`] alone.
    #[inline(always)]
    pub(crate) fn of_f32(self, x: f32, uniform: f64) -> f32 {
        match self {
            Self::HalfEven => x.round_ties_even(),
            Self::HalfAway => (x.abs() + 0.5).floor().copysign(x),
            Self::TowardZero => x.trunc(),
            Self::Floor => x.floor(),
            // The fraction of a float is exact.
            Self::Stochastic => x.floor() + f32::from(u8::from(uniform < f64::from(x - x.floor()))),
        }
    }

    /// Rounds a float64, as [`of_f32`](Self::of_f32) does.
    #[inline(always)]
    pub(crate) fn of_f64(self, x: f64, uniform: f64) -> f64 {
        match self {
            Self::HalfEven => x.round_ties_even(),
            Self::HalfAway => (x.abs() + 0.5).floor().copysign(x),
            Self::TowardZero => x.trunc(),
            Self::Floor => x.floor(),
            Self::Stochastic => x.floor() + f64::from(u8::from(uniform < x - x.floor())),
        }
    }

    /// Whether a quotient just below an integer is a whole code short of it.
    pub(crate) fn drops_fractions(self) -> bool {
        matches!(self, Self::TowardZero | Self::Floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_signs() {
        let xs = [-2.5, -1.5, -1.2, -0.5, 0.5, 1.5, 2.5, 2.7];
        let cases = [
            (Round::HalfEven, [-2.0, -2.0, -1.0, 0.0, 0.0, 2.0, 2.0, 3.0]),
            (Round::HalfAway, [-3.0, -2.0, -1.0, -1.0, 1.0, 2.0, 3.0, 3.0]),
            (Round::TowardZero, [-2.0, -1.0, -1.0, 0.0, 0.0, 1.0, 2.0, 2.0]),
            (Round::Floor, [-3.0, -2.0, -2.0, -1.0, 0.0, 1.0, 2.0, 2.0]),
        ];
        for (round, wanted) in cases {
            assert_eq!(xs.map(|x| round.of_f32(x, 0.9)), wanted, "{round:?}");
            assert_eq!(xs.map(|x| round.of_f64(f64::from(x), 0.9) as f32), wanted, "{round:?}");
        }
    }

    #[test]
    fn stochastic_goes_up_by_the_fraction() {
        for (uniform, wanted) in [(0.0, -1.0), (0.74, -1.0), (0.75, -2.0), (0.999, -2.0)] {
            assert_eq!(Round::Stochastic.of_f32(-1.25, uniform), wanted);
            assert_eq!(Round::Stochastic.of_f64(-1.25, uniform), f64::from(wanted));
        }
        for uniform in [0.0, 1.0 - f64::EPSILON] {
            assert_eq!(Round::Stochastic.of_f32(3.0, uniform), 3.0);
        }
    }
}
