//! Fault patterns: listed, or kept as the key that they are drawn from.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bitquake::bits::Format;
use bitquake::fault::{FaultPattern, FaultSpace, FlipCounts, Hits, SpaceTensor, TensorFlips, flip_at_rate};
use bitquake::inject::{read_pattern, write_pattern};
use bitquake::sample::{Rate, StreamKey};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{of, usage};
use crate::text::parse;
use crate::threads::detached;
use crate::words::{ReadStore, Reads, WriteStore, Writes};

/// Whole numbers for NumPy.
type Array<'py> = Bound<'py, PyArray1<u64>>;

/// From so many expected flips on, applying without a list is faster than with one.
const MANY: f64 = 20_000.0;

/// The flips of one draw: a value that can be applied, undone, listed, explained and saved.
#[pyclass(frozen, name = "Pattern", module = "bitquake._core")]
pub struct PyPattern {
    listed: OnceLock<FaultPattern>,
    /// Where the list comes from, if it was not needed yet.
    drawn: Option<Drawn>,
}

/// A draw of bit errors at one rate over whole words, which gives the same flips again at any time.
pub struct Drawn {
    pub space: Arc<FaultSpace>,
    rate: Rate,
    key: StreamKey,
    /// Counted when they are made.
    flips: OnceLock<u64>,
}

impl From<FaultPattern> for PyPattern {
    fn from(pattern: FaultPattern) -> Self {
        Self { listed: OnceLock::from(pattern), drawn: None }
    }
}

impl PyPattern {
    /// Bit errors at a rate that are not listed; `None` where a list is better or words are not whole.
    pub fn of_rate(space: &Arc<FaultSpace>, rate: Rate, key: StreamKey) -> Option<Self> {
        let is_whole = |tensor: &SpaceTensor| {
            tensor.mask == tensor.format.mask() && tensor.format.width().is_multiple_of(8)
        };
        let is_many = rate.fraction() * space.bits() as f64 >= MANY;
        let drawn = Drawn { space: Arc::clone(space), rate, key, flips: OnceLock::new() };
        let can_be = is_many && space.tensors().iter().all(is_whole);
        can_be.then_some(Self { listed: OnceLock::new(), drawn: Some(drawn) })
    }

    /// Makes them; `None`, and nothing is changed, also where a tensor's words do not lie one after the other.
    pub fn in_place(
        space: &Arc<FaultSpace>,
        rate: Rate,
        key: StreamKey,
        store: &mut WriteStore<'_>,
    ) -> Option<Self> {
        let pattern = Self::of_rate(space, rate, key)?;
        let drawn = pattern.drawn.as_ref().filter(|drawn| drawn.fits(store))?;
        drawn.flip(store);
        Some(pattern)
    }

    /// The draw that was not listed, if there was one.
    pub fn drawn(&self) -> Option<&Drawn> {
        self.drawn.as_ref()
    }

    /// The flips, listed now at the latest.
    pub fn listed(&self) -> &FaultPattern {
        self.listed.get_or_init(|| {
            let drawn =
                self.drawn.as_ref().map(|drawn| Hits::Rate(drawn.rate).flips(&drawn.space, &drawn.key));
            drawn.and_then(Result::ok).unwrap_or_default() // a rate can always be drawn
        })
    }
}

impl Drawn {
    /// Whether every tensor is there as it was, its words one after the other.
    fn fits(&self, store: &mut WriteStore<'_>) -> bool {
        self.space.tensors().iter().all(|tensor| {
            let bytes = tensor.elements * u64::from(tensor.format.width()) / 8;
            store.plain_bytes(&tensor.name).is_some_and(|plain| plain.len() as u64 == bytes)
        })
    }

    fn flip(&self, store: &mut WriteStore<'_>) {
        let one = |tensor: &SpaceTensor| {
            let bytes = store.plain_bytes(&tensor.name);
            bytes.map_or(0, |bytes| self.flip_in(tensor, bytes))
        };
        self.count(self.space.tensors().iter().map(one).sum());
    }

    /// Flips the bits of one tensor, and returns how many there are. Doing it again undoes it.
    pub fn flip_in(&self, tensor: &SpaceTensor, bytes: &mut [u8]) -> u64 {
        flip_at_rate(bytes, &self.key.tensor(&tensor.name), self.rate)
    }

    /// Keeps how many bits were flipped in all tensors.
    pub fn count(&self, flips: u64) {
        self.flips.get_or_init(|| flips);
    }
}

#[pymethods]
impl PyPattern {
    /// A pattern from bit addresses: name, format, elements, and the addresses (element times width plus bit), rising.
    #[new]
    fn new(py: Python<'_>, tensors: Vec<(String, String, u64, PyReadonlyArray1<'_, u64>)>) -> PyResult<Self> {
        let one =
            |(tensor, format, elements, addresses): (String, String, u64, PyReadonlyArray1<'_, u64>)| {
                let format: Format = parse(py, &format)?;
                Ok(TensorFlips { tensor, format, elements, addresses: addresses.as_slice()?.to_vec() })
            };
        let flips = tensors.into_iter().map(one).collect::<PyResult<Vec<_>>>()?;
        FaultPattern::new(flips).map(Self::from).map_err(|error| of(py, error))
    }

    /// Reads a saved pattern.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        read_pattern(&path).map(Self::from).map_err(|error| of(py, error))
    }

    /// Saves it, whole or not at all, as `bitquake inject --pattern` reads it.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        detached(py, || write_pattern(&path, self.listed()))?.map_err(|error| of(py, error))
    }

    /// The pattern that turns the words of `before` into those of `after`.
    #[staticmethod]
    fn between(py: Python<'_>, before: Reads<'_>, after: Reads<'_>) -> PyResult<Self> {
        let names: Vec<String> = before.iter().map(|tensor| tensor.0.clone()).collect();
        let (from, to) = (ReadStore::new(py, &before)?, ReadStore::new(py, &after)?);
        let pattern = detached(py, || FaultPattern::between(names.iter().map(String::as_str), &from, &to))?;
        pattern.map(Self::from).map_err(|error| of(py, error))
    }

    /// Bits flipped.
    #[getter]
    fn flips(&self) -> u64 {
        let counted = self.drawn.as_ref().and_then(|drawn| drawn.flips.get().copied());
        counted.unwrap_or_else(|| self.listed().flips())
    }

    /// The tensors that are hit: name, format, elements, flips.
    #[getter]
    fn tensors(&self, py: Python<'_>) -> PyResult<Vec<(String, String, u64, usize)>> {
        let one = |flips: &TensorFlips| {
            (flips.tensor.clone(), flips.format.name(), flips.elements, flips.addresses.len())
        };
        Ok(detached(py, || self.listed())?.tensors().iter().map(one).collect())
    }

    /// The bit addresses of a tensor, rising.
    fn addresses<'py>(&self, py: Python<'py>, tensor: &str) -> PyResult<Bound<'py, PyArray1<u64>>> {
        let addresses = self.of(py, tensor)?.map(|flips| flips.addresses.clone()).unwrap_or_default();
        Ok(addresses.into_pyarray(py))
    }

    /// The words of a tensor that are hit, rising, and the bits to flip in each.
    fn masks<'py>(&self, py: Python<'py>, tensor: &str) -> PyResult<(Array<'py>, Array<'py>)> {
        let (elements, masks) = self.of(py, tensor)?.map(masks).unwrap_or_default();
        Ok((elements.into_pyarray(py), masks.into_pyarray(py)))
    }

    /// Flips the bits. Doing it again undoes it. When a tensor is not what the pattern was made for, nothing is changed.
    pub fn apply(&self, py: Python<'_>, mut tensors: Writes<'_>) -> PyResult<()> {
        let mut store = WriteStore::new(py, &mut tensors)?;
        let applied = detached(py, || match &self.drawn {
            Some(drawn) if drawn.fits(&mut store) => {
                drawn.flip(&mut store);
                Ok(())
            }
            _ => self.listed().apply(&mut store),
        })?;
        applied.map_err(|error| of(py, error))
    }

    /// What both do, one after the other.
    fn compose(&self, py: Python<'_>, other: &Self) -> PyResult<Self> {
        let both = detached(py, || self.listed().compose(other.listed()))?;
        both.map(Self::from).map_err(|error| of(py, error))
    }

    /// What the flips do to clean words: counts in all, and by tensor.
    fn explain<'py>(&self, py: Python<'py>, tensors: Reads<'_>) -> PyResult<Bound<'py, PyDict>> {
        let store = ReadStore::new(py, &tensors)?;
        let explained = detached(py, || self.listed().explain(&store))?.map_err(|error| of(py, error))?;
        let by_tensor = PyDict::new(py);
        for tensor in &explained.tensors {
            let counts = counts(py, &tensor.counts)?;
            counts.set_item("format", tensor.format.as_str())?;
            counts.set_item("elements", tensor.elements)?;
            by_tensor.set_item(tensor.tensor.as_str(), counts)?;
        }
        let all = counts(py, &explained.total)?;
        all.set_item("tensors", by_tensor)?;
        Ok(all)
    }

    /// The pattern as the text that is saved.
    fn to_json(&self, py: Python<'_>) -> PyResult<String> {
        detached(py, || self.listed().to_json())
    }

    /// The pattern of such a text.
    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        FaultPattern::from_json(text).map(Self::from).map_err(|error| usage(py, error))
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        detached(py, || self.listed() == other.listed())
    }
}

impl PyPattern {
    fn of(&self, py: Python<'_>, tensor: &str) -> PyResult<Option<&TensorFlips>> {
        Ok(detached(py, || self.listed())?.tensors().iter().find(|flips| flips.tensor == tensor))
    }
}

/// Words that are hit, and the bits of each.
fn masks(flips: &TensorFlips) -> (Vec<u64>, Vec<u64>) {
    let width = u64::from(flips.format.width());
    let words = flips.addresses.chunk_by(|a, b| a / width == b / width);
    words.map(|same| (same[0] / width, same.iter().fold(0, |mask, bit| mask | 1 << (bit % width)))).unzip()
}

fn counts<'py>(py: Python<'py>, counts: &FlipCounts) -> PyResult<Bound<'py, PyDict>> {
    let all = PyDict::new(py);
    all.set_item("flips", counts.flips)?;
    all.set_item("words", counts.words)?;
    all.set_item("to_one", counts.to_one)?;
    all.set_item("to_zero", counts.to_zero)?;
    all.set_item("became_nan", counts.became_nan)?;
    all.set_item("became_inf", counts.became_inf)?;
    all.set_item("by_bit", counts.by_bit.clone())?;
    all.set_item("largest_change", counts.largest_change)?;
    Ok(all)
}
