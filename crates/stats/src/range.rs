//! The range that values are known to lie in.

use crate::error::{StatsError, check};
use crate::{Interval, Method};

/// Values in [lo, hi], taken to [0, 1] and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    lo: f64,
    hi: f64,
}

impl Range {
    pub(crate) fn new(lo: f64, hi: f64) -> Result<Self, StatsError> {
        check(lo.is_finite(), "the least value", lo, "finite")?;
        let wanted = "finite and above the least value";
        check(lo < hi && (hi - lo).is_finite(), "the greatest value", hi, wanted)?;
        Ok(Self { lo, hi })
    }

    /// The place of value `index` in [0, 1].
    pub(crate) fn unit(&self, value: f64, index: u64) -> Result<f64, StatsError> {
        let Self { lo, hi } = *self;
        if !(lo <= value && value <= hi) {
            return Err(StatsError::OutOfRange { index, value, lo, hi });
        }
        Ok(((value - lo) / (hi - lo)).clamp(0.0, 1.0))
    }

    pub(crate) fn value(&self, unit: f64) -> f64 {
        (self.lo + (self.hi - self.lo) * unit).clamp(self.lo, self.hi)
    }

    pub(crate) fn interval(&self, lo: f64, hi: f64, confidence: f64, method: Method) -> Interval {
        Interval { lo: self.value(lo), hi: self.value(hi), confidence, method }
    }
}
