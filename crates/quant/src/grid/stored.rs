//! The stored values beside the codes: out of a grid, and back into one.

use bitquake_bits::{Format, Layout};

use super::Grid;
use crate::block;
use crate::codes::Codes;
use crate::decoder::Decoder;
use crate::error::QuantError;
use crate::part::{Part, PartKind};
use crate::rule::{Ends, Rule};
use crate::unit::Unit;

impl Grid {
    /// What is stored beside the codes, in the order that [`decoder_from`](Self::decoder_from) wants. Nothing where the
    /// fields alone give the levels: `dorefa`, and `qkeras` with a number for alpha.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let part = |&kind| {
            let words = self.units.iter().map(|unit| self.part_word(kind, unit)).collect();
            Part { kind, format: self.part_format(kind), words }
        };
        self.part_kinds().iter().map(part).collect()
    }

    /// The kinds of [`parts`](Self::parts), in the same order.
    #[must_use]
    pub fn part_kinds(&self) -> &'static [PartKind] {
        use PartKind::{Max, Min, Range, Scale, ZeroPoint};
        match self.quantizer.rule {
            Rule::Constant { .. } | Rule::Dorefa | Rule::Sign { factor: Some(_) } => &[],
            Rule::Compat { asymmetric: false, .. } => &[Range],
            Rule::Compat { asymmetric: true, .. } => &[Min, Max],
            Rule::Affine { .. } => &[Scale, ZeroPoint],
            Rule::Interval { .. } | Rule::Block(crate::BlockScheme::Q4_1) => &[Scale, Min],
            Rule::Centred { .. }
            | Rule::Step { .. }
            | Rule::Auto { .. }
            | Rule::Sign { factor: None }
            | Rule::Block(_) => &[Scale],
        }
    }

    /// Bits that the tensor takes: its codes and its parts.
    #[must_use]
    pub fn stored_bits(&self) -> u64 {
        let unit: u64 = self.part_kinds().iter().map(|&kind| u64::from(self.part_format(kind).width())).sum();
        self.elements() * u64::from(self.quantizer.bits()) + self.units() * unit
    }

    /// The format of a part's words.
    #[must_use]
    pub fn part_format(&self, kind: PartKind) -> Format {
        match (kind, self.quantizer.rule) {
            (PartKind::ZeroPoint, _) => self.zero_codes().format(),
            (_, Rule::Block(_)) => Format::F16,
            _ => Format::F32,
        }
    }

    /// Where a part lies among the bytes of [`quantize_blocks`](Self::quantize_blocks); none if the family is not `block`.
    #[must_use]
    pub fn part_block_layout(&self, kind: PartKind) -> Option<Layout> {
        let Rule::Block(scheme) = self.quantizer.rule else { return None };
        self.part_kinds().contains(&kind).then(|| block::part_layout(scheme, kind))
    }

    /// Zero points are plain integers of the codes' width and sign, whatever the codes' encoding.
    fn zero_codes(&self) -> Codes {
        Codes { encoding: bitquake_bits::Encoding::Plain, ..self.quantizer.codes }
    }

    fn part_word(&self, kind: PartKind, unit: &Unit) -> u64 {
        let value = match kind {
            PartKind::ZeroPoint => return self.zero_codes().word(unit.zero),
            PartKind::Scale => unit.scale,
            PartKind::Min if matches!(self.quantizer.rule, Rule::Compat { .. }) => unit.low,
            PartKind::Min => unit.min,
            PartKind::Max | PartKind::Range => unit.high,
        };
        if self.part_format(kind) == Format::F16 {
            // Exact: the value was rounded to float16 when the grid was fitted.
            return Format::F16.nearest(f64::from(value)).unwrap_or(0);
        }
        value.to_bits().into()
    }

    /// The decoder of a unit with these stored words in place of its own: one word for each of
    /// [`part_kinds`](Self::part_kinds), in that order.
    ///
    /// # Errors
    /// [`QuantError::Unit`], [`QuantError::Length`] or [`QuantError::WordOutside`].
    pub fn decoder_from(&self, unit: u64, words: &[u64]) -> Result<Decoder, QuantError> {
        let mut changed = *self.unit(unit)?;
        let kinds = self.part_kinds();
        check_count("words of parts", words.len(), kinds.len())?;
        for (&kind, &word) in kinds.iter().zip(words) {
            self.put(&mut changed, kind, word)?;
        }
        Ok(self.decoder_of(&changed))
    }

    /// The same grid with other stored values, perhaps faulted; it decodes with them. Quantizing goes on with the values
    /// that were fitted.
    ///
    /// # Errors
    /// [`QuantError::Length`] unless there is a word for each unit of every part; [`QuantError::WrongPart`];
    /// [`QuantError::WordOutside`].
    pub fn with_parts(&self, parts: &[Part]) -> Result<Grid, QuantError> {
        check_count("parts", parts.len(), self.part_kinds().len())?;
        let mut grid = self.clone();
        for (index, (part, &kind)) in parts.iter().zip(self.part_kinds()).enumerate() {
            if part.kind != kind {
                return Err(QuantError::WrongPart { index, got: part.kind.name(), wanted: kind.name() });
            }
            check_count(kind.name(), part.words.len(), self.units.len())?;
            for (unit, &word) in grid.units.iter_mut().zip(&part.words) {
                self.put(unit, kind, word)?;
            }
        }
        Ok(grid)
    }

    fn put(&self, unit: &mut Unit, kind: PartKind, word: u64) -> Result<(), QuantError> {
        let format = self.part_format(kind);
        if word & !format.mask() != 0 {
            return Err(QuantError::WordOutside { word, bits: format.width() });
        }
        if kind == PartKind::ZeroPoint {
            unit.zero = self.zero_codes().code(word);
            return Ok(());
        }
        // Not through float64 for float32 words, so that the payload of a NaN stays.
        let value =
            if format == Format::F32 { f32::from_bits(word as u32) } else { format.decode(word) as f32 };
        match (kind, self.quantizer.rule) {
            (PartKind::Range, Rule::Compat { ends, .. }) => self.put_range(unit, value, ends != Ends::Values),
            (PartKind::Min, Rule::Compat { .. }) => unit.low = value,
            (PartKind::Max, _) => unit.high = value,
            (PartKind::Min, _) => unit.min = value,
            _ => unit.scale = value,
        }
        Ok(())
    }

    /// The release derives its step from the range that it stores.
    fn put_range(&self, unit: &mut Unit, range: f32, is_fixed: bool) {
        let zero = unit.zero;
        *unit = crate::compat::unit(&self.quantizer, false, is_fixed, -range, range, zero);
    }
}

fn check_count(what: &'static str, got: usize, wanted: usize) -> Result<(), QuantError> {
    if got == wanted {
        return Ok(());
    }
    Err(QuantError::Length { what, got: got as u64, wanted: wanted as u64 })
}
