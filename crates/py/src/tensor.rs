//! PyTorch tensors on the host, by the addresses of their words.
//!
//! A NumPy view of a tensor says the same, but costs microseconds where a tensor is met once: a value in a pass, a gradient in a step.

use std::ops::Range;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// The words of a tensor on the host: `count` of them, of `size` bytes, one after the other from `start`, all within its storage.
///
/// Its maker holds the tensor, and nobody else writes to it meanwhile: it is what a layer is about to give, a copy of that, or a gradient
/// between two passes.
pub struct HostWords {
    pub start: usize,
    pub count: u64,
    pub size: usize,
    pub storage: usize,
}

impl HostWords {
    /// `None` where the words lie elsewhere or otherwise, or a graph may need them as they are.
    pub fn of(tensor: &Bound<'_, PyAny>) -> Option<Self> {
        Self::found(tensor).ok().flatten() // no storage, no address: an error of PyTorch
    }

    fn found(tensor: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = tensor.py();
        let is = |name| tensor.call_method0(name)?.is_truthy();
        if !is_tensor(tensor)?
            || !tensor.getattr(intern!(py, "is_cpu"))?.is_truthy()?
            || tensor.getattr(intern!(py, "requires_grad"))?.is_truthy()?
            || !is(intern!(py, "is_contiguous"))?
            || is(intern!(py, "is_neg"))?
        {
            return Ok(None);
        }
        let size = tensor.call_method0(intern!(py, "element_size"))?.extract()?;
        let count: u64 = tensor.call_method0(intern!(py, "numel"))?.extract()?;
        let start: usize = tensor.call_method0(intern!(py, "data_ptr"))?.extract()?;
        let storage = storage(tensor)?;
        // A storage may have been made smaller since.
        let end = usize::try_from(count).ok().and_then(|count| count.checked_mul(size)?.checked_add(start));
        let is_within = start >= storage.start && end.is_some_and(|end| end <= storage.end);
        Ok((is_within && matches!(size, 1 | 2 | 4 | 8) && start.is_multiple_of(size)).then_some(Self {
            start,
            count,
            size,
            storage: storage.start,
        }))
    }
}

/// Whether something is a tensor of PyTorch's own class, which tells the truth of its memory.
pub fn is_tensor(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    static TENSOR: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    Ok(value.get_type().is(TENSOR.import(value.py(), "torch", "Tensor")?))
}

/// The memory that a tensor is a part of.
pub fn storage(tensor: &Bound<'_, PyAny>) -> PyResult<Range<usize>> {
    let py = tensor.py();
    let storage = tensor.call_method0(intern!(py, "untyped_storage"))?;
    let start: usize = storage.call_method0(intern!(py, "data_ptr"))?.extract()?;
    let bytes: usize = storage.call_method0(intern!(py, "nbytes"))?.extract()?;
    Ok(start..start.saturating_add(bytes))
}
