//! Words of a value that are hit, changed where they are.

use std::ops::Range;
use std::sync::Arc;

use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error::usage;
use crate::tensor::{HostWords, is_tensor, storage};

/// Words that are hit, one value after the other: their places in C order, the bits that change where a word holds 0, and where it holds 1.
#[derive(Default)]
pub struct Columns {
    pub places: Vec<u64>,
    pub if_zero: Vec<u64>,
    pub if_one: Vec<u64>,
}

/// Words before, and after.
pub type Changed = (Vec<u64>, Vec<u64>);
type Column<'py> = Bound<'py, PyArray1<u64>>;
/// The same for NumPy.
pub type Words<'py> = (Column<'py>, Column<'py>);

/// Words of one value that are hit: some rows of columns.
#[pyclass(frozen, name = "Hits", module = "bitquake._core")]
pub struct PyHits {
    columns: Arc<Columns>,
    rows: Range<usize>,
}

impl PyHits {
    pub fn new(columns: Arc<Columns>, rows: Range<usize>) -> Self {
        Self { columns, rows }
    }

    fn places(&self) -> &[u64] {
        &self.columns.places[self.rows.clone()]
    }

    /// Changes the words of a tensor's memory.
    fn change(&self, py: Python<'_>, memory: &HostWords) -> PyResult<Changed> {
        if let Some(place) = self.places().iter().find(|&&place| place >= memory.count) {
            return Err(usage(py, format!("word {place} of {} words cannot be hit", memory.count)));
        }
        Ok(match memory.size {
            1 => self.change_words::<u8>(memory),
            2 => self.change_words::<u16>(memory),
            4 => self.change_words::<u32>(memory),
            _ => self.change_words::<u64>(memory),
        })
    }

    /// Changes the words of what a layer has computed from one tensor, `args`, in place. `None`, and nothing is changed, where its words are
    /// not on the host one after the other, it needs a gradient, or may lie in memory that is not its own. `is_in_place` layers write into what they
    /// were given.
    pub fn change_own(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
        output: &Bound<'_, PyAny>,
        is_in_place: bool,
    ) -> PyResult<Option<Changed>> {
        if args.len() != 1 || !kwargs.is_empty() {
            return Ok(None);
        }
        let Some(memory) = HostWords::of_value(output) else { return Ok(None) };
        let given = args.get_item(0)?;
        // A tensor without a storage is one of which nothing is known here.
        let is_apart = || Ok::<_, PyErr>(is_tensor(&given)? && storage(&given)?.start != memory.storage);
        let is_own = is_in_place || is_apart().unwrap_or(false);
        is_own.then(|| self.change(output.py(), &memory)).transpose()
    }

    /// For places that are there, in words of this size.
    fn change_words<W: Word>(&self, memory: &HostWords) -> Changed {
        let (places, rows) = (self.places(), self.rows.clone());
        let masks = self.columns.if_zero[rows.clone()].iter().zip(&self.columns.if_one[rows]);
        let (mut before, mut after) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
        for (&place, (zero, one)) in places.iter().zip(masks) {
            let at = (memory.start as *mut W).wrapping_add(place as usize);
            // SAFETY: `HostWords` says that `count` words of this size lie there, one after the other, which nobody else writes to; the place is
            // one of them (`change` has looked), and they are aligned.
            #[expect(unsafe_code, reason = "a tensor's memory is known by its address")]
            let old: u64 = unsafe { at.read() }.into();
            let new = old ^ (!old & zero | old & one);
            #[expect(unsafe_code, reason = "the same word")]
            unsafe {
                at.write(W::truncated(new));
            }
            before.push(old);
            after.push(new);
        }
        (before, after)
    }
}

/// An unsigned number of the size of an element.
trait Word: Copy + Into<u64> {
    fn truncated(word: u64) -> Self;
}

macro_rules! words {
    ($($word:ty),*) => {
        $(impl Word for $word {
            fn truncated(word: u64) -> Self {
                word as Self
            }
        })*
    };
}

words!(u8, u16, u32, u64);

#[pymethods]
impl PyHits {
    /// Words at these places, in C order, of which these bits change where a word holds 0, and those where it holds 1.
    #[new]
    fn of(
        py: Python<'_>,
        places: PyReadonlyArray1<'_, u64>,
        if_zero: PyReadonlyArray1<'_, u64>,
        if_one: PyReadonlyArray1<'_, u64>,
    ) -> PyResult<Self> {
        let [places, if_zero, if_one] = [places, if_zero, if_one].map(|column| column.as_array().to_vec());
        let rows = 0..places.len();
        if [if_zero.len(), if_one.len()] != [rows.end; 2] {
            return Err(usage(py, "columns of hits are of one length"));
        }
        Ok(Self::new(Arc::new(Columns { places, if_zero, if_one }), rows))
    }

    fn __len__(&self) -> usize {
        self.rows.len()
    }

    /// The places of the words, in C order.
    #[getter]
    fn elements<'py>(&self, py: Python<'py>) -> Column<'py> {
        PyArray1::from_slice(py, self.places())
    }

    /// The bits of each that change where it holds 0.
    #[getter]
    fn if_zero<'py>(&self, py: Python<'py>) -> Column<'py> {
        PyArray1::from_slice(py, &self.columns.if_zero[self.rows.clone()])
    }

    /// The bits of each that change where it holds 1.
    #[getter]
    fn if_one<'py>(&self, py: Python<'py>) -> Column<'py> {
        PyArray1::from_slice(py, &self.columns.if_one[self.rows.clone()])
    }

    /// Changes the words of a tensor, in place; returns them as they were and as they are. `None`, and nothing is changed, where its words
    /// are not on the host one after the other, or it needs a gradient.
    fn flip<'py>(&self, tensor: &Bound<'py, PyAny>) -> PyResult<Option<Words<'py>>> {
        let py = tensor.py();
        let changed = HostWords::of_value(tensor).map(|memory| self.change(py, &memory)).transpose()?;
        Ok(changed.map(|changed| arrays(py, changed)))
    }
}

pub fn arrays(py: Python<'_>, (before, after): Changed) -> Words<'_> {
    (before.into_pyarray(py), after.into_pyarray(py))
}
