//! What words stand for, looked up.

use crate::words::AttackedTensor;

/// The widest words that have tables.
const MOST_BITS: u32 = 16;

/// The levels of a tensor's words: of every unit a table by word, where a unit has at least as many elements as a table has entries; else
/// each word is decoded.
pub(crate) struct Levels<'a> {
    tensor: &'a AttackedTensor,
    /// Those of all units, one after the other; empty if words are decoded.
    table: Vec<f32>,
    width: u32,
}

impl<'a> Levels<'a> {
    pub(crate) fn new(tensor: &'a AttackedTensor) -> Self {
        let (width, units) = (tensor.format().width(), tensor.units());
        let entries = (width <= MOST_BITS).then(|| units << width);
        let pays = entries.is_some_and(|entries| entries as u64 <= tensor.elements());
        let of_unit = |unit| (0..1_u32 << width).map(move |word| tensor.level_in(unit, word));
        let table = if pays { (0..units).flat_map(of_unit).collect() } else { Vec::new() };
        Self { tensor, table, width }
    }

    /// What a word of a unit stands for.
    #[inline]
    pub(crate) fn level(&self, unit: usize, word: u32) -> f32 {
        if self.table.is_empty() {
            self.tensor.level_in(unit, word)
        } else {
            self.table[(unit << self.width) + word as usize]
        }
    }
}
