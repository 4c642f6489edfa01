//! Normalisations.

use bitquake_tensors::onnx::Node;

use super::touched::Ranges;
use super::{DirectError, Inputs, Stored, StoredValues, Touched, float_attribute, int_attribute};

/// The default of `epsilon` in both operators.
const EPSILON: f32 = 1e-5;

/// Batch normalisation in inference: `(x - mean) / sqrt(var + epsilon) * scale + bias`, by channel.
#[derive(Clone, Debug)]
pub(crate) struct BatchNorm {
    /// Scale, bias, mean and variance.
    pub(crate) stored: [Stored; 4],
    /// Elements of one channel.
    len: usize,
    epsilon: f32,
}

impl BatchNorm {
    pub(super) fn new(node: &Node, inputs: &Inputs) -> Option<BatchNorm> {
        let (&channels, spatial) = inputs.activation_at(0)?.split_first()?;
        let [scale, bias, mean, variance] =
            [1, 2, 3, 4].map(|at| inputs.stored_at(at).map(|(stored, _)| stored));
        let stored = [scale?, bias?, mean?, variance?];
        let plain = int_attribute(node, "training_mode", 0)? == 0 && int_attribute(node, "spatial", 1)? == 1;
        let fits = inputs.operands.len() == 5 && stored.iter().all(|stored| stored.elements == channels);
        let epsilon = float_attribute(node, "epsilon", EPSILON)?;
        (plain && fits).then_some(BatchNorm { stored, len: spatial.iter().product(), epsilon })
    }

    /// What a channel is multiplied with, and what is added: from its scale, bias, mean and variance.
    pub(crate) fn factor_and_term(&self, [scale, bias, mean, variance]: [f32; 4]) -> (f32, f32) {
        let factor = scale * (1.0 / (variance + self.epsilon).sqrt());
        (factor, bias - mean * factor)
    }

    pub(super) fn ranges(&self, touched: &Touched, ranges: &mut Ranges) {
        touched.iter().for_each(|(channel, _)| ranges.push(channel * self.len..(channel + 1) * self.len));
    }

    /// As the engine: the four become a factor and a term first. Beside blocked convolutions it divides the scale by the
    /// root instead of multiplying with the inverse, which is the same to rounding.
    pub(super) fn recompute(
        &self,
        touched: &Touched,
        input: &[f32],
        stored: &StoredValues<'_>,
        out: &mut [f32],
    ) -> Result<(), DirectError> {
        let [scale, bias, mean, variance] = self.stored.each_ref().map(|each| each.values(stored));
        let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
        for (channel, _) in touched.iter() {
            let values = [&scale, &bias, &mean, &variance].map(|values| values[channel]);
            let (factor, term) = self.factor_and_term(values);
            let place = channel * self.len..(channel + 1) * self.len;
            let pairs = out[place.clone()].iter_mut().zip(&input[place]);
            pairs.for_each(|(out, x)| *out = x * factor + term);
        }
        Ok(())
    }
}

/// Layer normalisation: each row, less its mean and over its deviation, times gamma plus beta, by column.
#[derive(Clone, Debug)]
pub(super) struct LayerNorm {
    pub(super) gamma: Stored,
    pub(super) beta: Option<Stored>,
    rows: usize,
    columns: usize,
    epsilon: f32,
}

impl LayerNorm {
    pub(super) fn new(node: &Node, inputs: &Inputs) -> Option<LayerNorm> {
        let dims = inputs.activation_at(0)?;
        let axis = match int_attribute(node, "axis", -1)? {
            // The batch is the first dimension of the graph, and not in `dims`.
            axis if axis > 0 => usize::try_from(axis - 1).ok()?,
            axis => dims.len().checked_sub(usize::try_from(-axis).ok()?)?,
        };
        let normalised = dims.get(axis..).filter(|normalised| !normalised.is_empty())?;
        let columns: usize = normalised.iter().product();
        let rows = dims[..axis].iter().product();
        let (gamma, _) = inputs.stored_at(1)?;
        let beta = match inputs.has(2) {
            false => None,
            true => Some(inputs.stored_at(2)?.0),
        };
        let fits =
            [Some(&gamma), beta.as_ref()].into_iter().flatten().all(|stored| stored.elements == columns);
        let plain = int_attribute(node, "stash_type", 1)? == 1 && inputs.operands.len() <= 3;
        let epsilon = float_attribute(node, "epsilon", EPSILON)?;
        (plain && fits).then_some(LayerNorm { gamma, beta, rows, columns, epsilon })
    }

    pub(super) fn ranges(&self, touched: &Touched, ranges: &mut Ranges) {
        for row in 0..self.rows {
            for (column, _) in touched.iter() {
                let at = row * self.columns + column;
                ranges.push(at..at + 1);
            }
        }
    }

    pub(super) fn recompute(
        &self,
        touched: &Touched,
        input: &[f32],
        stored: &StoredValues<'_>,
        out: &mut [f32],
    ) -> Result<(), DirectError> {
        let gamma = self.gamma.values(stored)?;
        let beta = self.beta.as_ref().map(|beta| beta.values(stored)).transpose()?;
        for (input, out) in input.chunks_exact(self.columns).zip(out.chunks_exact_mut(self.columns)) {
            let (mean, deviation) = self.statistics(input);
            for (column, _) in touched.iter() {
                let normal = (input[column] - mean) / deviation * gamma[column];
                out[column] = beta.as_ref().map_or(normal, |beta| normal + beta[column]);
            }
        }
        Ok(())
    }

    /// The mean of a row, and the root of its variance plus epsilon.
    fn statistics(&self, row: &[f32]) -> (f32, f32) {
        let count = self.columns as f64;
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
        (mean as f32, (variance + f64::from(self.epsilon)).sqrt() as f32)
    }
}
