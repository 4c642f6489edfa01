//! The one quantizer, made from fields.

mod validate;

use crate::codes::Codes;
use crate::error::{QuantError, SpecError};
use crate::fit;
use crate::grid::Grid;
use crate::part::Part;
use crate::partition::{Partition, check_shape};
use crate::round::Round;
use crate::rule::Rule;
use crate::spec::{Granularity, QuantizerSpec};

/// Turns float32 tensors into codes: a family, a width, a range rule, a rounding, a granularity and an encoding.
///
/// A quantizer has seen no values. [`fit`](Self::fit) looks at a tensor and gives its [`Grid`], which holds the scales and
/// does the work; a grid freezes the range, so that other values can be quantized with it.
///
/// Arithmetic is float32 for codes of up to 16 bits (a code, and every integer on the way, is exact there) and float64
/// for wider ones; a value is *divided* by its scale, never multiplied by a reciprocal (but in blocks, whose reference does
/// so). NaN and infinities are an error of every quantizer, which names the element.
///
/// ```
/// use bitquake_quant::{Family, Quantizer, QuantizerSpec};
///
/// let quantizer = Quantizer::from_spec(&QuantizerSpec { bits: Some(4), ..QuantizerSpec::new(Family::Normal) })?;
/// let weights = [-0.8, -0.15, 0.0, 0.3, 0.8];
/// let grid = quantizer.fit(&weights, &[5])?;
/// assert_eq!(grid.codes(&weights)?, [-8, -2, 0, 3, 7]);
/// let words = grid.quantize(&weights)?; // two codes in a byte
/// assert_eq!(words, [0b1110_1000, 0b0011_0000, 0b0111]);
/// assert_eq!(grid.dequantize(&words)?[4], 0.7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Quantizer {
    spec: QuantizerSpec,
    pub(crate) codes: Codes,
    /// Lowest and highest code that quantizing gives; flips may reach others.
    pub(crate) produced: (i64, i64),
    /// The code of the real 0, or of the lower end of an interval.
    pub(crate) zero: i64,
    pub(crate) rule: Rule,
    pub(crate) round: Round,
    pub(crate) granularity: Granularity,
}

impl Quantizer {
    /// Checks the fields and fills in the defaults.
    ///
    /// # Errors
    /// [`SpecError`] for a value out of bounds, a field that the family has no use for, or two that contradict each other.
    pub fn from_spec(spec: &QuantizerSpec) -> Result<Self, SpecError> {
        validate::quantizer(spec)
    }

    /// As [`from_spec`](Self::from_spec), and `None` for native words, which need no quantizer.
    ///
    /// # Errors
    /// As [`from_spec`](Self::from_spec); native words take no other fields.
    ///
    /// ```
    /// use bitquake_quant::{Quantizer, QuantizerSpec, SpecError};
    ///
    /// let mut spec = QuantizerSpec::default();
    /// assert_eq!(Quantizer::unless_native(&spec), Ok(None));
    /// spec.bits = Some(4); // of which family?
    /// assert_eq!(Quantizer::unless_native(&spec), Err(SpecError::NativeFields));
    /// ```
    pub fn unless_native(spec: &QuantizerSpec) -> Result<Option<Self>, SpecError> {
        match Self::from_spec(spec) {
            Err(SpecError::Native) => Ok(None),
            made => made.map(Some),
        }
    }

    /// The fields with every default filled in; making a quantizer of them gives the same quantizer.
    #[must_use]
    pub fn spec(&self) -> &QuantizerSpec {
        &self.spec
    }

    /// Width of a code in bits.
    #[must_use]
    pub fn bits(&self) -> u32 {
        self.codes.bits
    }

    /// Chooses range, scales and zero points for the values of a tensor of this shape, in C order.
    ///
    /// An empty tensor, or one of zeros alone, gets scale 0: every code decodes to 0. One whose values are all the same
    /// has, in an asymmetric range, levels that are all that value. A scale is never below 2^-126, the least normal
    /// float32, unless it is 0: that is the only guard a range needs.
    ///
    /// # Errors
    /// [`QuantError`] if the shape does not describe the values, if one is not finite, or if the range rule gives none.
    pub fn fit(&self, values: &[f32], shape: &[u64]) -> Result<Grid, QuantError> {
        check_shape(shape, values.len())?;
        crate::finite::check(values, 0)?;
        let partition = self.partition(shape)?;
        let units = (0..partition.units).map(|unit| fit::unit(self, &partition.values(unit, values)));
        Ok(Grid::new(self.clone(), shape, partition, units.collect::<Result<_, _>>()?))
    }

    /// The grid of a tensor of this shape with these scales and zero points, as a file or another grid gives them, instead
    /// of values to fit. `parts` are those of [`Grid::parts`], in that order.
    ///
    /// ```
    /// use bitquake_bits::Format;
    /// use bitquake_quant::{Family, Part, PartKind, Quantizer, QuantizerSpec};
    ///
    /// let quantizer = Quantizer::from_spec(&QuantizerSpec::new(Family::Affine))?;
    /// let scale = Part { kind: PartKind::Scale, format: Format::F32, words: vec![0.5_f32.to_bits().into()] };
    /// let zero_point = Part { kind: PartKind::ZeroPoint, format: Format::I8, words: vec![3] };
    /// let grid = quantizer.grid_of(&[3], &[scale, zero_point])?;
    /// assert_eq!(grid.codes(&[0.0, 0.25, -1.0])?, [3, 3, 1]); // 0.25 is half a step: to the even 0, plus 3
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Grid::with_parts`]; [`QuantError::BadScale`] for one that is not finite or (but in blocks) negative;
    /// [`QuantError::NeedsValues`] for `dorefa`, whose largest tangent is not stored.
    pub fn grid_of(&self, shape: &[u64], parts: &[Part]) -> Result<Grid, QuantError> {
        let partition = self.partition(shape)?;
        // Only as many units as there are words: the shape may be any numbers.
        let given = parts.first().map_or(1, |part| part.words.len());
        if partition.units != given as u64 {
            let (got, wanted) = (given as u64, partition.units);
            return Err(QuantError::Length { what: "words of a part", got, wanted });
        }
        let units = vec![fit::unit_without_values(self)?; given];
        let mut grid = Grid::new(self.clone(), shape, partition, units).with_parts(parts)?;
        for (index, unit) in grid.units.iter_mut().enumerate() {
            fit::adopt(self, unit).map_err(|value| QuantError::BadScale { unit: index as u64, value })?;
        }
        Ok(grid)
    }

    fn partition(&self, shape: &[u64]) -> Result<Partition, QuantError> {
        let partition = Partition::new(self.granularity, shape)?;
        if matches!(self.rule, Rule::Block(_)) && partition.elements % crate::block::WORDS != 0 {
            return Err(QuantError::PartialBlock {
                elements: partition.elements,
                block: crate::block::WORDS,
            });
        }
        Ok(partition)
    }
}
