//! The numbers of norms: from parameters and statistics, and back to the gradients of parameters.

mod dual;
mod slopes;
mod tangents;

pub(super) use tangents::Moving;

use super::fuse::Norm;
use super::map::Affine;
use super::moments::{inverse_deviation, merged};
use super::operation::{Arithmetic, Vector};
use super::patched::Patched;
use super::plan::Table;
use crate::AlignedBuffer;
use slopes::Slopes;

/// The lists of a table, each with a float for each channel, padded to whole blocks.
#[derive(Clone, Copy, Debug)]
enum List {
    /// What [`Affine`] takes.
    Centre,
    Inverse,
    Scale,
    Shift,
    /// What values are standardized by in the backward pass, where that is something else.
    Mean,
    InverseDeviation,
    /// What [`Normal`](super::map::Normal) takes off.
    MeanSlope,
    AlongSlope,
    /// Stays 0.
    Zero,
    /// Stays 1.
    One,
}

const LISTS: usize = List::One as usize + 1;

/// The numbers of a table.
#[derive(Debug)]
pub(super) struct Numbers {
    padded: usize,
    floats: AlignedBuffer,
}

impl Numbers {
    pub(super) fn new(table: &Table) -> Numbers {
        let padded = table.shape.padded();
        let mut numbers = Numbers { padded, floats: AlignedBuffer::zeroed(LISTS * padded) };
        numbers.list_mut(List::One).fill(1.0);
        numbers
    }

    fn list(&self, list: List) -> &[f32] {
        &self.floats[list as usize * self.padded..][..self.padded]
    }

    fn list_mut(&mut self, list: List) -> &mut [f32] {
        &mut self.floats[list as usize * self.padded..][..self.padded]
    }

    /// Fills in what the parameters tell; of the table of tangents, what they and the directions that follow them tell.
    pub(super) fn prepare(&mut self, table: &Table, parameters: Patched<'_, Vec<f32>>) {
        if table.is_tangent {
            return self.prepare_tangents(table, parameters);
        }
        self.list_mut(List::Inverse).fill(1.0);
        self.list_mut(List::Scale).fill(1.0);
        let read =
            |vector: Vector, channel: usize| element(vector, channel, table.shape.channels, parameters);
        for channel in 0..table.shape.channels {
            let mut set = |list: List, value: f32| self.list_mut(list)[channel] = value;
            match table.norm {
                Norm::Batch { scale, shift, .. } if table.of_batch => {
                    set(List::Scale, read(scale, channel));
                    set(List::Shift, read(shift, channel));
                }
                Norm::Batch { scale, shift, running: [mean, variance], epsilon, .. } => {
                    let [mean, variance] =
                        [mean, variance].map(|running| read(Vector::new(running), channel));
                    let inverse = 1.0 / (variance + epsilon).sqrt();
                    let factor = read(scale, channel) / (variance + epsilon).sqrt();
                    set(List::Scale, factor);
                    set(List::Shift, read(shift, channel) - mean * factor);
                    set(List::Mean, mean);
                    set(List::InverseDeviation, inverse);
                }
                Norm::Group { scale, shift, times, plus, .. } => {
                    let [scale, shift] = [scale, shift].map(|vector| read(vector, channel));
                    let times = times.map_or(1.0, |times| read(times, channel));
                    let plus = plus.map_or(0.0, |plus| read(plus, channel));
                    set(List::Scale, scale * times);
                    // A shift of 0 stays one under an infinite factor, as it does where the factor comes after the sum.
                    set(List::Shift, if shift == 0.0 { plus } else { shift * times + plus });
                }
                Norm::Channelwise { arithmetic, by } => {
                    let by = read(by, channel);
                    match arithmetic {
                        Arithmetic::Add => set(List::Shift, by),
                        Arithmetic::Subtract => set(List::Centre, by),
                        Arithmetic::Multiply => set(List::Scale, by),
                        Arithmetic::Divide => set(List::Inverse, 1.0 / by),
                    }
                }
            }
        }
    }

    /// What a map takes; `statistics` are those of an image, if it has its own.
    pub(super) fn affine<'a>(&'a self, statistics: &'a [f32]) -> Affine<'a> {
        let (centre, inverse) = self.measured(statistics);
        Affine { centre, inverse, scale: self.list(List::Scale), shift: self.list(List::Shift) }
    }

    fn measured<'a>(&'a self, statistics: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        if statistics.is_empty() {
            return (self.list(List::Centre), self.list(List::Inverse));
        }
        statistics.split_at(statistics.len() / 2)
    }

    /// What a gradient through fixed statistics is multiplied with.
    pub(super) fn slope(&self) -> Affine<'_> {
        let zero = self.list(List::Zero);
        Affine { centre: zero, inverse: self.list(List::Inverse), scale: self.list(List::Scale), shift: zero }
    }

    /// What values are standardized by in the backward pass: centre and inverse.
    pub(super) fn standard<'a>(&'a self, table: &Table, statistics: &'a [f32]) -> (&'a [f32], &'a [f32]) {
        if matches!(table.norm, Norm::Batch { .. }) && !table.of_batch {
            return (self.list(List::Mean), self.list(List::InverseDeviation));
        }
        self.measured(statistics)
    }

    pub(super) fn scale(&self) -> &[f32] {
        self.list(List::Scale)
    }

    /// A 1 for each channel.
    pub(super) fn ones(&self) -> &[f32] {
        self.list(List::One)
    }

    /// The means of slopes that a norm of the batch takes off.
    pub(super) fn slopes(&self) -> (&[f32], &[f32]) {
        (self.list(List::MeanSlope), self.list(List::AlongSlope))
    }

    /// Takes on the statistics of a batch from the moments of its images. Gives the mean and the unbiased variance of each channel (the
    /// biased one if there is a single value).
    pub(super) fn measure(&mut self, table: &Table, moments: &[&[f32]], epsilon: f32) -> [Vec<f32>; 2] {
        let (channels, pixels) = (table.shape.channels, table.shape.pixels());
        let count = moments.len() * pixels;
        let padded = self.padded;
        let unbiased = if count > 1 { count - 1 } else { count } as f64;
        let (mut means, mut variances) = (Vec::new(), Vec::new());
        for channel in 0..channels {
            let of_images = || moments.iter().map(|of_image| (of_image[channel], of_image[padded + channel]));
            let (mean, sum) = merged(of_images, pixels);
            self.list_mut(List::Centre)[channel] = mean as f32;
            self.list_mut(List::Inverse)[channel] = inverse_deviation(sum, count, epsilon);
            means.push(mean as f32);
            variances.push((sum / unbiased) as f32);
        }
        [means, variances]
    }

    /// Takes on what the gradient through the statistics of a batch takes off, from sums over the images.
    pub(super) fn measure_slopes(&mut self, table: &Table, totals: &[&[f32]]) {
        let count = (totals.len() * table.shape.pixels()) as f64;
        let sums = sums(totals);
        let padded = self.padded;
        for (list, start) in [(List::MeanSlope, 0), (List::AlongSlope, padded)] {
            for channel in 0..table.shape.channels {
                let scale = f64::from(self.list(List::Scale)[channel]);
                self.list_mut(list)[channel] = (scale * sums[start + channel] / count) as f32;
            }
        }
    }

    /// Adds the gradients of the parameters to `give`, from sums over the images.
    pub(super) fn gradients(
        &self,
        table: &Table,
        totals: &[&[f32]],
        parameters: Patched<'_, Vec<f32>>,
        mut give: impl FnMut(usize, Vec<f32>),
    ) {
        let sums = sums(totals);
        let (plain, along) = sums.split_at(self.padded);
        let of_list = |list: List| move |channel: usize| f64::from(self.list(list)[channel]);
        let slopes = Slopes {
            norm: table.norm,
            of_batch: table.of_batch,
            channels: table.shape.channels,
            plain,
            along,
            factor: &of_list(List::Scale),
            inverse: &of_list(List::Inverse),
            inverse_deviation: &of_list(List::InverseDeviation),
            read: &|vector, channel| f64::from(element(vector, channel, table.shape.channels, parameters)),
        };
        slopes.each(
            |parameter| parameters[parameter].len(),
            |parameter, gradient| {
                give(parameter, gradient.into_iter().map(|slope| slope as f32).collect());
            },
        );
    }
}

/// The number of a channel.
fn element(vector: Vector, channel: usize, channels: usize, parameters: Patched<'_, Vec<f32>>) -> f32 {
    let list = &parameters[vector.parameter];
    let value = list[channel / (channels / list.len())];
    vector.plus.map_or(value, |plus| value + parameters[plus][0])
}

/// The sums of the rows of all images, in order.
pub(super) fn sums(rows: &[&[f32]]) -> Vec<f64> {
    let mut sums = vec![0.0; rows.first().map_or(0, |row| row.len())];
    for row in rows {
        sums.iter_mut().zip(*row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums
}
