//! The gradients of a pass, read and written where PyTorch has them.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::tensor::HostWords;

/// One float32 tensor for each tensor of weights, on the host, in no graph, its words one after the other. It holds their memory; nobody else
/// writes to them between the pass and the optimiser's step.
#[pyclass(frozen, name = "Gradients", module = "bitquake._core")]
pub struct PyGradients {
    words: Vec<HostWords>,
}

#[pymethods]
impl PyGradients {
    /// `None` if one of the tensors is of another kind, or none at all.
    #[staticmethod]
    fn of(py: Python<'_>, tensors: Vec<Bound<'_, PyAny>>) -> PyResult<Option<Self>> {
        static FLOAT32: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let float32 = FLOAT32.import(py, "torch", "float32")?;
        let mut words = Vec::with_capacity(tensors.len());
        for tensor in &tensors {
            let found = HostWords::of_value(tensor).filter(|words| words.size == size_of::<f32>());
            let Some(found) = found else { return Ok(None) };
            if !tensor.getattr(intern!(py, "dtype"))?.is(float32) {
                return Ok(None);
            }
            words.push(found);
        }
        Ok(Some(Self { words }))
    }

    /// Whether all numbers are finite.
    #[getter]
    fn are_finite(&self) -> bool {
        self.values().into_iter().flatten().all(|value| value.is_finite())
    }
}

impl PyGradients {
    /// How many values each has.
    pub fn lengths(&self) -> Vec<usize> {
        self.words.iter().map(|words| words.count as usize).collect()
    }

    /// The values of each, in C order.
    pub fn values(&self) -> Vec<&[f32]> {
        let one = |words: &HostWords| {
            if words.count == 0 {
                return &[][..]; // it may have no address
            }
            // SAFETY: `HostWords` says that so many words of this size lie there, aligned, in a storage, which it holds, and
            // that nobody writes to them. Any bits are a float.
            #[expect(unsafe_code, reason = "a tensor's memory is known by its address")]
            unsafe {
                std::slice::from_raw_parts(words.start as *const f32, words.count as usize)
            }
        };
        self.words.iter().map(one).collect()
    }

    /// Writes all values, as many as [`lengths`](Self::lengths) says.
    ///
    /// # Panics
    /// If there are others.
    pub fn write(&self, values: &[Vec<f32>]) {
        assert!(values.iter().map(Vec::len).eq(self.lengths()), "values of gradients");
        for (words, values) in self.words.iter().zip(values).filter(|(words, _)| words.count > 0) {
            // SAFETY: as in `values`, and they were counted. Two tensors may share memory: no reference to it is made.
            #[expect(unsafe_code, reason = "a tensor's memory is known by its address")]
            unsafe {
                std::ptr::copy(values.as_ptr(), words.start as *mut f32, values.len());
            }
        }
    }
}
