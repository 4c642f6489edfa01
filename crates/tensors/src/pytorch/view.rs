//! Tensors as views of storages.

use std::ops::Range;

use super::CheckpointError;
use super::element::Element;
use super::error::Number;
use crate::info::element_count;

/// A tensor: elements of a storage by strides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    /// The name that the pickle has for the storage.
    pub(super) key: String,
    pub(super) element: &'static Element,
    pub(super) shape: Vec<u64>,
    /// In elements.
    pub(super) strides: Vec<u64>,
    /// The first element's place in the storage, in elements.
    pub(super) offset: u64,
    /// The bytes of the storage that may be used, if not all.
    pub(super) window: Option<Range<u64>>,
}

impl View {
    /// Axes along which the memory repeats itself are cut to one: nothing more is stored.
    pub(super) fn without_repetition(mut self) -> View {
        for (dim, &stride) in self.shape.iter_mut().zip(&self.strides) {
            if stride == 0 {
                *dim = (*dim).min(1);
            }
        }
        self
    }

    /// Whether no two elements can share memory. Exotic strides that happen not to are taken for such that do.
    pub(super) fn is_injective(&self) -> bool {
        let mut axes: Vec<_> = self.strides.iter().zip(&self.shape).filter(|&(_, &dim)| dim > 1).collect();
        axes.sort();
        let mut reach = 0_u64; // the largest distance along the axes so far
        self.elements() == Some(0)
            || axes.into_iter().all(|(&stride, &dim)| {
                let is_beyond = stride > reach;
                reach = reach.saturating_add((dim - 1).saturating_mul(stride));
                is_beyond
            })
    }

    /// The product of the shape; `None` if it overflows.
    pub(super) fn elements(&self) -> Option<u64> {
        element_count(&self.shape)
    }

    /// The bytes of a storage of `size` bytes from the first to the last element.
    pub(super) fn reach(&self, tensor: &str, size: u64) -> Result<Range<u64>, CheckpointError> {
        let window = self.window.clone().unwrap_or(0..size);
        let window = window.start.min(size)..window.end.min(size);
        let room = window.end.saturating_sub(window.start);
        let end = self.end();
        if self.elements().is_none() || end.is_none_or(|end| end > room) {
            return Err(CheckpointError::Reach {
                tensor: tensor.to_owned(),
                shape: self.shape.clone(),
                strides: self.strides.clone(),
                offset: self.offset,
                key: self.key.clone(),
                needed: Number(end),
                size: room,
            });
        }
        let start = if self.elements() == Some(0) { 0 } else { self.offset * self.element.bytes() };
        Ok(window.start + start..window.start + end.unwrap_or(0))
    }

    /// The byte after the last element; `None` if that overflows.
    fn end(&self) -> Option<u64> {
        if self.elements() == Some(0) {
            return Some(0);
        }
        let steps = self.shape.iter().zip(&self.strides);
        let mut last = self.offset;
        for (&dim, &stride) in steps {
            last = last.checked_add(dim.saturating_sub(1).checked_mul(stride)?)?;
        }
        last.checked_add(1)?.checked_mul(self.element.bytes())
    }

    /// Shape and strides in words: elements of several words have one more axis.
    pub(super) fn in_words(&self) -> (Vec<u64>, Vec<u64>) {
        let words = self.element.words;
        if words == 1 {
            return (self.shape.clone(), self.strides.clone());
        }
        let strides = self.strides.iter().map(|stride| stride.saturating_mul(words));
        (self.shape.iter().copied().chain([words]).collect(), strides.chain([1]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[u64], strides: &[u64], offset: u64) -> View {
        let element = Element::of_dtype("float32").unwrap();
        let (shape, strides) = (shape.to_vec(), strides.to_vec());
        View { key: "0".into(), element, shape, strides, offset, window: None }
    }

    #[test]
    fn reaches() {
        let cases = [
            (view(&[2, 3], &[3, 1], 0), Some(0..24)),
            (view(&[2, 3], &[1, 2], 2), Some(8..32)),
            (view(&[], &[], 7), Some(28..32)),
            (view(&[], &[], 8), None),
            (view(&[0, 9], &[9, 1], 99), Some(0..0)),
            (view(&[9], &[1], 0), None),
            (view(&[2], &[u64::MAX], 0), None),
            (view(&[u64::MAX, 2], &[0, 0], 0), None),
            (view(&[u64::MAX], &[u64::MAX], 0), None),
            (view(&[1], &[u64::MAX], 0), Some(0..4)),
            (View { window: Some(8..16), ..view(&[2], &[1], 0) }, Some(8..16)),
            (View { window: Some(8..16), ..view(&[2], &[1], 1) }, None),
            (View { window: Some(24..u64::MAX), ..view(&[3], &[1], 0) }, None),
        ];
        for (view, expected) in cases {
            assert_eq!(view.reach("w", 32).ok(), expected, "{view:?}");
        }
    }

    #[test]
    fn sharing_of_memory() {
        let cases = [
            (view(&[2, 3], &[3, 1], 0), true),
            (view(&[2, 3], &[1, 2], 0), true),
            (view(&[3, 3], &[1, 1], 0), false),
            (view(&[3, 3], &[0, 1], 0), false),
            (view(&[1, 3], &[0, 1], 0), true),
            (view(&[0, 3], &[0, 0], 0), true),
            (view(&[4, 3], &[2, 1], 0), false),
        ];
        for (view, is_injective) in cases {
            assert_eq!(view.is_injective(), is_injective, "{view:?}");
        }
        assert_eq!(view(&[5, 3], &[0, 1], 0).without_repetition().shape, [1, 3]);
    }
}
