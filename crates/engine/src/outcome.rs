//! What the images of a trial come to.

use crate::distance::{DistanceSums, Distances};
use crate::judge::{GoldenImage, Judge, Verdict};
pub use crate::prediction::{OutputKind, Prediction};
use crate::sum::AnyOrderSum;

/// The golden run: what every trial is compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// Every output, image after image.
    pub outputs: Vec<f32>,
    /// What the outputs come to.
    pub predictions: Vec<Prediction>,
}

impl Golden {
    /// Outputs of each image; 0 without images.
    #[must_use]
    pub fn width(&self) -> usize {
        self.outputs.len().checked_div(self.predictions.len()).unwrap_or(0)
    }

    /// What all images come to.
    #[must_use]
    pub fn clean(&self) -> CleanOutcome {
        let mut clean = CleanOutcome::default();
        self.predictions.iter().for_each(|image| clean.add(image));
        clean
    }

    /// The image at a place of the data set, if there is one. `label` is its label, 0 where there is none.
    #[must_use]
    pub fn image(&self, place: usize, label: u32) -> Option<GoldenImage<'_>> {
        let (width, prediction) = (self.width(), self.predictions.get(place)?);
        Some(GoldenImage { row: self.outputs.get(place * width..(place + 1) * width)?, prediction, label })
    }
}

/// Images of the golden run: what a trial on some of the images is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CleanOutcome {
    /// How many.
    pub images: u64,
    /// Images whose label is the best class.
    pub correct: u64,
    /// Images whose label is among the best five.
    pub top5_correct: u64,
    /// Images with an output that is not finite.
    pub nonfinite: u64,
    loss: AnyOrderSum,
}

impl CleanOutcome {
    fn add(&mut self, image: &Prediction) {
        self.images += 1;
        self.correct += u64::from(image.correct);
        self.top5_correct += u64::from(image.in_top5);
        self.nonfinite += u64::from(!image.finite);
        self.loss.add(image.loss);
    }

    fn merge(&mut self, other: &Self) {
        self.images += other.images;
        self.correct += other.correct;
        self.top5_correct += other.top5_correct;
        self.nonfinite += other.nonfinite;
        self.loss.merge(&other.loss);
    }

    /// Mean cross-entropy in nats, if it is finite.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        mean(&self.loss, self.images)
    }
}

/// What the images of one trial come to. The order in which they are added does not matter, to the last bit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Images evaluated.
    pub images: u64,
    /// Images whose outputs are the golden run's, bit for bit.
    pub masked: u64,
    /// Images whose label is the best class.
    pub correct: u64,
    /// Images whose label is among the best five.
    pub top5_correct: u64,
    /// Images whose best class differs from the golden run's (SDC-1).
    pub golden_mismatch: u64,
    /// Images for which the golden run's best class is not among the best five (SDC-5).
    pub sdc5: u64,
    /// Images whose confidence differs from the golden run's by more than 10 %.
    pub sdc10: u64,
    /// Images whose confidence differs from the golden run's by more than 20 %.
    pub sdc20: u64,
    /// Images with an output that is not finite.
    pub nonfinite: u64,
    /// Images wrong here or in the golden run.
    pub err_union: u64,
    /// Images for which the engine gave no output.
    pub due: u64,
    /// What the golden run made of the same images.
    pub clean: CleanOutcome,
    loss: AnyOrderSum,
    distances: DistanceSums,
}

impl Outcome {
    /// Judges the outputs of one image and counts it.
    ///
    /// ```
    /// use bitquake_engine::{ClassifierJudge, GoldenImage, Judge, Outcome, OutputKind};
    /// let judge = ClassifierJudge { kind: OutputKind::Logits };
    /// let row = [2.0, 1.0];
    /// let golden = GoldenImage { row: &row, prediction: &judge.golden(&row, 0), label: 0 };
    /// let mut outcome = Outcome::default();
    /// outcome.add(&judge, &[1.0, 2.0], golden);
    /// outcome.add(&judge, &[2.0, 1.0], golden);
    /// assert_eq!((outcome.images, outcome.masked, outcome.golden_mismatch, outcome.correct), (2, 1, 1, 1));
    /// ```
    pub fn add(&mut self, judge: &(impl Judge + ?Sized), row: &[f32], golden: GoldenImage<'_>) {
        self.count(&judge.judge(row, golden), golden.prediction);
    }

    /// Counts an image whose outputs are known to be the golden run's, without looking at them.
    pub fn add_masked(&mut self, judge: &(impl Judge + ?Sized), golden: GoldenImage<'_>) {
        self.add(judge, golden.row, golden);
    }

    fn count(&mut self, verdict: &Verdict, golden: &Prediction) {
        let image = &verdict.prediction;
        self.images += 1;
        self.masked += u64::from(verdict.masked);
        self.correct += u64::from(image.correct);
        self.top5_correct += u64::from(image.in_top5);
        self.golden_mismatch += u64::from(verdict.mismatch);
        self.sdc5 += u64::from(verdict.sdc5);
        self.sdc10 += u64::from(verdict.sdc10);
        self.sdc20 += u64::from(verdict.sdc20);
        self.nonfinite += u64::from(!image.finite);
        self.err_union += u64::from(!image.correct || !golden.correct);
        self.loss.add(image.loss);
        self.clean.add(golden);
        self.distances.add(verdict.distance, verdict.exceeded);
    }

    /// Adds the images of another part of the same trial.
    pub fn merge(&mut self, other: &Self) {
        self.images += other.images;
        self.masked += other.masked;
        self.correct += other.correct;
        self.top5_correct += other.top5_correct;
        self.golden_mismatch += other.golden_mismatch;
        self.sdc5 += other.sdc5;
        self.sdc10 += other.sdc10;
        self.sdc20 += other.sdc20;
        self.nonfinite += other.nonfinite;
        self.err_union += other.err_union;
        self.due += other.due;
        self.clean.merge(&other.clean);
        self.loss.merge(&other.loss);
        self.distances.merge(&other.distances);
    }

    /// All images lost: the engine refused the faulty model or failed while running it. Each counts as changed by every
    /// criterion; [`due`](Self::due) tells them from silent changes. `golden` are the images' golden predictions.
    #[must_use]
    pub fn all_due<'a>(golden: impl IntoIterator<Item = &'a Prediction>) -> Self {
        let mut clean = CleanOutcome::default();
        golden.into_iter().for_each(|image| clean.add(image));
        let images = clean.images;
        let mut loss = AnyOrderSum::default();
        loss.add(f64::NAN);
        Self {
            images,
            golden_mismatch: images,
            sdc5: images,
            sdc10: images,
            sdc20: images,
            err_union: images,
            due: images,
            clean,
            loss,
            distances: DistanceSums::all_exceeded(images),
            ..Self::default()
        }
    }

    /// Mean cross-entropy in nats, if it is finite.
    #[must_use]
    pub fn loss(&self) -> Option<f64> {
        mean(&self.loss, self.images)
    }

    /// The distances from the golden run's outputs; they mean something under a [`DistanceJudge`](crate::DistanceJudge) alone.
    #[must_use]
    pub fn distances(&self) -> Distances {
        self.distances.finish()
    }
}

fn mean(sum: &AnyOrderSum, images: u64) -> Option<f64> {
    sum.value().map(|sum| sum / images.max(1) as f64).filter(|mean| mean.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClassifierJudge, DistanceJudge, Measure};

    const JUDGE: ClassifierJudge = ClassifierJudge { kind: OutputKind::Logits };

    fn golden(rows: &[[f32; 2]], judge: &impl Judge) -> Golden {
        Golden { outputs: rows.concat(), predictions: rows.iter().map(|row| judge.golden(row, 0)).collect() }
    }

    fn outcome(judge: &impl Judge, rows: &[[f32; 2]], golden: &Golden) -> Outcome {
        let mut outcome = Outcome::default();
        for (place, row) in rows.iter().enumerate() {
            outcome.add(judge, row, golden.image(place, 0).unwrap());
        }
        outcome
    }

    #[test]
    fn counts_against_the_golden_run() {
        let golden = golden(&[[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], &JUDGE);
        assert_eq!((golden.width(), golden.image(4, 0).is_none()), (2, true));
        let rows = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [f32::NAN, 0.0]];
        let whole = outcome(&JUDGE, &rows[..3], &golden);
        assert!(whole.loss().is_some());
        let outcome = outcome(&JUDGE, &rows, &golden);
        assert_eq!((outcome.images, outcome.correct, outcome.golden_mismatch), (4, 2, 3));
        assert_eq!((outcome.err_union, outcome.nonfinite, outcome.loss()), (3, 1, None));
        assert_eq!((outcome.masked, outcome.sdc5, outcome.sdc10, outcome.sdc20), (1, 1, 1, 1));
        assert_eq!((outcome.clean.correct, outcome.clean.top5_correct, outcome.clean.nonfinite), (3, 4, 0));
        let clean = (3.0 * (1.0 + (-1f64).exp()).ln() + (1.0 + 1f64.exp()).ln()) / 4.0;
        assert!((outcome.clean.loss().unwrap() - clean).abs() < 1e-15);
    }

    #[test]
    fn images_in_any_order_and_any_groups() {
        let rows: Vec<[f32; 2]> =
            (0..200).map(|n| [(n as f32 * 0.7).sin() * 9.0, 10f32.powi(n % 50 - 20)]).collect();
        let golden = golden(&rows.iter().map(|[a, b]| [*b, *a]).collect::<Vec<_>>(), &JUDGE);
        let together = outcome(&JUDGE, &rows, &golden);
        let mut parts = Outcome::default();
        for place in (0..200).rev() {
            let mut one = Outcome::default();
            one.add(&JUDGE, &rows[place], golden.image(place, 0).unwrap());
            parts.merge(&one);
        }
        assert_eq!(together, parts);
        assert!(together.loss().is_some());
    }

    #[test]
    fn an_image_that_came_back_counts_as_if_it_had_been_run() {
        for row in [[1.0, 3.0], [f32::NAN, 1.0], [f32::INFINITY, 0.0]] {
            let golden = golden(&[row], &JUDGE);
            let image = golden.image(0, 0).unwrap();
            let (mut known, mut run) = (Outcome::default(), Outcome::default());
            known.add_masked(&JUDGE, image);
            run.add(&JUDGE, &row, image);
            assert_eq!(known, run);
            assert_eq!(known.masked, 1);
        }
    }

    #[test]
    fn images_without_outputs() {
        let golden = golden(&[[0.0, 1.0], [1.0, 0.0]], &JUDGE);
        let lost = Outcome::all_due(&golden.predictions);
        assert_eq!((lost.images, lost.due, lost.golden_mismatch, lost.sdc20, lost.masked), (2, 2, 2, 2, 0));
        assert_eq!((lost.loss(), lost.clean.correct, lost.distances().exceeded), (None, 1, 2));
        let mut both = outcome(&JUDGE, &[[0.0, 1.0], [1.0, 0.0]], &golden);
        both.merge(&lost);
        assert_eq!((both.images, both.due, both.masked, both.loss()), (4, 2, 2, None));
    }

    #[test]
    fn models_that_are_no_classifiers() {
        let judge = DistanceJudge { measure: Measure::MaxAbs, threshold: 1.0 };
        let golden = golden(&[[0.0, 1.0], [1.0, 0.0], [5.0, 5.0]], &judge);
        let outcome = outcome(&judge, &[[0.0, 1.0], [1.0, 2.0], [f32::NAN, 5.0]], &golden);
        let told = outcome.distances();
        assert_eq!((told.compared, told.exceeded, told.max_abs.mean), (2, 2, Some(1.0)));
        assert_eq!((outcome.images, outcome.masked, outcome.nonfinite), (3, 1, 1));
        assert_eq!((outcome.correct, outcome.golden_mismatch, outcome.sdc5, outcome.loss()), (0, 0, 0, None));
    }

    /// Prints the time; the goal is well under 1 ms for 10,000 images of 10 classes that all differ.
    #[test]
    #[ignore = "measures: cargo test -p bitquake-engine --release -- --ignored --nocapture judging_is_cheap"]
    fn judging_is_cheap() {
        let images = 10_000;
        let outputs: Vec<f32> = (0..images * 10).map(|n| ((n * 7919) % 1000) as f32 / 100.0).collect();
        let faulty: Vec<f32> = outputs.iter().map(|output| output * 1.01).collect();
        let label = |place: usize| (place % 10) as u32;
        let predictions =
            outputs.chunks(10).enumerate().map(|(n, row)| JUDGE.golden(row, label(n))).collect();
        let golden = Golden { outputs, predictions };
        let time = (0..50).map(|_| {
            let start = std::time::Instant::now();
            let mut outcome = Outcome::default();
            for (place, row) in faulty.chunks(10).enumerate() {
                outcome.add(&JUDGE, row, golden.image(place, label(place)).unwrap());
            }
            assert_eq!(outcome.images, images as u64);
            start.elapsed().as_secs_f64() * 1e3
        });
        let best = time.fold(f64::INFINITY, f64::min);
        println!("{best:.3} ms for {images} images of 10 classes");
        assert!(best < 1.0);
    }
}
