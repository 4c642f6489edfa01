//! Scores of a learner on images that it does not learn from.

use bitquake_grad::{Mode, Network, Objective, Pass};

use super::{Examples, Learner, load};
use crate::error::TrainError;
use crate::method::{Levels, Weights};
use crate::score::Score;
use crate::sets::Part;

/// The scores of a learner on some images.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evaluation {
    /// Without faults.
    pub(crate) clean: Score,
    /// With faults as in training, if the method has any.
    pub(crate) perturbed: Option<Score>,
    /// Of the averaged weights, without faults, if the method averages.
    pub(crate) averaged: Option<Score>,
}

impl Learner {
    /// All images of a part, in batches of `size`: what the memory holds, read without faults, with the faults of `epoch`, and as
    /// the averaged weights have it; batch normalization by its running statistics.
    pub(crate) fn evaluate(
        &mut self,
        part: &Part,
        size: usize,
        epoch: u64,
    ) -> Result<Evaluation, TrainError> {
        self.load_statistics()?;
        self.method.project(&mut self.weights);
        let stored = self.method.store(&self.weights)?;
        let clean = self.score(stored.levels(), part, size)?;
        let perturbed = match self.method.validation_faults(&stored, &self.weights, epoch, 0)? {
            Some(levels) => Some(self.score(&levels, part, size)?),
            None => None,
        };
        Ok(Evaluation { clean, perturbed, averaged: self.averaged(part, size)? })
    }

    fn averaged(&mut self, part: &Part, size: usize) -> Result<Option<Score>, TrainError> {
        let Some(weights) = self.method.averaged().cloned() else { return Ok(None) };
        let stored = self.method.store(&weights)?;
        self.score(stored.levels(), part, size).map(Some)
    }

    /// The averaged weights, if the method averages.
    pub(crate) fn averaged_weights(&self) -> Option<&Weights> {
        self.method.averaged()
    }

    fn score(&mut self, levels: &Levels, part: &Part, size: usize) -> Result<Score, TrainError> {
        load(&mut self.network, &self.places, levels)?;
        let mut score = Score::default();
        part.for_each_batch(size, |batch| {
            let examples = Examples { images: batch.images(), labels: batch.labels() };
            score.add(judge(&self.network, examples)?);
            Ok(())
        })?;
        Ok(score)
    }

    /// Gives the network the running statistics.
    fn load_statistics(&mut self) -> Result<(), TrainError> {
        for statistic in &self.statistics {
            self.network.set_parameter(statistic.place, &statistic.values)?;
        }
        Ok(())
    }
}

/// The loss and the errors of a batch; nothing is differentiated.
fn judge(network: &Network, examples: Examples<'_>) -> Result<Score, TrainError> {
    let Examples { images, labels } = examples;
    let objective = Objective::CrossEntropy { labels, smoothing: 0.0 };
    let (batch, mode) = (labels.len(), Mode::Evaluate);
    let found = network.gradients(&Pass { images, batch, objective, mode, parameters: &[], values: &[] })?;
    Ok(Score::of_batch(&found.outputs, labels, found.loss))
}
