//! An exponential average of the weights (S25).

use super::weights::Weights;

/// `average = tau * average + (1 - tau) * weights` after each step, from the first weights on; float32.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Averaging {
    tau: f32,
    pub(crate) average: Weights,
}

impl Averaging {
    pub(crate) fn new(tau: f32, weights: &Weights) -> Self {
        Self { tau, average: weights.clone() }
    }

    pub(crate) fn add(&mut self, weights: &Weights) {
        let tau = self.tau;
        for (average, weights) in self.average.tensors.iter_mut().zip(&weights.tensors) {
            for (average, value) in average.values.iter_mut().zip(&weights.values) {
                *average = tau * *average + (1.0 - tau) * value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::weights::WeightTensor;

    #[test]
    fn the_average_follows_the_weights() {
        let of = |value| Weights {
            tensors: vec![WeightTensor { name: "w".into(), shape: vec![1], values: vec![value] }],
        };
        let mut averaging = Averaging::new(0.9975, &of(1.0));
        averaging.add(&of(3.0));
        assert!((averaging.average.tensors[0].values[0] - 1.005).abs() < 1e-6);
        (0..20_000).for_each(|_| averaging.add(&of(3.0)));
        assert!((averaging.average.tensors[0].values[0] - 3.0).abs() < 1e-3);
    }
}
