//! Sums that do not depend on the order of their terms.

/// A sum of `f64` in fixed point, so that images may be added in any order and in any groups with the same result to the
/// last bit.
///
/// Each term is rounded once: to 2^-60 below 2^40, else to 2^-52 of itself or better. Exact for up to 2^24 terms of at most
/// 2^130; larger terms, infinities and NaN make the sum not finite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnyOrderSum {
    parts: [i128; 3],
    lost: bool,
}

/// For each part the exponent below which it takes terms, and that of its unit.
const PARTS: [(i32, i32); 3] = [(40, -60), (90, -12), (131, 38)];

impl AnyOrderSum {
    pub(crate) fn add(&mut self, term: f64) {
        let size = term.abs();
        match PARTS.iter().position(|(below, _)| size < power_of_two(*below)) {
            Some(part) => self.parts[part] += (term * power_of_two(-PARTS[part].1)).round_ties_even() as i128,
            None => self.lost = true,
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.parts.iter_mut().zip(other.parts).for_each(|(part, more)| *part += more);
        self.lost |= other.lost;
    }

    /// The sum, rounded; none when a term was not finite.
    pub(crate) fn value(&self) -> Option<f64> {
        // The largest part first: what it cannot hold was added to the next one.
        let parts = self.parts.iter().zip(PARTS).rev();
        let sum = parts.map(|(part, (_, unit))| *part as f64 * power_of_two(unit)).sum();
        (!self.lost).then_some(sum)
    }
}

const fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_order_and_any_groups_give_the_same_sum() {
        let terms: Vec<f64> =
            (0..1000).map(|n| (f64::from(n) * 0.37).sin() * 10f64.powi(n % 40 - 12)).collect();
        let sum = |terms: &[f64]| {
            let mut sum = AnyOrderSum::default();
            terms.iter().for_each(|term| sum.add(*term));
            sum
        };
        let forth = sum(&terms);
        let back = sum(&terms.iter().rev().copied().collect::<Vec<_>>());
        let mut groups = sum(&terms[700..]);
        groups.merge(&sum(&terms[..700]));
        assert_eq!((forth, forth), (back, groups));
        let plain: f64 = terms.iter().sum();
        assert!((forth.value().unwrap() / plain - 1.0).abs() < 1e-12);
    }

    #[test]
    fn terms_of_every_size() {
        for (term, tolerance) in [(0.1, 1e-17), (-2.5, 0.0), (1e12, 0.0), (1e20, 1e4), (3.4e38, 1e23)] {
            let mut sum = AnyOrderSum::default();
            sum.add(term);
            assert!((sum.value().unwrap() - term).abs() <= tolerance, "{term}");
        }
        for term in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e40] {
            let mut sum = AnyOrderSum::default();
            sum.add(term);
            sum.add(1.0);
            assert_eq!(sum.value(), None, "{term}");
        }
    }
}
