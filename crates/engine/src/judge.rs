//! From the model's outputs to what an image is judged by.

use crate::distance::{Distance, Measure};
use crate::prediction::{OutputKind, Prediction, ahead};

/// One image of the golden run.
#[derive(Clone, Copy, Debug)]
pub struct GoldenImage<'a> {
    /// Its outputs.
    pub row: &'a [f32],
    /// What the judge's [`golden`](Judge::golden) made of them.
    pub prediction: &'a Prediction,
    /// Its label; 0 where there is none.
    pub label: u32,
}

/// What a fault did to one image. Several may hold at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// What the outputs come to.
    pub prediction: Prediction,
    /// Every output is the golden run's, bit for bit.
    pub masked: bool,
    /// The best class is not the golden run's (SDC-1).
    pub mismatch: bool,
    /// The golden run's best class is not among the best five.
    pub sdc5: bool,
    /// The confidence differs by more than 10 %.
    pub sdc10: bool,
    /// The confidence differs by more than 20 %.
    pub sdc20: bool,
    /// How far the outputs lie from the golden run's, where that is asked for.
    pub distance: Option<Distance>,
    /// The distance is beyond the threshold.
    pub exceeded: bool,
}

impl Verdict {
    /// An image with the golden run's outputs.
    fn masked(golden: &Prediction, distance: Option<Distance>) -> Self {
        Self {
            prediction: *golden,
            masked: true,
            mismatch: false,
            sdc5: false,
            sdc10: false,
            sdc20: false,
            distance,
            exceeded: false,
        }
    }
}

/// Tells what a fault did, image by image, from one row of outputs and that of the golden run.
///
/// A row that equals the golden one bit for bit is masked under every judge, whatever it holds.
pub trait Judge: Send + Sync {
    /// What the golden run's outputs come to. `label` is below the number of outputs where the judge needs one.
    fn golden(&self, row: &[f32], label: u32) -> Prediction;

    /// Compares outputs with those of the golden run, of which there are as many.
    fn judge(&self, row: &[f32], golden: GoldenImage<'_>) -> Verdict;

    /// Whether the images have labels and the outputs are classes.
    fn is_classifier(&self) -> bool;
}

/// Judges the rows of a classifier.
///
/// Silent data corruption (SDC) is told by the criteria of Li et al., "Understanding Error Propagation in Deep Learning Neural
/// Network (DNN) Accelerators and Applications", SC'17:
///
/// * SDC-1: the best class differs from the golden run's. A row with a NaN has no best class, so it differs from every row
///   that has one.
/// * SDC-5: the golden run's best class is not among the faulty run's best five, equal outputs ranked by class. (The paper asks
///   the other way round, for the faulty run's best class among the golden run's best five.) Every row with a NaN counts,
///   unless the golden run has none either.
/// * SDC-10 % and SDC-20 %: the confidence of the best class, whichever it is, lies more than 10 % (20 %) of the golden run's
///   above or below it: `|c - g| > 0.1 g`. The confidence is the best class's probability after a softmax. It counts as
///   different when one of the two is NaN or infinite.
///
/// None of them counts an image whose outputs are the golden run's bit for bit.
///
/// ```
/// use bitquake_engine::{ClassifierJudge, GoldenImage, Judge, OutputKind};
/// let judge = ClassifierJudge { kind: OutputKind::Probabilities };
/// let row = [0.7, 0.2, 0.1];
/// let golden = GoldenImage { row: &row, prediction: &judge.golden(&row, 0), label: 0 };
/// let verdict = judge.judge(&[0.6, 0.3, 0.1], golden);
/// assert_eq!((verdict.masked, verdict.mismatch, verdict.sdc10, verdict.sdc20), (false, false, true, false));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassifierJudge {
    /// What the outputs are.
    pub kind: OutputKind,
}

impl Judge for ClassifierJudge {
    fn golden(&self, row: &[f32], label: u32) -> Prediction {
        Prediction::of(row, label, self.kind)
    }

    fn judge(&self, row: &[f32], golden: GoldenImage<'_>) -> Verdict {
        let clean = golden.prediction;
        if same_bits(row, golden.row) {
            return Verdict::masked(clean, None);
        }
        let prediction = Prediction::of(row, golden.label, self.kind);
        let mismatch = prediction.top1 != clean.top1;
        let sdc5 = match (prediction.top1, clean.top1) {
            (Some(_), Some(best)) => mismatch && ahead(row, best) >= 5,
            (None, None) => false,
            _ => true,
        };
        let change = (prediction.confidence - clean.confidence).abs();
        // A comparison with NaN is false, and a change of NaN is a change.
        let within = |share: f64| change <= share * clean.confidence;
        Verdict {
            prediction,
            masked: false,
            mismatch,
            sdc5,
            sdc10: !within(0.1),
            sdc20: !within(0.2),
            distance: None,
            exceeded: false,
        }
    }

    fn is_classifier(&self) -> bool {
        true
    }
}

/// Judges rows of any meaning by their distance from the golden run's.
///
/// A row exceeds the threshold when its distance by [`measure`](Self::measure) is larger, or its cosine similarity smaller. A
/// row that is not finite exceeds every threshold, unless it equals the golden one bit for bit.
///
/// ```
/// use bitquake_engine::{DistanceJudge, GoldenImage, Judge, Measure};
/// let judge = DistanceJudge { measure: Measure::MaxAbs, threshold: 0.5 };
/// let row = [1.0, -2.0];
/// let golden = GoldenImage { row: &row, prediction: &judge.golden(&row, 0), label: 0 };
/// assert!(!judge.judge(&[1.5, -2.0], golden).exceeded);
/// assert!(judge.judge(&[1.0, -1.0], golden).exceeded);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistanceJudge {
    /// Which distance the threshold is for.
    pub measure: Measure,
    /// The largest distance, or the smallest cosine similarity, that is no failure.
    pub threshold: f64,
}

impl Judge for DistanceJudge {
    fn golden(&self, row: &[f32], _: u32) -> Prediction {
        Prediction::unlabelled(row)
    }

    fn judge(&self, row: &[f32], golden: GoldenImage<'_>) -> Verdict {
        let clean = golden.prediction;
        if same_bits(row, golden.row) {
            return Verdict::masked(clean, Some(Distance::NONE).filter(|_| clean.finite));
        }
        let prediction = Prediction::unlabelled(row);
        let comparable = prediction.finite && clean.finite;
        let distance = comparable.then(|| Distance::between(row, golden.row));
        let exceeded = distance.is_none_or(|distance| distance.exceeds(self.measure, self.threshold));
        Verdict {
            prediction,
            masked: false,
            mismatch: false,
            sdc5: false,
            sdc10: false,
            sdc20: false,
            distance,
            exceeded,
        }
    }

    fn is_classifier(&self) -> bool {
        false
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |rest, (a, b)| rest | (a.to_bits() ^ b.to_bits())) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f32 = f32::INFINITY;
    const NAN: f32 = f32::NAN;

    fn verdict(judge: &impl Judge, row: &[f32], golden: &[f32]) -> Verdict {
        let prediction = judge.golden(golden, 0);
        judge.judge(row, GoldenImage { row: golden, prediction: &prediction, label: 0 })
    }

    /// masked, SDC-1, SDC-5, SDC-10 %, SDC-20 %.
    fn flags(verdict: &Verdict) -> [bool; 5] {
        [verdict.masked, verdict.mismatch, verdict.sdc5, verdict.sdc10, verdict.sdc20]
    }

    #[test]
    fn classifiers() {
        let judge = ClassifierJudge { kind: OutputKind::Probabilities };
        let golden = [0.5, 0.1, 0.1, 0.1, 0.1, 0.1];
        type Case = (&'static str, [f32; 6], [bool; 5]);
        let cases: [Case; 11] = [
            ("the same", golden, [true, false, false, false, false]),
            ("a last bit", [0.5, 0.1, 0.1, 0.1, 0.1, 0.100_000_01], [false; 5]),
            ("hardly 10 % less", [0.450_01, 0.15, 0.1, 0.1, 0.1, 0.1], [false; 5]),
            ("15 % less", [0.425, 0.175, 0.1, 0.1, 0.1, 0.1], [false, false, false, true, false]),
            ("15 % more", [0.575, 0.1, 0.1, 0.1, 0.1, 0.025], [false, false, false, true, false]),
            ("30 % less", [0.35, 0.15, 0.15, 0.15, 0.1, 0.1], [false, false, false, true, true]),
            ("second, as sure", [0.4, 0.5, 0.1, 0.0, 0.0, 0.0], [false, true, false, false, false]),
            ("tied for fifth", [0.1, 0.5, 0.1, 0.1, 0.1, 0.1], [false, true, false, false, false]),
            ("sixth", [0.0, 0.5, 0.1, 0.1, 0.1, 0.1], [false, true, true, false, false]),
            ("NaN", [0.5, NAN, 0.1, 0.1, 0.1, 0.1], [false, true, true, true, true]),
            ("infinite", [INF, 0.1, 0.1, 0.1, 0.1, 0.1], [false, false, false, true, true]),
        ];
        for (name, row, wanted) in cases {
            assert_eq!(flags(&verdict(&judge, &row, &golden)), wanted, "{name}");
        }
    }

    #[test]
    fn a_golden_run_that_is_not_finite() {
        let judge = ClassifierJudge { kind: OutputKind::Logits };
        let broken = [NAN, 1.0];
        assert_eq!(flags(&verdict(&judge, &broken, &broken)), [true, false, false, false, false]);
        assert_eq!(flags(&verdict(&judge, &[0.0, 1.0], &broken)), [false, true, true, true, true]);
        assert_eq!(flags(&verdict(&judge, &[2.0, NAN], &broken)), [false, false, false, true, true]);
        assert_eq!(flags(&verdict(&judge, &[INF, 0.0], &[INF, 1.0])), [false, false, false, true, true]);
    }

    #[test]
    fn a_zero_of_the_other_sign_is_not_masked() {
        let judge = ClassifierJudge { kind: OutputKind::Logits };
        assert_eq!(flags(&verdict(&judge, &[1.0, -0.0], &[1.0, 0.0])), [false; 5]);
    }

    #[test]
    fn distances() {
        let judge = DistanceJudge { measure: Measure::RelL2, threshold: 0.1 };
        let golden = [3.0, 4.0];
        let cases = [
            ([3.0, 4.0], true, false),
            ([3.0, 4.5], false, false),
            ([3.0, 4.6], false, true),
            ([3.0, NAN], false, true),
            ([-INF, 4.0], false, true),
        ];
        for (row, masked, exceeded) in cases {
            let verdict = verdict(&judge, &row, &golden);
            assert_eq!((verdict.masked, verdict.exceeded), (masked, exceeded), "{row:?}");
            assert_eq!(verdict.distance.is_some(), row.iter().all(|x| x.is_finite()), "{row:?}");
        }
        let broken = verdict(&judge, &[3.0, 4.0], &[3.0, NAN]);
        assert!(broken.exceeded && broken.distance.is_none());
        let same = verdict(&judge, &[3.0, NAN], &[3.0, NAN]);
        assert!(same.masked && !same.exceeded && same.distance.is_none());
    }
}
