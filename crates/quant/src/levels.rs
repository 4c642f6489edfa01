//! What a person looks at: all levels of a small quantizer, and what a flip of each bit costs.

use crate::error::QuantError;
use crate::grid::Grid;

/// One code, its word and its level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The integer of the scheme.
    pub code: i64,
    /// How it is stored.
    pub word: u64,
    /// What it decodes to.
    pub value: f32,
}

/// The widest codes that are listed.
const MOST_BITS: u32 = 16;

impl Grid {
    /// Every code with its word and its level in a unit, in the order of the codes. Codes that quantizing never gives, but
    /// a flip may, are there too; a word without a code of its own (the -0 of sign-magnitude) is not.
    ///
    /// # Errors
    /// [`QuantError::TooManyCodes`] above 16 bits; [`QuantError::Unit`] if there is no such unit.
    pub fn levels(&self, unit: u64) -> Result<Vec<Level>, QuantError> {
        let codes = self.quantizer.codes;
        if codes.bits > MOST_BITS {
            return Err(QuantError::TooManyCodes {
                what: "a list of levels",
                bits: codes.bits,
                limit: MOST_BITS,
            });
        }
        let decoder = self.decoder(unit)?;
        let level = |code| Level { code, word: codes.word(code), value: decoder.level_of_code(code) };
        Ok((codes.low()..=codes.high()).filter(|&code| !codes.is_sign || code != 0).map(level).collect())
    }

    /// The mean absolute change of the level when one bit is flipped, over all elements of packed words: entry `b` is that
    /// of bit `b`. Zeros for an empty tensor. A faulted scale that is not finite gives NaN or infinity.
    ///
    /// # Errors
    /// [`QuantError::Length`] if there are not as many bytes as the words take.
    pub fn damage_by_bit(&self, bytes: &[u8]) -> Result<Vec<f64>, QuantError> {
        let codes = self.unpack_codes(bytes)?;
        let scheme = self.quantizer.codes;
        let mut sums = vec![0.0; scheme.bits as usize];
        for (unit, from, to) in self.runs_in(0, codes.len()) {
            let decoder = self.decoder_of(unit);
            for &code in &codes[from..to] {
                let (word, level) = (scheme.word(code), f64::from(decoder.level_of_code(code)));
                for (bit, sum) in sums.iter_mut().enumerate() {
                    *sum += (f64::from(decoder.level_of_word(word ^ 1 << bit)) - level).abs();
                }
            }
        }
        let count = codes.len().max(1) as f64;
        Ok(sums.into_iter().map(|sum| sum / count).collect())
    }
}
