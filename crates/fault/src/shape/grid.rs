//! A tensor as channels of rows and columns.

use super::pattern::Axis;

/// One dimension: how far its neighbours are apart in the flattened tensor, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    stride: u64,
    extent: u64,
}

/// The three axes of a tensor. With fewer than three dimensions some of them are the same one; dimensions between the channels
/// and the columns belong to no axis.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    lines: [Line; 3],
}

impl Grid {
    pub(super) fn new(dims: &[u64]) -> Self {
        let alone = Line { stride: 1, extent: 1 };
        let line = |at: usize| Line { stride: dims[at + 1..].iter().product(), extent: dims[at] };
        let from_end = |back: usize| dims.len().checked_sub(back).map_or(alone, line);
        let channels = if dims.is_empty() { alone } else { line(0) };
        Self { lines: [channels, from_end(2), from_end(1)] }
    }

    fn axis(&self, axis: Axis) -> Line {
        self.lines[axis as usize]
    }

    /// Elements of one channel.
    pub(super) fn channel_size(&self) -> u64 {
        self.axis(Axis::C).stride
    }

    /// How many elements lie along an axis.
    pub(super) fn extent(&self, axis: Axis) -> u64 {
        self.axis(axis).extent
    }

    /// The index of an element along an axis.
    pub(super) fn index(&self, axis: Axis, element: u64) -> u64 {
        let line = self.axis(axis);
        element / line.stride % line.extent
    }

    /// The element of index 0 on the line through an element.
    pub(super) fn first(&self, axis: Axis, element: u64) -> u64 {
        element - self.index(axis, element) * self.axis(axis).stride
    }

    /// All elements of the line that starts with `first`.
    pub(super) fn line(&self, axis: Axis, first: u64) -> impl Iterator<Item = u64> + use<> {
        let line = self.axis(axis);
        (0..line.extent).map(move |index| first + index * line.stride)
    }

    /// At most `count` elements of a line, from one on.
    pub(super) fn run(&self, axis: Axis, from: u64, count: u64) -> impl Iterator<Item = u64> + use<> {
        let line = self.axis(axis);
        let left = line.extent - self.index(axis, from);
        (0..count.min(left)).map(move |step| from + step * line.stride)
    }

    /// The element some steps away along an axis; `None` outside the tensor.
    pub(super) fn step(&self, axis: Axis, element: u64, steps: i64) -> Option<u64> {
        let line = self.axis(axis);
        let index =
            self.index(axis, element).checked_add_signed(steps).filter(|index| *index < line.extent)?;
        Some(self.first(axis, element) + index * line.stride)
    }
}
