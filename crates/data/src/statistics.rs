//! Mean and deviation of the channels of a data set, for input whitening.

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::preprocess::Normalization;

/// The mean and the standard deviation of each channel, over all pixels of some images.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelStatistics {
    /// The mean of each channel.
    pub mean: Vec<f64>,
    /// The standard deviation of each channel: the root of the mean squared distance from the mean (divided by the
    /// number of values, not by one less).
    pub std: Vec<f64>,
}

impl ChannelStatistics {
    /// Of the images in `rows`, in two passes: the mean first, then the distances from it. Sums are `f64`, taken in
    /// the order of the rows, so the result is the same on every machine. Plain features have one channel.
    ///
    /// # Errors
    /// [`DataError::NoRows`] without rows; [`DataError::NotFinite`] for an image with a NaN or an infinity.
    ///
    /// # Panics
    /// If a row is not below [`Dataset::len`].
    ///
    /// ```
    /// use bitquake_data::{ChannelStatistics, Dataset};
    /// let data = Dataset::new(vec![0.0, 1.0, 5.0, 5.0], vec![2, 1, 1], vec![0, 0])?;
    /// let statistics = ChannelStatistics::of(&data, &[0, 1])?;
    /// assert_eq!((statistics.mean, statistics.std), (vec![2.5, 3.0], vec![2.5, 2.0]));
    /// # Ok::<(), bitquake_data::DataError>(())
    /// ```
    pub fn of(data: &Dataset, rows: &[usize]) -> Result<ChannelStatistics, DataError> {
        if rows.is_empty() {
            return Err(DataError::NoRows);
        }
        for &row in rows {
            if let Some(&value) = data.images(row..row + 1).iter().find(|value| !value.is_finite()) {
                return Err(DataError::NotFinite { row, value });
            }
        }
        // Distances from a value of the channel, so that a channel of one value has the deviation 0 and nothing else.
        let start: Vec<f64> = (0..data.channels()).map(|channel| first(data, rows, channel)).collect();
        let offset = means(data, rows, |channel, value| value - start[channel]);
        let mean: Vec<f64> = start.iter().zip(offset).map(|(start, offset)| start + offset).collect();
        let variance = means(data, rows, |channel, value| (value - mean[channel]).powi(2));
        Ok(ChannelStatistics { mean, std: variance.into_iter().map(f64::sqrt).collect() })
    }

    /// The normalization that makes every channel's mean 0 and deviation 1, to the rounding of both to `f32`.
    ///
    /// # Errors
    /// [`DataError::ConstantChannel`] if the deviation of a channel is 0 as `f32`: no factor would make it 1.
    pub fn whitening(&self) -> Result<Normalization, DataError> {
        let (mean, std) = (narrowed(&self.mean), narrowed(&self.std));
        match std.iter().position(|&std| std == 0.0) {
            Some(channel) => Err(DataError::ConstantChannel { channel, value: self.mean[channel] }),
            None => Ok(Normalization::new(mean, std)?),
        }
    }
}

/// The first pixel of a channel.
fn first(data: &Dataset, rows: &[usize], channel: usize) -> f64 {
    f64::from(data.images(rows[0]..rows[0] + 1)[channel * data.image_len() / data.channels()])
}

/// The mean over all pixels of the rows, by channel, of a function of the channel and the value.
fn means(data: &Dataset, rows: &[usize], of: impl Fn(usize, f64) -> f64) -> Vec<f64> {
    let pixels = data.image_len() / data.channels();
    let mut sums = vec![0.0; data.channels()];
    for &row in rows {
        let planes = data.images(row..row + 1).chunks(pixels);
        for (channel, (sum, plane)) in sums.iter_mut().zip(planes).enumerate() {
            *sum += plane.iter().map(|&value| of(channel, f64::from(value))).sum::<f64>();
        }
    }
    let count = pixels as f64 * rows.len() as f64;
    sums.into_iter().map(|sum| sum / count).collect()
}

/// Rounded to the nearest `f32`.
fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deviations from `mean` of `a` and `b` in equal numbers.
    fn pair(a: f32, b: f32) -> Result<ChannelStatistics, DataError> {
        let data = Dataset::new([a, b].repeat(1000), vec![1, 1, 2], vec![0; 1000]).unwrap();
        ChannelStatistics::of(&data, &(0..1000).collect::<Vec<_>>())
    }

    #[test]
    fn a_large_mean_costs_no_digits() {
        // The mean of squares less the square of the mean would leave no digit of the deviation.
        let statistics = pair(16_777_214.0, 16_777_216.0).unwrap();
        assert_eq!((statistics.mean, statistics.std), (vec![16_777_215.0], vec![1.0]));
    }

    #[test]
    fn whitening_makes_mean_0_and_deviation_1() {
        let values: Vec<f32> = (0..6000_u16).map(|i| f32::from(i % 257 * 31 % 257) / 257.0).collect();
        let data = Dataset::new(values, vec![3, 2, 5], vec![0; 200]).unwrap();
        let rows: Vec<usize> = (50..200).collect();
        let whitening = ChannelStatistics::of(&data, &rows).unwrap().whitening().unwrap();
        let mut images = data.images(50..200).to_vec();
        whitening.apply(&mut images, data.image_len());
        let white = Dataset::new(images, vec![3, 2, 5], vec![0; 150]).unwrap();
        let after = ChannelStatistics::of(&white, &(0..150).collect::<Vec<_>>()).unwrap();
        for (mean, std) in after.mean.into_iter().zip(after.std) {
            assert!(mean.abs() < 1e-6 && (std - 1.0).abs() < 1e-6, "{mean} {std}");
        }
    }

    #[test]
    fn features_have_one_channel() {
        let data = Dataset::new(vec![1.0, 2.0, 3.0, 6.0], vec![4], vec![0]).unwrap();
        let statistics = ChannelStatistics::of(&data, &[0]).unwrap();
        assert_eq!((statistics.mean, statistics.std), (vec![3.0], vec![3.5_f64.sqrt()]));
    }

    #[test]
    fn what_cannot_be_whitened_is_told() {
        let error = pair(0.1, 0.1).unwrap().whitening().unwrap_err().to_string();
        assert_eq!(error, "channel 0 is 0.10000000149011612 in every pixel, so it cannot be whitened");
        let error = pair(0.5, f32::NAN).unwrap_err().to_string();
        assert_eq!(error, "image 0 has the value NaN, which has no mean");
        let data = Dataset::new(vec![1.0], vec![1], vec![0]).unwrap();
        assert!(matches!(ChannelStatistics::of(&data, &[]), Err(DataError::NoRows)));
    }
}
