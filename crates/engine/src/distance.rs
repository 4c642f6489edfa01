//! How far outputs lie from those of the golden run, whatever they mean.

use crate::sum::AnyOrderSum;

/// A distance between two rows of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The largest absolute difference of two outputs, in their unit.
    MaxAbs,
    /// The Euclidean length of the difference, relative to the golden row's.
    RelL2,
    /// Cosine similarity: 1 for the same direction, -1 for the opposite one.
    Cosine,
}

/// All distances between two rows of finite outputs, in double precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// `max |y - g|`.
    pub max_abs: f64,
    /// `|y - g| / |g|` (Euclidean); infinite when the golden row is all zeros and this one is not.
    pub rel_l2: f64,
    /// `y g / (|y| |g|)`; 0 when one of the rows is all zeros, 1 when both are.
    pub cosine: f64,
}

impl Distance {
    /// That of a row from itself.
    pub const NONE: Self = Self { max_abs: 0.0, rel_l2: 0.0, cosine: 1.0 };

    /// The distances of a row from the golden one, both finite and of the same length.
    ///
    /// ```
    /// let distance = bitquake_engine::Distance::between(&[3.0, 0.0], &[3.0, 4.0]);
    /// assert_eq!((distance.max_abs, distance.rel_l2, distance.cosine), (4.0, 0.8, 0.6));
    /// ```
    #[must_use]
    pub fn between(row: &[f32], golden: &[f32]) -> Self {
        let (mut max_abs, mut apart, mut length, mut golden_length, mut product) =
            (0.0_f64, 0.0, 0.0, 0.0, 0.0);
        for (&y, &g) in row.iter().zip(golden) {
            let (y, g) = (f64::from(y), f64::from(g));
            let difference = y - g;
            max_abs = max_abs.max(difference.abs());
            apart += difference * difference;
            length += y * y;
            golden_length += g * g;
            product += y * g;
        }
        let rel_l2 = if apart == 0.0 { 0.0 } else { (apart / golden_length).sqrt() };
        let cosine = match (length == 0.0, golden_length == 0.0) {
            (true, true) => 1.0,
            (false, false) => (product / (length.sqrt() * golden_length.sqrt())).clamp(-1.0, 1.0),
            _ => 0.0,
        };
        Self { max_abs, rel_l2, cosine }
    }

    /// Whether a distance is above the threshold, or the similarity below it.
    #[must_use]
    pub fn exceeds(&self, measure: Measure, threshold: f64) -> bool {
        match measure {
            Measure::MaxAbs => self.max_abs > threshold,
            Measure::RelL2 => self.rel_l2 > threshold,
            Measure::Cosine => self.cosine < threshold,
        }
    }
}

/// One measure over the images of a trial whose outputs are finite in both runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// The mean; none without images, or when one of them has no number.
    pub mean: Option<f64>,
    /// The largest distance, or the smallest similarity; none likewise.
    pub worst: Option<f64>,
}

/// The distances of a trial's images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distances {
    /// Images compared: those whose outputs are finite in both runs.
    pub compared: u64,
    /// Images beyond the threshold, those that are not finite or have no output included.
    pub exceeded: u64,
    /// Largest absolute difference.
    pub max_abs: Extent,
    /// Relative Euclidean distance.
    pub rel_l2: Extent,
    /// Cosine similarity.
    pub cosine: Extent,
}

/// Distances being counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct DistanceSums {
    compared: u64,
    exceeded: u64,
    max_abs: Tally,
    rel_l2: Tally,
    /// Of the similarity with its sign changed, so that the worst is the largest.
    cosine: Tally,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Tally {
    sum: AnyOrderSum,
    worst: f64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { sum: AnyOrderSum::default(), worst: f64::NEG_INFINITY }
    }
}

impl Tally {
    fn add(&mut self, value: f64) {
        self.sum.add(value);
        self.worst = self.worst.max(value);
    }

    fn merge(&mut self, other: &Self) {
        self.sum.merge(&other.sum);
        self.worst = self.worst.max(other.worst);
    }

    fn extent(&self, images: u64, sign: f64) -> Extent {
        let mean = self.sum.value().filter(|_| images > 0).map(|sum| sign * sum / images as f64);
        Extent { mean, worst: Some(sign * self.worst).filter(|worst| worst.is_finite()) }
    }
}

impl DistanceSums {
    pub(crate) fn all_exceeded(images: u64) -> Self {
        Self { exceeded: images, ..Self::default() }
    }

    pub(crate) fn add(&mut self, distance: Option<Distance>, exceeded: bool) {
        self.exceeded += u64::from(exceeded);
        if let Some(distance) = distance {
            self.compared += 1;
            self.max_abs.add(distance.max_abs);
            self.rel_l2.add(distance.rel_l2);
            self.cosine.add(-distance.cosine);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.compared += other.compared;
        self.exceeded += other.exceeded;
        self.max_abs.merge(&other.max_abs);
        self.rel_l2.merge(&other.rel_l2);
        self.cosine.merge(&other.cosine);
    }

    pub(crate) fn finish(&self) -> Distances {
        Distances {
            compared: self.compared,
            exceeded: self.exceeded,
            max_abs: self.max_abs.extent(self.compared, 1.0),
            rel_l2: self.rel_l2.extent(self.compared, 1.0),
            cosine: self.cosine.extent(self.compared, -1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_zeros_and_extremes() {
        let between = |row: &[f32], golden: &[f32]| {
            let distance = Distance::between(row, golden);
            (distance.max_abs, distance.rel_l2, distance.cosine)
        };
        let huge = f32::MAX;
        assert_eq!(between(&[0.0, 0.0], &[0.0, -0.0]), (0.0, 0.0, 1.0));
        assert_eq!(between(&[0.0, 2.0], &[0.0, 0.0]), (2.0, f64::INFINITY, 0.0));
        assert_eq!(between(&[0.0, 0.0], &[0.0, 2.0]), (2.0, 1.0, 0.0));
        assert_eq!(between(&[-3.0, -4.0], &[3.0, 4.0]), (8.0, 2.0, -1.0));
        let (max_abs, rel_l2, cosine) = between(&[huge, huge], &[-huge, huge]);
        assert_eq!((max_abs, cosine), (2.0 * f64::from(huge), 0.0));
        assert!((rel_l2 - 2f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn thresholds_are_still_allowed() {
        let distance = Distance { max_abs: 2.0, rel_l2: 0.5, cosine: 0.9 };
        for (measure, at, beyond) in
            [(Measure::MaxAbs, 2.0, 1.9), (Measure::RelL2, 0.5, 0.4), (Measure::Cosine, 0.9, 0.95)]
        {
            assert!(!distance.exceeds(measure, at) && distance.exceeds(measure, beyond), "{measure:?}");
        }
    }

    #[test]
    fn means_and_worst_over_images() {
        let mut sums = DistanceSums::default();
        sums.add(Some(Distance { max_abs: 1.0, rel_l2: 0.5, cosine: 0.5 }), false);
        sums.add(Some(Distance { max_abs: 3.0, rel_l2: 0.25, cosine: -0.5 }), true);
        sums.add(None, true);
        let told = sums.finish();
        assert_eq!((told.compared, told.exceeded), (2, 2));
        assert_eq!(told.max_abs, Extent { mean: Some(2.0), worst: Some(3.0) });
        assert_eq!(told.rel_l2, Extent { mean: Some(0.375), worst: Some(0.5) });
        assert_eq!(told.cosine, Extent { mean: Some(0.0), worst: Some(-0.5) });
        let nothing = DistanceSums::all_exceeded(3).finish();
        assert_eq!((nothing.exceeded, nothing.cosine), (3, Extent { mean: None, worst: None }));
    }
}
