//! Float32 values on the host, one array a tensor of weights, read and written where PyTorch or NumPy has them.

use std::sync::{Mutex, MutexGuard};

use numpy::{BorrowError, PyArray1, PyArrayMethods};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::error::usage;
use crate::tensor::HostWords;
use crate::threads::detached;

/// The values of parameters, of levels, or of gradients. It holds their memory; Python writes to them only between calls.
#[pyclass(frozen, name = "Floats", module = "bitquake._core")]
pub struct PyFloats {
    /// No two share memory.
    places: Vec<Place>,
    /// Held by whoever reads or changes the values.
    use_of: Mutex<()>,
}

/// So many float32 values, aligned, one after the other in memory that is held.
struct Place {
    start: usize,
    count: usize,
    _held: Py<PyAny>,
}

#[pymethods]
impl PyFloats {
    /// The values of float32 tensors on the host, in no graph, in C order. `None` if one of them is of another kind, or none at all, or if
    /// two share memory.
    #[staticmethod]
    fn of_tensors(py: Python<'_>, tensors: Vec<Bound<'_, PyAny>>) -> PyResult<Option<Self>> {
        static FLOAT32: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let float32 = FLOAT32.import(py, "torch", "float32")?;
        let mut places = Vec::with_capacity(tensors.len());
        for tensor in &tensors {
            let found = HostWords::of_value(tensor).filter(|words| words.size == size_of::<f32>());
            let Some(found) = found else { return Ok(None) };
            if !tensor.getattr(intern!(py, "dtype"))?.is(float32) {
                return Ok(None);
            }
            places.push(Place { start: found.start, count: found.count as usize, _held: found.into_held() });
        }
        Ok(Self::new(places))
    }

    /// The values of flat float32 arrays. An error if one cannot be written to, or if two share memory.
    #[staticmethod]
    fn of_arrays(py: Python<'_>, arrays: Vec<Bound<'_, PyArray1<f32>>>) -> PyResult<Self> {
        let one = |array: &Bound<'_, PyArray1<f32>>| {
            let mut values = array.try_readwrite().map_err(|error| match error {
                BorrowError::AlreadyBorrowed => usage(py, SHARED),
                error => error.into(),
            })?;
            let values = values.as_slice_mut()?;
            let (start, count) = (values.as_mut_ptr() as usize, values.len());
            Ok(Place { start, count, _held: array.as_any().clone().unbind() })
        };
        let places: Vec<_> = arrays.iter().map(one).collect::<PyResult<_>>()?;
        Self::new(places).ok_or_else(|| usage(py, SHARED))
    }

    /// Whether all numbers are finite.
    #[getter]
    fn are_finite(&self, py: Python<'_>) -> PyResult<bool> {
        self.read(py, |values| values.iter().copied().flatten().all(|value| value.is_finite()))
    }
}

const SHARED: &str = "two of the tensors share memory, whose bits would be stored twice";

impl PyFloats {
    /// `None` if two places share memory.
    fn new(places: Vec<Place>) -> Option<Self> {
        are_apart(&places).then(|| Self { places, use_of: Mutex::default() })
    }

    fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, ()>> {
        self.use_of.try_lock().map_err(|_| usage(py, "another thread is at work on the same tensors"))
    }

    /// How many values each has.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = usize> {
        self.places.iter().map(|place| place.count)
    }

    /// Does work on the values, without the interpreter.
    ///
    /// # Errors
    /// If another thread does something with them, and in a forked process that cannot start a thread.
    pub fn read<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&[&[f32]]) -> T + Send) -> PyResult<T> {
        let _used = self.lock(py)?;
        let one = |place: &Place| {
            if place.count == 0 {
                return &[][..]; // it may have no address
            }
            // SAFETY: so many aligned values lie there, in memory that `place` holds; nobody writes to them, since this function has the
            // lock. Any bits are a float.
            #[expect(unsafe_code, reason = "a tensor's memory is known by its address")]
            unsafe {
                std::slice::from_raw_parts(place.start as *const f32, place.count)
            }
        };
        let values: Vec<&[f32]> = self.places.iter().map(one).collect();
        detached(py, || work(&values))
    }

    /// As [`read`](Self::read), with values that the work may change.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn change<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Vec<&mut [f32]>) -> T + Send,
    ) -> PyResult<T> {
        let _used = self.lock(py)?;
        let one = |place: &Place| {
            if place.count == 0 {
                return &mut [][..];
            }
            // SAFETY: as in `read`; and no two share memory.
            #[expect(unsafe_code, reason = "a tensor's memory is known by its address")]
            unsafe {
                std::slice::from_raw_parts_mut(place.start as *mut f32, place.count)
            }
        };
        let mut values: Vec<&mut [f32]> = self.places.iter().map(one).collect();
        detached(py, || work(&mut values))
    }
}

fn are_apart(places: &[Place]) -> bool {
    let mut spans: Vec<_> = places
        .iter()
        .filter(|place| place.count > 0)
        .map(|place| (place.start, place.start + place.count * size_of::<f32>()))
        .collect();
    spans.sort_unstable();
    spans.is_sorted_by(|(_, end), (start, _)| end <= start)
}
