//! The tangents of a norm's numbers along a direction, and those of the gradients of its parameters.

use super::dual::Dual;
use super::slopes::Slopes;
use super::{List, Numbers, element, sums};
use crate::program::fuse::Norm;
use crate::program::operation::{Arithmetic, Vector};
use crate::program::patched::Patched;
use crate::program::plan::Table;

/// Sums that the gradient of a norm leaves of each image, and their tangents.
#[derive(Clone, Copy)]
pub(in crate::program) struct Moving<'a> {
    /// Of the gradient, and of the gradient times the standardized value.
    pub(in crate::program) totals: &'a [&'a [f32]],
    /// The same of the gradient's tangent.
    pub(in crate::program) moved: &'a [&'a [f32]],
    /// Of anything, and of the gradient times the tangent of the standardized value, as far as it comes from what is standardized. Empty if
    /// that does not move.
    pub(in crate::program) crossed: &'a [&'a [f32]],
}

/// Reads numbers of channels with their tangents: parameters are followed by as many directions.
fn moving<'p>(
    channels: usize,
    parameters: Patched<'p, Vec<f32>>,
) -> impl Fn(Vector, usize) -> Dual + use<'p> {
    let count = parameters.len() / 2;
    move |vector, channel| {
        let direction =
            Vector { parameter: count + vector.parameter, plus: vector.plus.map(|plus| count + plus) };
        let [value, tangent] =
            [vector, direction].map(|vector| f64::from(element(vector, channel, channels, parameters)));
        Dual { value, tangent }
    }
}

impl Numbers {
    /// Fills in tangents: `x * scale + shift` of what a map takes, or of what it has standardized, is what the motion of its numbers adds to
    /// its tangent. What the tangent of `x` is standardized by in the backward pass is not moved, but has no centre.
    pub(super) fn prepare_tangents(&mut self, table: &Table, parameters: Patched<'_, Vec<f32>>) {
        self.list_mut(List::Inverse).fill(1.0);
        let read = moving(table.shape.channels, parameters);
        for channel in 0..table.shape.channels {
            let mut set = |list: List, value: f64| self.list_mut(list)[channel] = value as f32;
            match table.norm {
                Norm::Batch { scale, shift, running: [mean, variance], epsilon, .. } => {
                    let [mean, mut variance] =
                        [mean, variance].map(|running| read(Vector::new(running), channel));
                    variance.value += f64::from(epsilon);
                    let inverse = variance.inverse_root();
                    let factor = read(scale, channel) * inverse;
                    set(List::Scale, factor.tangent);
                    set(List::Shift, (read(shift, channel) - mean * factor).tangent);
                    set(List::InverseDeviation, inverse.value);
                }
                Norm::Group { scale, shift, times, plus, .. } => {
                    let times = times.map(|times| read(times, channel));
                    let after = |number: Dual| times.map_or(number, |times| number * times);
                    let plus = plus.map_or(Dual::default(), |plus| read(plus, channel));
                    set(List::Scale, after(read(scale, channel)).tangent);
                    set(List::Shift, (after(read(shift, channel)) + plus).tangent);
                }
                Norm::Channelwise { arithmetic, by } => {
                    let by = read(by, channel);
                    match arithmetic {
                        Arithmetic::Add => set(List::Shift, by.tangent),
                        Arithmetic::Subtract => set(List::Shift, -by.tangent),
                        Arithmetic::Multiply => set(List::Scale, by.tangent),
                        Arithmetic::Divide => {
                            let inverse = by.inverse();
                            set(List::Inverse, inverse.value);
                            set(List::Scale, inverse.tangent / inverse.value);
                        }
                    }
                }
            }
        }
    }

    /// Adds the tangents of the parameters' gradients to `give`, under the numbers of the directions; `self` has the tangents of `own`.
    pub(in crate::program) fn products(
        &self,
        own: &Numbers,
        table: &Table,
        moving_sums: Moving<'_>,
        parameters: Patched<'_, Vec<f32>>,
        mut give: impl FnMut(usize, Vec<f32>),
    ) {
        let (count, channels) = (parameters.len() / 2, table.shape.channels);
        let read = moving(channels, parameters);
        let inverse_deviation = |channel: usize| match table.norm {
            Norm::Batch { running: [_, variance], epsilon, .. } => {
                let mut variance = read(Vector::new(variance), channel);
                variance.value += f64::from(epsilon);
                variance.inverse_root()
            }
            _ => Dual::default(),
        };
        let inverse = |channel: usize| match table.norm {
            Norm::Channelwise { arithmetic: Arithmetic::Divide, by } => read(by, channel).inverse(),
            _ => Dual { value: 1.0, tangent: 0.0 },
        };
        let factor = |channel: usize| Dual {
            value: f64::from(own.list(List::Scale)[channel]),
            tangent: f64::from(self.list(List::Scale)[channel]),
        };
        let (plain, mut along) = self.sums(moving_sums);
        for channel in 0..channels {
            // What the motion of fixed statistics adds to that of the standardized value.
            let (sum, product) = (plain[channel].value, along[channel].value);
            along[channel].tangent += match table.norm {
                Norm::Batch { running: [mean, _], .. } => {
                    let (mean, deviation) = (read(Vector::new(mean), channel), inverse_deviation(channel));
                    deviation.tangent / deviation.value * product - mean.tangent * deviation.value * sum
                }
                Norm::Channelwise { .. } => {
                    let inverse = inverse(channel);
                    inverse.tangent / inverse.value * product
                }
                Norm::Group { .. } => 0.0,
            };
        }
        let slopes = Slopes {
            norm: table.norm,
            of_batch: false,
            channels,
            plain: &plain,
            along: &along,
            factor: &factor,
            inverse: &inverse,
            inverse_deviation: &inverse_deviation,
            read: &read,
        };
        slopes.each(
            |parameter| parameters[parameter].len(),
            |parameter, gradient| {
                give(count + parameter, gradient.into_iter().map(|slope| slope.tangent as f32).collect());
            },
        );
    }

    /// The sums over all images, with their tangents.
    fn sums(&self, Moving { totals, moved, crossed }: Moving<'_>) -> (Vec<Dual>, Vec<Dual>) {
        let [totals, moved, crossed] = [totals, moved, crossed].map(sums);
        let duals = totals.iter().zip(moved).map(|(&value, tangent)| Dual { value, tangent });
        let mut plain: Vec<Dual> = duals.collect();
        let mut along = plain.split_off(self.padded);
        let crossed = crossed.iter().skip(self.padded);
        along.iter_mut().zip(crossed).for_each(|(along, crossed)| along.tangent += crossed);
        (plain, along)
    }
}
