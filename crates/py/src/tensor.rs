//! PyTorch tensors on the host, by the addresses of their words.
//!
//! A NumPy view of a tensor says the same, but costs microseconds where a tensor is met once: a value in a pass, a gradient in a step.

use std::ops::Range;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// The words of a tensor on the host: `count` of them, of `size` bytes, one after the other from `start`, all within its storage, which it
/// holds.
pub struct HostWords {
    pub start: usize,
    pub count: u64,
    pub size: usize,
    /// Where the storage begins.
    pub storage: usize,
    held: Py<PyAny>,
}

impl HostWords {
    /// `None` where the words lie elsewhere or otherwise.
    pub fn of(tensor: &Bound<'_, PyAny>) -> Option<Self> {
        Self::found(tensor).ok().flatten() // no storage, no address: an error of PyTorch
    }

    /// The same of what is no parameter; `None` also where a graph may need the words as they are.
    ///
    /// Its caller holds the tensor, and nobody else writes to it meanwhile: it is what a layer is about to give, a copy of that, or a
    /// gradient between two passes.
    pub fn of_value(tensor: &Bound<'_, PyAny>) -> Option<Self> {
        let is_free = || {
            Ok::<_, PyErr>(
                is_tensor(tensor)? && !tensor.getattr(intern!(tensor.py(), "requires_grad"))?.is_truthy()?,
            )
        };
        Self::of(tensor).filter(|_| is_free().unwrap_or(false))
    }

    fn found(tensor: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = tensor.py();
        let is = |name| tensor.call_method0(name)?.is_truthy();
        if !is_plain(tensor)?
            || !tensor.getattr(intern!(py, "is_cpu"))?.is_truthy()?
            || !is(intern!(py, "is_contiguous"))?
            || is(intern!(py, "is_neg"))?
        {
            return Ok(None);
        }
        let size = tensor.call_method0(intern!(py, "element_size"))?.extract()?;
        let count = tensor.call_method0(intern!(py, "numel"))?.extract()?;
        let start: usize = tensor.call_method0(intern!(py, "data_ptr"))?.extract()?;
        let held = tensor.call_method0(intern!(py, "untyped_storage"))?;
        let storage = extent(&held)?;
        let found = Self { start, count, size, storage: storage.start, held: held.unbind() };
        // A storage may have been made smaller since.
        let is_whole =
            found.is_within(&storage) && matches!(size, 1 | 2 | 4 | 8) && start.is_multiple_of(size);
        Ok(is_whole.then_some(found))
    }

    /// What keeps the memory.
    pub fn into_held(self) -> Py<PyAny> {
        self.held
    }

    /// Whether the memory is still that of the storage.
    pub fn is_there(&self, py: Python<'_>) -> bool {
        extent(self.held.bind(py))
            .is_ok_and(|storage| storage.start == self.storage && self.is_within(&storage))
    }

    fn is_within(&self, storage: &Range<usize>) -> bool {
        let bytes = usize::try_from(self.count).ok().and_then(|count| count.checked_mul(self.size));
        let end = bytes.and_then(|bytes| bytes.checked_add(self.start));
        self.start >= storage.start && end.is_some_and(|end| end <= storage.end)
    }
}

/// Whether something is a tensor of PyTorch's own class, which tells the truth of its memory.
pub fn is_tensor(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static TENSOR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(value.get_type().is(TENSOR.import(value.py(), "torch", "Tensor")?))
}

/// Whether something is one, or a parameter of PyTorch's own class.
pub fn is_plain(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static PARAMETER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(is_tensor(value)? || value.get_type().is(PARAMETER.import(value.py(), "torch.nn", "Parameter")?))
}

/// The memory that a tensor is a part of.
pub fn storage(tensor: &Bound<'_, PyAny>) -> PyResult<Range<usize>> {
    extent(&tensor.call_method0(intern!(tensor.py(), "untyped_storage"))?)
}

fn extent(storage: &Bound<'_, PyAny>) -> PyResult<Range<usize>> {
    let py = storage.py();
    let start: usize = storage.call_method0(intern!(py, "data_ptr"))?.extract()?;
    let bytes: usize = storage.call_method0(intern!(py, "nbytes"))?.extract()?;
    Ok(start..start.saturating_add(bytes))
}
