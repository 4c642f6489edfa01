//! Campaigns whose network Python runs.

use std::path::PathBuf;

use bitquake::bits::Format;
use bitquake::campaign::End;
use bitquake::campaign::hosted::{
    Digests, GoldenOutputs, HostGolden, HostResult, HostTensor, Hosted, HostedConfig, HostedError, HostedRun,
    HostedTrial, Proof, Proved, TrialOutputs,
};
use bitquake::record::ResultDir;
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::error::{of, usage};
use crate::fault::Exposed;
use crate::memory::PyMemory;
use crate::pattern::PyPattern;
use crate::text::parse;
use crate::threads::detached;
use crate::words::{ReadStore, Reads};

/// A campaign, prepared.
#[pyclass(frozen, name = "Hosted", module = "bitquake._core")]
pub struct PyHosted(Hosted);

/// The golden run.
#[pyclass(frozen, name = "HostGolden", module = "bitquake._core")]
pub struct PyGolden(HostGolden);

/// What a run of the network gave, judged.
#[pyclass(frozen, name = "HostResult", module = "bitquake._core")]
pub struct PyResultOf(HostResult);

/// The flips of a trial, with what its record says of them.
#[pyclass(name = "HostedTrial", module = "bitquake._core")]
pub struct PyTrial(Option<HostedTrial>);

/// The outputs of the golden run as they come.
#[pyclass(name = "GoldenOutputs", module = "bitquake._core")]
pub struct PyGoldenOutputs(Option<GoldenOutputs>);

/// The outputs of a run with faults as they come.
#[pyclass(name = "TrialOutputs", module = "bitquake._core")]
pub struct PyTrialOutputs(Option<TrialOutputs>);

/// The proof that the host reproduces its golden run and sees faults.
#[pyclass(name = "Proof", module = "bitquake._core")]
pub struct PyProof(Option<Proof>);

/// A proved set-up.
#[pyclass(name = "Proved", module = "bitquake._core")]
pub struct PyProved(Option<Proved>);

/// A run in a result directory.
#[pyclass(name = "HostedRun", module = "bitquake._core")]
pub struct PyRun(Option<HostedRun>);

#[pymethods]
impl PyHosted {
    /// `config` is the text of a campaign file with `[host]`; `others` are the names of tensors that are not selected; the digests are SHA-256 as 64 hexadecimal digits.
    #[new]
    fn new(
        py: Python<'_>,
        config: &str,
        tensors: Vec<Exposed>,
        words: String,
        data: Option<String>,
        others: Vec<String>,
    ) -> PyResult<Self> {
        let one = |(name, format, dims, by_name_only, also): Exposed| {
            let format: Format = parse(py, &format)?;
            Ok(HostTensor { name, format, dims, by_name_only, also })
        };
        let tensors = tensors.into_iter().map(one).collect::<PyResult<_>>()?;
        let config = HostedConfig::from_toml(config).map_err(|error| of(py, error))?;
        let digests = Digests { words, data };
        Hosted::prepare_among(config, tensors, &others, digests).map(Self).map_err(|error| of(py, error))
    }

    /// The same of a memory: trials hit what it holds, check bits and copies too.
    #[staticmethod]
    fn stored(
        py: Python<'_>,
        config: &str,
        memory: &PyMemory,
        words: String,
        data: Option<String>,
    ) -> PyResult<Self> {
        let config = HostedConfig::from_toml(config).map_err(|error| of(py, error))?;
        let prepared = Hosted::prepare_stored(config, &memory.0, Digests { words, data });
        prepared.map(Self).map_err(|error| of(py, error))
    }

    /// The campaign's id.
    #[getter]
    fn id(&self) -> String {
        self.0.identity().id()
    }

    /// Bits that may be hit.
    #[getter]
    fn bits(&self) -> u64 {
        self.0.space().bits()
    }

    /// The tensors that may be hit.
    #[getter]
    fn tensors(&self) -> Vec<String> {
        self.0.space().tensors().iter().map(|tensor| tensor.name.clone()).collect()
    }

    /// The points: what each asks for (`rate`, `count` ...), and how much.
    #[getter]
    fn points(&self) -> Vec<(&'static str, f64)> {
        self.0.points().iter().map(|point| (point.amount.kind(), point.amount.value())).collect()
    }

    /// The flips of a trial in words without faults.
    fn trial(&self, py: Python<'_>, point: u32, trial: u64, words: Reads<'_>) -> PyResult<PyTrial> {
        let store = ReadStore::new(py, &words)?;
        let drawn = detached(py, || self.0.trial(point, trial, &store))?;
        drawn.map(|trial| PyTrial(Some(trial))).map_err(|error| of(py, error))
    }

    /// The flips of a trial in what a memory holds. `words` are the network's floats without faults.
    fn stored_trial(
        &self,
        py: Python<'_>,
        point: u32,
        trial: u64,
        memory: &PyMemory,
        words: Reads<'_>,
    ) -> PyResult<PyTrial> {
        let store = ReadStore::new(py, &words)?;
        let drawn = detached(py, || self.0.stored_trial(point, trial, &memory.0, &store))?;
        drawn.map(|trial| PyTrial(Some(trial))).map_err(|error| of(py, error))
    }

    /// The `number`-th probe: a tensor, and flips in it that the network must see; `None` when there are no more.
    fn probe(&self, py: Python<'_>, number: usize) -> PyResult<Option<(String, PyPattern)>> {
        let probe = self.0.probes().nth(number).transpose().map_err(|error| of(py, error))?;
        Ok(probe.map(|probe| (probe.tensor, PyPattern::from(probe.pattern))))
    }

    /// The same for a memory, as flips of the network's floats.
    fn stored_probe(
        &self,
        py: Python<'_>,
        number: usize,
        memory: &PyMemory,
        words: Reads<'_>,
    ) -> PyResult<Option<(String, PyPattern)>> {
        let store = ReadStore::new(py, &words)?;
        let probe = detached(py, || self.0.stored_probe(number, &memory.0, &store))?;
        let probe = probe.map_err(|error| of(py, error))?;
        Ok(probe.map(|probe| (probe.tensor, PyPattern::from(probe.pattern))))
    }

    fn golden_outputs(&self) -> PyGoldenOutputs {
        PyGoldenOutputs(Some(self.0.golden_outputs()))
    }

    /// The golden run of a host that judges its network itself.
    fn golden_metrics(
        &self,
        py: Python<'_>,
        metrics: Vec<(String, f64)>,
        seconds: f64,
    ) -> PyResult<PyGolden> {
        self.0.golden_metrics(metrics, seconds).map(PyGolden).map_err(|error| of(py, error))
    }

    /// Begins the campaign in a directory, or goes on with it there.
    fn open(&self, py: Python<'_>, dir: PathBuf, proved: &mut PyProved) -> PyResult<PyRun> {
        let proved = taken(py, &mut proved.0)?;
        let opened = detached(py, || self.0.open(&ResultDir::at(dir), proved))?;
        opened.map(|run| PyRun(Some(run))).map_err(|error| of(py, error))
    }
}

#[pymethods]
impl PyTrial {
    /// The bits to flip in the words that the network computes with, and back after the run.
    #[getter]
    fn seen(&self, py: Python<'_>) -> PyResult<PyPattern> {
        let trial = self.0.as_ref().ok_or_else(|| usage(py, USED))?;
        Ok(PyPattern::from(trial.seen().clone()))
    }
}

#[pymethods]
impl PyGoldenOutputs {
    /// Takes the rows of a batch, and its labels if there are any.
    #[pyo3(signature = (rows, labels=None))]
    fn push(
        &mut self,
        py: Python<'_>,
        rows: PyReadonlyArray2<'_, f32>,
        labels: Option<PyReadonlyArray1<'_, u32>>,
    ) -> PyResult<()> {
        let outputs = self.0.as_mut().ok_or_else(|| usage(py, USED))?;
        let labels = labels.as_ref().map(|labels| labels.as_slice()).transpose()?;
        outputs.push(rows.as_slice()?, rows.shape()[1], labels).map_err(|error| of(py, error))
    }

    fn finish(&mut self, py: Python<'_>, seconds: f64) -> PyResult<PyGolden> {
        taken(py, &mut self.0)?.finish(seconds).map(PyGolden).map_err(|error| of(py, error))
    }
}

#[pymethods]
impl PyGolden {
    /// What the golden run told: known counts and the loss.
    #[getter]
    fn counts(&self) -> (u64, u64, Option<f64>) {
        let counts = self.0.counts();
        (counts.images, counts.correct, counts.loss)
    }

    fn outputs(&self, py: Python<'_>) -> PyResult<PyTrialOutputs> {
        self.0.outputs().map(|outputs| PyTrialOutputs(Some(outputs))).map_err(|error| of(py, error))
    }

    fn metrics(&self, py: Python<'_>, metrics: Vec<(String, f64)>) -> PyResult<PyResultOf> {
        self.0.metrics(metrics).map(PyResultOf).map_err(|error| of(py, error))
    }

    /// The result of a run whose network raised.
    fn no_outputs(&self, py: Python<'_>) -> PyResult<PyResultOf> {
        self.0.no_outputs().map(PyResultOf).map_err(|error| of(py, error))
    }

    fn proof(&self) -> PyProof {
        PyProof(Some(Proof::new(&self.0)))
    }
}

#[pymethods]
impl PyTrialOutputs {
    /// Takes the rows of a batch.
    fn push(&mut self, py: Python<'_>, rows: PyReadonlyArray2<'_, f32>) -> PyResult<()> {
        let outputs = self.0.as_mut().ok_or_else(|| usage(py, USED))?;
        outputs.push(rows.as_slice()?, rows.shape()[1]).map_err(|error| of(py, error))
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<PyResultOf> {
        taken(py, &mut self.0)?.finish().map(PyResultOf).map_err(|error| of(py, error))
    }
}

#[pymethods]
impl PyProof {
    /// The result of a second run without faults.
    fn empty(&mut self, py: Python<'_>, result: &PyResultOf) -> PyResult<()> {
        self.proof(py)?.empty(&result.0).map_err(|error| of(py, error))
    }

    /// The result under a probe; whether it showed.
    fn probe(&mut self, py: Python<'_>, tensor: &str, result: &PyResultOf) -> PyResult<bool> {
        self.proof(py)?.probe(tensor, &result.0).map_err(|error| of(py, error))
    }

    /// The network raised under a probe: it has seen it.
    fn refused(&mut self, py: Python<'_>, tensor: &str) -> PyResult<()> {
        self.proof(py)?.refused(tensor);
        Ok(())
    }

    fn finish(&mut self, py: Python<'_>) -> PyResult<PyProved> {
        taken(py, &mut self.0)?.finish().map(|proved| PyProved(Some(proved))).map_err(|error| of(py, error))
    }
}

impl PyProof {
    fn proof(&mut self, py: Python<'_>) -> PyResult<&mut Proof> {
        self.0.as_mut().ok_or_else(|| usage(py, USED))
    }
}

#[pymethods]
impl PyRun {
    /// The point and the number of the next trial; the same until it is recorded, `None` at the end.
    fn next_trial(&mut self, py: Python<'_>) -> PyResult<Option<(u32, u64)>> {
        Ok(self.run(py)?.next_trial())
    }

    /// Records a trial, synced to disk; returns the record as JSON.
    fn record(
        &mut self,
        py: Python<'_>,
        trial: &mut PyTrial,
        result: &PyResultOf,
        seconds: f64,
    ) -> PyResult<String> {
        let trial = taken(py, &mut trial.0)?;
        let (run, result) = (self.run(py)?, result.0.clone());
        let record = detached(py, || run.record(trial, result, seconds))?.map_err(|error| of(py, error))?;
        serde_json::to_string(&record).map_err(|error| usage(py, error))
    }

    /// Trials done, and the most there can be.
    #[getter]
    fn progress(&mut self, py: Python<'_>) -> PyResult<(u64, u64)> {
        let run = self.run(py)?;
        Ok((run.done(), run.most()))
    }

    /// Lets the result directory go, whatever is missing.
    fn close(&mut self) {
        self.0 = None;
    }

    /// Ends the run: `finished`, `stopped` or `out-of-time`, and how many trials are missing.
    fn finish(&mut self, py: Python<'_>) -> PyResult<(&'static str, u64)> {
        let run = taken(py, &mut self.0)?;
        let end = detached(py, || run.finish())?.map_err(|error: HostedError| of(py, error))?;
        Ok(ended(end))
    }
}

impl PyRun {
    fn run(&mut self, py: Python<'_>) -> PyResult<&mut HostedRun> {
        self.0.as_mut().ok_or_else(|| usage(py, USED))
    }
}

const USED: &str = "this was used up before";

fn taken<T>(py: Python<'_>, slot: &mut Option<T>) -> PyResult<T> {
    slot.take().ok_or_else(|| usage(py, USED))
}

/// How a run ended, and how many trials are missing.
pub fn ended(end: End) -> (&'static str, u64) {
    match end {
        End::Finished => ("finished", 0),
        End::Stopped { missing } => ("stopped", missing),
        End::OutOfTime { missing } => ("out-of-time", missing),
    }
}
