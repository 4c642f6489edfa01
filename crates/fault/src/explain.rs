//! What a pattern does to the words it hits.

use bitquake_bits::{Format, WordStore, Words};
use serde::Serialize;

use crate::pattern::{FaultPattern, PatternError, TensorFlips};

/// What a pattern does, in all and by tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Explanation {
    /// Over all tensors.
    #[serde(flatten)]
    pub total: FlipCounts,
    /// For each tensor that is hit, sorted by name.
    pub tensors: Vec<TensorExplanation>,
}

/// What a pattern does to one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorExplanation {
    /// The tensor's name.
    pub tensor: String,
    /// Its format's name.
    pub format: String,
    /// Its number of elements.
    pub elements: u64,
    /// What happens in it.
    #[serde(flatten)]
    pub counts: FlipCounts,
}

/// Flips, and what becomes of the words that they hit.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FlipCounts {
    /// Bits flipped.
    pub flips: u64,
    /// Words with at least one flip.
    pub words: u64,
    /// Flips of a 0 to a 1.
    pub to_one: u64,
    /// Flips of a 1 to a 0.
    pub to_zero: u64,
    /// Words that were finite or infinite and became NaN.
    pub became_nan: u64,
    /// Words that were finite and became infinite.
    pub became_inf: u64,
    /// Flips at each bit position, 0 first.
    pub by_bit: Vec<u64>,
    /// The largest change of a value that stayed finite, in absolute terms.
    pub largest_change: f64,
}

impl FaultPattern {
    /// What the pattern does to a store that it has *not* been applied to.
    ///
    /// # Errors
    /// [`PatternError`] when the store is not what the pattern was made for.
    pub fn explain(&self, store: &impl WordStore) -> Result<Explanation, PatternError> {
        self.check_fits(store)?;
        let mut all = Explanation::default();
        for flips in self.tensors() {
            if let Some(words) = store.words(&flips.tensor) {
                let counts = count(flips, &words);
                all.total.add(&counts);
                let (tensor, format) = (flips.tensor.clone(), flips.format.name());
                all.tensors.push(TensorExplanation { tensor, format, elements: flips.elements, counts });
            }
        }
        Ok(all)
    }
}

fn count(flips: &TensorFlips, words: &Words<'_>) -> FlipCounts {
    let format = flips.format;
    let mut counts = FlipCounts { by_bit: vec![0; format.width() as usize], ..FlipCounts::default() };
    let element = |address: &u64| flips.element_and_bit(*address).0;
    for word in flips.addresses.chunk_by(|a, b| element(a) == element(b)) {
        let mask = word.iter().fold(0, |mask, &address| mask | 1 << flips.element_and_bit(address).1);
        if let Some(old) = words.get(element(&word[0])) {
            counts.add_word(format, old, mask);
        }
    }
    counts
}

impl FlipCounts {
    /// Counts one word whose bits in `mask` flip.
    fn add_word(&mut self, format: Format, old: u64, mask: u64) {
        let new = old ^ mask;
        self.flips += u64::from(mask.count_ones());
        self.words += 1;
        self.to_one += u64::from((new & mask).count_ones());
        self.to_zero += u64::from((old & mask).count_ones());
        let is_inf = |word| !format.is_finite(word) && !format.is_nan(word);
        self.became_nan += u64::from(format.is_nan(new) && !format.is_nan(old));
        self.became_inf += u64::from(is_inf(new) && format.is_finite(old));
        self.by_bit.iter_mut().enumerate().for_each(|(bit, flips)| *flips += mask >> bit & 1);
        let change = (format.decode(new) - format.decode(old)).abs();
        if change.is_finite() {
            self.largest_change = self.largest_change.max(change);
        }
    }

    fn add(&mut self, other: &Self) {
        self.flips += other.flips;
        self.words += other.words;
        self.to_one += other.to_one;
        self.to_zero += other.to_zero;
        self.became_nan += other.became_nan;
        self.became_inf += other.became_inf;
        self.by_bit.resize(self.by_bit.len().max(other.by_bit.len()), 0);
        self.by_bit.iter_mut().zip(&other.by_bit).for_each(|(sum, flips)| *sum += flips);
        self.largest_change = self.largest_change.max(other.largest_change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::tests::{One, flips};

    #[test]
    fn tells_positions_directions_and_what_is_no_longer_finite() {
        // 1.0 with bit 30 flipped is +inf; 1.5 with bits 30 and 0 flipped is NaN (SPEC 1.2).
        let bytes = [1.0f32, 1.5].map(f32::to_le_bytes).concat();
        let store = One(Format::F32, bytes);
        let pattern = FaultPattern::new(vec![flips(&[30, 32, 62])]).unwrap();
        let explanation = pattern.explain(&store).unwrap();
        let told = &explanation.total;
        assert_eq!((told.flips, told.words, told.to_one, told.to_zero), (3, 2, 3, 0));
        assert_eq!((told.became_nan, told.became_inf), (1, 1));
        assert_eq!((told.by_bit[0], told.by_bit[30], told.by_bit.iter().sum::<u64>()), (1, 2, 3));
        assert_eq!(explanation.tensors[0].counts.largest_change, 0.0);
    }

    #[test]
    fn the_largest_finite_change() {
        let store = One(Format::F32, [0.5f32, -4.0].map(f32::to_le_bytes).concat());
        let pattern = FaultPattern::new(vec![flips(&[31, 63])]).unwrap();
        let told = pattern.explain(&store).unwrap().total;
        assert_eq!((told.largest_change, told.to_one, told.to_zero), (8.0, 1, 1));
    }
}
