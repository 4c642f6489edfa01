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

    /// The objective; its gradient in the first of `slopes`, and in the second how that moves when the logits, which come first, move as the
    /// second ones say.
    pub(crate) fn differentiate_twice(
        &self,
        objective: &Objective<'_>,
        [logits, moved]: [&[f32]; 2],
        batch: usize,
        [slopes, moved_slopes]: [&mut [f32]; 2],
    ) -> Result<f64, GradError> {
        let loss = self.differentiate(objective, logits, batch, slopes)?;
        let classes = self.sizes.last().copied().unwrap_or(1);
        match objective {
            Objective::CrossEntropy { labels, smoothing } => {
                let targets = smoothed(labels, *smoothing, batch, classes)?;
                cross_entropy_motion([logits, moved], &targets, classes, moved_slopes);
            }
            Objective::SoftTargets(targets) => {
                cross_entropy_motion([logits, moved], targets, classes, moved_slopes);
            }
            Objective::Cotangent(factors) if self.has_softmax => {
                product_motion([logits, moved], factors, classes, moved_slopes);
            }
            Objective::Cotangent(_) => moved_slopes.fill(0.0),
        }
        Ok(loss)
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

/// How the gradient of the cross-entropy moves with the logits: `softmax' * sum(target) / images`.
fn cross_entropy_motion([logits, moved]: [&[f32]; 2], targets: &[f32], classes: usize, slopes: &mut [f32]) {
    let images = (logits.len() / classes) as f64;
    let rows =
        logits.chunks_exact(classes).zip(moved.chunks_exact(classes)).zip(targets.chunks_exact(classes));
    for (((logits, moved), targets), slopes) in rows.zip(slopes.chunks_exact_mut(classes)) {
        let total: f64 = targets.iter().map(|&target| f64::from(target)).sum();
        let motion = softmax_motion(&softmax(logits), moved);
        slopes.iter_mut().zip(motion).for_each(|(slope, motion)| *slope = (motion * total / images) as f32);
    }
}

/// How the gradient of `sum(factor * softmax)`, `softmax * (factor - along)` with `along = sum(factor * softmax)`, moves with the logits.
fn product_motion([logits, moved]: [&[f32]; 2], factors: &[f32], classes: usize, slopes: &mut [f32]) {
    let rows =
        logits.chunks_exact(classes).zip(moved.chunks_exact(classes)).zip(factors.chunks_exact(classes));
    for (((logits, moved), factors), slopes) in rows.zip(slopes.chunks_exact_mut(classes)) {
        let softmax = softmax(logits);
        let motion = softmax_motion(&softmax, moved);
        let product = |shares: &[f64]| {
            shares.iter().zip(factors).map(|(share, &factor)| share * f64::from(factor)).sum::<f64>()
        };
        let (along, moved_along) = (product(&softmax), product(&motion));
        for (place, slope) in slopes.iter_mut().enumerate() {
            let factor = f64::from(factors[place]) - along;
            *slope = (motion[place] * factor - softmax[place] * moved_along) as f32;
        }
    }
}

/// How a softmax moves: `softmax * (logit' - sum(softmax * logit'))`.
fn softmax_motion(softmax: &[f64], moved: &[f32]) -> Vec<f64> {
    let mean: f64 = softmax.iter().zip(moved).map(|(share, &moved)| share * f64::from(moved)).sum();
    softmax.iter().zip(moved).map(|(share, &moved)| share * (f64::from(moved) - mean)).collect()
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

    const LOGITS: [f32; 6] = [0.3, -1.2, 2.0, 0.0, 0.5, 0.25];

    #[test]
    fn gradients_move_as_their_differences_do() {
        let (targets, labels) = ([0.1, 0.7, 0.3, 0.0, 1.0, 0.5], [2, 0]);
        let moved = [0.5_f32, 1.0, -0.25, -2.0, 0.125, 1.5];
        let objectives = [
            Objective::SoftTargets(&targets),
            Objective::Cotangent(&targets),
            Objective::CrossEntropy { labels: &labels, smoothing: 0.1 },
        ];
        for (has_softmax, objective) in
            [false, true].into_iter().flat_map(|has| objectives.map(|objective| (has, objective)))
        {
            let ends = Ends { sizes: vec![3], has_softmax };
            let (mut slopes, mut found) = ([9.0; 6], [9.0; 6]);
            let loss = ends.differentiate_twice(&objective, [&LOGITS, &moved], 2, [&mut slopes, &mut found]);
            let gradient = |by: f32| {
                let logits: Vec<f32> = LOGITS.iter().zip(moved).map(|(x, step)| x + by * step).collect();
                let mut slopes = [0.0; 6];
                let loss = ends.differentiate(&objective, &logits, 2, &mut slopes);
                (loss.expect("an objective that fits"), slopes)
            };
            assert_eq!((loss.expect("an objective that fits"), slopes), gradient(0.0));
            let [(_, high), (_, low)] = [1e-2, -1e-2].map(gradient);
            for place in 0..6 {
                let wanted = (high[place] - low[place]) / 2e-2;
                let found = found[place];
                assert!(
                    (found - wanted).abs() < 1e-4,
                    "{has_softmax} {objective:?}: {found} is not {wanted}"
                );
            }
        }
    }

    #[test]
    fn gradients_are_differences_of_losses() {
        let logits = LOGITS;
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
