//! Bit-flip attacks and rankings of a network that Python computes.

use std::sync::atomic::AtomicBool;

use bitquake::attack::rank::{BitScores, Demand, Landscape, Vector, hutchinson, score_bits};
use bitquake::attack::{
    AttackError, AttackedWords, BitSite, Change, Limits, Room, SearchConfig, Slopes, Step, Victim, Weighting,
    exhaustive_step, random_site, step,
};
use bitquake::sample::{PartKey, StreamKey};
use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{of, usage};
use crate::fault::PySource;
use crate::memory::PyMemory;
use crate::pattern::PyPattern;
use crate::threads::{detached, in_own_process};
use crate::words::{ReadStore, Reads};

/// A bit: the number of its tensor, the element, the bit.
type Site = (usize, u64, u32);

/// The words of a memory under attack: as they are after the flips so far, and what the limits leave.
#[pyclass(name = "Attacked", module = "bitquake._core")]
pub struct PyAttacked {
    words: AttackedWords,
    room: Room,
    search: SearchConfig,
}

#[pymethods]
impl PyAttacked {
    /// The words that `memory` holds of the fault space of `source`. `limits` and `search` are `[attack.limits]` and `[attack.search]` as
    /// JSON, `budget` the most flips.
    #[new]
    fn new(
        py: Python<'_>,
        memory: &PyMemory,
        source: &PySource,
        native: Reads<'_>,
        budget: u64,
        limits: &str,
        search: &str,
    ) -> PyResult<Self> {
        let limits: Limits =
            serde_json::from_str(limits).map_err(|error| usage(py, format!("limits: {error}")))?;
        let search: SearchConfig =
            serde_json::from_str(search).map_err(|error| usage(py, format!("search: {error}")))?;
        limits.check().map_err(|reason| usage(py, format!("limits: {reason}")))?;
        search.check().map_err(|reason| usage(py, format!("search: {reason}")))?;
        let store = ReadStore::new(py, &native)?;
        let words = AttackedWords::new(&memory.0, &source.space, &store).map_err(|error| of(py, error))?;
        let room = Room::new(limits, budget, words.tensors().len());
        Ok(Self { words, room, search })
    }

    /// The tensors: name, elements, bits that may be flipped.
    #[getter]
    fn tensors(&self) -> Vec<(String, u64, u64)> {
        let tensors = self.words.tensors().iter();
        tensors.map(|tensor| (tensor.name().to_owned(), tensor.elements(), tensor.bits())).collect()
    }

    /// Bits that differ from the clean words.
    #[getter]
    fn distance(&self) -> u64 {
        self.words.distance()
    }

    /// Flips that the budget leaves.
    #[getter]
    fn left(&self) -> u64 {
        self.room.flips()
    }

    /// The flips so far, as a pattern over the memory.
    #[getter]
    fn pattern(&self, py: Python<'_>) -> PyResult<PyPattern> {
        self.words.pattern().map(PyPattern::from).map_err(|error| of(py, error))
    }

    /// One step of the progressive search. `victim` has `slopes() -> (loss, gradients)` and `losses(probes) -> losses`, a probe being a
    /// list of (tensor, element, level).
    fn search_step<'py>(
        &self,
        victim: Bound<'py, PyAny>,
        seed: u64,
        number: u64,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = victim.py();
        in_own_process(py)?;
        let mut victim = Host::new(victim);
        let taken = step(&self.words, &mut victim, &self.search, &self.room, &key(seed, number));
        let taken = victim.raised(taken)?;
        self.told(py, taken)
    }

    /// The best flip of all that are allowed, each tried.
    fn exhaustive_step<'py>(&self, victim: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let py = victim.py();
        in_own_process(py)?;
        let mut victim = Host::new(victim);
        let stop = AtomicBool::new(false);
        let taken = exhaustive_step(&self.words, &mut victim, &self.room, self.search.nonfinite, &stop);
        let taken = victim.raised(taken)?;
        taken.map_or_else(|| Ok(PyDict::new(py)), |taken| self.told(py, taken))
    }

    /// A random bit that may be flipped; by size of tensors, or each tensor as likely. `None` if there is none.
    fn random_site(&self, seed: u64, number: u64, by_tensor: bool) -> Option<Site> {
        let weighting = if by_tensor { Weighting::Tensor } else { Weighting::Size };
        random_site(&self.words, &self.room, weighting, &key(seed, number)).map(told_site)
    }

    /// Flips bits; returns what the weights that are hit become: (tensor, element, level).
    fn commit(&mut self, py: Python<'_>, sites: Vec<Site>) -> PyResult<Vec<(usize, u64, f32)>> {
        for &(tensor, element, bit) in &sites {
            let site = BitSite { tensor, element, bit };
            let attacked = self
                .words
                .tensors()
                .get(tensor)
                .filter(|attacked| element < attacked.elements() && bit < attacked.format().width());
            let attacked = attacked.ok_or_else(|| usage(py, format!("there is no bit {site:?}")))?;
            self.room.take(attacked, site);
            self.words.flip(site);
        }
        let level = |&(tensor, element, _): &Site| {
            let attacked = &self.words.tensors()[tensor];
            (tensor, element, attacked.level(element, attacked.word(element)))
        };
        let mut changes: Vec<(usize, u64, f32)> = sites.iter().map(level).collect();
        changes.dedup_by_key(|change| (change.0, change.1));
        Ok(changes)
    }

    /// Ranks all bits by the expected change of the loss, `g d + h d^2 / 2`: the best ones, and by tensor and bit the mean and the largest score
    /// and the number of bits.
    #[pyo3(signature = (gradients, curvature, top))]
    fn rank<'py>(
        &self,
        py: Python<'py>,
        gradients: Vec<PyReadonlyArray1<'py, f64>>,
        curvature: Option<Vec<PyReadonlyArray1<'py, f64>>>,
        top: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        let slopes = self.vector(py, &gradients)?;
        let curvature = curvature.map(|given| self.vector(py, &given)).transpose()?;
        let scores = BitScores::Change { slopes: &slopes, curvature: curvature.as_ref() };
        let demand = Demand { top, sample: &[] };
        let scored = detached(py, || score_bits(&self.words, &scores, demand, None))?
            .map_err(|error| of(py, error))?;
        let best: Vec<(usize, u64, u32, f64)> = scored
            .top
            .iter()
            .map(|ranked| (ranked.site.tensor, ranked.site.element, ranked.site.bit, ranked.score))
            .collect();
        let strata: Vec<_> = scored
            .strata
            .iter()
            .map(|stratum| (stratum.tensor, stratum.bit, stratum.mean(), stratum.largest()))
            .collect();
        let all = PyDict::new(py);
        all.set_item("top", best)?;
        all.set_item("strata", strata)?;
        Ok(all)
    }

    /// Hutchinson's estimates of the Hessian's trace and diagonal. `landscape` has `product(direction) -> product`, both a list of float64
    /// arrays, one a tensor.
    fn hutchinson<'py>(
        &self,
        landscape: Bound<'py, PyAny>,
        most: u32,
        tolerance: f64,
        seed: u64,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = landscape.py();
        in_own_process(py)?;
        let sizes = self.words.tensors().iter().map(|tensor| tensor.elements() as usize).collect();
        let mut host = Host { sizes, ..Host::new(landscape) };
        let found = hutchinson(&mut host, most, tolerance, &key(seed, 0).part("hutchinson"), |_, _| ());
        let found = host.raised(found)?;
        let all = PyDict::new(py);
        all.set_item("trace", found.trace)?;
        all.set_item("standard_error", found.standard_error)?;
        all.set_item("by_tensor", found.by_tensor)?;
        all.set_item("vectors", found.vectors)?;
        all.set_item("converged", found.converged)?;
        let diagonal: Vec<_> = found.diagonal.iter().map(|values| PyArray1::from_slice(py, values)).collect();
        all.set_item("diagonal", diagonal)?;
        Ok(all)
    }
}

impl PyAttacked {
    fn told<'py>(&self, py: Python<'py>, taken: Step) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        let (kind, effort) = match &taken {
            Step::Flips(chosen) => {
                let sites: Vec<Site> = chosen.sites.iter().copied().map(told_site).collect();
                all.set_item("sites", sites)?;
                all.set_item("loss_before", chosen.loss_before)?;
                all.set_item("loss", chosen.loss)?;
                ("flips", Some(chosen.effort))
            }
            Step::NoIncrease(effort) => ("no-increase", Some(*effort)),
            Step::NotFinite { loss } => {
                all.set_item("loss_before", *loss)?;
                ("not-finite", None)
            }
        };
        all.set_item("kind", kind)?;
        all.set_item("probes", effort.map(|effort| effort.probes))?;
        Ok(all)
    }

    /// One value for each element of each tensor.
    fn vector(&self, py: Python<'_>, given: &[PyReadonlyArray1<'_, f64>]) -> PyResult<Vector> {
        let vector =
            given.iter().map(|values| Ok(values.as_slice()?.to_vec())).collect::<PyResult<Vector>>()?;
        let lengths: Vec<u64> = vector.iter().map(|values| values.len() as u64).collect();
        let wanted: Vec<u64> = self.words.tensors().iter().map(|tensor| tensor.elements()).collect();
        if lengths == wanted {
            return Ok(vector);
        }
        Err(usage(py, format!("arrays of {lengths:?} values for tensors of {wanted:?}")))
    }
}

fn told_site(site: BitSite) -> Site {
    (site.tensor, site.element, site.bit)
}

fn key(seed: u64, number: u64) -> PartKey {
    PartKey::from(StreamKey { seed, point: 0, trial: number })
}

/// A network that Python computes.
struct Host<'py> {
    object: Bound<'py, PyAny>,
    sizes: Vec<usize>,
    error: Option<PyErr>,
}

impl<'py> Host<'py> {
    fn new(object: Bound<'py, PyAny>) -> Self {
        Self { object, sizes: Vec::new(), error: None }
    }

    /// Keeps what Python raised, and ends the search.
    fn ask<T>(&mut self, ask: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<T>) -> Result<T, AttackError> {
        ask(&self.object).map_err(|error| {
            let reason = error.to_string();
            self.error = Some(error);
            AttackError::Setting { place: "victim", reason }
        })
    }

    /// What was found, or what Python raised.
    fn raised<T>(&mut self, found: Result<T, AttackError>) -> PyResult<T> {
        let py = self.object.py();
        found.map_err(|error| self.error.take().unwrap_or_else(|| of(py, error)))
    }
}

impl Victim for Host<'_> {
    fn slopes(&mut self) -> Result<Slopes, AttackError> {
        self.ask(|object| {
            let (loss, gradients): (f64, Vec<Bound<'_, PyArray1<f32>>>) =
                object.call_method0("slopes")?.extract()?;
            let gradients =
                gradients.iter().map(|gradient| Ok(gradient.to_vec()?)).collect::<PyResult<_>>()?;
            Ok(Slopes { loss, gradients })
        })
    }

    fn losses(&mut self, probes: &[Vec<Change>]) -> Result<Vec<f64>, AttackError> {
        let told = |change: &Change| (change.tensor, change.element, change.level);
        let probes: Vec<Vec<_>> = probes.iter().map(|probe| probe.iter().map(told).collect()).collect();
        self.ask(|object| object.call_method1("losses", (probes,))?.extract())
    }

    fn commit(&mut self, _: &[Change]) -> Result<(), AttackError> {
        Ok(()) // Python commits what a step found itself.
    }
}

impl Landscape for Host<'_> {
    fn sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn slopes(&mut self) -> Result<(f64, Vector), AttackError> {
        Err(not_asked())
    }

    fn product(&mut self, direction: &Vector) -> Result<Vector, AttackError> {
        self.ask(|object| {
            let py = object.py();
            let direction: Vec<_> = direction.iter().map(|values| PyArray1::from_slice(py, values)).collect();
            let product: Vec<Bound<'_, PyArray1<f64>>> =
                object.call_method1("product", (direction,))?.extract()?;
            product.iter().map(|values| Ok(values.to_vec()?)).collect()
        })
    }

    fn gauss_newton_draw(&mut self, _: &PartKey) -> Result<Vector, AttackError> {
        Err(not_asked())
    }
}

/// Hutchinson's estimator asks for products alone.
fn not_asked() -> AttackError {
    AttackError::Setting { place: "landscape", reason: "only products are asked for here".into() }
}
