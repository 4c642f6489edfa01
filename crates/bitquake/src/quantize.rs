//! What a quantizer makes of values, or of the tensors of a file: codes, levels, errors, and what a flipped bit costs.

mod error_summary;
mod file;
mod inline;

use bitquake_quant::{Grid, QuantError, Quantizer};
use bitquake_sample::StreamKey;

pub use error_summary::ErrorSummary;
pub use file::{QuantizedFile, QuantizedTensor, StoredTensor, quantize_file};
pub use inline::{InlineError, parse_quantizer, parse_storage};

/// Values, what they are stored as, and what they decode to.
///
/// ```
/// use bitquake::quantize::{parse_quantizer, quantize_values};
/// use bitquake::sample::StreamKey;
///
/// let quantizer = parse_quantizer("{ family = 'normal', bits = 4 }")?;
/// let key = StreamKey { seed: 0, point: 0, trial: 0 };
/// let quantized = quantize_values(&quantizer, &[-0.8, 0.3, 0.8], &[3], key)?;
/// assert_eq!(quantized.codes, [-8, 3, 7]);
/// assert_eq!(quantized.decoded[2], 0.7);
/// assert_eq!(quantized.error.max_at, 2); // 0.8 is a step above the highest level
/// assert!((quantized.error.max_lsb - 1.0).abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedValues {
    /// The quantizer, with the scales that it chose.
    pub grid: Grid,
    /// The code of each value.
    pub codes: Vec<i64>,
    /// The stored word of each value.
    pub words: Vec<u64>,
    /// What each word decodes to.
    pub decoded: Vec<f32>,
    /// How far the decoded values are from the values.
    pub error: ErrorSummary,
    /// Mean absolute change of the decoded value when one bit flips, over all values; bit 0 first.
    pub damage_by_bit: Vec<f64>,
}

/// Quantizes values of a tensor of this shape, in C order. `key` decides stochastic rounding.
///
/// # Errors
/// [`QuantError`] for a shape that does not describe the values, a value that is not finite (with its index), and a range
/// rule that gives no range.
pub fn quantize_values(
    quantizer: &Quantizer,
    values: &[f32],
    shape: &[u64],
    key: StreamKey,
) -> Result<QuantizedValues, QuantError> {
    let grid = quantizer.fit(values, shape)?;
    let mut uniforms = key.part("rounding").tensor("values").words(0);
    let codes = grid.codes_with(values, |_| (uniforms.u64() >> 11) as f64 * 2.0_f64.powi(-53))?;
    let bytes = grid.pack_codes(&codes)?;
    let decoded = grid.dequantize(&bytes)?;
    let words = codes.iter().map(|&code| grid.word_of_code(code)).collect::<Result<_, _>>()?;
    let error = ErrorSummary::new(&grid, values, &decoded)?;
    let damage_by_bit = grid.damage_by_bit(&bytes)?;
    Ok(QuantizedValues { grid, codes, words, decoded, error, damage_by_bit })
}

/// One row of the table of codes.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeRow {
    /// The integer of the scheme.
    pub code: i64,
    /// The stored word.
    pub word: u64,
    /// What it decodes to in each unit.
    pub levels: Vec<f32>,
    /// Whether quantizing gives this word for some value; a flip may reach it all the same.
    pub produced: bool,
}

/// Every word of a grid in the order of the codes, with its levels in the first `units` units. A second word for a code,
/// the -0 of sign-magnitude, stands after the first.
///
/// # Errors
/// [`QuantError::TooManyCodes`] above 16 bits.
pub fn code_table(grid: &Grid, units: u64) -> Result<Vec<CodeRow>, QuantError> {
    let units = units.min(grid.units());
    let (lowest, highest) = produced(grid)?;
    let mut rows = Vec::new();
    for level in grid.levels(0)? {
        let levels = levels_of(grid, units, level.word)?;
        let produced = (lowest..=highest).contains(&level.code);
        rows.push(CodeRow { code: level.code, word: level.word, levels, produced });
    }
    let listed: std::collections::BTreeSet<u64> = rows.iter().map(|row| row.word).collect();
    for word in (0..1 << grid.quantizer().bits()).filter(|word| !listed.contains(word)) {
        let code = grid.code_of_word(word)?;
        let after = rows.iter().position(|row| row.code > code).unwrap_or(rows.len());
        rows.insert(after, CodeRow { code, word, levels: levels_of(grid, units, word)?, produced: false });
    }
    Ok(rows)
}

fn levels_of(grid: &Grid, units: u64, word: u64) -> Result<Vec<f32>, QuantError> {
    (0..units).map(|unit| grid.decoder(unit)?.level(word)).collect()
}

/// The lowest and the highest code that quantizing gives: those of the most extreme values.
fn produced(grid: &Grid) -> Result<(i64, i64), QuantError> {
    let extreme = |value: f32| grid.codes_with(&vec![value; grid.elements() as usize], |_| 0.0);
    let codes = [extreme(f32::MIN)?, extreme(f32::MAX)?].concat();
    Ok((codes.iter().copied().min().unwrap_or(0), codes.iter().copied().max().unwrap_or(0)))
}
