//! Tensors of a module, for Python.

use std::collections::{HashMap, HashSet};

use bitquake::tensors::Role;
use pyo3::exceptions::PyIndexError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error::raise;
use crate::fault::{PyFault, PySource};
use crate::module::{Part, slots_of};
use crate::pattern::PyPattern;
use crate::placed::PyPlaced;
use crate::slot::{Kept, Slot, distinct, find_tied};

/// The name of a tensor, and the module that measures it.
type Measured<'py> = (String, Bound<'py, PyAny>);

/// Tensors of a module, in the order of its state dict, each a `Slot`.
#[pyclass(frozen, name = "Slots", module = "bitquake._core")]
pub struct PySlots {
    parts: Vec<Part>,
    slots: Vec<Slot>,
}

/// Rotations of positions and the like, which are no weights, stay as they are.
fn is_complex_buffer(tensor: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = tensor.py();
    let is_parameter =
        tensor.is_instance(&py.import(intern!(py, "torch"))?.getattr("nn")?.getattr("Parameter")?)?;
    Ok(!is_parameter && tensor.call_method0(intern!(py, "is_complex"))?.is_truthy()?)
}

#[pymethods]
impl PySlots {
    /// The parameters and the persistent buffers of a module, tied ones under each name.
    #[staticmethod]
    fn of(module: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (parts, slots) = slots_of(module, None)?;
        Ok(Self { parts, slots })
    }

    /// Those that a memory of codes can hold, each stored bit once.
    #[staticmethod]
    fn storable(module: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = module.py();
        let (parts, mut slots) = slots_of(module, None)?;
        for slot in slots.iter().filter(|slot| slot.role != Role::Attribute) {
            if let Err(why) = &slot.words
                && !is_complex_buffer(slot.kept.tensor.bind(py))?
            {
                let message = format!("`{}` {why}: it cannot be stored", slot.name);
                return Err(raise(py, "UnsupportedError", message));
            }
        }
        slots.retain(|slot| slot.words.is_ok());
        Ok(Self { parts, slots: distinct(py, slots)? })
    }

    /// Those that a fault may hit, each stored bit once, and the fault over them. `types` leaves what lies directly in modules of these
    /// classes.
    #[staticmethod]
    #[pyo3(signature = (module, fault, types=None))]
    fn exposed(
        module: &Bound<'_, PyAny>,
        fault: &PyFault,
        types: Option<Bound<'_, PyTuple>>,
    ) -> PyResult<(Self, PySource)> {
        let py = module.py();
        let (parts, mut slots) = slots_of(module, types)?;
        let are_tied = find_tied(&mut slots);
        let selected = |by_all| {
            fault.selected(py, &slots.iter().map(|slot| slot.selectable(by_all)).collect::<Vec<_>>())
        };
        let mut is_selected = selected(true)?;
        if are_tied {
            // Words that are left out by one name are left out; others go by the first name that is selected.
            let by_own = selected(false)?;
            is_selected.iter_mut().zip(by_own).for_each(|(is_selected, by_own)| *is_selected &= by_own);
        }
        let mut is_selected = is_selected.into_iter();
        slots.retain(|_| is_selected.next().unwrap_or(false));
        let mut slots = distinct(py, slots)?;
        let tensors = slots.iter().map(|slot| (slot.candidate(), slot.shape.as_slice()));
        let source = PySource::of_tensors(py, fault, 0, tensors)?;
        // A tensor is no part of the space if all its bits are protected.
        let names: HashSet<&str> = source.space.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        slots.retain(|slot| names.contains(slot.name.as_str()));
        drop(names);
        Ok((Self { parts, slots }, source))
    }

    fn __len__(&self) -> usize {
        self.slots.len()
    }

    fn __getitem__(slf: &Bound<'_, Self>, place: usize) -> PyResult<PySlot> {
        let is_there = place < slf.get().slots.len();
        let slots = slf.clone().unbind();
        if is_there { Ok(PySlot { slots, place }) } else { Err(PyIndexError::new_err(place)) }
    }

    /// Their names in the state dict.
    #[getter]
    fn names(&self) -> Vec<&str> {
        self.slots.iter().map(|slot| slot.name.as_str()).collect()
    }

    /// The tensors themselves.
    #[getter]
    fn tensors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.slots.iter().map(|slot| &slot.kept.tensor))
    }

    /// Those that their modules keep packed.
    #[getter]
    fn packed(slf: &Bound<'_, Self>) -> Vec<PySlot> {
        let slots = slf.get().slots.iter().enumerate();
        let packed = slots.filter(|(_, slot)| slot.kept.commit.is_some());
        packed.map(|(place, _)| PySlot { slots: slf.clone().unbind(), place }).collect()
    }

    /// The names of those that batch normalisations measure, with the modules that do.
    #[getter]
    fn statistics<'py>(&self, py: Python<'py>) -> Vec<Measured<'py>> {
        let measured = self.slots.iter().filter(|slot| slot.role == Role::Statistic);
        measured.map(|slot| (slot.name.clone(), slot.kept.part.bind(py).clone())).collect()
    }

    /// The dimensions of those of these names.
    fn shapes<'py>(&self, py: Python<'py>, names: Vec<String>) -> PyResult<Bound<'py, PyDict>> {
        let (shapes, by_name) = (PyDict::new(py), self.by_name());
        for name in names {
            if let Some(slot) = by_name.get(name.as_str()) {
                shapes.set_item(name, PyTuple::new(py, &slot.shape)?)?;
            }
        }
        Ok(shapes)
    }

    /// The names of those that the module does not hold any more, or elsewhere.
    fn gone(&self, py: Python<'_>) -> PyResult<Vec<&str>> {
        let (are_there, mut gone) = (Part::are_there(py, &self.parts)?, Vec::new());
        for slot in &self.slots {
            if !slot.kept.number.is_none_or(|number| are_there[number]) || !slot.is_there(py)? {
                gone.push(slot.name.as_str());
            }
        }
        Ok(gone)
    }

    /// A pattern over some of them, ready to flip their bits; `None` where words do not lie on the host one after the other, or
    /// are not those that the pattern was made for.
    fn placed(&self, pattern: &Bound<'_, PyPattern>) -> PyResult<Option<PyPlaced>> {
        let by_name = self.by_name();
        PyPlaced::new(pattern, |name| by_name.get(name).copied())
    }

    /// A module may hold what holds its tensors.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for Slot { kept: Kept { part, owner, tensor, commit, .. }, .. } in &self.slots {
            [part, owner, tensor].into_iter().chain(commit).try_for_each(|held| visit.call(held))?;
        }
        self.parts
            .iter()
            .flat_map(|Part { owner, part, .. }| [owner, part])
            .try_for_each(|held| visit.call(held))
    }
}

impl PySlots {
    fn by_name(&self) -> HashMap<&str, &Slot> {
        self.slots.iter().map(|slot| (slot.name.as_str(), slot)).collect()
    }
}

/// One of them.
#[pyclass(frozen, name = "Slot", module = "bitquake._core")]
pub struct PySlot {
    slots: Py<PySlots>,
    place: usize,
}

impl PySlot {
    fn get(&self) -> &Slot {
        &self.slots.get().slots[self.place]
    }
}

#[pymethods]
impl PySlot {
    /// Its name in the state dict.
    #[getter]
    fn name(&self) -> &str {
        &self.get().name
    }

    /// Other names of the same words.
    #[getter]
    fn also(&self) -> Vec<String> {
        self.get().also.clone()
    }

    /// The module that keeps it.
    #[getter]
    fn module(&self, py: Python<'_>) -> Py<PyAny> {
        self.get().kept.part.clone_ref(py)
    }

    /// The tensor itself.
    #[getter]
    fn tensor(&self, py: Python<'_>) -> Py<PyAny> {
        self.get().kept.tensor.clone_ref(py)
    }

    /// What hands changed words to a module that keeps a packed copy of them.
    #[getter]
    fn commit(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get().kept.commit.as_ref().map(|commit| commit.clone_ref(py))
    }

    /// As of a tensor of a model file: `weight`; `statistic`, the running mean and variance of a batch normalisation; `attribute`, a setting
    /// that happens to be stored as a tensor (`num_batches_tracked`, index tables, masks), which only its full name selects.
    #[getter]
    fn role(&self) -> String {
        self.get().role.to_string()
    }

    /// Whether forward passes write to it and do not read it: the statistics of a normalisation in training mode.
    #[getter]
    fn is_updated(&self) -> bool {
        self.get().is_updated
    }

    /// The format of its words, if they can be flipped.
    #[getter]
    fn format(&self) -> Option<String> {
        self.get().words.as_ref().ok().map(|words| words.format.name())
    }

    /// Its dimensions.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.get().shape)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.slots)
    }
}
