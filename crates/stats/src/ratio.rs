//! The ratio of two sums, Σ y / Σ w, with a standard error, from a stream of pairs.

use crate::error::{StatsError, check_confidence, finite};
use crate::student::two_sided_quantile;
use crate::{Estimate, Interval, Method};
use serde::{Deserialize, Serialize};

/// Means and centred second moments of pairs (y, w), mergeable (Chan, Golub and LeVeque 1982).
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Ratio {
    n: u64,
    y: f64,
    w: f64,
    yy: f64,
    yw: f64,
    ww: f64,
}

impl Ratio {
    pub(crate) fn push(&mut self, y: f64, w: f64) {
        self.merge(&Self { n: 1, y, w, ..Self::default() });
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        let n = self.n + other.n;
        let part = other.n as f64 / n as f64;
        let weight = part * self.n as f64;
        let (y, w) = (other.y - self.y, other.w - self.w);
        self.yy += other.yy + y * y * weight;
        self.yw += other.yw + y * w * weight;
        self.ww += other.ww + w * w * weight;
        self.y += y * part;
        self.w += w * part;
        self.n = n;
    }

    pub(crate) fn n(&self) -> u64 {
        self.n
    }

    /// Σ w.
    pub(crate) fn weight(&self) -> f64 {
        self.w * self.n as f64
    }

    /// Σ w².
    pub(crate) fn weight_squares(&self) -> f64 {
        self.ww + self.n as f64 * self.w * self.w
    }

    /// Σ y / Σ w; `None` while the weights sum to 0.
    pub(crate) fn value(&self) -> Option<f64> {
        (self.w > 0.0).then(|| self.y / self.w)
    }

    /// The linearised standard error, sqrt(n / (n - 1) Σ (y - R w)²) / Σ w; `None` for fewer than two pairs.
    ///
    /// Source: Cochran, "Sampling techniques" (1977), section 6.4.
    pub(crate) fn std_error(&self) -> Option<f64> {
        let r = self.value().filter(|_| self.n > 1)?;
        let squares = (self.yy - 2.0 * r * self.yw + r * r * self.ww).max(0.0);
        Some((self.n as f64 / (self.n - 1) as f64 * squares).sqrt() / self.weight())
    }

    /// The ratio with its t interval, n - 1 degrees of freedom.
    pub(crate) fn estimate(&self, confidence: f64, method: Method) -> Result<Option<Estimate>, StatsError> {
        check_confidence(confidence)?;
        let Some(value) = self.value() else { return Ok(None) };
        let value = finite(value, "ratio")?;
        let std_error = self.std_error();
        let interval = std_error.map(|error| {
            let half_width = two_sided_quantile(confidence, (self.n - 1) as f64) * error;
            let lo = finite(value - half_width, "interval")?;
            let hi = finite(value + half_width, "interval")?;
            Ok(Interval { lo, hi, confidence, method })
        });
        Ok(Some(Estimate { value, std_error, interval: interval.transpose()?, n: self.n }))
    }
}

#[cfg(test)]
mod tests {
    use super::Ratio;

    #[test]
    fn sums_agree_with_the_plain_formulas() {
        let pairs = [(1.0, 2.0), (0.5, 1.0), (3.0, 2.5), (0.0, 0.25)];
        let mut ratio = Ratio::default();
        pairs.iter().for_each(|&(y, w)| ratio.push(y, w));
        let (y, w): (f64, f64) = (pairs.iter().map(|p| p.0).sum(), pairs.iter().map(|p| p.1).sum());
        let squares: f64 = pairs.iter().map(|(a, b)| (a - y / w * b).powi(2)).sum();
        assert!((ratio.value().unwrap() - y / w).abs() < 1e-15);
        assert!((ratio.std_error().unwrap() - (4.0 / 3.0 * squares).sqrt() / w).abs() < 1e-15);
        let weight_squares: f64 = pairs.iter().map(|p| p.1 * p.1).sum();
        assert!((ratio.weight_squares() - weight_squares).abs() < 1e-12);
    }

    #[test]
    fn nothing_has_no_value() {
        let mut ratio = Ratio::default();
        assert_eq!(ratio.value(), None);
        ratio.push(0.0, 0.0);
        assert_eq!((ratio.value(), ratio.std_error()), (None, None));
    }
}
