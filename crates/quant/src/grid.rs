//! A quantizer with the scales it chose for one tensor.

mod blocks;
mod bulk;
mod chunk;
mod stored;

use bitquake_bits::{Format, Layout};

use crate::block;
use crate::decoder::{Decoder, Form};
use crate::error::QuantError;
use crate::partition::Partition;
use crate::quantizer::Quantizer;
use crate::rule::Rule;
use crate::unit::Unit;

/// The levels that one tensor's codes can stand for: a quantizer with range, scales and zero points of every unit (the
/// tensor, a channel, a group).
///
/// It quantizes and decodes any values of its shape without looking at their range again.
///
/// ```
/// use bitquake_quant::{Family, Granularity, PartKind, Quantizer, QuantizerSpec};
///
/// let spec = QuantizerSpec { granularity: Some(Granularity::Channel(0)), ..QuantizerSpec::new(Family::Affine) };
/// let weights = [0.0, 1.275, 0.0, 2.55];
/// let grid = Quantizer::from_spec(&spec)?.fit(&weights, &[2, 2])?;
/// let words = grid.quantize(&weights)?;
/// assert_eq!(words, [0x80, 0x7f, 0x80, 0x7f]); // -128 and 127
/// assert_eq!(grid.parts()[1].kind, PartKind::ZeroPoint);
/// // The scale of channel 1 is stored as 0.01; with its sign bit flipped, the channel changes sign.
/// let parts = [(-0.01_f32).to_bits().into(), 0x80];
/// assert_eq!(grid.decoder_from(1, &parts)?.level(0x7f)?, -2.55);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    pub(crate) quantizer: Quantizer,
    shape: Vec<u64>,
    pub(crate) partition: Partition,
    pub(crate) units: Vec<Unit>,
}

impl Grid {
    pub(crate) fn new(quantizer: Quantizer, shape: &[u64], partition: Partition, units: Vec<Unit>) -> Self {
        Self { quantizer, shape: shape.to_vec(), partition, units }
    }

    /// The quantizer.
    #[must_use]
    pub fn quantizer(&self) -> &Quantizer {
        &self.quantizer
    }

    /// The shape of the tensor.
    #[must_use]
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Elements of the tensor.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.partition.elements
    }

    /// How many units have a scale of their own.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.units.len() as u64
    }

    /// The unit of an element.
    ///
    /// # Errors
    /// [`QuantError::Element`] if there is no such element.
    pub fn unit_of(&self, index: u64) -> Result<u64, QuantError> {
        let elements = self.elements();
        if index < elements {
            Ok(self.partition.unit(index))
        } else {
            Err(QuantError::Element { index, elements })
        }
    }

    /// The elements of a unit as ranges of consecutive indices, in order; nothing for a unit that does not exist.
    pub fn elements_of(&self, unit: u64) -> impl Iterator<Item = std::ops::Range<u64>> + use<> {
        let Partition { elements, units, run } = self.partition;
        let runs = if unit < units { elements.div_ceil(run) } else { 0 };
        (unit..runs).step_by(units.max(1) as usize).map(move |i| i * run..((i + 1) * run).min(elements))
    }

    /// The format of the stored codes. Its integers are the codes of the scheme, but for the one-bit codes -1 and 1, which
    /// are the words 0 and 1.
    #[must_use]
    pub fn format(&self) -> Format {
        self.quantizer.codes.format()
    }

    /// Where the words of [`quantize`](Self::quantize) lie in its bytes: packed. A block format's own place for them is
    /// [`block_layout`](Self::block_layout).
    #[must_use]
    pub fn layout(&self) -> Layout {
        Layout::packed(self.format())
    }

    /// Where codes lie among the bytes of [`quantize_blocks`](Self::quantize_blocks); none if the family is not `block`.
    #[must_use]
    pub fn block_layout(&self) -> Option<Layout> {
        let Rule::Block(scheme) = self.quantizer.rule else { return None };
        Some(block::code_layout(scheme))
    }

    /// Distance of neighbouring levels in a unit, as it is stored. It is negative in some blocks of `q4_0`.
    ///
    /// # Errors
    /// [`QuantError::Unit`] if there is no such unit.
    pub fn scale(&self, unit: u64) -> Result<f32, QuantError> {
        match self.quantizer.rule {
            Rule::Dorefa => self.unit(unit).map(|_| 2.0 / self.quantizer.codes.high() as f32),
            Rule::Compat { asymmetric: true, .. } => {
                self.unit(unit).map(|unit| unit.step / 2.0 * (unit.high - unit.low))
            }
            _ => self.unit(unit).map(|unit| unit.scale),
        }
    }

    /// The range of a unit, lower and upper end: the reals that quantizing maps to the nearest (or next lower) level.
    ///
    /// # Errors
    /// [`QuantError::Unit`] if there is no such unit.
    pub fn range(&self, unit: u64) -> Result<(f32, f32), QuantError> {
        self.unit(unit).map(|unit| (unit.low, unit.high))
    }

    pub(crate) fn unit(&self, unit: u64) -> Result<&Unit, QuantError> {
        let found = usize::try_from(unit).ok().and_then(|unit| self.units.get(unit));
        found.ok_or(QuantError::Unit { unit, units: self.units() })
    }

    /// The decoder of a unit.
    ///
    /// # Errors
    /// [`QuantError::Unit`] if there is no such unit.
    pub fn decoder(&self, unit: u64) -> Result<Decoder, QuantError> {
        self.unit(unit).map(|unit| self.decoder_of(unit))
    }

    pub(crate) fn decoder_of(&self, unit: &Unit) -> Decoder {
        let codes = self.quantizer.codes;
        let form = match self.quantizer.rule {
            Rule::Dorefa => Form::Dorefa { highest: codes.high() as f32 },
            Rule::Compat { asymmetric, .. } => Form::Compat { asymmetric, unit: *unit },
            _ => Form::Linear { zero: unit.zero, scale: unit.scale, min: unit.min },
        };
        Decoder { codes, form }
    }

    /// The level of an element's word.
    ///
    /// # Errors
    /// [`QuantError::Element`] if there is no such element, [`QuantError::WordOutside`] for bits above the width.
    pub fn decode(&self, index: u64, word: u64) -> Result<f32, QuantError> {
        self.decoder(self.unit_of(index)?)?.level(word)
    }

    /// The word of a code.
    ///
    /// # Errors
    /// [`QuantError::CodeOutside`] if the scheme has no such code.
    pub fn word_of_code(&self, code: i64) -> Result<u64, QuantError> {
        self.quantizer.codes.checked_word(0, code)
    }

    /// The code of a word.
    ///
    /// # Errors
    /// [`QuantError::WordOutside`] for bits above the width.
    pub fn code_of_word(&self, word: u64) -> Result<i64, QuantError> {
        self.quantizer.codes.checked_code(word)
    }
}
