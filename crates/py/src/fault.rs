//! Fault models over named tensors, and drawing from them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bitquake::bits::BitSelection;
use bitquake::config::{FaultConfig, Target};
use bitquake::fault::{
    Candidate, DrawError, Effect, FaultModel, FaultSpace, Faults, Hits, Name, ProtectedBits, Selector,
    TensorFaults,
};
use bitquake::record::Amount;
use bitquake::sample::{PartKey, StreamKey};
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::error::{of, usage};
use crate::hits::{Columns, PyHits};
use crate::pattern::PyPattern;
use crate::text::parse;
use crate::threads::detached;
use crate::words::{ReadStore, Reads, WriteStore, Writes};

/// A table `[fault]`, read from an inline table of TOML.
#[pyclass(frozen, name = "Fault", module = "bitquake._core")]
pub struct PyFault(pub FaultConfig);

#[pymethods]
impl PyFault {
    #[new]
    fn new(py: Python<'_>, text: &str) -> PyResult<Self> {
        FaultConfig::from_inline(text).map(Self).map_err(|message| usage(py, message))
    }

    /// The points: what each asks for (`rate`, `count` ...), and how much.
    #[getter]
    fn amounts(&self) -> Vec<(&'static str, f64)> {
        self.0.amounts().iter().map(|amount| (amount.kind(), amount.value())).collect()
    }

    /// The name of the model.
    #[getter]
    fn model(&self) -> &str {
        self.0.model_name()
    }

    /// `weights`, `activations` or `inputs`.
    #[getter]
    fn target(&self) -> &'static str {
        match self.0.target() {
            Target::Weights => "weights",
            Target::Activations => "activations",
            Target::Inputs => "inputs",
        }
    }

    /// Globs over names.
    #[getter]
    fn select(&self) -> Vec<String> {
        self.0.select().to_vec()
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Which of these names its globs reach.
    fn selects(&self, py: Python<'_>, names: Vec<String>) -> PyResult<Vec<bool>> {
        let names = names.iter().map(|text| Name { text, by_name_only: false, also: &[] });
        self.selected(py, &names.collect::<Vec<_>>())
    }
}

impl PyFault {
    /// Which tensors its globs reach.
    pub fn selected(&self, py: Python<'_>, names: &[Name<'_>]) -> PyResult<Vec<bool>> {
        let selector = match self.0.select() {
            [] => Selector::all(),
            globs => Selector::new(globs).map_err(|error| of(py, error))?,
        };
        selector.matches(names).map_err(|error| of(py, error))
    }
}

/// What Python says of a tensor that may be hit: name, format, dimensions, whether only its exact name selects it, and other names of the
/// same words.
pub type Exposed = (String, String, Vec<u64>, bool, Vec<String>);

/// A fault model at one amount over a fault space: draws the faults of any trial.
#[pyclass(frozen, name = "Source", module = "bitquake._core")]
pub struct PySource {
    model: FaultModel,
    pub space: Arc<FaultSpace>,
    is_conditioned: bool,
}

#[pymethods]
impl PySource {
    /// The model of `fault` at its `point`-th amount over those of the tensors that it selects.
    #[new]
    fn new(py: Python<'_>, fault: &PyFault, point: usize, tensors: Vec<Exposed>) -> PyResult<Self> {
        let formats = tensors.iter().map(|(_, format, ..)| parse(py, format));
        let formats = formats.collect::<PyResult<Vec<_>>>()?;
        let names = tensors.iter().map(|(name, _, _, by_name_only, also)| Name {
            text: name,
            by_name_only: *by_name_only,
            also,
        });
        let names: Vec<Name<'_>> = names.collect();
        let is_selected = fault.selected(py, &names)?;
        let all = tensors.iter().zip(formats).map(|((name, _, dims, by_name_only, _), format)| {
            let elements = dims.iter().product();
            (Candidate { name, format, elements, by_name_only: *by_name_only }, dims.as_slice())
        });
        let chosen = all.zip(is_selected).filter_map(|(one, is_selected)| is_selected.then_some(one));
        Self::of_tensors(py, fault, point, chosen)
    }

    /// Bits that may be hit.
    #[getter]
    fn bits(&self) -> u64 {
        self.space.bits()
    }

    /// The tensors that may be hit: name, format, elements, and the bits of each word that may be hit.
    #[getter]
    fn tensors(&self) -> Vec<(String, String, u64, u64)> {
        let one = |tensor: &bitquake::fault::SpaceTensor| {
            (tensor.name.clone(), tensor.format.name(), tensor.elements, tensor.mask)
        };
        self.space.tensors().iter().map(one).collect()
    }

    /// The faults of a trial.
    fn draw(&self, py: Python<'_>, seed: u64, trial: u64) -> PyResult<PyFaults> {
        let key = key(seed, trial);
        let drawn = detached(py, || self.faults(&key))?;
        drawn.map(PyFaults).map_err(|error| of(py, error))
    }

    /// What a trial hits: the names of the tensors, and the flips; where what a fault does hangs on what is stored, the faults instead.
    fn hit(&self, py: Python<'_>, seed: u64, trial: u64) -> PyResult<Hit> {
        let key = StreamKey { seed, point: 0, trial };
        if let Some(pattern) = self.plain_rate().and_then(|rate| PyPattern::of_rate(&self.space, rate, key)) {
            let names = self.space.tensors().iter().map(|tensor| tensor.name.clone()).collect();
            return Ok((names, Some(pattern), None));
        }
        let faults = detached(py, || self.faults_of(seed, trial))?.map_err(|error| of(py, error))?;
        let names = faults.tensors().iter().map(|tensor| tensor.tensor.clone()).collect();
        if !are_flips(&faults) {
            return Ok((names, None, Some(PyFaults(faults))));
        }
        let pattern = faults.into_flips().map_err(|error| of(py, DrawError::from(error)))?;
        Ok((names, Some(PyPattern::from(pattern)), None))
    }

    /// The faults of each of some images of a trial, as those of one tensor that holds the values of all of them. For a space
    /// of one tensor.
    fn draw_images(
        &self,
        py: Python<'_>,
        seed: u64,
        trial: u64,
        first: u64,
        images: u64,
    ) -> PyResult<Vec<(String, PyFaults)>> {
        let key = key(seed, trial);
        let end = first.checked_add(images).ok_or_else(|| usage(py, "so many images cannot be counted"))?;
        let drawn = detached(py, || -> Result<Vec<Faults>, bitquake::Error> {
            let sampler = self.model.sampler(&self.space)?;
            Ok(sampler.draw_images(&key, first..end)?)
        })?;
        let drawn = drawn.map_err(|error| of(py, error))?;
        let joined = self.space.tensors().iter().map(|tensor| {
            let all = Faults::new(vec![joined(tensor, &drawn)]).map_err(|error| of(py, error))?;
            Ok((tensor.name.clone(), PyFaults(all)))
        });
        joined.collect()
    }

    /// The words that such draws hit, by the names of the tensors that are hit; places count on from image to image. `None` where what
    /// becomes of one hangs on the rest of it, and `draw_images` has to tell.
    fn hit_images(
        &self,
        py: Python<'_>,
        seed: u64,
        trial: u64,
        first: u64,
        images: u64,
    ) -> PyResult<Option<Vec<(String, PyHits)>>> {
        let end = first.checked_add(images).ok_or_else(|| usage(py, "so many images cannot be counted"))?;
        let hits = detached(py, || -> Result<_, bitquake::Error> {
            let drawn = self.model.sampler(&self.space)?.draw_images(&key(seed, trial), first..end)?;
            Ok(hits(&drawn))
        })?;
        hits.map_err(|error| of(py, error))
    }

    /// Draws the faults of a trial and applies them; also returns how many changed nothing.
    fn inject(
        &self,
        py: Python<'_>,
        seed: u64,
        trial: u64,
        mut tensors: Writes<'_>,
    ) -> PyResult<(PyPattern, u64)> {
        let mut store = WriteStore::new(py, &mut tensors)?;
        let key = StreamKey { seed, point: 0, trial };
        let injected = detached(py, || -> Result<_, bitquake::Error> {
            if let Some(rate) = self.plain_rate()
                && let Some(pattern) = PyPattern::in_place(&self.space, rate, key, &mut store)
            {
                return Ok((pattern, 0));
            }
            let faults = self.faults(&key.into())?;
            let (pattern, dormant) = if are_flips(&faults) {
                (faults.into_flips().map_err(DrawError::from)?, 0)
            } else {
                let resolved = faults.resolve(&store)?;
                (resolved.pattern, resolved.dormant)
            };
            pattern.apply(&mut store)?;
            Ok((PyPattern::from(pattern), dormant))
        })?;
        injected.map_err(|error| of(py, error))
    }
}

impl PySource {
    /// The model of `fault` at its `point`-th amount over these tensors, whatever it selects; with each its dimensions.
    pub fn of_tensors<'a>(
        py: Python<'_>,
        fault: &PyFault,
        point: usize,
        tensors: impl Iterator<Item = (Candidate<'a>, &'a [u64])>,
    ) -> PyResult<Self> {
        let bits: BitSelection = fault.0.bits().map_err(|message| usage(py, message))?;
        let mut dims = HashMap::new();
        let exposed = tensors.map(|(tensor, own)| {
            dims.insert(tensor.name, own);
            (tensor, bits)
        });
        let space = FaultSpace::gather(exposed).map_err(|error| of(py, error))?;
        let space = space.with_dims(|name| dims.get(name).map(|dims| dims.to_vec()));
        Self::over(py, &fault.0, point, space.map_err(|error| of(py, error))?)
    }

    pub fn over(py: Python<'_>, config: &FaultConfig, point: usize, space: FaultSpace) -> PyResult<Self> {
        let amounts = config.amounts();
        let amount: Amount = *amounts.get(point).ok_or_else(|| {
            usage(py, format!("there is no point {point}: the fault has {} amounts", amounts.len()))
        })?;
        let model = config.model(amount).map_err(|message| usage(py, message))?;
        let protected: Option<ProtectedBits> = config.protected().map_err(|message| usage(py, message))?;
        let space = match protected {
            Some(protected) => space.without(&protected).map_err(|error| of(py, error))?,
            None => space,
        };
        Ok(Self { model, space: Arc::new(space), is_conditioned: config.at_least.is_some() })
    }

    /// The faults of a trial.
    pub fn faults_of(&self, seed: u64, trial: u64) -> Result<Faults, bitquake::Error> {
        self.faults(&StreamKey { seed, point: 0, trial }.into())
    }

    fn faults(&self, key: &PartKey) -> Result<Faults, bitquake::Error> {
        let sampler = self.model.sampler(&self.space)?;
        Ok(if self.is_conditioned { sampler.draw_at_least_one(key)?.faults } else { sampler.draw(key)? })
    }

    /// The rate, if every bit of the space flips with one and nothing else happens.
    fn plain_rate(&self) -> Option<bitquake::sample::Rate> {
        match &self.model {
            FaultModel::BitFlip(Hits::Rate(rate)) if !self.is_conditioned => Some(*rate),
            _ => None,
        }
    }
}

/// Whether every fault is a flip, whatever is stored.
fn are_flips(faults: &Faults) -> bool {
    faults.tensors().iter().all(|tensor| tensor.addresses(Effect::Flip).len() as u64 == tensor.faults())
}

/// Everything that can happen to a bit.
const EFFECTS: [Effect; 6] =
    [Effect::Flip, Effect::Set0, Effect::Set1, Effect::Rise, Effect::Fall, Effect::Saturate];

/// The key of a trial.
fn key(seed: u64, trial: u64) -> PartKey {
    PartKey::from(StreamKey { seed, point: 0, trial })
}

/// The faults of one tensor of several images, one image after the other.
fn joined(tensor: &bitquake::fault::SpaceTensor, images: &[Faults]) -> TensorFaults {
    let bits = tensor.elements * u64::from(tensor.format.width());
    let of = |effect: Effect| {
        let shifted = (0..).zip(images).flat_map(|(image, faults)| {
            let own = faults.tensors().iter().find(|faults| faults.tensor == tensor.name);
            own.map(|own| own.addresses(effect)).unwrap_or_default().iter().map(move |at| at + image * bits)
        });
        (effect, shifted.collect())
    };
    let elements = tensor.elements * images.len() as u64;
    TensorFaults::new(tensor.name.clone(), tensor.format, elements, EFFECTS.map(of))
}

/// What `hit` gives.
type Hit = (Vec<String>, Option<PyPattern>, Option<PyFaults>);

/// The words that the faults of some images hit; `None` if what becomes of one hangs on more than the bit.
fn hits(images: &[Faults]) -> Option<Vec<(String, PyHits)>> {
    let mut of: BTreeMap<&str, Vec<(u64, &TensorFaults)>> = BTreeMap::new();
    for (image, faults) in (0..).zip(images) {
        for own in faults.tensors() {
            of.entry(&own.tensor).or_default().push((image, own));
        }
    }
    let (mut columns, mut ends) = (Columns::default(), Vec::with_capacity(of.len()));
    for (tensor, parts) in of {
        for (image, own) in parts {
            if !own.addresses(Effect::Saturate).is_empty() {
                return None;
            }
            for (word, (zero, one)) in by_word(own) {
                columns.places.push(word + image * own.elements);
                columns.if_zero.push(zero);
                columns.if_one.push(one);
            }
        }
        ends.push((tensor.to_owned(), columns.places.len()));
    }
    let (columns, mut start) = (Arc::new(columns), 0);
    let one = |(tensor, end)| {
        let rows = std::mem::replace(&mut start, end)..end;
        (tensor, PyHits::new(Arc::clone(&columns), rows))
    };
    Some(ends.into_iter().map(one).collect())
}

/// Of each word with a fault, the bits that change from 0, and from 1.
fn by_word(faults: &TensorFaults) -> BTreeMap<u64, (u64, u64)> {
    let width = u64::from(faults.format.width());
    let mut words: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for effect in EFFECTS {
        for &address in faults.addresses(effect) {
            let (zero, one) = words.entry(address / width).or_default();
            let bit = 1 << (address % width);
            *zero |= if effect.read(false) == Some(true) { bit } else { 0 };
            *one |= if effect.read(true) == Some(false) { bit } else { 0 };
        }
    }
    words
}

/// The faults of one draw: bits that flip, are stuck, or flip one way.
#[pyclass(frozen, name = "Faults", module = "bitquake._core")]
pub struct PyFaults(pub Faults);

#[pymethods]
impl PyFaults {
    /// How many bits have an effect.
    #[getter]
    fn count(&self) -> u64 {
        self.0.faults()
    }

    /// The tensors that are hit.
    #[getter]
    fn tensors(&self) -> Vec<String> {
        self.0.tensors().iter().map(|tensor| tensor.tensor.clone()).collect()
    }

    /// The flips, if none depends on what is stored; else `None`, and `resolve` has to look.
    fn flips(&self) -> Option<PyPattern> {
        self.0.clone().into_flips().ok().map(PyPattern::from)
    }

    /// The words of a tensor that have a fault, rising; the bits of each that change where it holds 0, and those that change where it
    /// holds 1. So `word ^ (zero & ~word | one & word)` is what becomes of it. `None` where that hangs on the rest of the word, and
    /// `resolve` has to look.
    fn masks<'py>(&self, py: Python<'py>, tensor: &str) -> Option<[Bound<'py, PyArray1<u64>>; 3]> {
        let faults = self.0.tensors().iter().find(|faults| faults.tensor == tensor);
        if faults.is_some_and(|faults| !faults.addresses(Effect::Saturate).is_empty()) {
            return None;
        }
        let (words, masks): (Vec<u64>, Vec<(u64, u64)>) =
            faults.map(by_word).unwrap_or_default().into_iter().unzip();
        let (zero, one): (Vec<u64>, Vec<u64>) = masks.into_iter().unzip();
        Some([words, zero, one].map(|values| values.into_pyarray(py)))
    }

    /// What the faults change in these words, and how many change nothing.
    fn resolve(&self, py: Python<'_>, tensors: Reads<'_>) -> PyResult<(PyPattern, u64)> {
        let store = ReadStore::new(py, &tensors)?;
        let resolved = detached(py, || self.0.resolve(&store))?.map_err(|error| of(py, error))?;
        Ok((PyPattern::from(resolved.pattern), resolved.dormant))
    }
}
