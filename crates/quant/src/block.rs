//! The block formats of GGUF: 32 elements, a float16 scale, perhaps a float16 minimum.
//!
//! | scheme | bytes of a block | level |
//! | --- | --- | --- |
//! | `q4_0` | `f16 d`, 16 bytes: element j in the low, 16 + j in the high half of byte j | `(code - 8) * d` |
//! | `q4_1` | `f16 d`, `f16 m`, 16 bytes as above | `code * d + m` |
//! | `q8_0` | `f16 d`, 32 signed bytes | `code * d` |
//!
//! Codes follow ggml's reference rounding, which multiplies by the reciprocal of the scale before it is rounded to float16:
//! `q4_0`: d is the value of largest magnitude (the first of several) over -8, the code `min(15, trunc(x / d + 8.5))`;
//! `q4_1`: `d = (max - min) / 15`, the code `min(15, trunc((x - min) / d + 0.5))`; `q8_0`: `d = max|x| / 127`, the code
//! `x / d` rounded with halves away from 0.

use bitquake_bits::{Blocks, Encoding, Format, Layout};

use crate::codes::Codes;
use crate::error::QuantError;
use crate::part::PartKind;
use crate::spec::BlockScheme;
use crate::statistics;
use crate::unit::Unit;

/// Elements of a block.
pub(crate) const WORDS: u64 = 32;

/// The codes of a scheme, and which of them stands for 0 (or for the minimum).
pub(crate) fn codes(scheme: BlockScheme) -> (Codes, i64) {
    let (bits, signed, zero) = match scheme {
        BlockScheme::Q4_0 => (4, false, 8),
        BlockScheme::Q4_1 => (4, false, 0),
        BlockScheme::Q8_0 => (8, true, 0),
    };
    (Codes { bits, signed, encoding: Encoding::Plain, point: 0, is_sign: false }, zero)
}

/// Bits before the codes of a block.
fn head_bits(scheme: BlockScheme) -> u64 {
    if scheme == BlockScheme::Q4_1 { 32 } else { 16 }
}

/// Bits of a block.
fn block_bits(scheme: BlockScheme) -> u64 {
    head_bits(scheme) + WORDS * u64::from(codes(scheme).0.bits)
}

/// Where the codes lie in the blocks.
pub(crate) fn code_layout(scheme: BlockScheme) -> Layout {
    let codes = codes(scheme).0;
    let plane_words = WORDS * u64::from(codes.bits) / 8;
    let (block_bits, offset_bits) = (block_bits(scheme), head_bits(scheme));
    let blocks = Blocks { block_words: WORDS, block_bits, offset_bits, plane_words, plane_bits: 8 };
    Layout::blocks(codes.format(), blocks)
}

/// Where a part lies in the blocks.
pub(crate) fn part_layout(scheme: BlockScheme, kind: PartKind) -> Layout {
    let offset_bits = if kind == PartKind::Min { 16 } else { 0 };
    let blocks = Blocks {
        block_words: 1,
        block_bits: block_bits(scheme),
        offset_bits,
        plane_words: 1,
        plane_bits: 16,
    };
    Layout::blocks(Format::F16, blocks)
}

/// Scale and minimum of one block; `step` is the reciprocal that the codes are made with.
pub(crate) fn unit(scheme: BlockScheme, values: &[f32]) -> Result<Unit, QuantError> {
    let (_, high) = statistics::ends(values);
    // The first of several least values, so that the sign of a zero is the one that ggml stores.
    let low = values.iter().fold(f32::MAX, |least, &value| if value < least { value } else { least });
    let (scale, offset) = match scheme {
        BlockScheme::Q4_0 => (first_largest(values) / -8.0, 0.0),
        BlockScheme::Q4_1 => ((high - low) / 15.0, low),
        BlockScheme::Q8_0 => (statistics::largest(values) / 127.0, 0.0),
    };
    let too_wide = QuantError::RangeTooWide { low, high, format: "f16" };
    let stored = |value: f32| half(value).ok_or_else(|| too_wide.clone());
    let (scale_f16, min) = (stored(scale)?, stored(offset)?);
    let step = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let zero = codes(scheme).1;
    let level = |code: f32| code * scale_f16 + min;
    let (a, b) = match scheme {
        BlockScheme::Q4_0 => (level(-8.0), level(7.0)),
        BlockScheme::Q4_1 => (level(0.0), level(15.0)),
        BlockScheme::Q8_0 => (level(-127.0), level(127.0)),
    };
    Ok(Unit { step, offset, zero, scale: scale_f16, min, low: a.min(b), high: a.max(b) })
}

/// The value of largest magnitude, the first of several.
fn first_largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, &value| if value.abs() > most.abs() { value } else { most })
}

/// Rounded to float16, halves to even; `None` if it overflows.
fn half(value: f32) -> Option<f32> {
    let word = Format::F16.nearest(f64::from(value)).ok()?;
    Some(Format::F16.decode(word) as f32).filter(|half| half.is_finite())
}

/// The code of a value.
#[inline(always)]
pub(crate) fn code(scheme: BlockScheme, unit: &Unit, value: f32) -> i64 {
    match scheme {
        BlockScheme::Q4_0 => ((value * unit.step + 8.5) as i64).clamp(0, 15),
        BlockScheme::Q4_1 => (((value - unit.offset) * unit.step + 0.5) as i64).clamp(0, 15),
        BlockScheme::Q8_0 => ((value * unit.step).round() as i64).clamp(-128, 127),
    }
}
