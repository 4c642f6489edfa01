//! The tensors of a file as a quantizer would store them.

use std::path::Path;

use bitquake_bits::{Format, WordStore};
use bitquake_campaign::CampaignError;
use bitquake_fault::{Name, Selector};
use bitquake_quant::{Quantizer, QuantizerSpec};
use bitquake_sample::StreamKey;
use bitquake_storage::{Memory, StorageError, StorageSpec};
use bitquake_tensors::{Dtype, Role, TensorFile, TensorInfo};
use serde::Serialize;

use super::error_summary::ErrorSummary;
use crate::error::Error;

/// A file, quantized.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantizedFile {
    /// The kind of file.
    pub kind: String,
    /// The quantizer, every default filled in.
    pub spec: QuantizerSpec,
    /// Its tensors with a number format, in file order.
    pub tensors: Vec<QuantizedTensor>,
    /// Bits of those tensors in the file.
    pub file_bits: u64,
    /// Bits of those tensors as stored: codes, scales and zero points, and the tensors that stay as they are.
    pub stored_bits: u64,
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QuantizedTensor {
    /// Its name.
    pub tensor: String,
    /// Its number format in the file.
    pub format: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its number of elements.
    pub elements: u64,
    /// Its bits in the file.
    pub file_bits: u64,
    /// Its bits as stored.
    pub stored_bits: u64,
    /// How it is stored; none for a tensor that stays as it is.
    pub stored: Option<StoredTensor>,
    /// Why a tensor that was selected stays as it is; none for others.
    pub kept: Option<String>,
}

/// A tensor as codes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredTensor {
    /// Number format of the codes.
    pub format: String,
    /// How many units have a scale of their own.
    pub units: u64,
    /// The least and the greatest scale of a unit.
    pub scale: [f32; 2],
    /// The least and the greatest end of a unit's range.
    pub range: [f32; 2],
    /// How far the decoded values are from the file's.
    pub error: ErrorSummary,
    /// Mean absolute change of a decoded value when one bit flips; bit 0 first.
    pub damage_by_bit: Vec<f64>,
    /// Bits of what is stored beside the codes, by name: scales, zero points ...
    pub parts: Vec<(&'static str, u64)>,
}

/// Quantizes tensors of a file, one at a time, as a campaign's `[storage]` does: all float weights, or those of `select`.
/// `key` decides stochastic rounding. The file is not changed.
///
/// # Errors
/// [`Error`] for a file that cannot be read, globs that match nothing, and values that the quantizer does not take.
pub fn quantize_file(
    path: &Path,
    quantizer: &Quantizer,
    select: &[String],
    key: StreamKey,
) -> Result<QuantizedFile, Error> {
    let file = TensorFile::open(path)?;
    let known: Vec<&TensorInfo> =
        file.tensors().iter().filter(|tensor| matches!(tensor.dtype, Dtype::Known(_))).collect();
    let chosen = chosen(&known, select)?;
    let tensors = known
        .iter()
        .zip(chosen)
        .map(|(tensor, chosen)| quantized(&file, tensor, chosen, quantizer, key))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(QuantizedFile {
        kind: file.kind().to_string(),
        spec: quantizer.spec().clone(),
        file_bits: tensors.iter().map(|tensor| tensor.file_bits).sum(),
        stored_bits: tensors.iter().map(|tensor| tensor.stored_bits).sum(),
        tensors,
    })
}

/// Which tensors are to be quantized. Without globs, the weights.
fn chosen(known: &[&TensorInfo], select: &[String]) -> Result<Vec<bool>, Error> {
    if select.is_empty() {
        return Ok(known.iter().map(|tensor| tensor.role == Role::Weight).collect());
    }
    let names: Vec<Name<'_>> = known
        .iter()
        .map(|tensor| Name {
            text: &tensor.name,
            by_name_only: !tensor.role.is_reached_by_globs(),
            also: &[],
        })
        .collect();
    Ok(Selector::new(select)?.matches(&names)?)
}

fn quantized(
    file: &TensorFile,
    tensor: &TensorInfo,
    is_chosen: bool,
    quantizer: &Quantizer,
    key: StreamKey,
) -> Result<QuantizedTensor, Error> {
    let takes = matches!(tensor.dtype.format(), Some(Format::F32 | Format::F16 | Format::BF16));
    let file_bits = tensor.bits().unwrap_or(0);
    let (stored, stored_bits) = if is_chosen && takes {
        let (stored, bits) = stored(file, tensor, quantizer, key)?;
        (Some(stored), bits)
    } else {
        (None, file_bits)
    };
    let kept = (is_chosen && !takes)
        .then(|| format!("{} stays as it is: quantizers take f32, f16 and bf16", tensor.dtype));
    Ok(QuantizedTensor {
        tensor: tensor.name.clone(),
        format: tensor.dtype.to_string(),
        shape: tensor.shape.clone(),
        elements: tensor.elements(),
        file_bits,
        stored_bits,
        stored,
        kept,
    })
}

fn stored(
    file: &TensorFile,
    tensor: &TensorInfo,
    quantizer: &Quantizer,
    key: StreamKey,
) -> Result<(StoredTensor, u64), Error> {
    // What is chosen is stored as codes, whatever its role.
    let alone = [TensorInfo { role: Role::Weight, ..tensor.clone() }];
    let spec = StorageSpec { base: quantizer.spec().clone(), ..StorageSpec::default() };
    let memory = Memory::new(&spec, &alone, file, key).map_err(CampaignError::from)?;
    let wrong = |source| CampaignError::from(StorageError::Quantize { tensor: tensor.name.clone(), source });
    let missing = || {
        CampaignError::from(StorageError::NotFloat {
            tensor: tensor.name.clone(),
            dtype: tensor.dtype.to_string(),
        })
    };
    let coded = memory.coded(&tensor.name).ok_or_else(missing)?;
    let (grid, words) = (coded.grid(), coded.words());
    let native = file.words(&tensor.name).ok_or_else(missing)?;
    let values: Vec<f32> = native.iter().map(|word| native.format().decode(word) as f32).collect();
    let decoded = grid.dequantize(words.bytes()).map_err(wrong)?;
    let units = (0..grid.units()).map(|unit| Ok((grid.scale(unit)?, grid.range(unit)?)));
    let units = units.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let parts =
        coded.parts().map(|(name, words)| (name, words.elements() * u64::from(words.format().width())));
    let stored = StoredTensor {
        format: grid.format().name(),
        units: grid.units(),
        scale: ends(units.iter().map(|(scale, _)| (*scale, *scale))),
        range: ends(units.iter().map(|(_, range)| *range)),
        error: ErrorSummary::new(grid, &values, &decoded).map_err(wrong)?,
        damage_by_bit: grid.damage_by_bit(words.bytes()).map_err(wrong)?,
        parts: parts.collect(),
    };
    Ok((stored, grid.stored_bits()))
}

/// The least lower and the greatest upper end; zeros of nothing.
fn ends(pairs: impl Iterator<Item = (f32, f32)>) -> [f32; 2] {
    let both = pairs.reduce(|(low, high), (lo, hi)| (low.min(lo), high.max(hi)));
    both.map_or([0.0; 2], |(low, high)| [low, high])
}
