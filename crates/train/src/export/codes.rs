//! Codes, with what decodes them, as a safetensors file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use bitquake_bits::Words;
use bitquake_record::write_atomically;
use bitquake_storage::{Coded, Memory};
use safetensors::{Dtype, View};

use crate::error::TrainError;
use crate::method::Weights;

/// Writes what the memory holds of the weights: for a tensor of codes `NAME` (the integers that its scheme defines, in the narrowest
/// type that holds all of them), `NAME@scale`, `NAME@zero_point` and so on (one value for each unit) and `NAME@range` (lower and upper end for each
/// unit); for other tensors `NAME` in float32. The metadata has the quantizers, as TOML, under `storage`.
pub(super) fn write(
    path: &Path,
    weights: &Weights,
    memory: &Memory,
    storage: &str,
) -> Result<(), TrainError> {
    let mut arrays = Vec::new();
    for tensor in &weights.tensors {
        match memory.coded(&tensor.name) {
            Some(coded) => arrays.extend(coded_arrays(&tensor.name, &tensor.shape, coded)),
            None => arrays.push((tensor.name.clone(), Array::floats(tensor.shape.clone(), &tensor.values))),
        }
    }
    let metadata = HashMap::from([("storage".to_owned(), storage.to_owned())]);
    let bytes = safetensors::serialize(arrays, Some(metadata))
        .map_err(|error| TrainError::Snapshot(format!("codes: {error}")))?;
    Ok(write_atomically(path, &bytes)?)
}

fn coded_arrays(name: &str, shape: &[usize], coded: &Coded) -> Vec<(String, Array)> {
    let grid = coded.grid();
    let mut arrays = vec![(name.to_owned(), Array::integers(shape.to_vec(), &coded.words()))];
    for (part, words) in coded.parts() {
        let values: Vec<f32> = words.iter().map(|word| words.format().decode(word) as f32).collect();
        arrays.push((format!("{name}@{part}"), Array::floats(vec![values.len()], &values)));
    }
    let ranges = (0..grid.units()).filter_map(|unit| grid.range(unit).ok());
    let ends: Vec<f32> = ranges.flat_map(|(low, high)| [low, high]).collect();
    arrays.push((format!("{name}@range"), Array::floats(vec![ends.len() / 2, 2], &ends)));
    arrays
}

/// An array of a safetensors file.
struct Array {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    fn floats(shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape, bytes }
    }

    /// The integers that words of a code stand for. One-bit codes -1 and 1 are the words 0 and 1.
    fn integers(shape: Vec<usize>, words: &Words<'_>) -> Self {
        let format = words.format();
        let (low, high) = format.integer_range().unwrap_or((0, format.mask().into()));
        let (dtype, width) = narrowest(low, high);
        let integer = |word| format.integer(word).unwrap_or(i128::from(word));
        let bytes = words.iter().flat_map(|word| integer(word).to_le_bytes()[..width].to_vec()).collect();
        Self { dtype, shape, bytes }
    }
}

/// The narrowest integer type that holds a range, and its bytes.
fn narrowest(low: i128, high: i128) -> (Dtype, usize) {
    let holds = |lowest: i128, highest: i128| lowest <= low && high <= highest;
    [
        (Dtype::I8, 1, i8::MIN.into(), i8::MAX.into()),
        (Dtype::U8, 1, 0, u8::MAX.into()),
        (Dtype::I16, 2, i16::MIN.into(), i16::MAX.into()),
        (Dtype::U16, 2, 0, u16::MAX.into()),
        (Dtype::I32, 4, i32::MIN.into(), i32::MAX.into()),
    ]
    .into_iter()
    .find(|&(_, _, lowest, highest)| holds(lowest, highest))
    .map_or((Dtype::I64, 8), |(dtype, width, ..)| (dtype, width))
}

impl View for Array {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        (&self.bytes).into()
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_type_holds_the_range() {
        for (low, high, wanted) in [
            (-128, 127, Dtype::I8),
            (0, 255, Dtype::U8),
            (0, 15, Dtype::I8),
            (-32768, 32767, Dtype::I16),
            (0, 65535, Dtype::U16),
            (i32::MIN.into(), i32::MAX.into(), Dtype::I32),
            (0, u32::MAX.into(), Dtype::I64),
        ] {
            assert_eq!(narrowest(low, high).0, wanted, "{low}..{high}");
        }
    }
}
