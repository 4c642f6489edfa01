//! What a ranking asks of a network.

use bitquake_data::Dataset;
use bitquake_grad::{Mode, Network, Objective, Pass};
use bitquake_sample::{PartKey, Words};

use crate::error::AttackError;
use crate::rank::vector::{Vector, zeros};
use crate::subject::{Subject, gather};

/// A loss around the present weights.
pub trait Landscape {
    /// The elements of each ranked tensor.
    fn sizes(&self) -> Vec<usize>;

    /// The loss and its gradient.
    ///
    /// # Errors
    /// What the network says.
    fn slopes(&mut self) -> Result<(f64, Vector), AttackError>;

    /// The product of the Hessian, of all ranked tensors together, with a direction.
    ///
    /// # Errors
    /// What the network says.
    fn product(&mut self, direction: &Vector) -> Result<Vector, AttackError>;

    /// An unbiased estimate of the diagonal of the Gauss-Newton matrix, without negative entries; the key decides it.
    ///
    /// For labels that are drawn from the network's own predictions, gradients of single images have mean 0, so the square of a
    /// sum of them has the mean of the sum of their squares: one backward pass for a whole batch (Kunstner et al., "Limitations of the
    /// empirical Fisher approximation" (2019), section 3, has the two matrices and why they agree for a softmax).
    ///
    /// # Errors
    /// What the network says.
    fn gauss_newton_draw(&mut self, key: &PartKey) -> Result<Vector, AttackError>;
}

/// A network with images, in the mode of inference: batch normalizations use their running statistics. Losses, gradients and products are
/// computed batch by batch and averaged by the size of the batch.
pub(crate) struct NetworkLandscape<'a> {
    network: &'a Network,
    /// The parameter that each ranked tensor is.
    places: &'a [usize],
    batches: Vec<Batch>,
    images: usize,
}

struct Batch {
    images: Vec<f32>,
    labels: Vec<u32>,
}

impl<'a> NetworkLandscape<'a> {
    /// `labels` are of all images of the data; `rows` those that are used.
    pub(crate) fn new(
        subject: &'a Subject,
        data: &Dataset,
        labels: &[u32],
        rows: &[u64],
        size: usize,
    ) -> Self {
        let batch = |rows: &[u64]| Batch {
            images: gather(data, rows),
            labels: rows.iter().map(|&row| labels[row as usize]).collect(),
        };
        let (network, places) = (subject.network(), subject.places());
        Self { network, places, batches: rows.chunks(size).map(batch).collect(), images: rows.len() }
    }

    /// The first value of the network that is not finite on any image.
    pub(crate) fn first_nonfinite(&self) -> Result<Option<String>, AttackError> {
        for batch in &self.batches {
            let found = self.network.first_nonfinite(&batch.images, batch.labels.len(), Mode::Evaluate)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn pass<'p>(&'p self, images: &'p [f32], labels: &'p [u32]) -> Pass<'p> {
        Pass {
            images,
            batch: labels.len(),
            objective: Objective::CrossEntropy { labels, smoothing: 0.0 },
            mode: Mode::Evaluate,
            parameters: self.places,
            values: &[],
        }
    }

    /// Labels for a batch, drawn from what the network says of its images.
    fn drawn_labels(&self, batch: &Batch, mut words: Words) -> Result<Vec<u32>, AttackError> {
        let outputs = self.network.forward(&batch.images, batch.labels.len(), Mode::Evaluate)?;
        let classes = outputs.len() / batch.labels.len();
        let is_softmax = self.network.gives_probabilities();
        let draw = |row: &[f32]| {
            let uniform = (words.u64() >> 11) as f64 * 2.0_f64.powi(-53);
            drawn(&weights(row, is_softmax), uniform)
        };
        Ok(outputs.chunks(classes).map(draw).collect())
    }
}

/// What the classes' probabilities are proportional to.
fn weights(outputs: &[f32], is_softmax: bool) -> Vec<f64> {
    let largest = outputs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |&output: &f32| match is_softmax {
        true => f64::from(output),
        false => f64::from(output - largest).exp(),
    };
    outputs.iter().map(weight).collect()
}

/// The class at a share of the sum of weights.
fn drawn(weights: &[f64], share: f64) -> u32 {
    let mut left = share * weights.iter().sum::<f64>();
    let is_it = |weight: &f64| {
        left -= weight;
        left < 0.0
    };
    let found = weights.iter().position(is_it);
    found.unwrap_or(weights.len() - 1) as u32 // rounding may leave a rest
}

/// Adds a share of what a batch gives.
fn add(sum: &mut Vector, share: f64, of_batch: &[Vec<f32>], value: impl Fn(f64) -> f64) {
    let values = of_batch.iter().flatten().map(|&found| value(f64::from(found)));
    sum.iter_mut().flatten().zip(values).for_each(|(sum, value)| *sum += share * value);
}

impl Landscape for NetworkLandscape<'_> {
    fn sizes(&self) -> Vec<usize> {
        self.places.iter().map(|&place| self.network.parameter(place).len()).collect()
    }

    fn slopes(&mut self) -> Result<(f64, Vector), AttackError> {
        let (mut loss, mut gradient) = (0.0, zeros(&self.sizes()));
        for batch in &self.batches {
            let found = self.network.gradients(&self.pass(&batch.images, &batch.labels))?;
            let share = batch.labels.len() as f64 / self.images as f64;
            loss += share * found.loss;
            add(&mut gradient, share, &found.parameters, |slope| slope);
        }
        Ok((loss, gradient))
    }

    fn product(&mut self, direction: &Vector) -> Result<Vector, AttackError> {
        let direction: Vec<Vec<f32>> =
            direction.iter().map(|values| values.iter().map(|&value| value as f32).collect()).collect();
        let mut product = zeros(&self.sizes());
        for batch in &self.batches {
            let pass = self.pass(&batch.images, &batch.labels);
            let found = self.network.hessian_product(&pass, &direction)?;
            let share = batch.labels.len() as f64 / self.images as f64;
            add(&mut product, share, &found.products, |value| value);
        }
        Ok(product)
    }

    fn gauss_newton_draw(&mut self, key: &PartKey) -> Result<Vector, AttackError> {
        let mut squares = zeros(&self.sizes());
        for (number, batch) in (0..).zip(&self.batches) {
            let words = key.numbered("batch", number).whole().words(0);
            let labels = self.drawn_labels(batch, words)?;
            let found = self.network.gradients(&self.pass(&batch.images, &labels))?;
            // The gradient is a mean over the batch: its square times the size is the mean of the squares.
            let size = labels.len() as f64;
            add(&mut squares, size / self.images as f64, &found.parameters, |slope| size * slope * slope);
        }
        Ok(squares)
    }
}

#[cfg(test)]
mod tests;
