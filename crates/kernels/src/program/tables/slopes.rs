//! The gradients of a norm's parameters, from the sums of the gradient of what it gives.

use super::dual::Scalar;
use crate::program::fuse::Norm;
use crate::program::operation::{Arithmetic, Vector};

/// What the gradients of a norm's parameters are made of, channel by channel.
pub(super) struct Slopes<'a, S> {
    pub(super) norm: Norm,
    pub(super) of_batch: bool,
    pub(super) channels: usize,
    /// Sums of the gradient.
    pub(super) plain: &'a [S],
    /// Sums of the gradient times the standardized value.
    pub(super) along: &'a [S],
    /// What the standardized, or the centred, value is multiplied with.
    pub(super) factor: &'a dyn Fn(usize) -> S,
    pub(super) inverse: &'a dyn Fn(usize) -> S,
    /// Of fixed statistics.
    pub(super) inverse_deviation: &'a dyn Fn(usize) -> S,
    /// The number of a channel.
    pub(super) read: &'a dyn Fn(Vector, usize) -> S,
}

impl<S: Scalar> Slopes<'_, S> {
    /// Gives parameters with their gradients; `length` tells how many floats a parameter has.
    pub(super) fn each(&self, length: impl Fn(usize) -> usize, mut give: impl FnMut(usize, Vec<S>)) {
        let Slopes { channels, plain, along, factor, inverse, inverse_deviation, read, .. } = *self;
        let mut of_vector = |vector: Vector, slope: &dyn Fn(usize) -> S| {
            let count = length(vector.parameter);
            let mut gradient = vec![S::default(); count];
            for channel in 0..channels {
                gradient[channel / (channels / count)] += slope(channel);
            }
            if let Some(plus) = vector.plus {
                let mut sum = S::default();
                gradient.iter().for_each(|&slope| sum += slope);
                give(plus, vec![sum]);
            }
            give(vector.parameter, gradient);
        };
        match self.norm {
            Norm::Batch { scale, shift, running: [mean, variance], .. } => {
                of_vector(scale, &|channel| along[channel]);
                of_vector(shift, &|channel| plain[channel]);
                if !self.of_batch {
                    of_vector(Vector::new(mean), &|channel| -plain[channel] * factor(channel));
                    of_vector(Vector::new(variance), &|channel| {
                        factor(channel) * -0.5 * inverse_deviation(channel) * along[channel]
                    });
                }
            }
            Norm::Group { scale, shift, times, plus, .. } => {
                let factor = |channel: usize| times.map_or(S::fixed(1.0), |times| read(times, channel));
                of_vector(scale, &|channel| factor(channel) * along[channel]);
                of_vector(shift, &|channel| factor(channel) * plain[channel]);
                if let Some(times) = times {
                    of_vector(times, &|channel| {
                        read(scale, channel) * along[channel] + read(shift, channel) * plain[channel]
                    });
                }
                if let Some(plus) = plus {
                    of_vector(plus, &|channel| plain[channel]);
                }
            }
            Norm::Channelwise { arithmetic, by } => of_vector(by, &|channel| match arithmetic {
                Arithmetic::Add => plain[channel],
                Arithmetic::Subtract => -plain[channel],
                Arithmetic::Multiply => along[channel],
                Arithmetic::Divide => -along[channel] * inverse(channel),
            }),
        }
    }
}
