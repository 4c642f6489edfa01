//! Flips at the addresses of the tensors that they were drawn for.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::pattern::PyPattern;
use crate::slot::Slot;
use crate::tensor::HostWords;
use crate::threads::detached;

/// A pattern over tensors on the host, whose bits it flips where they are, and flips back.
#[pyclass(frozen, name = "Placed", module = "bitquake._core")]
pub struct PyPlaced {
    pattern: Py<PyPattern>,
    /// Of each tensor that is hit.
    words: Vec<HostWords>,
    is_made: AtomicBool,
}

impl PyPlaced {
    /// `None` where the words of a tensor lie elsewhere or otherwise, or are not those of the pattern.
    pub fn new<'a>(
        pattern: &Bound<'_, PyPattern>,
        mut slot_of: impl FnMut(&str) -> Option<&'a Slot>,
    ) -> PyResult<Option<Self>> {
        let (py, listed) = (pattern.py(), pattern.get());
        let mut words = Vec::new();
        for flips in detached(py, || listed.listed())?.tensors() {
            let Some(slot) = slot_of(&flips.tensor).filter(|slot| slot.kept.commit.is_none()) else {
                return Ok(None);
            };
            let Some(found) = HostWords::of(slot.kept.tensor.bind(py)) else { return Ok(None) };
            let is_of_this = slot.words.as_ref().is_ok_and(|words| words.format == flips.format)
                && found.count == flips.elements
                && found.size as u64 * 8 == u64::from(flips.format.width());
            if !is_of_this {
                return Ok(None);
            }
            words.push(found);
        }
        Ok(Some(Self { pattern: pattern.clone().unbind(), words, is_made: AtomicBool::new(false) }))
    }
}

#[pymethods]
impl PyPlaced {
    /// Flips the bits, if they are not flipped already.
    fn make(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_made.swap(true, Ordering::Relaxed) { Ok(()) } else { self.flip(py) }
    }

    /// Flips them back, if they are flipped. Memory that has been given back meanwhile is left out.
    fn undo(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_made.swap(false, Ordering::Relaxed) { self.flip(py) } else { Ok(()) }
    }
}

impl PyPlaced {
    fn flip(&self, py: Python<'_>) -> PyResult<()> {
        let is_there: Vec<bool> = self.words.iter().map(|words| words.is_there(py)).collect();
        let pattern = self.pattern.get();
        let starts = self.words.iter().map(|words| words.start).zip(is_there);
        detached(py, || {
            for (flips, (start, is_there)) in pattern.listed().tensors().iter().zip(starts) {
                let addresses = if is_there { flips.addresses.as_slice() } else { &[] };
                for &address in addresses {
                    let byte = (start as *mut u8).wrapping_add((address / 8) as usize);
                    // SAFETY: `HostWords` says that words lie there one after the other, and `new` that they are as many and as wide as those
                    // of the pattern, whose addresses are bits of them. Their storage is held, and still covers them.
                    #[expect(unsafe_code, reason = "a tensor's memory is known by its address")]
                    unsafe {
                        *byte ^= 1 << (address % 8);
                    }
                }
            }
        })
    }
}
