//! Values as codes.

use std::collections::BTreeMap;

use bitquake_bits::{Format, WordStore, Words, WordsMut};
use bitquake_engine::{EngineError, Value, ValueMap};
use bitquake_fault::{Explanation, Faults, FlipCounts, SpaceTensor};
use bitquake_quant::{Granularity, Grid, QuantError, Quantizer, QuantizerSpec, Rounding};
use bitquake_record::ActivationRecord;

use super::ranges::Ends;

/// A level may be so many steps from 0 that float32 still tells it from the next one, whatever was rounded on the way.
const MOST_STEPS: f32 = (1 << 20) as f32;

/// How the rows of one value are stored.
#[derive(Clone, Debug)]
pub(crate) struct ValueCodes {
    grid: Grid,
    /// The same levels; gives the code of a level, from which truncation might fall one short.
    reader: Grid,
    format: Format,
}

/// What faults did to the codes of a row.
pub(crate) struct Hit {
    /// To the codes.
    pub(crate) told: Explanation,
    /// To the floats that the network computes with.
    pub(crate) seen: FlipCounts,
    pub(crate) dormant: u64,
}

impl ValueCodes {
    /// The grid of a value whose units span `ends`.
    pub(crate) fn fit(quantizer: &Quantizer, value: &Value, ends: &[Ends]) -> Result<Self, String> {
        let name = &value.name;
        let wrong = |error: QuantError| format!("value `{name}`: {error}");
        // Of each unit, the ends stand for all its numbers: the ranges of activations follow from those.
        let shape = match quantizer.spec().granularity {
            Some(Granularity::Channel(axis)) => {
                std::iter::repeat_n(1, axis as usize).chain([ends.len() as u64, 2]).collect()
            }
            _ => vec![2],
        };
        let numbers: Vec<f32> = ends.iter().flat_map(|&(low, high)| [low, high]).collect();
        let parts = quantizer.fit(&numbers, &shape).map_err(wrong)?.parts();
        let grid = quantizer.grid_of(&value.dims, &parts).map_err(wrong)?;
        for unit in 0..grid.units() {
            let ((low, high), scale) = (grid.range(unit).map_err(wrong)?, grid.scale(unit).map_err(wrong)?);
            if low.abs().max(high.abs()) > MOST_STEPS * scale && scale > 0.0 {
                return Err(format!(
                    "value `{name}`: levels from {low} to {high}, {scale} apart, are not distinct float32 numbers; use fewer \
                     bits or family `affine`"
                ));
            }
        }
        let nearest = quantizer.spec().rounding.map(|_| Rounding::NearestEven);
        let nearest = QuantizerSpec { rounding: nearest, ..quantizer.spec().clone() };
        let nearest = Quantizer::from_spec(&nearest).map_err(|error| format!("value `{name}`: {error}"))?;
        let reader = nearest.grid_of(&value.dims, &parts).map_err(wrong)?;
        let format = grid.format();
        Ok(Self { grid, reader, format })
    }

    /// Stores rows and reads them again: each number becomes its level. Infinities become the ends of the range, as in
    /// `QuantizeLinear`; a NaN becomes the level of 0, or the nearest to it, as where conversion to an integer gives 0.
    fn store(&self, rows: &mut [f32]) -> Result<(), QuantError> {
        let elements = self.grid.elements().max(1) as usize;
        for row in rows.chunks_mut(elements) {
            make_finite(row);
            let words = self.grid.quantize(row)?;
            self.grid.dequantize_into(&words, row)?;
        }
        Ok(())
    }

    /// The codes of a row that was stored.
    fn read<'n>(&self, name: &'n str, row: &[f32]) -> Result<RowCodes<'n>, QuantError> {
        let (format, elements) = (self.format, self.grid.elements());
        Ok(RowCodes { name, format, elements, bytes: self.reader.quantize(row)? })
    }

    /// Lets faults hit the codes of a row that was stored; the codes that changed are decoded, once.
    pub(crate) fn hit(&self, name: &str, faults: &Faults, row: &mut [f32]) -> Result<Hit, EngineError> {
        let wrong = |error: QuantError| EngineError::Value { value: name.into(), reason: error.to_string() };
        let mut codes = self.read(name, row).map_err(wrong)?;
        let resolved = faults.resolve(&codes)?;
        let told = resolved.pattern.explain(&codes)?;
        resolved.pattern.apply(&mut codes)?;
        let mut seen = FlipCounts { became_nan: 0, became_inf: 0, ..told.total.clone() };
        let width = u64::from(self.format.width());
        for flips in resolved.pattern.tensors() {
            for same in flips.addresses.chunk_by(|a, b| a / width == b / width) {
                let element = same[0] / width;
                let level = self.level(&codes, element).map_err(wrong)?;
                seen.became_nan += u64::from(level.is_nan());
                seen.became_inf += u64::from(level.is_infinite());
                row[element as usize] = level;
            }
        }
        Ok(Hit { told, seen, dormant: resolved.dormant })
    }

    fn level(&self, codes: &RowCodes<'_>, element: u64) -> Result<f32, QuantError> {
        let word = codes.words(codes.name).and_then(|words| words.get(element));
        self.grid.decode(element, word.unwrap_or_default())
    }

    /// Flips the highest bit that may be hit in every code of a row.
    pub(crate) fn probe(&self, tensor: &SpaceTensor, row: &mut [f32]) -> Result<(), EngineError> {
        let wrong =
            |error: QuantError| EngineError::Value { value: tensor.name.clone(), reason: error.to_string() };
        let codes = self.read(&tensor.name, row).map_err(wrong)?;
        let Some(words) = codes.words(&tensor.name) else { return Ok(()) };
        for ((element, word), value) in (0..).zip(words.iter()).zip(row) {
            *value = self.grid.decode(element, word ^ 1 << tensor.mask.ilog2()).map_err(wrong)?;
        }
        Ok(())
    }

    fn record(&self, value: &str) -> ActivationRecord {
        let units = 0..self.grid.units();
        ActivationRecord {
            value: value.to_owned(),
            format: self.format.name(),
            ranges: units.clone().map_while(|unit| self.grid.range(unit).ok()).collect(),
            scales: units.map_while(|unit| self.grid.scale(unit).ok()).collect(),
        }
    }
}

/// Numbers of which each has a code.
fn make_finite(row: &mut [f32]) {
    for value in row.iter_mut().filter(|value| !value.is_finite()) {
        *value = if value.is_nan() { 0.0 } else { f32::MAX.copysign(*value) };
    }
}

/// The codes of one row.
struct RowCodes<'n> {
    name: &'n str,
    format: Format,
    elements: u64,
    bytes: Vec<u8>,
}

impl WordStore for RowCodes<'_> {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        let words = || Words::packed(self.format, &self.bytes).first(self.elements).ok();
        (tensor == self.name).then(words).flatten()
    }

    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        if tensor != self.name {
            return None;
        }
        WordsMut::packed(self.format, &mut self.bytes).first(self.elements).ok()
    }
}

/// The codes of all values that have some.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeGrids {
    values: BTreeMap<String, ValueCodes>,
}

impl CodeGrids {
    pub(crate) fn new(values: BTreeMap<String, ValueCodes>) -> Self {
        Self { values }
    }

    pub(crate) fn insert(&mut self, value: String, codes: ValueCodes) {
        self.values.insert(value, codes);
    }

    /// Those of a value; none if it is stored as floats.
    pub(crate) fn of(&self, value: &str) -> Option<&ValueCodes> {
        self.values.get(value)
    }

    pub(crate) fn records(&self) -> Vec<ActivationRecord> {
        self.values.iter().map(|(name, codes)| codes.record(name)).collect()
    }
}

impl ValueMap for CodeGrids {
    fn apply(&self, value: &str, rows: &mut [f32]) -> Result<(), String> {
        self.of(value).map_or(Ok(()), |codes| codes.store(rows).map_err(|error| error.to_string()))
    }
}

#[cfg(test)]
mod tests;
