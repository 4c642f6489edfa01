//! Scores of a learner on images that it does not learn from.

use bitquake_data::{Batch, Feed};
use bitquake_grad::{Mode, Network, Objective, Pass};

use super::{Examples, Learner, load};
use crate::error::TrainError;
use crate::method::Levels;
use bitquake_record::Score;

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
    /// All images of a feed: what the memory holds, read without faults, with the faults of `epoch`, and as
    /// the averaged weights have it; batch normalization by its running statistics.
    pub(crate) fn evaluate(&mut self, feed: &Feed, epoch: u64) -> Result<Evaluation, TrainError> {
        self.load_statistics()?;
        self.method.project(&mut self.weights);
        let stored = self.method.store(&self.weights)?;
        let clean = self.score(stored.levels(), feed)?;
        let perturbed = match self.method.validation_faults(&stored, &self.weights, epoch, 0)? {
            Some(levels) => Some(self.score(&levels, feed)?),
            None => None,
        };
        Ok(Evaluation { clean, perturbed, averaged: self.averaged(feed)? })
    }

    fn averaged(&mut self, feed: &Feed) -> Result<Option<Score>, TrainError> {
        let Some(weights) = self.method.averaged().cloned() else { return Ok(None) };
        let stored = self.method.store(&weights)?;
        self.score(stored.levels(), feed).map(Some)
    }

    /// Whether the method averages the weights.
    pub(crate) fn has_average(&self) -> bool {
        self.method.averaged().is_some()
    }

    fn score(&mut self, levels: &Levels, feed: &Feed) -> Result<Score, TrainError> {
        load(&mut self.network, &self.places, levels)?;
        let mut score = Score::default();
        let (batches, mut batch) = (feed.epoch(0), Batch::new());
        for number in 0..feed.batches() {
            batches.fill(number, &mut batch);
            let examples = Examples { images: batch.images(), labels: batch.labels() };
            score.add(judge(&self.network, examples)?);
        }
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
