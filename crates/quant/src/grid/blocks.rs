//! Whole tensors as GGUF stores them.

use bitquake_bits::{Format, Layout, Words, WordsMut};

use super::Grid;
use super::bulk::check_length;
use crate::block;
use crate::error::QuantError;
use crate::rule::Rule;

impl Grid {
    /// The blocks of values as GGUF stores them, scales and codes; none if the family is not `block`.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize).
    pub fn quantize_blocks(&self, values: &[f32]) -> Result<Option<Vec<u8>>, QuantError> {
        let Rule::Block(scheme) = self.quantizer.rule else { return Ok(None) };
        let words: Vec<u64> =
            self.codes(values)?.into_iter().map(|code| self.quantizer.codes.word(code)).collect();
        let layout = block::code_layout(scheme);
        let mut bytes = vec![0; layout.bytes_needed(self.elements()).unwrap_or(0) as usize];
        put(self.format(), &layout, &words, &mut bytes);
        for part in self.parts() {
            put(part.format, &block::part_layout(scheme, part.kind), &part.words, &mut bytes);
        }
        Ok(Some(bytes))
    }

    /// The levels of blocks as GGUF stores them, decoded with the scales in them; none if the family is not `block`.
    ///
    /// # Errors
    /// [`QuantError::Length`] if there are not as many bytes as the blocks take.
    pub fn dequantize_blocks(&self, bytes: &[u8]) -> Result<Option<Vec<f32>>, QuantError> {
        let Rule::Block(scheme) = self.quantizer.rule else { return Ok(None) };
        let layout = block::code_layout(scheme);
        let wanted = layout.bytes_needed(self.elements()).unwrap_or(u64::MAX);
        check_length("bytes of blocks", bytes.len() as u64, wanted)?;
        let mut parts = self.parts();
        for part in &mut parts {
            part.words = take(part.format, &block::part_layout(scheme, part.kind), self.units(), bytes);
        }
        let words = take(self.format(), &layout, self.elements(), bytes);
        self.with_parts(&parts)?.dequantize(&self.packed(&words)).map(Some)
    }
}

/// Puts words in their places, for which the bytes suffice.
fn put(format: Format, layout: &Layout, words: &[u64], bytes: &mut [u8]) {
    if let Ok(mut places) = WordsMut::new(format, words.len() as u64, layout, bytes) {
        for (i, &word) in words.iter().enumerate() {
            places.set(i as u64, word);
        }
    }
}

/// The words in their places, for which the bytes suffice.
fn take(format: Format, layout: &Layout, count: u64, bytes: &[u8]) -> Vec<u64> {
    Words::new(format, count, layout, bytes).map_or_else(|_| Vec::new(), |words| words.iter().collect())
}
