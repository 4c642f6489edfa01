//! The tensors of a space one after the other in memory.

use crate::space::FaultSpace;

/// Tensors in file order, every bit of every word of them (also those that may not be hit), each tensor from a multiple of the
/// alignment on. The bit at `start + a` of the line is bit address `a` of the tensor that starts at `start`.
pub(crate) struct MemoryLine {
    /// For each tensor, its first bit and the one behind its last.
    spans: Vec<(u64, u64)>,
}

impl MemoryLine {
    /// `align` is in bits, at least 1.
    pub(crate) fn new(space: &FaultSpace, align: u64) -> Self {
        let mut end: u64 = 0;
        let span = |tensor: &crate::space::SpaceTensor| {
            let start = end.next_multiple_of(align);
            end = start + tensor.elements * u64::from(tensor.format.width());
            (start, end)
        };
        Self { spans: space.tensors().iter().map(span).collect() }
    }

    /// Bits from the start of the memory to the end of the last tensor.
    pub(crate) fn bits(&self) -> u64 {
        self.spans.last().map_or(0, |span| span.1)
    }

    /// The first bit of each tensor, and how many bits it has.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (u64, u64)> {
        self.spans.iter().map(|&(start, end)| (start, end - start))
    }

    /// The tensor's place in the space and the bit address that lie at a bit of the line; `None` in a gap and behind the end.
    pub(crate) fn locate(&self, bit: u64) -> Option<(usize, u64)> {
        let place = self.spans.partition_point(|&(start, _)| start <= bit).checked_sub(1)?;
        let (start, end) = self.spans[place];
        (bit < end).then_some((place, bit - start))
    }
}

#[cfg(test)]
mod tests {
    use bitquake_bits::{BitSelection, Format};

    use super::*;
    use crate::{Candidate, Selector};

    #[test]
    fn tensors_follow_each_other_at_their_alignment() {
        let tensors = [("a", Format::U8, 3), ("b", Format::F32, 1), ("c", Format::unsigned(5), 2)];
        let tensors =
            tensors.map(|(name, format, elements)| Candidate { name, format, elements, by_name_only: false });
        let space = FaultSpace::select(tensors, &Selector::all(), BitSelection::Msb).unwrap();
        let spans = |align| MemoryLine::new(&space, align).spans().collect::<Vec<_>>();
        assert_eq!(spans(1), [(0, 24), (24, 32), (56, 10)]);
        assert_eq!(spans(64), [(0, 24), (64, 32), (128, 10)]);
        let line = MemoryLine::new(&space, 64);
        assert_eq!(line.bits(), 138);
        let places =
            [(0, Some((0, 0))), (23, Some((0, 23))), (24, None), (64, Some((1, 0))), (137, Some((2, 9)))];
        for (bit, want) in places {
            assert_eq!(line.locate(bit), want, "{bit}");
        }
        assert_eq!(line.locate(138), None);
    }
}
