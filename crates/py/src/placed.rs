//! Flips at the addresses of the tensors that they were drawn for.

use std::sync::atomic::AtomicBool;

use bitquake::bits::Format;
use pyo3::prelude::*;

use crate::pattern::PyPattern;
use crate::slot::Slot;
use crate::tensor::HostWords;
use crate::threads::detached;
use crate::toggle::turned;

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
        slot_of: impl Fn(&str) -> Option<&'a Slot>,
    ) -> PyResult<Option<Self>> {
        let (py, own) = (pattern.py(), pattern.get());
        let words: Option<Vec<HostWords>> = match own.drawn() {
            Some(drawn) => {
                let tensors = drawn.space.tensors().iter();
                tensors.map(|one| words_of(py, slot_of(&one.name)?, one.format, one.elements)).collect()
            }
            None => {
                let tensors = detached(py, || own.listed())?.tensors().iter();
                tensors.map(|one| words_of(py, slot_of(&one.tensor)?, one.format, one.elements)).collect()
            }
        };
        let pattern = pattern.clone().unbind();
        Ok(words.map(|words| Self { pattern, words, is_made: AtomicBool::new(false) }))
    }
}

/// The words of a tensor, if they are so many of this format, on the host.
fn words_of(py: Python<'_>, slot: &Slot, format: Format, elements: u64) -> Option<HostWords> {
    let is_format = slot.words.as_ref().is_ok_and(|words| words.format == format);
    let words =
        HostWords::of(slot.kept.tensor.bind(py)).filter(|_| is_format && slot.kept.commit.is_none())?;
    (words.count == elements && words.size as u64 * 8 == u64::from(format.width())).then_some(words)
}

#[pymethods]
impl PyPlaced {
    /// Flips the bits, if they are not flipped already.
    fn make(&self, py: Python<'_>) -> PyResult<()> {
        turned(&self.is_made, true, || self.flip(py))
    }

    /// Flips them back, if they are flipped. Memory that has been given back meanwhile is left out.
    fn undo(&self, py: Python<'_>) -> PyResult<()> {
        turned(&self.is_made, false, || self.flip(py))
    }
}

impl PyPlaced {
    fn flip(&self, py: Python<'_>) -> PyResult<()> {
        let pattern = self.pattern.get();
        let there = self.words.iter().map(|words| Some(words).filter(|words| words.is_there(py)));
        let Some(drawn) = pattern.drawn() else {
            let flips = pattern.listed().tensors().iter();
            for (flips, words) in flips.zip(there).filter_map(|(flips, words)| Some((flips, words?))) {
                let bytes = bytes(words);
                flips
                    .addresses
                    .iter()
                    .for_each(|&address| bytes[(address / 8) as usize] ^= 1 << (address % 8));
            }
            return Ok(());
        };
        let there: Vec<Option<&HostWords>> = there.collect();
        detached(py, || {
            let tensors = drawn.space.tensors().iter().zip(there);
            let flips = tensors.map(|(tensor, words)| Some(drawn.flip_in(tensor, bytes(words?))));
            drawn.count(flips.flatten().sum());
        })
    }
}

/// The bytes of words, for as long as `flip` runs.
fn bytes<'a>(words: &HostWords) -> &'a mut [u8] {
    if words.count == 0 {
        return &mut []; // it may have no address
    }
    // SAFETY: `HostWords` says that so many words of this size lie there one after the other, in a storage that it holds, and `flip` has just
    // seen that this still covers them: nobody gives it back while they are flipped, which is where many are done, without the interpreter. They are flipped one tensor after the other, and tensors of one memory are one (`distinct`), so
    // there is no other slice of them; PyTorch reads and writes them as it does those of NumPy's views.
    #[expect(unsafe_code, reason = "a tensor's memory is known by its address")]
    unsafe {
        std::slice::from_raw_parts_mut(words.start as *mut u8, words.count as usize * words.size)
    }
}
