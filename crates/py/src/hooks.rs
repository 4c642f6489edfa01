//! Hooks of layers, which put hits into what a layer has computed.
//!
//! What a pass computes is mostly known before it begins. Then a hook looks whether the layer gave what it was to give, changes the words that
//! are hit, and notes them. All else is left to Python, whose code would have to be fetched anew after each layer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyKeyError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::error::usage;
use crate::hits::{Changed, PyHits, Words, arrays};
use crate::tensor::is_tensor;

/// What Python says of a call: the number of the layer, the name of its value, the value's shape and dtype, whether it lies in memory of its
/// own if in none that the layer was given, and whether the layer writes into what it was given.
type Told<'py> = (usize, String, Bound<'py, PyAny>, Bound<'py, PyAny>, bool, bool);
/// What was hit: the name of the value, its shape, the words that were hit, what they were and are.
type Hit<'py> = (String, Py<PyAny>, Py<PyHits>, Words<'py>);

/// The calls of layers that a pass is known to make, in their order, as far as they give plain tensors.
#[pyclass(frozen, name = "Calls", module = "bitquake._core")]
pub struct PyCalls(Vec<Call>);

struct Call {
    layer: usize,
    name: String,
    shape: Py<PyAny>,
    dtype: Py<PyAny>,
    is_own: bool,
    is_in_place: bool,
}

#[pymethods]
impl PyCalls {
    #[new]
    fn new(calls: Vec<Told<'_>>) -> Self {
        let one = |(layer, name, shape, dtype, is_own, is_in_place): Told<'_>| Call {
            layer,
            name,
            shape: shape.unbind(),
            dtype: dtype.unbind(),
            is_own,
            is_in_place,
        };
        Self(calls.into_iter().map(one).collect())
    }
}

impl Call {
    /// Whether this is what it was to give, and not what it was given.
    fn gave(
        &self,
        args: &Bound<'_, PyTuple>,
        kwargs: &Bound<'_, PyDict>,
        output: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let py = output.py();
        Ok(is_tensor(output)?
            && output.getattr(intern!(py, "dtype"))?.is(&self.dtype)
            && output.getattr(intern!(py, "shape")).is_ok_and(|shape| shape.eq(&self.shape).unwrap_or(false))
            && (self.is_in_place || !hands_on(args, kwargs, output)))
    }
}

/// Whether a layer may have given one of the values that it was given.
fn hands_on(args: &Bound<'_, PyTuple>, kwargs: &Bound<'_, PyDict>, output: &Bound<'_, PyAny>) -> bool {
    let may = |value: &Bound<'_, PyAny>| {
        let holds_others = value.is_instance_of::<PyTuple>()
            || value.is_instance_of::<PyList>()
            || value.is_instance_of::<PyDict>();
        value.is(output) || holds_others
    };
    args.iter().chain(kwargs.values()).any(|value| may(&value))
}

/// The hooks of some layers.
#[pyclass(frozen, name = "LayerHooks", module = "bitquake._core")]
pub struct PyLayerHooks {
    layers: Vec<Py<PyAny>>,
    /// Of each layer whether nothing but itself had to do with its output when these hooks were made.
    are_alone: Vec<bool>,
    otherwise: Py<PyAny>,
    pass: Mutex<Pass>,
}

/// What is known of the present pass, and what was done in it.
#[derive(Default)]
struct Pass {
    calls: Option<Py<PyCalls>>,
    /// Of each layer its calls to come, the last one first; `None` where nothing is known.
    due: Vec<Option<Vec<usize>>>,
    /// Of each call what is hit.
    drawn: Vec<Drawn>,
    made: Vec<Made>,
}

/// Words of the value of a call that were hit.
struct Made {
    calls: Py<PyCalls>,
    place: usize,
    hits: Py<PyHits>,
    words: Changed,
}

/// What is hit of a value.
enum Drawn {
    Nothing,
    /// These words, whatever else it holds.
    Words(Py<PyHits>),
    /// It has to be looked at.
    More,
}

#[pymethods]
impl PyLayerHooks {
    /// `is_watched` tells of hooks on all modules. `otherwise(number, module, args, kwargs, output, name)` is called for what a layer gives that was not to be expected, with no name; and
    /// for what was, but cannot be changed here.
    #[new]
    fn new(layers: Vec<Bound<'_, PyAny>>, is_watched: bool, otherwise: Py<PyAny>) -> PyResult<Self> {
        let alone = |layer: &Bound<'_, PyAny>| Ok(!is_watched && is_alone(layer)?);
        let are_alone = layers.iter().map(alone).collect::<PyResult<_>>()?;
        let layers = layers.into_iter().map(Bound::unbind).collect();
        Ok(Self { layers, are_alone, otherwise, pass: Mutex::default() })
    }

    /// Whether nothing but a layer itself has to do with its output, such as another hook, which may keep it.
    fn is_alone(&self, layer: usize) -> bool {
        self.are_alone.get(layer).copied().unwrap_or(false)
    }

    /// Puts a hook on each layer, under a number that no other hook has. Returns those that it is not PyTorch's to put on, with their
    /// layers.
    fn attach<'py>(slf: &Bound<'py, Self>, number: usize) -> PyResult<Vec<(Py<PyAny>, PyLayerHook)>> {
        let py = slf.py();
        let mut others = Vec::new();
        for (place, layer) in slf.get().layers.iter().enumerate() {
            let hook = PyLayerHook { hooks: slf.clone().unbind(), layer: place };
            let module = layer.bind(py);
            if is_usual(module)? {
                module.getattr(intern!(py, "_forward_hooks"))?.set_item(number, hook)?;
                module.getattr(intern!(py, "_forward_hooks_with_kwargs"))?.set_item(number, true)?;
            } else {
                others.push((layer.clone_ref(py), hook));
            }
        }
        Ok(others)
    }

    /// Takes them off again, as far as they are on.
    fn detach(&self, py: Python<'_>, number: usize) -> PyResult<()> {
        for layer in &self.layers {
            for hooks in [intern!(py, "_forward_hooks"), intern!(py, "_forward_hooks_with_kwargs")] {
                let removed = layer.bind(py).getattr(hooks)?.del_item(number);
                removed.or_else(
                    |error| if error.is_instance_of::<PyKeyError>(py) { Ok(()) } else { Err(error) },
                )?;
            }
        }
        Ok(())
    }

    /// Begins a pass that is known to make these calls, of whose values so much is hit.
    fn begin(&self, py: Python<'_>, calls: Py<PyCalls>, drawn: &Bound<'_, PyDict>) -> PyResult<()> {
        let own = &calls.get().0;
        if let Some(call) = own.iter().find(|call| call.layer >= self.layers.len()) {
            return Err(usage(py, format!("there is no layer {} among {}", call.layer, self.layers.len())));
        }
        let hits = own
            .iter()
            .map(|call| Drawn::of(call, self.is_alone(call.layer), drawn))
            .collect::<PyResult<_>>()?;
        let mut pass = self.pass();
        pass.due.clear();
        pass.due.resize(self.layers.len(), None);
        for (place, call) in own.iter().enumerate().rev() {
            pass.due[call.layer].get_or_insert_default().push(place);
        }
        pass.drawn = hits;
        pass.calls = Some(calls);
        Ok(())
    }

    /// Forgets what is known of the pass.
    fn clear(&self) {
        self.pass().due.clear();
    }

    /// Forgets what is known of a layer, and tells how many of its calls were made; `None` if nothing was known.
    fn surprised(&self, layer: usize) -> Option<usize> {
        let mut pass = self.pass();
        let left = pass.due.get_mut(layer)?.take()?.len();
        let calls = pass.calls.as_ref()?.get().0.iter().filter(|call| call.layer == layer).count();
        Some(calls - left)
    }

    /// Counts a call that Python has dealt with.
    fn count(&self, layer: usize) {
        self.pass().count(layer);
    }

    /// What was hit since this was asked last; `None` if nothing was.
    fn made(&self) -> Option<PyMade> {
        let made = std::mem::take(&mut self.pass().made);
        (!made.is_empty()).then_some(PyMade(made))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.layers.iter().chain([&self.otherwise]).try_for_each(|held| visit.call(held))
    }
}

impl PyLayerHooks {
    /// Never held while Python runs.
    fn pass(&self) -> MutexGuard<'_, Pass> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The next call of a layer, if it is known.
    fn next(&self, py: Python<'_>, layer: usize) -> Option<(Py<PyCalls>, usize, Drawn)> {
        let place = *self.due.get(layer)?.as_ref()?.last()?;
        Some((self.calls.as_ref()?.clone_ref(py), place, self.drawn.get(place)?.clone_ref(py)))
    }

    fn count(&mut self, layer: usize) {
        if let Some(Some(due)) = self.due.get_mut(layer) {
            due.pop();
        }
    }
}

impl Drawn {
    fn of(call: &Call, is_alone: bool, drawn: &Bound<'_, PyDict>) -> PyResult<Self> {
        let Some(found) = drawn.get_item(&call.name)? else { return Ok(Self::Nothing) };
        Ok(match found.cast_into::<PyHits>() {
            Ok(hits) if call.is_own && is_alone => Self::Words(hits.unbind()),
            _ => Self::More,
        })
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Words(hits) => Self::Words(hits.clone_ref(py)),
            Self::More => Self::More,
        }
    }
}

/// Hits of a pass, in their order.
#[pyclass(frozen, name = "Made", module = "bitquake._core")]
pub struct PyMade(Vec<Made>);

#[pymethods]
impl PyMade {
    /// How many words were hit.
    fn __len__(&self) -> usize {
        self.0.iter().map(|made| made.words.0.len()).sum()
    }

    /// Each value that was hit.
    #[getter]
    fn hits<'py>(&self, py: Python<'py>) -> Vec<Hit<'py>> {
        let one = |made: &Made| {
            let call = &made.calls.get().0[made.place];
            let words = arrays(py, made.words.clone());
            (call.name.clone(), call.shape.clone_ref(py), made.hits.clone_ref(py), words)
        };
        self.0.iter().map(one).collect()
    }
}

fn is_alone(layer: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = layer.py();
    let has_hooks = layer.getattr(intern!(py, "_forward_hooks"))?.is_truthy()?;
    Ok(!has_hooks && !layer.getattr(intern!(py, "__dict__"))?.contains(intern!(py, "forward"))?)
}

/// Whether PyTorch's own way of registering a hook is that of a module.
fn is_usual(module: &Bound<'_, PyAny>) -> PyResult<bool> {
    static REGISTER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = module.py();
    let name = intern!(py, "register_forward_hook");
    let own = REGISTER.get_or_try_init(py, || {
        PyResult::Ok(py.import("torch.nn")?.getattr("Module")?.getattr(name)?.unbind())
    })?;
    Ok(module.get_type().getattr(name)?.is(own))
}

/// The hook of one layer.
#[pyclass(frozen, name = "LayerHook", module = "bitquake._core")]
pub struct PyLayerHook {
    hooks: Py<PyLayerHooks>,
    layer: usize,
}

#[pymethods]
impl PyLayerHook {
    /// TorchDynamo does not look into it: it breaks the graph and calls it.
    #[classattr]
    #[pyo3(name = "_torchdynamo_disable")]
    const IS_UNINSPECTED: bool = true;

    /// What a module does for a hook that is given its keyword arguments. Returns what is to take the output's place, or nothing.
    fn __call__<'py>(
        &self,
        module: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
        output: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (py, hooks, layer) = (module.py(), self.hooks.get(), self.layer);
        let next = hooks.pass().next(py, layer);
        let mut name = None;
        if let Some((calls, place, drawn)) = &next {
            let call = &calls.get().0[*place];
            if call.gave(args, kwargs, output)? {
                match drawn {
                    Drawn::Nothing => {
                        hooks.pass().count(layer);
                        return Ok(None);
                    }
                    Drawn::Words(hits) => {
                        if let Some(changed) =
                            hits.get().change_own(args, kwargs, output, call.is_in_place)?
                        {
                            let mut pass = hooks.pass();
                            pass.count(layer);
                            pass.made.push(Made {
                                calls: calls.clone_ref(py),
                                place: *place,
                                hits: hits.clone_ref(py),
                                words: changed,
                            });
                            return Ok(None);
                        }
                    }
                    Drawn::More => {}
                }
                name = Some(call.name.as_str());
            }
        }
        hooks.otherwise.bind(py).call1((layer, module, args, kwargs, output, name)).map(Some)
    }

    /// Copies of a module have the same hooks.
    fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        slf
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.hooks)
    }
}
