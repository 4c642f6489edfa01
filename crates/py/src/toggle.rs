//! A pattern in words that Python hands over, made and undone.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::pattern::PyPattern;

/// Flips in memory that is shared with Python, as a list of tensors. That they are made is noted in the call that makes them, between whose steps
/// no interruption of Python comes.
#[pyclass(frozen, name = "Toggle", module = "bitquake._core")]
pub struct PyToggle {
    pattern: Py<PyPattern>,
    target: Py<PyAny>,
    is_made: AtomicBool,
}

#[pymethods]
impl PyToggle {
    #[new]
    fn new(pattern: Py<PyPattern>, target: Py<PyAny>) -> Self {
        Self { pattern, target, is_made: AtomicBool::new(false) }
    }

    /// Flips the bits, if they are not flipped already. When a tensor is not what the pattern was made for, nothing is changed.
    fn make(&self, py: Python<'_>) -> PyResult<()> {
        turned(&self.is_made, true, || self.flip(py))
    }

    /// Flips them back, if they are flipped.
    fn undo(&self, py: Python<'_>) -> PyResult<()> {
        turned(&self.is_made, false, || self.flip(py))
    }
}

impl PyToggle {
    fn flip(&self, py: Python<'_>) -> PyResult<()> {
        self.pattern.get().apply(py, self.target.extract(py)?)
    }
}

/// Flips if what is made is not what is wanted. An error of `flip` comes before anything is flipped.
pub fn turned(is_made: &AtomicBool, wanted: bool, flip: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
    if is_made.swap(wanted, Ordering::Relaxed) == wanted {
        return Ok(());
    }
    flip().inspect_err(|_| is_made.store(!wanted, Ordering::Relaxed))
}
