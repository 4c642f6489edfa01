//! How far decoded values are from the values.

use bitquake_quant::{Grid, QuantError};
use serde::Serialize;

/// Errors of quantization, `decoded - value`, over the elements of a tensor; zeros for an empty one.
///
/// Those that end in `_lsb` are in units of the scale that the element is stored with. Where a scale is 0 the error is 0 too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct ErrorSummary {
    /// The mean.
    pub mean: f64,
    /// The root of the mean square.
    pub rms: f64,
    /// The largest magnitude.
    pub max: f64,
    /// The first element that has it.
    pub max_at: u64,
    /// The mean, in scales.
    pub mean_lsb: f64,
    /// The root of the mean square, in scales.
    pub rms_lsb: f64,
    /// The largest magnitude, in scales.
    pub max_lsb: f64,
    /// Signal to quantization noise in dB, `10 log10(sum value^2 / sum error^2)`; none without any error or any signal.
    pub sqnr_db: Option<f64>,
}

/// Sums over the elements so far.
#[derive(Default)]
struct Sums {
    error: f64,
    square: f64,
    lsb: f64,
    lsb_square: f64,
    signal: f64,
}

impl ErrorSummary {
    /// Of values and what a grid decodes their words to. The sums are taken unit by unit.
    pub(super) fn new(grid: &Grid, values: &[f32], decoded: &[f32]) -> Result<Self, QuantError> {
        let (mut sums, mut summary) = (Sums::default(), Self::default());
        for unit in 0..grid.units() {
            let scale = f64::from(grid.scale(unit)?.abs());
            for element in grid.elements_of(unit).flatten() {
                let at = element as usize;
                let error = f64::from(decoded[at]) - f64::from(values[at]);
                let lsb = if scale > 0.0 { error / scale } else { 0.0 };
                sums.add(f64::from(values[at]), error, lsb);
                summary.max_lsb = summary.max_lsb.max(lsb.abs());
                let is_first = error.abs() == summary.max && element < summary.max_at;
                if error.abs() > summary.max || is_first {
                    (summary.max, summary.max_at) = (error.abs(), element);
                }
            }
        }
        Ok(sums.means(values.len().max(1) as f64, summary))
    }
}

impl Sums {
    fn add(&mut self, value: f64, error: f64, lsb: f64) {
        self.error += error;
        self.square += error * error;
        self.lsb += lsb;
        self.lsb_square += lsb * lsb;
        self.signal += value * value;
    }

    fn means(&self, count: f64, summary: ErrorSummary) -> ErrorSummary {
        let has_ratio = self.signal > 0.0 && self.square > 0.0;
        ErrorSummary {
            mean: self.error / count,
            rms: (self.square / count).sqrt(),
            mean_lsb: self.lsb / count,
            rms_lsb: (self.lsb_square / count).sqrt(),
            sqnr_db: has_ratio.then(|| 10.0 * (self.signal / self.square).log10()),
            ..summary
        }
    }
}
