//! Means and variances, of images and of batches. Always in two passes: never as the difference of two large numbers.

use super::vectorise::{Lanes, Sweep, Wide, lanes, lanes_mut, vectorised};
use crate::{Isa, LANES};

/// Of a blocked image the mean of each channel, and the sum of the squared distances from it.
pub(super) struct Moments<'a> {
    pub(super) pixels: usize,
    pub(super) x: &'a [f32],
    /// Means, then sums; each a list of channels.
    pub(super) moments: &'a mut [f32],
}

impl Moments<'_> {
    pub(super) fn compute(self, isa: Isa) {
        vectorised(isa, self);
    }
}

impl Sweep for Moments<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        let (means, sums) = self.moments.split_at_mut(self.moments.len() / 2);
        let blocks = self.x.chunks_exact(self.pixels * LANES);
        let count = W::splat(self.pixels as f32);
        for ((x, mean), sum) in blocks.zip(lanes_mut(means)).zip(lanes_mut(sums)) {
            let x = lanes(x);
            let of_block = total(x, |value: W| value).div(count);
            of_block.store(mean);
            let squares = total(x, |value: W| {
                let distance = value.sub(of_block);
                distance.mul(distance)
            });
            squares.store(sum);
        }
    }
}

/// The sum of a function of each value, in four sums that are added at last.
#[inline(always)]
fn total<W: Wide>(x: &[Lanes], of: impl Fn(W) -> W) -> W {
    let mut sums = [W::splat(0.0); 4];
    let (quads, rest) = x.as_chunks::<4>();
    for quad in quads {
        for (sum, x) in sums.iter_mut().zip(quad) {
            *sum = sum.add(of(W::load(x)));
        }
    }
    for x in rest {
        sums[0] = sums[0].add(of(W::load(x)));
    }
    sums[0].add(sums[1]).add(sums[2].add(sums[3]))
}

/// The moments of parts of equal size, merged: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
/// variances" (1979), for all parts at once. Gives the mean, and the sum of the squared distances from it.
///
/// `parts` gives the mean and the sum of each part, as often as it is asked, always in the same order.
pub(super) fn merged<I: Iterator<Item = (f32, f32)>>(parts: impl Fn() -> I, size: usize) -> (f64, f64) {
    let (mut count, mut mean) = (0_usize, 0.0_f64);
    for (of_part, _) in parts() {
        count += 1;
        mean += f64::from(of_part);
    }
    mean /= count as f64;
    let mut sum = 0.0;
    for (of_part, within) in parts() {
        let distance = f64::from(of_part) - mean;
        sum += f64::from(within) + size as f64 * distance * distance;
    }
    (mean, sum)
}

/// `1 / sqrt(variance + epsilon)`, for the biased variance of `count` values whose squared distances sum to `sum`.
pub(super) fn inverse_deviation(sum: f64, count: usize, epsilon: f32) -> f32 {
    (1.0 / (sum / count as f64 + f64::from(epsilon)).sqrt()) as f32
}

/// From the moments of an image's channels to what its groups are standardized by: the mean and the inverse deviation of its group, for
/// each channel. `statistics` holds means, then inverse deviations.
pub(super) fn of_groups(
    moments: &[f32],
    channels: usize,
    groups: usize,
    pixels: usize,
    epsilon: f32,
    statistics: &mut [f32],
) {
    let (means, sums) = moments.split_at(moments.len() / 2);
    let (centres, inverses) = statistics.split_at_mut(statistics.len() / 2);
    let size = channels / groups;
    for group in 0..groups {
        let part = group * size..(group + 1) * size;
        let pairs = || means[part.clone()].iter().copied().zip(sums[part.clone()].iter().copied());
        let (mean, sum) = merged(pairs, pixels);
        centres[part.clone()].fill(mean as f32);
        inverses[part].fill(inverse_deviation(sum, size * pixels, epsilon));
    }
}

/// From the sums of an image's gradients to the means that [`Normal`](super::map::Normal) takes off, over each group: `slopes` holds the
/// means of `scale * dz`, then of `scale * dz * standardized`, for each channel.
pub(super) fn slopes_of_groups(
    totals: &[f32],
    scale: &[f32],
    channels: usize,
    groups: usize,
    pixels: usize,
    slopes: &mut [f32],
) {
    let half = slopes.len() / 2;
    let size = channels / groups;
    for (totals, slopes) in totals.chunks_exact(half).zip(slopes.chunks_exact_mut(half)) {
        for group in 0..groups {
            let part = group * size..(group + 1) * size;
            let products = totals[part.clone()].iter().zip(&scale[part.clone()]);
            let sum: f64 = products.map(|(&total, &scale)| f64::from(total) * f64::from(scale)).sum();
            slopes[part].fill((sum / (size * pixels) as f64) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_a_channel_far_from_zero() {
        let pixels = 1003;
        let x: Vec<f32> =
            (0..pixels * LANES).map(|i| 1000.0 + (i / LANES % 7) as f32 + (i % LANES) as f32).collect();
        for isa in Isa::available() {
            let mut moments = [0.0; 2 * LANES];
            Moments { pixels, x: &x, moments: &mut moments }.compute(isa);
            for lane in 0..LANES {
                let values = x.iter().skip(lane).step_by(LANES).map(|&value| f64::from(value));
                let mean = values.clone().sum::<f64>() / pixels as f64;
                let sum: f64 = values.map(|value| (value - mean).powi(2)).sum();
                assert!((f64::from(moments[lane]) - mean).abs() < 1e-3, "{isa}: {}", moments[lane]);
                assert!(
                    (f64::from(moments[LANES + lane]) / sum - 1.0).abs() < 1e-5,
                    "{isa}: {}",
                    moments[LANES + lane]
                );
            }
        }
    }

    #[test]
    fn merged_moments_are_those_of_the_whole() {
        let parts = [[1.0_f32, 3.0], [5.0, 5.0], [-2.0, 0.0]];
        let moments = parts.map(|[a, b]| ((a + b) / 2.0, (a - b) * (a - b) / 2.0));
        let (mean, sum) = merged(|| moments.into_iter(), 2);
        let values = parts.concat();
        let wanted = values.iter().sum::<f32>() / 6.0;
        let squares: f32 = values.iter().map(|value| (value - wanted).powi(2)).sum();
        assert!((mean - f64::from(wanted)).abs() < 1e-6 && (sum - f64::from(squares)).abs() < 1e-5);
    }
}
