//! Where trials and images do most good.

use crate::error::{StatsError, check, not_negative, positive};

/// A part of the fault space, as far as the allocation of trials needs to know it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StratumPlan {
    /// How many sites it has, at least 1.
    pub size: u64,
    /// The standard deviation of the values within it, from a pilot or a guess; finite, 0 or above.
    pub std: f64,
    /// The cost of one trial there, in any unit that is the same for all strata; finite, above 0.
    pub cost: f64,
}

/// Shares `trials` out to strata so that the stratified mean has the least variance for its cost: proportional to
/// `size · std / sqrt(cost)`, rounded to whole trials.
///
/// Every stratum gets at least 2 trials (or all its sites, if it has fewer), even where the pilot showed no spread,
/// and at most as many as it has sites, which is then exhaustive; what it cannot use goes to the others. The sum is
/// `trials`, unless the minimum is more or all sites are fewer.
///
/// Sources: Neyman, J. R. Stat. Soc. 97 (1934), 558-625; Cochran, "Sampling techniques" (1977), section 5.5.
///
/// # Errors
///
/// [`StatsError::Argument`] for a size of 0, a standard deviation that is negative, a cost that is not positive.
///
/// ```
/// use bitquake_stats::{StratumPlan, neyman};
///
/// let plan = |size, std| StratumPlan { size, std, cost: 1.0 };
/// assert_eq!(neyman(&[plan(1000, 0.3), plan(3000, 0.1), plan(6, 0.5)], 106)?, [52, 52, 2]);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
pub fn neyman(strata: &[StratumPlan], trials: u64) -> Result<Vec<u64>, StatsError> {
    for stratum in strata {
        check(stratum.size > 0, "a stratum's size", 0.0, "at least 1")?;
        not_negative("a stratum's std", stratum.std)?;
        positive("a stratum's cost", stratum.cost)?;
    }
    let room = strata.iter().fold(0_u64, |sum, stratum| sum.saturating_add(stratum.size));
    let wishes: Vec<f64> = strata.iter().map(|s| s.size as f64 * s.std / s.cost.sqrt()).collect();
    let limits: Vec<(f64, f64)> = strata.iter().map(|s| (s.size.min(2) as f64, s.size as f64)).collect();
    let shares = fill(&wishes, &limits, trials.min(room) as f64);
    Ok(whole(&shares, &limits, trials.min(room)))
}

/// Shares within limits that sum to `total`, proportional to the wishes where no limit binds: bisection on the factor.
fn fill(wishes: &[f64], limits: &[(f64, f64)], total: f64) -> Vec<f64> {
    // Without any wish, all strata are alike up to their size.
    let flat = wishes.iter().all(|&wish| wish == 0.0);
    let wish = |h: usize| if flat { limits[h].1 } else { wishes[h] };
    let shares = |factor: f64| -> Vec<f64> {
        (0..limits.len()).map(|h| (factor * wish(h)).clamp(limits[h].0, limits[h].1)).collect()
    };
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    let sum = |factor| shares(factor).iter().sum::<f64>();
    while sum(high) < total && high < 1e300 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if sum(middle) < total { low = middle } else { high = middle }
    }
    shares(high)
}

/// Whole numbers with the sum wanted: rounded down, then the largest remainders up.
fn whole(shares: &[f64], limits: &[(f64, f64)], total: u64) -> Vec<u64> {
    let mut counts: Vec<u64> = shares.iter().map(|share| (share + 1e-6).floor() as u64).collect();
    let rest = |h: usize| shares[h] - (shares[h] + 1e-6).floor();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| rest(b).total_cmp(&rest(a)).then(a.cmp(&b)));
    let mut missing = total.saturating_sub(counts.iter().sum());
    // One round gives the remainders; more rounds only where strata without a wish must take what is left.
    while missing > 0 {
        let before = missing;
        for &h in &order {
            let room = (limits[h].1 as u64).saturating_sub(counts[h]);
            let more =
                if before > shares.len() as u64 { room.min(missing) } else { room.min(missing).min(1) };
            counts[h] += more;
            missing -= more;
        }
        if missing == before {
            break;
        }
    }
    counts
}

/// What two-stage sampling is to be planned for: trials, and images drawn within each trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoStage {
    /// The variance between the true means of trials (each over all its images); finite, 0 or above.
    pub between: f64,
    /// The variance between the images of one trial, averaged over trials; finite, 0 or above.
    pub within: f64,
    /// How many images there are to draw from, without replacement; `None` for endlessly many.
    pub images: Option<u64>,
}

impl TwoStage {
    /// The variance of the mean of `n` trials with `m` images each: `between / n + (1 - m / M) · within / (n m)`.
    ///
    /// Source: Cochran, "Sampling techniques" (1977), section 10.3, with endlessly many trials to draw from.
    ///
    /// # Errors
    ///
    /// [`StatsError::Argument`] if a variance is negative, `n` or `m` is 0, or `m` exceeds the images.
    ///
    /// ```
    /// let plan = bitquake_stats::TwoStage { between: 4.0, within: 100.0, images: Some(50) };
    /// assert!((plan.variance(10, 25)? - 0.6).abs() < 1e-12);
    /// # Ok::<(), bitquake_stats::StatsError>(())
    /// ```
    pub fn variance(&self, n: u64, m: u64) -> Result<f64, StatsError> {
        self.check()?;
        check(n > 0, "the number of trials", 0.0, "at least 1")?;
        let most = self.images.unwrap_or(u64::MAX);
        check(1 <= m && m <= most, "the number of images", m as f64, "in 1 to all images")?;
        let left = self.images.map_or(1.0, |all| finite_population_factor(m, all));
        Ok((self.between + left * self.within / m as f64) / n as f64)
    }

    /// The number of images in each trial that gives the least variance for its cost, if a trial costs `trial` and
    /// each of its images `image` on top: `m* = sqrt(trial / image · within / (between - within / M))`.
    ///
    /// Not rounded; at least 1, and at most all images (infinite if there are endlessly many and trials do not
    /// differ). With endlessly many images the last term is 0, and `m*` is the well-known square root.
    ///
    /// Source: Cochran, "Sampling techniques" (1977), section 10.6.
    ///
    /// # Errors
    ///
    /// [`StatsError::Argument`] if a variance is negative, a cost is not positive, or there are no images.
    ///
    /// ```
    /// let plan = bitquake_stats::TwoStage { between: 1.0, within: 25.0, images: None };
    /// assert_eq!(plan.best_images(4.0, 1.0)?, 10.0);
    /// # Ok::<(), bitquake_stats::StatsError>(())
    /// ```
    pub fn best_images(&self, trial: f64, image: f64) -> Result<f64, StatsError> {
        self.check()?;
        positive("the cost of a trial", trial)?;
        positive("the cost of an image", image)?;
        let most = self.images.map_or(f64::INFINITY, |all| all as f64);
        let pure = self.between - self.within / most;
        if self.within == 0.0 {
            return Ok(1.0);
        }
        let best = if pure > 0.0 { (trial / image * self.within / pure).sqrt() } else { most };
        Ok(best.clamp(1.0, most))
    }

    fn check(&self) -> Result<(), StatsError> {
        not_negative("the variance between trials", self.between)?;
        not_negative("the variance within trials", self.within)?;
        check(self.images != Some(0), "the number of all images", 0.0, "at least 1")
    }
}

/// `1 - drawn / population`: how much of the variance of a mean is left when it is drawn without replacement from a
/// finite population; 0 if all was drawn.
///
/// Source: Cochran, "Sampling techniques" (1977), section 2.6.
///
/// ```
/// assert_eq!(bitquake_stats::finite_population_factor(250, 1000), 0.75);
/// ```
#[must_use]
pub fn finite_population_factor(drawn: u64, population: u64) -> f64 {
    if drawn >= population { 0.0 } else { (population - drawn) as f64 / population as f64 }
}

#[cfg(test)]
mod tests {
    use super::{StratumPlan, TwoStage, neyman};
    use crate::Moments;
    use bitquake_testing::SplitMix64;
    use proptest::prelude::*;

    fn plan(size: u64, std: f64, cost: f64) -> StratumPlan {
        StratumPlan { size, std, cost }
    }

    #[test]
    fn allocations_by_hand() {
        let cases: &[(&[StratumPlan], u64, &[u64])] = &[
            (&[], 10, &[]),
            (&[plan(100, 1.0, 1.0), plan(100, 3.0, 1.0)], 40, &[10, 30]),
            (&[plan(100, 1.0, 1.0), plan(100, 3.0, 9.0)], 40, &[20, 20]),
            (&[plan(100, 0.0, 1.0), plan(100, 3.0, 1.0)], 40, &[2, 38]),
            (&[plan(100, 0.0, 1.0), plan(10, 3.0, 1.0)], 40, &[30, 10]),
            (&[plan(100, 0.0, 1.0), plan(300, 0.0, 1.0)], 40, &[10, 30]),
            (&[plan(1, 1.0, 1.0), plan(5, 3.0, 1.0)], 40, &[1, 5]),
            (&[plan(9, 1.0, 1.0), plan(9, 1.0, 1.0)], 1, &[2, 2]),
            (&[plan(9, 1.0, 1.0), plan(9, 1.0, 1.0), plan(9, 1.0, 1.0)], 10, &[4, 3, 3]),
        ];
        for (strata, trials, wanted) in cases {
            assert_eq!(neyman(strata, *trials).unwrap(), *wanted, "{strata:?}");
        }
    }

    #[test]
    fn wrong_plans_are_refused() {
        for bad in [plan(0, 1.0, 1.0), plan(9, -1.0, 1.0), plan(9, f64::NAN, 1.0), plan(9, 1.0, 0.0)] {
            assert!(neyman(&[bad], 9).is_err(), "{bad:?}");
        }
        let good = TwoStage { between: 1.0, within: 1.0, images: Some(10) };
        assert!(
            good.variance(0, 1).is_err() && good.variance(1, 0).is_err() && good.variance(1, 11).is_err()
        );
        assert!(good.best_images(0.0, 1.0).is_err() && good.best_images(1.0, -1.0).is_err());
        assert!(TwoStage { between: -1.0, ..good }.variance(1, 1).is_err());
        assert!(TwoStage { images: Some(0), ..good }.best_images(1.0, 1.0).is_err());
    }

    #[test]
    fn the_best_number_of_images_beats_its_neighbours() {
        for images in [None, Some(200)] {
            let stage = TwoStage { between: 0.5, within: 40.0, images };
            let (trial, image, budget) = (9.0, 1.0, 1e9);
            let at = |m: u64| stage.variance((budget / (trial + image * m as f64)) as u64, m).unwrap();
            let best = stage.best_images(trial, image).unwrap();
            let searched = (1..=200).min_by(|&a, &b| at(a).total_cmp(&at(b))).unwrap();
            assert!((best - searched as f64).abs() <= 1.0, "{best} {searched}");
        }
        let alike = TwoStage { between: 0.0, within: 1.0, images: Some(70) };
        assert_eq!(alike.best_images(1.0, 1.0), Ok(70.0));
        assert_eq!(TwoStage { within: 0.0, ..alike }.best_images(1.0, 1.0), Ok(1.0));
    }

    /// 4,000 simulated campaigns: the variance of their means is that of the formula. The relative standard error of
    /// such a variance is sqrt(2 / 4000) = 2.2 %; 11 % is five of them, a false alarm of 1e-6.
    #[test]
    fn the_variance_is_that_of_simulated_campaigns() {
        let (n, m, all) = (5, 10, 30);
        let mut random = SplitMix64::new(1977);
        let mut means = Moments::new();
        for _ in 0..4000 {
            let mut sum = 0.0;
            for _ in 0..n {
                let trial = random.normal();
                let images: Vec<f64> = (0..all).map(|_| trial + 3.0 * random.normal()).collect();
                // The images of a trial are independent, so the first ten are ten at random.
                sum += images[..m].iter().sum::<f64>();
            }
            means.push(sum / (n * m) as f64).unwrap();
        }
        // The true mean of a trial over its 30 images varies by 1 + 9 / 30.
        let stage = TwoStage { between: 1.0 + 9.0 / 30.0, within: 9.0, images: Some(all as u64) };
        let wanted = stage.variance(n as u64, m as u64).unwrap();
        let got = means.variance().unwrap();
        assert!((got / wanted - 1.0).abs() < 0.11, "{got} {wanted}");
    }

    proptest! {
        #[test]
        fn allocations_sum_up_and_keep_the_limits(
            strata in prop::collection::vec((1..50_u64, 0.0..2.0_f64, 0.1..9.0_f64), 1..12),
            trials in 0..400_u64,
        ) {
            let strata: Vec<_> = strata.iter().map(|&(size, std, cost)| plan(size, std, cost)).collect();
            let got = neyman(&strata, trials).unwrap();
            let least: u64 = strata.iter().map(|s| s.size.min(2)).sum();
            let most: u64 = strata.iter().map(|s| s.size).sum();
            prop_assert_eq!(got.iter().sum::<u64>(), trials.clamp(least, most), "{:?}", got);
            for (count, stratum) in got.iter().zip(&strata) {
                prop_assert!(*count >= stratum.size.min(2) && *count <= stratum.size);
            }
        }
    }
}
