//! Loss and error of outputs.

use bitquake_stats::{Interval, clopper_pearson};
use serde::{Deserialize, Serialize};

/// Sums over images: how many there were, how many were wrong, and the sum of their losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Images.
    pub images: u64,
    /// Images whose best output is not their label's.
    pub wrong: u64,
    /// Sum of the cross-entropies; for training batches of the objective, label smoothing included.
    pub loss_sum: f64,
}

/// The confidence of the intervals.
pub const CONFIDENCE: f64 = 0.95;

impl Score {
    /// The score of a batch: outputs of shape `[labels, classes]`, and the mean of their losses.
    ///
    /// The best output is the largest, the first of equal ones; a NaN is larger than every number, so such an image counts as wrong
    /// unless the NaN is its label's.
    ///
    /// ```
    /// use bitquake_record::Score;
    /// let score = Score::of_batch(&[0.0, 0.0, 3.0, -1.0], &[1, 0], 0.36);
    /// assert_eq!((score.images, score.wrong, score.loss()), (2, 1, 0.36));
    /// ```
    #[must_use]
    pub fn of_batch(outputs: &[f32], labels: &[u32], mean_loss: f64) -> Self {
        let wrong =
            predictions(outputs, labels.len()).zip(labels).filter(|(best, label)| best != *label).count();
        let images = labels.len() as u64;
        Self { images, wrong: wrong as u64, loss_sum: mean_loss * images as f64 }
    }

    /// Adds the images of another score.
    pub fn add(&mut self, other: Self) {
        self.images += other.images;
        self.wrong += other.wrong;
        self.loss_sum += other.loss_sum;
    }

    /// The share of wrong images; 0 without images.
    #[must_use]
    pub fn error(&self) -> f64 {
        self.wrong as f64 / self.images.max(1) as f64
    }

    /// The mean loss; 0 without images.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.images.max(1) as f64
    }

    /// Clopper and Pearson's interval for the error on images like these, at [`CONFIDENCE`].
    #[must_use]
    pub fn error_interval(&self) -> Option<Interval> {
        clopper_pearson(self.wrong, self.images, CONFIDENCE).ok()
    }
}

/// The best output of each of `images` rows: the largest, the first of equal ones; a NaN is larger than every number.
///
/// ```
/// use bitquake_record::predictions;
/// let outputs = [0.0, 2.0, 2.0, 5.0, f32::NAN, 1.0];
/// assert!(predictions(&outputs, 2).eq([1, 1]));
/// ```
pub fn predictions(outputs: &[f32], images: usize) -> impl Iterator<Item = u32> + '_ {
    let classes = outputs.len() / images.max(1);
    outputs.chunks(classes.max(1)).map(|row| best(row) as u32)
}

/// The place of the largest value.
fn best(row: &[f32]) -> usize {
    let is_larger = |a: f32, b: f32| a > b || (a.is_nan() && !b.is_nan());
    (1..row.len()).fold(0, |best, i| if is_larger(row[i], row[best]) { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_largest_output_is_the_answer_and_nan_is_largest() {
        for (outputs, label, wrong) in [
            (&[0.0, 0.0][..], 0, 0),
            (&[0.0, 0.0], 1, 1),
            (&[-2.0, -1.0, -3.0], 1, 0),
            (&[f32::NAN, 1.0], 1, 1),
            (&[f32::NAN, f32::NAN], 0, 0),
            (&[f32::INFINITY, f32::NAN], 1, 0),
        ] {
            assert_eq!(Score::of_batch(outputs, &[label], 0.0).wrong, wrong, "{outputs:?}");
        }
        assert!(Score::of_batch(&[0.0, 1.0], &[0], f64::NAN).loss().is_nan());
    }

    #[test]
    fn sums() {
        let mut score = Score::of_batch(&[1.0, 0.0], &[1], 0.5);
        score.add(Score { images: 3, wrong: 0, loss_sum: 0.5 });
        assert_eq!((score.error(), score.loss()), (0.25, 0.25));
        let interval = score.error_interval().unwrap();
        assert!(interval.lo < 0.01 && interval.hi > 0.8);
        assert_eq!(Score::default().error(), 0.0);
    }
}
