//! Whole tensors.

use std::ops::Range;

use super::Grid;
use super::chunk::{CHUNK, Scratch};
use crate::error::QuantError;
use crate::kernel;
use crate::pack;

impl Grid {
    /// The codes of values, integers of the scheme. See [`quantize`](Self::quantize).
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize).
    pub fn codes(&self, values: &[f32]) -> Result<Vec<i64>, QuantError> {
        self.check_certain()?;
        self.codes_with(values, |_| 0.0)
    }

    /// As [`codes`](Self::codes), with a uniform number in `[0, 1)` for each element. Only stochastic rounding asks for
    /// them, with the index of the element, in order: a keyed generator gives the same codes whatever is quantized first.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize).
    pub fn codes_with(
        &self,
        values: &[f32],
        mut uniform: impl FnMut(u64) -> f64,
    ) -> Result<Vec<i64>, QuantError> {
        self.check_values(values)?;
        crate::finite::check(values, 0)?;
        let is_stochastic = self.quantizer.is_stochastic();
        let mut codes = Vec::with_capacity(values.len());
        for (unit, start, end) in self.partition.runs() {
            let unit = &self.units[unit as usize];
            codes.extend((start..end).map(|i| {
                let uniform = if is_stochastic { uniform(i as u64) } else { 0.0 };
                self.quantizer.code(unit, values[i], uniform)
            }));
        }
        Ok(codes)
    }

    /// The words of values, packed: word `i` at bit `i * bits` ([`layout`](Self::layout)).
    ///
    /// # Errors
    /// [`QuantError::Length`] if there are not as many values as elements, [`QuantError::NotFinite`] for NaN and
    /// infinities, [`QuantError::NoUniforms`] if rounding is stochastic.
    pub fn quantize(&self, values: &[f32]) -> Result<Vec<u8>, QuantError> {
        let mut bytes = vec![0; pack::packed_len(self.elements(), self.quantizer.bits()) as usize];
        self.quantize_into(values, &mut bytes)?;
        Ok(bytes)
    }

    /// As [`quantize`](Self::quantize), into bytes that exist.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize), and [`QuantError::Length`] if there are not as many bytes as the words take. After
    /// an error the bytes may be partly written.
    pub fn quantize_into(&self, values: &[f32], bytes: &mut [u8]) -> Result<(), QuantError> {
        self.check_certain()?;
        self.check_values(values)?;
        self.check_bytes(bytes.len())?;
        let bits = self.quantizer.bits();
        if bits > 8 {
            return self.quantize_wide(values, bytes);
        }
        let mut scratch = Scratch { table: self.word_table(), wide: Vec::new() };
        let mut buffer = [0_u8; CHUNK];
        for (i, chunk) in values.chunks(CHUNK).enumerate() {
            let start = i * CHUNK;
            if !kernel::are_finite(chunk) {
                return crate::finite::check(chunk, start as u64);
            }
            if bits == 8 {
                self.narrow_words(chunk, start, &mut bytes[start..start + chunk.len()], &mut scratch);
            } else {
                let words = &mut buffer[..chunk.len()];
                self.narrow_words(chunk, start, words, &mut scratch);
                pack::pack_narrow(words, bits, &mut bytes[self.bytes_of(start, chunk.len())]);
            }
        }
        Ok(())
    }

    /// As [`quantize`](Self::quantize), with uniform numbers as in [`codes_with`](Self::codes_with).
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize).
    pub fn quantize_with(
        &self,
        values: &[f32],
        uniform: impl FnMut(u64) -> f64,
    ) -> Result<Vec<u8>, QuantError> {
        let mut bytes = Vec::new();
        self.quantize_with_over(values, uniform, &mut bytes)?;
        Ok(bytes)
    }

    /// As [`quantize_with`](Self::quantize_with), over whatever is in `bytes`, which is made as long as the words take: fresh
    /// memory costs more than quantizing.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize). After an error the bytes are no words.
    pub fn quantize_with_over(
        &self,
        values: &[f32],
        uniform: impl FnMut(u64) -> f64,
        bytes: &mut Vec<u8>,
    ) -> Result<(), QuantError> {
        bytes.resize(pack::packed_len(self.elements(), self.quantizer.bits()) as usize, 0);
        if !self.quantizer.is_stochastic() {
            return self.quantize_into(values, bytes);
        }
        let codes = self.quantizer.codes;
        let words: Vec<u64> =
            self.codes_with(values, uniform)?.into_iter().map(|code| codes.word(code)).collect();
        pack::pack(&words, codes.bits, bytes);
        Ok(())
    }

    /// The words of codes, packed.
    ///
    /// # Errors
    /// [`QuantError::Length`] if there are not as many codes as elements, [`QuantError::CodeOutside`] for an integer that
    /// the scheme has no word for.
    pub fn pack_codes(&self, codes: &[i64]) -> Result<Vec<u8>, QuantError> {
        self.check_count("codes", codes.len())?;
        let word = |(i, &code): (usize, &i64)| self.quantizer.codes.checked_word(i as u64, code);
        Ok(self.packed(&codes.iter().enumerate().map(word).collect::<Result<Vec<_>, _>>()?))
    }

    /// The codes of packed words.
    ///
    /// # Errors
    /// [`QuantError::Length`] if there are not as many bytes as the words take.
    pub fn unpack_codes(&self, bytes: &[u8]) -> Result<Vec<i64>, QuantError> {
        self.check_bytes(bytes.len())?;
        let mut words = vec![0_u64; self.elements() as usize];
        pack::unpack(bytes, self.quantizer.bits(), &mut words);
        Ok(words.into_iter().map(|word| self.quantizer.codes.code(word)).collect())
    }

    /// The levels of codes.
    ///
    /// # Errors
    /// As [`pack_codes`](Self::pack_codes).
    pub fn levels_of_codes(&self, codes: &[i64]) -> Result<Vec<f32>, QuantError> {
        self.dequantize(&self.pack_codes(codes)?)
    }

    /// The levels of packed words.
    ///
    /// # Errors
    /// [`QuantError::Length`] if there are not as many bytes as the words take.
    pub fn dequantize(&self, bytes: &[u8]) -> Result<Vec<f32>, QuantError> {
        let mut levels = Vec::new();
        self.dequantize_over(bytes, &mut levels)?;
        Ok(levels)
    }

    /// As [`dequantize`](Self::dequantize), over whatever is in `levels`, which is made as long as the tensor: fresh memory costs
    /// more than decoding.
    ///
    /// # Errors
    /// As [`dequantize`](Self::dequantize).
    pub fn dequantize_over(&self, bytes: &[u8], levels: &mut Vec<f32>) -> Result<(), QuantError> {
        levels.resize(self.elements() as usize, 0.0);
        self.dequantize_into(bytes, levels)
    }

    /// As [`dequantize`](Self::dequantize), into floats that exist.
    ///
    /// # Errors
    /// As [`dequantize`](Self::dequantize), and [`QuantError::Length`] if there are not as many floats as elements.
    pub fn dequantize_into(&self, bytes: &[u8], levels: &mut [f32]) -> Result<(), QuantError> {
        self.check_bytes(bytes.len())?;
        self.check_count("levels", levels.len())?;
        let bits = self.quantizer.bits();
        if bits > 8 {
            self.wide_levels(bytes, levels);
            return Ok(());
        }
        let table = self.code_table();
        let mut buffer = [0_u8; CHUNK];
        for (i, chunk) in levels.chunks_mut(CHUNK).enumerate() {
            let start = i * CHUNK;
            let words = if bits == 8 {
                &bytes[start..start + chunk.len()]
            } else {
                let words = &mut buffer[..chunk.len()];
                pack::unpack_narrow(&bytes[self.bytes_of(start, chunk.len())], bits, words);
                words
            };
            self.narrow_levels(words, start, chunk, &table);
        }
        Ok(())
    }

    /// What a network sees of these values once they are stored: quantized and decoded.
    ///
    /// # Errors
    /// As [`quantize`](Self::quantize).
    pub fn fake_quantize(&self, values: &[f32]) -> Result<Vec<f32>, QuantError> {
        self.dequantize(&self.quantize(values)?)
    }

    pub(super) fn packed(&self, words: &[u64]) -> Vec<u8> {
        let bits = self.quantizer.bits();
        let mut bytes = vec![0; pack::packed_len(words.len() as u64, bits) as usize];
        pack::pack(words, bits, &mut bytes);
        bytes
    }

    /// The bytes of so many words from one on that begins a byte.
    fn bytes_of(&self, start: usize, count: usize) -> Range<usize> {
        let bits = self.quantizer.bits();
        let start = start / 8 * bits as usize;
        start..start + pack::packed_len(count as u64, bits) as usize
    }

    fn check_certain(&self) -> Result<(), QuantError> {
        if self.quantizer.is_stochastic() { Err(QuantError::NoUniforms) } else { Ok(()) }
    }

    fn check_count(&self, what: &'static str, got: usize) -> Result<(), QuantError> {
        check_length(what, got as u64, self.elements())
    }

    fn check_values(&self, values: &[f32]) -> Result<(), QuantError> {
        self.check_count("values", values.len())
    }

    fn check_bytes(&self, got: usize) -> Result<(), QuantError> {
        let wanted = pack::packed_len(self.elements(), self.quantizer.bits());
        check_length("bytes of packed words", got as u64, wanted)
    }
}

pub(super) fn check_length(what: &'static str, got: u64, wanted: u64) -> Result<(), QuantError> {
    if got == wanted { Ok(()) } else { Err(QuantError::Length { what, got, wanted }) }
}
