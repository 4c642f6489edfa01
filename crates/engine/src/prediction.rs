//! One row of a classifier's outputs.

use crate::softmax::exponential_sum;

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
    /// The best class's probability after a softmax; the outputs of a softmax as they are. NaN where there is none.
    pub confidence: f64,
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
        let scan = Scan::of(row);
        let top1 = if scan.has_nan { None } else { first(row, scan.largest) };
        let score = row[label as usize];
        let (loss, confidence) = match kind {
            OutputKind::Logits => {
                let largest = f64::from(scan.largest);
                let sum = if scan.has_nan { f64::NAN } else { exponential_sum(row, scan.largest) };
                (largest + sum.ln() - f64::from(score), sum.recip())
            }
            OutputKind::Probabilities => {
                (-f64::from(score).ln(), if scan.has_nan { f64::NAN } else { f64::from(scan.largest) })
            }
        };
        Self {
            top1,
            correct: top1 == Some(label),
            in_top5: top1 == Some(label) || (!scan.has_nan && ahead(row, label) < 5),
            finite: scan.finite,
            loss,
            confidence,
        }
    }

    /// A row without a label, of a model that need not be a classifier: only [`finite`](Self::finite) says something.
    #[must_use]
    pub fn unlabelled(row: &[f32]) -> Self {
        Self {
            top1: None,
            correct: false,
            in_top5: false,
            finite: Scan::of(row).finite,
            loss: f64::NAN,
            confidence: f64::NAN,
        }
    }
}

/// How many classes rank before this one: larger outputs, and equal ones of lower classes. A row without NaN.
pub(crate) fn ahead(row: &[f32], class: u32) -> usize {
    let (class, score) = (class as usize, row[class as usize]);
    let before = row[..class].iter().filter(|&&output| output >= score).count();
    before + row[class..].iter().filter(|&&output| output > score).count()
}

/// What one look at a row tells.
struct Scan {
    largest: f32,
    has_nan: bool,
    finite: bool,
}

impl Scan {
    fn of(row: &[f32]) -> Self {
        let (mut largest, mut has_nan, mut finite) = (f32::NEG_INFINITY, false, true);
        for &output in row {
            // A comparison with NaN is false, so NaN never becomes the largest.
            largest = if output > largest { output } else { largest };
            has_nan |= output.is_nan();
            finite &= output.is_finite();
        }
        Self { largest, has_nan, finite }
    }
}

fn first(row: &[f32], largest: f32) -> Option<u32> {
    row.iter().position(|&output| output == largest).map(|class| class as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f32 = f32::INFINITY;
    const NAN: f32 = f32::NAN;

    #[test]
    fn ranks_with_ties_and_non_finite_outputs() {
        type Case = (&'static [f32], u32, Option<u32>, bool, bool);
        let cases: [Case; 10] = [
            (&[1.0, 3.0, 2.0, 0.0, 0.0, 0.0], 1, Some(1), true, true),
            (&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 0, Some(0), true, true),
            (&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 5, Some(0), true, false),
            (&[0.0, -0.0], 1, Some(0), true, true),
            (&[-INF, -INF], 1, Some(0), false, true),
            (&[INF, 0.0], 1, Some(0), false, true),
            (&[0.0, INF], 1, Some(1), false, true),
            (&[INF, INF, INF, INF, INF, INF], 5, Some(0), false, false),
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
        assert!(loss(&[-INF, -INF], 1, OutputKind::Logits).is_nan());
        assert!(loss(&[NAN, 0.0], 1, OutputKind::Logits).is_nan());
        assert!((loss(&[0.25, 0.75], 0, OutputKind::Probabilities) - 4f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn confidences() {
        let confidence = |row: &[f32], kind| Prediction::of(row, 0, kind).confidence;
        assert!((confidence(&[0.0, 0.0], OutputKind::Logits) - 0.5).abs() < 1e-15);
        assert!((confidence(&[3f32.ln(), 0.0], OutputKind::Logits) - 0.75).abs() < 1e-7);
        assert_eq!(confidence(&[0.25, 0.75], OutputKind::Probabilities), 0.75);
        assert_eq!(confidence(&[-INF, 1.0], OutputKind::Logits), 1.0);
        for row in [[NAN, 0.5], [0.5, NAN]] {
            assert!(confidence(&row, OutputKind::Probabilities).is_nan());
            assert!(confidence(&row, OutputKind::Logits).is_nan());
        }
        assert!(confidence(&[INF, 0.0], OutputKind::Logits).is_nan());
        assert!(!Prediction::unlabelled(&[0.0, NAN]).finite && Prediction::unlabelled(&[0.0]).finite);
    }
}
