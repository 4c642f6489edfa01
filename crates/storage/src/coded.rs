//! One tensor as codes.

use std::borrow::Cow;
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use bitquake_bits::{Format, Words, WordsMut};
use bitquake_fault::{TensorFlips, flip_bits_at_rate};
use bitquake_quant::{Grid, Part, QuantError, Quantizer};
use bitquake_sample::{Rate, Scratch, Stream};

/// A tensor that the memory holds as codes, with the scales and zero points that go with them.
#[derive(Clone, Debug)]
pub struct Coded {
    /// The format of the file's floats, which the network computes with.
    native: Format,
    grid: Grid,
    words: Vec<u8>,
    parts: Vec<StoredPart>,
}

/// Memory that [`Coded::levels_at_rate`] uses again and again; keep one a thread.
#[derive(Default)]
pub struct FlipScratch {
    /// Codes with flips.
    words: Vec<u8>,
    draw: Scratch,
}

/// Scales, zero points or range ends as the memory holds them.
#[derive(Clone, Debug)]
struct StoredPart {
    part: Part,
    bytes: Vec<u8>,
}

impl Coded {
    /// Quantizes the words of a float tensor. `stream` decides stochastic rounding, and is made for that alone; `bytes` is memory for
    /// the codes.
    pub(crate) fn new(
        quantizer: &Quantizer,
        words: &Words<'_>,
        shape: &[u64],
        stream: impl FnOnce() -> Stream,
        mut bytes: Vec<u8>,
    ) -> Result<Self, QuantError> {
        let native = words.format();
        let values = floats(words);
        let grid = quantizer.fit(&values, shape)?;
        let mut uniforms = LazyCell::new(|| stream().words(0));
        let uniform = |_| (uniforms.u64() >> 11) as f64 * 2.0_f64.powi(-53);
        grid.quantize_with_over(&values, uniform, &mut bytes)?;
        let stored = |part: Part| StoredPart { bytes: part.packed_bytes(), part };
        let parts = grid.parts().into_iter().map(stored).collect();
        Ok(Self { native, grid, words: bytes, parts })
    }

    /// Memory for the codes of another tensor.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.words
    }

    /// The levels that the codes can stand for.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The stored codes.
    #[must_use]
    pub fn words(&self) -> Words<'_> {
        first(Words::packed(self.grid.format(), &self.words), self.grid.elements())
    }

    /// The names, after the `@`, and the words of what is stored beside the codes.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, Words<'_>)> {
        self.parts.iter().map(|stored| {
            let words = Words::packed(stored.part.format, &stored.bytes);
            (stored.part.kind.name(), first(words, stored.part.words.len() as u64))
        })
    }

    /// What the codes stand for, element by element.
    ///
    /// # Errors
    /// None in practice: the codes are the grid's own.
    pub fn levels(&self) -> Result<Vec<f32>, QuantError> {
        self.grid.dequantize(&self.words)
    }

    /// The same, over whatever is in `levels`, which is made as long as the tensor.
    ///
    /// # Errors
    /// As [`levels`](Self::levels).
    pub fn levels_over(&self, levels: &mut Vec<f32>) -> Result<(), QuantError> {
        self.grid.dequantize_over(&self.words, levels)
    }

    /// What the codes stand for when each of their bits is flipped with the probability `rate`, over what is in `levels`, one for each
    /// element; and how many bits were flipped. The same as of the pattern that [`FaultModel::BitFlip`](bitquake_fault::FaultModel::BitFlip)
    /// draws with [`Hits::Rate`](bitquake_fault::Hits::Rate) when every bit of the codes may be hit, but no list of bits is made.
    ///
    /// # Errors
    /// [`QuantError::Length`] if there are not as many levels as elements.
    pub fn levels_at_rate(
        &self,
        stream: &Stream,
        rate: Rate,
        scratch: &mut FlipScratch,
        levels: &mut [f32],
    ) -> Result<u64, QuantError> {
        let FlipScratch { words, draw } = scratch;
        words.clone_from(&self.words);
        let bits = self.grid.elements() * u64::from(self.grid.format().width());
        let flips = flip_bits_at_rate(words, bits, stream, rate, draw);
        self.grid.dequantize_into(words, levels)?;
        Ok(flips)
    }

    /// The same under flips of the codes and of their parts, by the part's name. Every word is decoded once, from what the
    /// memory then holds; where many words are hit that is cheaper than decoding those alone.
    pub(crate) fn levels_under(
        &self,
        codes: &[u64],
        parts: &BTreeMap<&str, &TensorFlips>,
    ) -> Result<Vec<f32>, QuantError> {
        let mut words = self.words.clone();
        for &address in codes {
            // The words are packed: a bit address is a place in the bytes. The pattern was checked against them.
            words[(address / 8) as usize] ^= 1 << (address % 8);
        }
        if parts.is_empty() {
            return self.grid.dequantize(&words);
        }
        self.faulted_grid(parts)?.0.dequantize(&words)
    }

    /// The code whose level is nearest to 0, in the first unit; `None` for codes too wide to try them all.
    pub(crate) fn zero_word(&self) -> Option<u64> {
        let format = self.grid.format();
        let decoder = self.grid.decoder(0).ok().filter(|_| format.width() <= 16)?;
        let distance = |word: &u64| decoder.level(*word).map_or(f32::INFINITY, f32::abs);
        (0..=format.mask()).min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    /// Writes what the codes stand for into the tensor that the network computes with.
    pub(crate) fn write_levels(&self, target: &mut WordsMut<'_>) -> Result<(), QuantError> {
        for (element, level) in (0..).zip(self.grid.dequantize(&self.words)?) {
            // The store was checked to have this tensor; a level always has a nearest float.
            let _ = target.set(element, self.native_word(level));
        }
        Ok(())
    }

    /// The word of the network's float that is nearest to a level. The bits of a NaN level stay in f32.
    fn native_word(&self, level: f32) -> u64 {
        if self.native == Format::F32 {
            return level.to_bits().into();
        }
        self.native.nearest(level.into()).unwrap_or_default() // floats with infinities have a word for everything
    }

    /// The flips of the network's floats that flips of the codes and of their parts amount to. `parts` are by the part's
    /// name; `target` is the tensor as [`write_levels`](Self::write_levels) left it.
    pub(crate) fn translate(
        &self,
        codes: &[u64],
        parts: &BTreeMap<&str, &TensorFlips>,
        target: &Words<'_>,
    ) -> Result<Vec<u64>, QuantError> {
        let (grid, units) = self.faulted_grid(parts)?;
        let masks = self.masks(codes);
        let in_units: BTreeSet<u64> =
            units.iter().flat_map(|&unit| self.grid.elements_of(unit)).flatten().collect();
        let only_coded = masks.keys().copied().filter(|element| !in_units.contains(element));
        let mut elements: Vec<u64> = in_units.iter().copied().chain(only_coded).collect();
        elements.sort_unstable();
        let stored = self.words();
        let width = u64::from(self.native.width());
        let mut flips = Vec::new();
        for element in elements {
            let (Some(word), Some(before)) = (stored.get(element), target.get(element)) else { continue };
            let word = word ^ masks.get(&element).copied().unwrap_or(0);
            let changed = before ^ self.native_word(grid.decode(element, word)?);
            flips.extend((0..width).filter(|bit| changed >> bit & 1 == 1).map(|bit| element * width + bit));
        }
        Ok(flips)
    }

    /// The grid with flipped scales and zero points, and the units whose levels that may change.
    fn faulted_grid(
        &self,
        flips: &BTreeMap<&str, &TensorFlips>,
    ) -> Result<(Grid, BTreeSet<u64>), QuantError> {
        let mut units = BTreeSet::new();
        if flips.is_empty() {
            return Ok((self.grid.clone(), units));
        }
        let mut parts: Vec<Part> = self.parts.iter().map(|stored| stored.part.clone()).collect();
        for part in &mut parts {
            let width = u64::from(part.format.width());
            for &address in flips.get(part.kind.name()).iter().flat_map(|flips| &flips.addresses) {
                if let Some(word) = part.words.get_mut((address / width) as usize) {
                    *word ^= 1 << (address % width);
                    units.insert(address / width);
                }
            }
        }
        Ok((self.grid.with_parts(&parts)?, units))
    }

    /// The flips of each code that has any.
    fn masks(&self, addresses: &[u64]) -> BTreeMap<u64, u64> {
        let width = u64::from(self.grid.format().width());
        let mut masks = BTreeMap::new();
        for address in addresses {
            *masks.entry(address / width).or_insert(0) |= 1 << (address % width);
        }
        masks
    }
}

/// The values of float words. All formats that quantizers take are exact in f32; a NaN is the quantizer's to refuse.
pub(crate) fn floats<'a>(words: &Words<'a>) -> Cow<'a, [f32]> {
    let format = words.format();
    let len = words.elements() as usize;
    let Some(bytes) = words.packed_bytes().filter(|_| format == Format::F32) else {
        return words.iter().map(|word| format.decode(word) as f32).collect();
    };
    let bytes = &bytes[..4 * len];
    // Floats of this machine, as the weights of a training are, are read where they lie.
    match bytemuck::try_cast_slice(bytes) {
        Ok(values) if cfg!(target_endian = "little") => Cow::Borrowed(values),
        _ => bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
    }
}

fn first(words: Words<'_>, elements: u64) -> Words<'_> {
    let held = words.elements();
    // Packing made room for at least as many; where it made room for more, the rest is no word.
    words.clone().first(elements.min(held)).unwrap_or(words)
}
