//! A piece of a tensor at a time, between floats and words.

use bitquake_bits::Encoding;

use super::Grid;
use crate::decoder::{Decoder, Form};
use crate::error::QuantError;
use crate::kernel::{self, ToLevels, ToWords};
use crate::pack;
use crate::round::Round;
use crate::unit::Unit;

/// Elements dealt with at a time: a multiple of 8, so that packed words start at a byte, and little enough for the
/// first-level cache.
pub(super) const CHUNK: usize = 2048;

/// What quantizing a chunk needs.
pub(super) struct Scratch {
    /// The word of each code of up to 8 bits, by the code's low byte.
    pub(super) table: [u8; 256],
    /// Words of the slow way; empty until it is gone.
    pub(super) wide: Vec<u32>,
}

impl Grid {
    /// The runs of one unit within `start..start + len`: the unit, and where the run lies, counted from `start`.
    pub(crate) fn runs_in(&self, start: usize, len: usize) -> impl Iterator<Item = (&Unit, usize, usize)> {
        let run = self.partition.run as usize;
        let mut at = 0;
        let mut end = run - start % run;
        let mut unit = self.partition.unit(start as u64) as usize;
        std::iter::from_fn(move || {
            if at >= len {
                return None;
            }
            let piece = (&self.units[unit], at, end.min(len));
            (at, end) = (end, end.saturating_add(run)); // a group may be as long as a number goes
            unit = if unit + 1 == self.units.len() { 0 } else { unit + 1 };
            Some(piece)
        })
    }

    /// The words, one in a byte, of a chunk of finite values that starts at element `start`.
    pub(super) fn narrow_words(&self, values: &[f32], start: usize, words: &mut [u8], scratch: &mut Scratch) {
        let quantizer = &self.quantizer;
        let is_fast = quantizer.is_linear() && quantizer.round == Round::HalfEven;
        for (unit, from, to) in self.runs_in(start, values.len()) {
            let (values, words) = (&values[from..to], &mut words[from..to]);
            if !is_fast || unit.step == 0.0 {
                scratch.wide.resize(CHUNK, 0);
                let wide = &mut scratch.wide[..values.len()];
                kernel::words_by_rule(values, quantizer, unit, wide);
                words.iter_mut().zip(wide).for_each(|(word, wide)| *word = *wide as u8);
                continue;
            }
            kernel::words(values, self.to_words(unit), words);
            if !quantizer.codes.is_linear() {
                words.iter_mut().for_each(|word| *word = scratch.table[usize::from(*word)]);
            }
        }
    }

    /// The word of each code of up to 8 bits, by the code's low byte; zeros where words are computed.
    pub(super) fn word_table(&self) -> [u8; 256] {
        let codes = self.quantizer.codes;
        let mut table = [0; 256];
        if codes.is_linear() {
            return table;
        }
        for code in codes.low()..=codes.high() {
            table[usize::from(code as u8)] = codes.word(code) as u8;
        }
        table
    }

    /// The fast loop's way to words. For encodings with a table it leaves the low byte of the code.
    pub(super) fn to_words(&self, unit: &Unit) -> ToWords {
        let codes = self.quantizer.codes;
        let (low, high) = self.quantizer.produced;
        let is_linear = codes.is_linear();
        let is_offset = is_linear && codes.signed && codes.encoding == Encoding::Offset;
        let add = unit.zero + if is_offset { codes.half() } else { 0 };
        ToWords {
            offset: unit.offset,
            step: unit.step,
            low: (low - unit.zero) as f32,
            high: (high - unit.zero) as f32,
            add: add as u8,
            mask: if is_linear { codes.mask() as u8 } else { u8::MAX },
        }
    }

    pub(super) fn quantize_wide(&self, values: &[f32], bytes: &mut [u8]) -> Result<(), QuantError> {
        let codes = self.quantizer.codes;
        let mut words = [0_u32; CHUNK];
        for (i, chunk) in values.chunks(CHUNK).enumerate() {
            let start = i * CHUNK;
            crate::finite::check(chunk, start as u64)?;
            for (unit, from, to) in self.runs_in(start, chunk.len()) {
                kernel::words_by_rule(&chunk[from..to], &self.quantizer, unit, &mut words[from..to]);
            }
            pack::pack(&words[..chunk.len()], codes.bits, &mut bytes[start / 8 * codes.bits as usize..]);
        }
        Ok(())
    }

    /// The code of each word of up to 8 bits; zeros where codes are computed.
    pub(super) fn code_table(&self) -> [i32; 256] {
        let codes = self.quantizer.codes;
        if codes.is_linear() { [0; 256] } else { std::array::from_fn(|word| codes.code(word as u64) as i32) }
    }

    pub(super) fn narrow_levels(&self, words: &[u8], start: usize, levels: &mut [f32], table: &[i32; 256]) {
        for (unit, from, to) in self.runs_in(start, words.len()) {
            let (words, levels) = (&words[from..to], &mut levels[from..to]);
            match self.decoder_of(unit) {
                Decoder { codes, form: Form::Linear { zero, scale, min } } if codes.is_linear() => {
                    let flip =
                        if codes.signed && codes.encoding == Encoding::Plain { codes.half() } else { 0 };
                    let half = if codes.signed { codes.half() } else { 0 };
                    let bias = (half + zero) as i32;
                    kernel::levels(words, ToLevels { flip: flip as u8, bias, scale, min }, levels);
                }
                Decoder { form: Form::Linear { zero, scale, min }, .. } => {
                    for (level, &word) in levels.iter_mut().zip(words) {
                        *level = (table[usize::from(word)] - zero as i32) as f32 * scale + min;
                    }
                }
                decoder => {
                    for (level, &word) in levels.iter_mut().zip(words) {
                        *level = decoder.level_of_word(word.into());
                    }
                }
            }
        }
    }

    pub(super) fn wide_levels(&self, bytes: &[u8], levels: &mut [f32]) {
        let bits = self.quantizer.bits();
        let mut words = [0_u64; CHUNK];
        for (i, chunk) in levels.chunks_mut(CHUNK).enumerate() {
            let start = i * CHUNK;
            pack::unpack(&bytes[start / 8 * bits as usize..], bits, &mut words[..chunk.len()]);
            for (unit, from, to) in self.runs_in(start, chunk.len()) {
                let decoder = self.decoder_of(unit);
                for (level, &word) in chunk[from..to].iter_mut().zip(&words[from..to]) {
                    *level = decoder.level_of_word(word);
                }
            }
        }
    }
}
