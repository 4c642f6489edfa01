//! Objectives, and their gradients with respect to what the program gives.

use crate::loss::{check_count, classes, smoothed};
use crate::{GradError, Objective};

/// What a program gives, for one image, and what the network makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// Its sizes, without the batch.
    pub(crate) sizes: Vec<usize>,
    /// Whether the network's output is the softmax of it.
    pub(crate) has_softmax: bool,
}

impl Ends {
    /// The network's output.
    pub(crate) fn outputs(&self, mut logits: Vec<f32>) -> Vec<f32> {
        if self.has_softmax {
            for row in logits.chunks_exact_mut(self.sizes[0]) {
                let softmax = softmax(row);
                row.iter_mut().zip(softmax).for_each(|(value, share)| *value = share as f32);
            }
        }
        logits
    }

    /// The objective, and its gradient in `slopes`.
    pub(crate) fn differentiate(
        &self,
        objective: &Objective<'_>,
        logits: &[f32],
        batch: usize,
        slopes: &mut [f32],
    ) -> Result<f64, GradError> {
        let shape = [&[batch][..], &self.sizes].concat();
        match objective {
            Objective::CrossEntropy { labels, smoothing } => {
                let classes = classes(&shape, batch)?;
                let targets = smoothed(labels, *smoothing, batch, classes)?;
                Ok(cross_entropy(logits, &targets, classes, slopes))
            }
            Objective::SoftTargets(targets) => {
                let classes = classes(&shape, batch)?;
                check_count("soft targets", targets.len(), &shape)?;
                Ok(cross_entropy(logits, targets, classes, slopes))
            }
            Objective::Cotangent(factors) => {
                check_count("cotangents", factors.len(), &shape)?;
                Ok(self.product(logits, factors, slopes))
            }
        }
    }

    /// The output times factors.
    fn product(&self, logits: &[f32], factors: &[f32], slopes: &mut [f32]) -> f64 {
        let product =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        if !self.has_softmax {
            slopes.copy_from_slice(factors);
            return product(logits, factors);
        }
        let mut total = 0.0;
        let rows = logits.chunks_exact(self.sizes[0]).zip(factors.chunks_exact(self.sizes[0]));
        for ((logits, factors), slopes) in rows.zip(slopes.chunks_exact_mut(self.sizes[0])) {
            let softmax = softmax(logits);
            let along: f64 =
                softmax.iter().zip(factors).map(|(share, &factor)| share * f64::from(factor)).sum();
            for ((slope, share), &factor) in slopes.iter_mut().zip(&softmax).zip(factors) {
                *slope = (share * (f64::from(factor) - along)) as f32;
            }
            total += along;
        }
        total
    }
}

/// The mean over images of `-sum(target * log softmax(logits))`; its gradient is `(softmax * sum(target) - target) / images`.
fn cross_entropy(logits: &[f32], targets: &[f32], classes: usize, slopes: &mut [f32]) -> f64 {
    let images = (logits.len() / classes) as f64;
    let mut loss = 0.0;
    let rows = logits.chunks_exact(classes).zip(targets.chunks_exact(classes));
    for ((logits, targets), slopes) in rows.zip(slopes.chunks_exact_mut(classes)) {
        let largest = largest(logits);
        let powers = logits.iter().map(|&logit| (f64::from(logit) - largest).exp());
        let sum: f64 = powers.sum();
        let log = sum.ln();
        let total: f64 = targets.iter().map(|&target| f64::from(target)).sum();
        for ((slope, &logit), &target) in slopes.iter_mut().zip(logits).zip(targets) {
            let (distance, target) = (f64::from(logit) - largest, f64::from(target));
            loss -= target * (distance - log);
            *slope = ((distance.exp() / sum * total - target) / images) as f32;
        }
    }
    loss / images
}

/// The largest value is taken off first, so that nothing overflows; an infinite one gives NaN, as in PyTorch.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = largest(logits);
    let powers: Vec<f64> = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn largest(logits: &[f32]) -> f64 {
    f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_differences_of_losses() {
        let logits = [0.3_f32, -1.2, 2.0, 0.0, 0.5, 0.25];
        let targets = [0.1, 0.7, 0.3, 0.0, 1.0, 0.5];
        for has_softmax in [false, true] {
            let ends = Ends { sizes: vec![3], has_softmax };
            for objective in [Objective::SoftTargets(&targets), Objective::Cotangent(&targets)] {
                let loss = |logits: &[f32]| {
                    let mut slopes = [0.0; 6];
                    ends.differentiate(&objective, logits, 2, &mut slopes).map(|loss| (loss, slopes))
                };
                let slopes = loss(&logits).expect("an objective that fits").1;
                for place in 0..6 {
                    let moved = |by: f32| {
                        let mut logits = logits;
                        logits[place] += by;
                        loss(&logits).expect("an objective that fits").0
                    };
                    let wanted = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                    let found = f64::from(slopes[place]);
                    assert!(
                        (found - wanted).abs() < 1e-4,
                        "{has_softmax} {objective:?}: {found} is not {wanted}"
                    );
                }
            }
        }
    }
}
