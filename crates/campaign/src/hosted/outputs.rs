//! Outputs of the host's network, judged here as those of any campaign.

use std::sync::Arc;

use bitquake_engine::{ClassifierJudge, Golden, Judge, Outcome, SelfCheckError};

use super::campaign::Hosted;
use super::error::HostedError;
use super::golden::{HostGolden, check_seconds};
use super::result::{Came, HostResult};
use crate::set_up::distance_judge;

/// What the network gives without faults, kept to compare with.
pub(super) struct Kept {
    pub(super) golden: Golden,
    /// Of each image; none where outputs are judged by a distance.
    labels: Vec<u32>,
    judge: Box<dyn Judge>,
}

/// The golden run's outputs, taken batch by batch.
///
/// A classifier is judged by its best classes and its confidence ([`ClassifierJudge`]), with labels; with `[outcome]` any outputs are
/// judged by how far they lie from the golden run's, without.
pub struct GoldenOutputs {
    kept: Kept,
    classes: Option<usize>,
}

/// The outputs of a run with faults, judged batch by batch against the golden run.
pub struct TrialOutputs {
    kept: Arc<Kept>,
    outcome: Outcome,
    images: usize,
    /// Where the outputs first differ from the golden ones: the image and the place in its row, the golden number and the found one.
    difference: Option<(usize, usize, f32, f32)>,
}

impl Hosted {
    /// Takes the outputs of the golden run.
    #[must_use]
    pub fn golden_outputs(&self) -> GoldenOutputs {
        let judge: Box<dyn Judge> = match self.distance() {
            Some(rule) => Box::new(distance_judge(rule)),
            None => Box::new(ClassifierJudge { kind: self.config().host.outputs.into() }),
        };
        let golden = Golden { outputs: Vec::new(), predictions: Vec::new() };
        GoldenOutputs { kept: Kept { golden, labels: Vec::new(), judge }, classes: None }
    }
}

/// How many rows of outputs there are.
fn rows_of(outputs: &[f32], classes: usize, golden: Option<usize>) -> Result<usize, HostedError> {
    if classes == 0 || !outputs.len().is_multiple_of(classes) {
        return Err(HostedError::Rows { values: outputs.len(), classes });
    }
    match golden.filter(|golden| *golden != classes) {
        Some(golden) => Err(HostedError::Classes { golden, found: classes }),
        None => Ok(outputs.len() / classes),
    }
}

impl GoldenOutputs {
    /// Takes the next images: their outputs, image after image, `classes` numbers each, and their labels, each below `classes`.
    /// Batches may have any size.
    ///
    /// # Errors
    /// [`HostedError`] for outputs that are no such rows, and labels that are missing, too few, too large or not looked at; then nothing
    /// was taken.
    pub fn push(
        &mut self,
        outputs: &[f32],
        classes: usize,
        labels: Option<&[u32]>,
    ) -> Result<(), HostedError> {
        let images = rows_of(outputs, classes, self.classes)?;
        let labels = self.checked(labels, images, classes)?;
        self.classes = Some(classes);
        let judge = &self.kept.judge;
        for (place, row) in outputs.chunks_exact(classes).enumerate() {
            let label = labels.get(place).copied().unwrap_or(0);
            self.kept.golden.predictions.push(judge.golden(row, label));
        }
        self.kept.golden.outputs.extend_from_slice(outputs);
        self.kept.labels.extend_from_slice(labels);
        Ok(())
    }

    /// The labels that are looked at: one for each image, or none at all.
    fn checked<'l>(
        &self,
        labels: Option<&'l [u32]>,
        images: usize,
        classes: usize,
    ) -> Result<&'l [u32], HostedError> {
        let labels = match (labels, self.kept.judge.is_classifier()) {
            (Some(labels), true) => labels,
            (None, false) => return Ok(&[]),
            (None, true) => return Err(HostedError::LabelsMissing),
            (Some(_), false) => return Err(HostedError::LabelsUnused),
        };
        if labels.len() != images {
            return Err(HostedError::LabelCount { labels: labels.len(), images });
        }
        match labels.iter().position(|label| *label as usize >= classes) {
            None => Ok(labels),
            Some(place) => {
                let image = self.kept.golden.predictions.len() + place;
                Err(HostedError::Label { image, label: labels[place], classes })
            }
        }
    }

    /// The golden run, which took so many seconds.
    ///
    /// # Errors
    /// [`HostedError::NoImages`], [`HostedError::Seconds`].
    pub fn finish(self, seconds: f64) -> Result<HostGolden, HostedError> {
        check_seconds(seconds)?;
        if self.kept.golden.predictions.is_empty() {
            return Err(HostedError::NoImages);
        }
        Ok(HostGolden::of_outputs(self.kept, seconds))
    }
}

impl Kept {
    /// All images lost: the network gave nothing for any of them.
    pub(super) fn lost(&self) -> HostResult {
        let outcome = Box::new(Outcome::all_due(&self.golden.predictions));
        HostResult(Came::Judged { outcome, difference: None })
    }

    /// Whether images are judged by labels.
    pub(super) fn is_classifier(&self) -> bool {
        self.judge.is_classifier()
    }
}

impl TrialOutputs {
    pub(super) fn new(kept: Arc<Kept>) -> Self {
        Self { kept, outcome: Outcome::default(), images: 0, difference: None }
    }

    /// Judges the outputs of the next images, in the order of the golden run; batches may be others than there.
    ///
    /// # Errors
    /// [`HostedError::Rows`], [`HostedError::Classes`], and [`HostedError::Images`] for more images than the golden run has; then nothing
    /// was taken.
    pub fn push(&mut self, outputs: &[f32], classes: usize) -> Result<(), HostedError> {
        let golden = &self.kept.golden;
        let images = rows_of(outputs, classes, Some(golden.width()))?;
        let (found, golden_images) = (self.images + images, golden.predictions.len());
        if found > golden_images {
            return Err(HostedError::Images { golden: golden_images, found });
        }
        for (image, row) in (self.images..).zip(outputs.chunks_exact(classes)) {
            let label = self.kept.labels.get(image).copied().unwrap_or(0);
            let Some(golden) = golden.image(image, label) else { continue };
            self.outcome.add(&*self.kept.judge, row, golden);
            let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
            if self.difference.is_none()
                && let Some(class) = row.iter().zip(golden.row).position(differs)
            {
                self.difference = Some((image, class, golden.row[class], row[class]));
            }
        }
        self.images = found;
        Ok(())
    }

    /// What the images come to.
    ///
    /// # Errors
    /// [`HostedError::Images`] for fewer images than the golden run has.
    pub fn finish(self) -> Result<HostResult, HostedError> {
        let golden = self.kept.golden.predictions.len();
        if self.images != golden {
            return Err(HostedError::Images { golden, found: self.images });
        }
        let difference = self.difference.map(|(image, class, golden, found)| {
            SelfCheckError::NotReproducible { image, class, golden, found }
        });
        Ok(HostResult(Came::Judged { outcome: Box::new(self.outcome), difference }))
    }
}
