//! From the model's outputs to what a trial is judged by.

/// What the rows of the model's output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// Unnormalised scores: the loss applies a softmax.
    Logits,
    /// The output of a softmax.
    Probabilities,
}

/// How one image came out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The best class: the first with the largest output. None when an output is NaN, for then nothing is largest.
    pub top1: Option<u32>,
    /// Whether the label is the best class.
    pub correct: bool,
    /// Whether the label is among the five best classes, equal outputs ranked by class.
    pub in_top5: bool,
    /// Whether every output is finite.
    pub finite: bool,
    /// Cross-entropy in nats; NaN or infinite where IEEE arithmetic says so.
    pub loss: f64,
}

impl Prediction {
    /// Judges one row of outputs, one number a class. `label` must be below the number of classes.
    ///
    /// ```
    /// use bitquake_engine::{OutputKind, Prediction};
    /// let image = Prediction::of(&[0.5, 2.0, -1.0], 1, OutputKind::Logits);
    /// assert_eq!((image.top1, image.correct), (Some(1), true));
    /// assert_eq!(Prediction::of(&[f32::NAN, 2.0], 1, OutputKind::Logits).top1, None);
    /// ```
    #[must_use]
    pub fn of(row: &[f32], label: u32, kind: OutputKind) -> Self {
        let has_nan = row.iter().any(|output| output.is_nan());
        let top1 = if has_nan { None } else { first_largest(row) };
        let score = row[label as usize];
        let ahead = row
            .iter()
            .enumerate()
            .filter(|&(class, &output)| output > score || (output == score && class < label as usize));
        Self {
            top1,
            correct: top1 == Some(label),
            in_top5: !has_nan && ahead.count() < 5,
            finite: row.iter().all(|output| output.is_finite()),
            loss: match kind {
                OutputKind::Logits => cross_entropy(row, score),
                OutputKind::Probabilities => -f64::from(score).ln(),
            },
        }
    }
}

fn first_largest(row: &[f32]) -> Option<u32> {
    let best = row.iter().copied().reduce(f32::max)?;
    row.iter().position(|&output| output == best).map(|class| class as u32)
}

/// `ln(sum exp(x)) - x[label]`, the largest output taken out first.
fn cross_entropy(row: &[f32], score: f32) -> f64 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&output| (f64::from(output) - f64::from(largest)).exp()).sum();
    f64::from(largest) + sum.ln() - f64::from(score)
}

/// The golden run: what every trial is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// Every output, image after image.
    pub outputs: Vec<f32>,
    /// What the outputs come to.
    pub predictions: Vec<Prediction>,
}

/// What the images of one trial come to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Images evaluated.
    pub images: u64,
    /// Images whose label is the best class.
    pub correct: u64,
    /// Images whose label is among the best five.
    pub top5_correct: u64,
    /// Images whose best class differs from the golden run's.
    pub golden_mismatch: u64,
    /// Images with an output that is not finite.
    pub nonfinite: u64,
    /// Images wrong here or in the golden run.
    pub err_union: u64,
    /// Images for which the engine gave no output.
    pub due: u64,
    /// Sum of the images' losses, in image order.
    loss_sum: f64,
}

impl Outcome {
    /// Counts images in order, each with what it was in the golden run.
    #[must_use]
    pub fn of(images: &[Prediction], golden: &[Prediction]) -> Self {
        let mut outcome = Self::default();
        images.iter().zip(golden).for_each(|(image, golden)| outcome.add(image, golden));
        outcome
    }

    /// Counts one image.
    pub fn add(&mut self, image: &Prediction, golden: &Prediction) {
        self.images += 1;
        self.correct += u64::from(image.correct);
        self.top5_correct += u64::from(image.in_top5);
        self.golden_mismatch += u64::from(image.top1 != golden.top1);
        self.nonfinite += u64::from(!image.finite);
        self.err_union += u64::from(!image.correct || !golden.correct);
        self.loss_sum += image.loss;
    }

    /// All images lost: the engine refused the faulty model or failed while running it.
    #[must_use]
    pub fn all_due(images: u64) -> Self {
        Self {
            images,
            golden_mismatch: images,
            err_union: images,
            due: images,
            loss_sum: f64::NAN,
            ..Self::default()
        }
    }

    /// Mean cross-entropy in nats, if it is finite.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        let mean = self.loss_sum / self.images.max(1) as f64;
        mean.is_finite().then_some(mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f32 = f32::INFINITY;
    const NAN: f32 = f32::NAN;

    #[test]
    fn ranks_with_ties_and_non_finite_outputs() {
        type Case = (&'static [f32], u32, Option<u32>, bool, bool);
        let cases: [Case; 8] = [
            (&[1.0, 3.0, 2.0, 0.0, 0.0, 0.0], 1, Some(1), true, true),
            (&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 0, Some(0), true, true),
            (&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 5, Some(0), true, false),
            (&[-INF, -INF], 1, Some(0), false, true),
            (&[INF, 0.0], 1, Some(0), false, true),
            (&[0.0, INF], 1, Some(1), false, true),
            (&[NAN, 9.0], 1, None, false, false),
            (&[9.0, NAN], 0, None, false, false),
        ];
        for (row, label, top1, finite, in_top5) in cases {
            let image = Prediction::of(row, label, OutputKind::Logits);
            assert_eq!((image.top1, image.finite, image.in_top5), (top1, finite, in_top5), "{row:?}");
        }
    }

    #[test]
    fn losses() {
        let loss = |row: &[f32], label, kind| Prediction::of(row, label, kind).loss;
        assert!((loss(&[0.0, 0.0], 0, OutputKind::Logits) - 2f64.ln()).abs() < 1e-15);
        assert!((loss(&[1e4, 0.0], 1, OutputKind::Logits) - 1e4).abs() < 1e-9);
        assert_eq!(loss(&[0.0, -INF], 1, OutputKind::Logits), f64::INFINITY);
        assert!(loss(&[INF, 0.0], 1, OutputKind::Logits).is_nan());
        assert!(loss(&[NAN, 0.0], 1, OutputKind::Logits).is_nan());
        assert!((loss(&[0.25, 0.75], 0, OutputKind::Probabilities) - 4f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn counts_against_the_golden_run() {
        let of = |row: &[f32]| Prediction::of(row, 0, OutputKind::Logits);
        let (right, wrong, broken) = (of(&[1.0, 0.0]), of(&[0.0, 1.0]), of(&[NAN, 0.0]));
        let mut outcome = Outcome::default();
        outcome.add(&right, &wrong);
        outcome.add(&wrong, &right);
        outcome.add(&right, &right);
        assert!(outcome.loss().is_some());
        outcome.add(&broken, &right);
        assert_eq!((outcome.images, outcome.correct, outcome.golden_mismatch), (4, 2, 3));
        assert_eq!((outcome.err_union, outcome.nonfinite, outcome.loss()), (3, 1, None));
        assert_eq!(Outcome::all_due(7).golden_mismatch, 7);
    }
}
