//! Where a value of one image differs from the golden one.

use std::ops::Range;

use crate::direct::conv::{Axis, Shape};

/// A rectangle of places; every channel may differ there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

impl Region {
    pub(crate) fn all([_, rows, columns]: [usize; 3]) -> Self {
        Self { rows: 0..rows, columns: 0..columns }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() || self.columns.is_empty()
    }

    /// Its rows as ranges of an image with this many columns, channels last.
    pub(crate) fn lines(
        &self,
        columns: usize,
        channels: usize,
    ) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = self.columns;
        let rows = if self.is_empty() { 0..0 } else { self.rows.clone() };
        rows.map(move |row| (row * columns + start) * channels..(row * columns + end) * channels)
    }

    /// The least rectangle that holds both.
    pub(crate) fn join(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        let join = |a: &Range<usize>, b: &Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        Self { rows: join(&self.rows, &other.rows), columns: join(&self.columns, &other.columns) }
    }

    /// The outputs of a convolution that read any of these inputs.
    pub(crate) fn after(&self, shape: &Shape) -> Self {
        Self { rows: reached(&shape.rows, &self.rows), columns: reached(&shape.columns, &self.columns) }
    }

    /// The rectangle without its outer rows and columns for which `differs` is false.
    pub(crate) fn shrunk(mut self, differs: impl Fn(Range<usize>, Range<usize>) -> bool) -> Self {
        while !self.is_empty() && !differs(self.rows.start..self.rows.start + 1, self.columns.clone()) {
            self.rows.start += 1;
        }
        while !self.is_empty() && !differs(self.rows.end - 1..self.rows.end, self.columns.clone()) {
            self.rows.end -= 1;
        }
        while !self.is_empty() && !differs(self.rows.clone(), self.columns.start..self.columns.start + 1) {
            self.columns.start += 1;
        }
        while !self.is_empty() && !differs(self.rows.clone(), self.columns.end - 1..self.columns.end) {
            self.columns.end -= 1;
        }
        self
    }
}

/// Along one axis: the outputs whose windows hold an input of the range, with dilated windows also some that step over it.
fn reached(axis: &Axis, inputs: &Range<usize>) -> Range<usize> {
    let reach = (axis.window - 1) * axis.dilation;
    let first = (inputs.start + axis.before).saturating_sub(reach).div_ceil(axis.stride);
    let end = ((inputs.end - 1 + axis.before) / axis.stride + 1).min(axis.output);
    first.min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_an_image() {
        let region = Region { rows: 1..3, columns: 2..4 };
        assert_eq!(region.lines(5, 10).collect::<Vec<_>>(), [70..90, 120..140]);
        for empty in [Region { rows: 1..3, columns: 2..2 }, Region { rows: 3..3, columns: 0..4 }] {
            assert_eq!(empty.lines(5, 10).count(), 0);
        }
    }
}
