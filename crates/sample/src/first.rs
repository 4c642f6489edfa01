//! Draws that are known to hit something.
//!
//! At a rate of 1e-10 nearly every draw is empty. Given that it is not, it is its first hit, whose distribution follows, and an
//! ordinary draw of the sites behind that.

use crate::key::Words;
use crate::rate::Rate;

/// Sites that are hit independently of each other, all at one rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trials {
    /// How many sites.
    pub sites: u64,
    /// The probability that one of them is hit.
    pub rate: Rate,
}

impl Trials {
    /// Minus the natural logarithm of the probability that no site is hit: `n * -ln(1 - p)`, 0 without sites.
    ///
    /// Hazards of independent groups add. The probability that anything is hit is `-expm1(-hazard)`: nothing cancels at
    /// 1e-15, as it would in `1 - (1 - p)^n`.
    #[must_use]
    pub fn hazard(&self) -> f64 {
        if self.sites == 0 { 0.0 } else { self.sites as f64 * self.rate.hazard() }
    }

    /// Expected number of hits.
    fn mean(&self) -> f64 {
        self.sites as f64 * self.rate.fraction()
    }
}

/// The group and the site of the first hit, given that there is one; `None` when there can be none.
///
/// Sites are in the order of the groups, and within a group in their own. Site `j` is the first with probability proportional
/// to `p_j` times the product of `1 - p_i` over the `i` before it. It is proposed by `p_j`, exactly uniform within its group,
/// and accepted with the probability of nothing before it, so the position has no floating-point grid even among 2^56 sites.
/// A proposal is accepted with probability `P(any hit) / (expected hits)`: use it where few hits are expected.
///
/// ```
/// use bitquake_sample::{Rate, StreamKey, Trials, first_hit};
/// let mut words = StreamKey { seed: 1, point: 0, trial: 0 }.part("first hit").whole().words(0);
/// let groups = [Trials { sites: 0, rate: Rate::new(1.0)? }, Trials { sites: 192_000_000, rate: Rate::new(1e-15)? }];
/// let (group, site) = first_hit(&mut words, &groups).ok_or("nothing can be hit")?;
/// assert!(group == 1 && site < 192_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn first_hit(words: &mut Words, groups: &[Trials]) -> Option<(usize, u64)> {
    let total: f64 = groups.iter().map(Trials::mean).sum();
    if total <= 0.0 {
        return None;
    }
    loop {
        let group = propose_group(words, groups, total);
        let site = words.below(groups[group].sites);
        let before: f64 = groups[..group].iter().map(Trials::hazard).sum();
        let within = Trials { sites: site, ..groups[group] };
        if words.chance(Rate(libm::exp(-(before + within.hazard())))) {
            return Some((group, site));
        }
    }
}

/// A group, with a probability proportional to its expected hits.
fn propose_group(words: &mut Words, groups: &[Trials], total: f64) -> usize {
    let mut point = words.u64() as f64 * (total / 18_446_744_073_709_551_616.0);
    let mut last = 0;
    for (group, mean) in groups.iter().map(Trials::mean).enumerate().filter(|(_, mean)| *mean > 0.0) {
        if point < mean {
            return group;
        }
        point -= mean;
        last = group;
    }
    // Rounding may leave a point just beyond the end.
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::StreamKey;

    #[test]
    fn hazards_do_not_cancel() {
        // 192 M bits at 1e-15: n p (1 - n p / 2) = 1.92e-7 less 1.8432e-14.
        let trials = Trials { sites: 192_000_000, rate: Rate(1e-15) };
        assert_eq!(-libm::expm1(-trials.hazard()), 1.919_999_815_680_013e-7);
        assert_eq!(Trials { sites: 0, rate: Rate(1.0) }.hazard(), 0.0);
        assert_eq!(Trials { sites: 1, rate: Rate(1.0) }.hazard(), f64::INFINITY);
    }

    #[test]
    fn nothing_to_hit() {
        let mut words = StreamKey { seed: 1, point: 0, trial: 0 }.whole().block(0);
        assert_eq!(first_hit(&mut words, &[]), None);
        let never = [Trials { sites: 10, rate: Rate(0.0) }, Trials { sites: 0, rate: Rate(0.5) }];
        assert_eq!(first_hit(&mut words, &never), None);
        let certain = [never[0], never[1], Trials { sites: 3, rate: Rate(1.0) }];
        assert_eq!(first_hit(&mut words, &certain), Some((2, 0)));
    }
}
