//! What a memory holds of a network: some tensors as codes, the others as they are.

use bitquake::bits::{Format, WordStore};
use bitquake::quantize::parse_storage;
use bitquake::sample::StreamKey;
use bitquake::storage::{Memory, StoragePlan};
use bitquake::tensors::{Dtype, Origin, Place, Role, StorageForm, TensorInfo};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::error::{of, usage};
use crate::fault::{PyFault, PySource};
use crate::pattern::PyPattern;
use crate::text::parse;
use crate::threads::detached;
use crate::words::{ReadStore, Reads, WriteStore, Writes};

/// What Python says of a tensor: name, format, dimensions, and `weight`, `statistic` or `attribute`.
type Told = (String, String, Vec<u64>, String);

/// How named tensors are stored: `[storage]` of a campaign, resolved.
#[pyclass(frozen, name = "Plan", module = "bitquake._core")]
pub struct PyPlan(StoragePlan);

#[pymethods]
impl PyPlan {
    /// The float weights among the tensors are to be codes; the others stay as they are.
    #[new]
    fn new(py: Python<'_>, storage: &str, tensors: Vec<Told>) -> PyResult<Self> {
        let spec = parse_storage(storage).map_err(|error| usage(py, format!("[storage]: {error}")))?;
        let tensors = tensors.into_iter().map(|told| info(py, told)).collect::<PyResult<Vec<_>>>()?;
        StoragePlan::new(&spec, &tensors).map(Self).map_err(|error| of(py, error))
    }

    /// Quantizes the values that `words` hold now. `seed` and `step` are for quantizers that round randomly.
    fn store(&self, py: Python<'_>, words: Reads<'_>, seed: u64, step: u64) -> PyResult<PyMemory> {
        let store = ReadStore::new(py, &words)?;
        let key = StreamKey { seed, point: 0, trial: step };
        detached(py, || self.0.store(&store, key))?.map(PyMemory).map_err(|error| of(py, error))
    }
}

/// The words that a memory holds of named tensors.
#[pyclass(frozen, name = "Memory", module = "bitquake._core")]
pub struct PyMemory(pub Memory);

#[pymethods]
impl PyMemory {
    /// Bits that the protections add.
    #[getter]
    fn check_bits(&self) -> u64 {
        self.0.check_bits()
    }

    /// The tensor of the module that something stored belongs to.
    fn owner<'n>(&self, name: &'n str) -> &'n str {
        self.0.owner(name)
    }

    /// Everything that is stored: name, format, elements.
    #[getter]
    fn tensors(&self) -> Vec<(String, String, u64)> {
        let one = |tensor: bitquake::fault::Candidate<'_>| {
            (tensor.name.to_owned(), tensor.format.name(), tensor.elements)
        };
        self.0.candidates().map(one).collect()
    }

    /// The names of the tensors that are held as codes.
    #[getter]
    fn coded(&self) -> Vec<String> {
        let names = self.0.candidates().map(|tensor| tensor.name);
        names.filter(|name| self.0.coded(name).is_some()).map(str::to_owned).collect()
    }

    /// The codes of a tensor, as the whole numbers that the quantizer defines; `None` for one that is as it was.
    fn codes<'py>(&self, py: Python<'py>, tensor: &str) -> PyResult<Option<Bound<'py, PyArray1<i64>>>> {
        let Some(coded) = self.0.coded(tensor) else { return Ok(None) };
        let grid = coded.grid();
        let codes = detached(py, || {
            coded.words().iter().map(|word| grid.code_of_word(word)).collect::<Result<Vec<_>, _>>()
        })?;
        let wrong =
            |source| of(py, bitquake::storage::StorageError::Quantize { tensor: tensor.to_owned(), source });
        Ok(Some(codes.map_err(wrong)?.into_pyarray(py)))
    }

    /// The scale of each unit of a coded tensor.
    fn scales(&self, py: Python<'_>, tensor: &str) -> PyResult<Option<Vec<f32>>> {
        let Some(grid) = self.0.coded(tensor).map(|coded| coded.grid()) else { return Ok(None) };
        let wrong =
            |source| of(py, bitquake::storage::StorageError::Quantize { tensor: tensor.to_owned(), source });
        (0..grid.units()).map(|unit| grid.scale(unit)).collect::<Result<_, _>>().map(Some).map_err(wrong)
    }

    /// Writes what the codes stand for into the network's floats: the network without faults.
    fn write_levels(&self, py: Python<'_>, mut words: Writes<'_>) -> PyResult<()> {
        let mut store = WriteStore::new(py, &mut words)?;
        detached(py, || self.0.write_levels(&mut store))?.map_err(|error| of(py, error))
    }

    /// A fault model over what is stored.
    fn source(&self, py: Python<'_>, fault: &PyFault, point: usize) -> PyResult<PySource> {
        let config = &fault.0;
        let bits = config.bits().map_err(|message| usage(py, message))?;
        let all = ["*".to_owned()];
        let select = if config.select().is_empty() { &all[..] } else { config.select() };
        let space = self.0.fault_space(select, bits).map_err(|error| of(py, error))?;
        PySource::over(py, config, point, space)
    }

    /// What is stored under the faults of a trial: the flips of the memory, those that are left of it in the network's floats, and
    /// how many faults change nothing. `words` are the floats that `write_levels` wrote.
    fn trial(
        &self,
        py: Python<'_>,
        source: &PySource,
        seed: u64,
        trial: u64,
        words: Reads<'_>,
    ) -> PyResult<(PyPattern, PyPattern, u64)> {
        let store = ReadStore::new(py, &words)?;
        let found = detached(py, || -> Result<_, bitquake::Error> {
            let resolved = source.faults_of(seed, trial)?.resolve(&self.0.view(&store))?;
            let seen = self.seen(&resolved.pattern, &store)?;
            Ok((resolved.pattern, seen, resolved.dormant))
        })?;
        let (stored, seen, dormant) = found.map_err(|error| of(py, error))?;
        Ok((stored.into(), seen.into(), dormant))
    }

    /// The flips of the network's floats that flips of the memory amount to.
    fn translate(&self, py: Python<'_>, pattern: &PyPattern, words: Reads<'_>) -> PyResult<PyPattern> {
        let store = ReadStore::new(py, &words)?;
        let seen = detached(py, || self.seen(pattern.listed(), &store))?;
        seen.map(PyPattern::from).map_err(|error| of(py, error))
    }
}

impl PyMemory {
    /// What protections leave, as flips of the network's floats.
    fn seen(
        &self,
        pattern: &bitquake::fault::FaultPattern,
        native: &impl WordStore,
    ) -> Result<bitquake::fault::FaultPattern, bitquake::Error> {
        if !self.0.is_protected() {
            return Ok(self.0.translate(pattern, native)?);
        }
        let left = self.0.protect(pattern, native)?.pattern;
        Ok(self.0.translate(&left, native)?)
    }
}

fn info(py: Python<'_>, (name, format, shape, role): Told) -> PyResult<TensorInfo> {
    let format: Format = parse(py, &format)?;
    let role = match role.as_str() {
        "weight" => Role::Weight,
        "statistic" => Role::Statistic,
        "attribute" => Role::Attribute,
        other => {
            return Err(usage(
                py,
                format!("a tensor is a weight, a statistic or an attribute, not `{other}`"),
            ));
        }
    };
    let origin = Origin { place: Place::Entry, storage: StorageForm::Words };
    Ok(TensorInfo { name, dtype: Dtype::Known(format), shape, role, origin })
}
