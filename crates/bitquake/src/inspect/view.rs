//! The words of one tensor of a file.

use std::ops::RangeInclusive;

use bitquake_bits::{Format, WordStore, Words};
use bitquake_fault::{PatternError, SelectorError};
use bitquake_tensors::{TensorFile, TensorInfo};

use crate::error::Error;

/// One tensor of an open file, to be read element by element.
#[derive(Clone, Debug)]
pub struct TensorView {
    file: TensorFile,
    name: String,
}

impl TensorView {
    /// A tensor of a file, by its name.
    ///
    /// # Errors
    /// [`Error`] for a name that no tensor with a number format has; it lists those that have one.
    pub fn new(file: TensorFile, tensor: &str) -> Result<Self, Error> {
        let names: Vec<&str> = Self::names(&file).collect();
        if names.contains(&tensor) {
            return Ok(Self { name: tensor.to_owned(), file });
        }
        let names = names.into_iter().map(str::to_owned).collect();
        Err(SelectorError::NoMatch { pattern: tensor.to_owned(), names }.into())
    }

    /// The tensors of a file that have a number format.
    pub fn names(file: &TensorFile) -> impl Iterator<Item = &str> {
        let known = file.tensors().iter().filter(|tensor| tensor.dtype.format().is_some());
        known.map(|tensor| tensor.name.as_str())
    }

    /// What the file says of the tensor.
    #[must_use]
    pub fn info(&self) -> Option<&TensorInfo> {
        self.file.tensor(&self.name)
    }

    /// Its number format.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.info()?.dtype.format()
    }

    /// Its words, by element of the flattened tensor; none for bytes that no reader gives.
    #[must_use]
    pub fn words(&self) -> Option<Words<'_>> {
        self.file.words(&self.name)
    }

    /// Checks that elements are there; both ends belong to the range.
    ///
    /// # Errors
    /// [`Error`] names the tensor, the element and the bound.
    pub fn check(&self, elements: &RangeInclusive<u64>) -> Result<(), Error> {
        let (index, there) = (*elements.end(), self.info().map_or(0, TensorInfo::elements));
        if index < there {
            return Ok(());
        }
        Err(PatternError::OutOfBounds { tensor: self.name.clone(), index, elements: there }.into())
    }

    /// The index of an element along each axis, outermost first; nothing for a scalar.
    #[must_use]
    pub fn indices(&self, element: u64) -> Vec<u64> {
        let shape = self.info().map_or(&[][..], |info| info.shape.as_slice());
        let mut rest = element;
        let mut indices: Vec<u64> = shape
            .iter()
            .rev()
            .map(|&dim| {
                let index = rest % dim.max(1);
                rest /= dim.max(1);
                index
            })
            .collect();
        indices.reverse();
        indices
    }
}
