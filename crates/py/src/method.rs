//! A training method whose network, and whose optimiser, are Python's.

use bitquake::train::TrainError;
use bitquake::train::method::{
    Half, Levels, LossAndGradient, Method, MethodConfig, MethodError, MethodState, Room, StepLosses, Stored,
    WeightTensor, Weights,
};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1, PyReadwriteArray1};
use pyo3::prelude::*;

use crate::error::{of, usage};
use crate::gradients::PyGradients;
use crate::threads::detached;

/// A float32 array that is read, one that is written.
type Floats<'py> = PyReadonlyArray1<'py, f32>;
type FloatsMut<'py> = PyReadwriteArray1<'py, f32>;
/// Vectors by name.
type Named<'py> = Vec<(String, Bound<'py, PyArray1<f32>>)>;

/// `[method]` of a recipe at work. A step is `begin`, the passes of `passes` with the levels of `clean_levels` and `perturbed_levels`, each told
/// by `add_clean` or `add_perturbed`, `combine`, the optimiser's step, and `finish`.
#[pyclass(name = "Method", module = "bitquake._core")]
pub struct PyMethod {
    method: Method,
    /// The masters of this step.
    weights: Weights,
    /// What they were before they were projected; empty for a tensor that is as it was.
    before: Vec<Vec<f32>>,
    step: Option<Step>,
    room: Room,
    /// Memory of the gradients of earlier passes.
    spare: Vec<Half>,
}

/// What a step has so far.
struct Step {
    stored: Stored,
    clean: Option<Half>,
    perturbed: Vec<Half>,
}

#[pymethods]
impl PyMethod {
    /// The method of a table for a network of these tensors: name, dimensions, values.
    #[new]
    fn new(
        py: Python<'_>,
        table: &str,
        tensors: Vec<(String, Vec<usize>, Floats<'_>)>,
        seed: u64,
    ) -> PyResult<Self> {
        let config = MethodConfig::from_inline(table).map_err(|error| wrong(py, error))?;
        let one = |(name, shape, values): (String, Vec<usize>, Floats<'_>)| {
            Ok(WeightTensor { name, shape, values: values.as_slice()?.to_vec() })
        };
        let weights = Weights { tensors: tensors.into_iter().map(one).collect::<PyResult<_>>()? };
        let method =
            detached(py, || Method::new(&config, &weights, seed))?.map_err(|error| wrong(py, error))?;
        let before = vec![Vec::new(); weights.tensors.len()];
        Ok(Self { method, weights, before, step: None, room: Room::default(), spare: Vec::new() })
    }

    /// Begins a step: takes the masters over, projects them and stores them. The arrays stay as they are.
    fn begin(&mut self, py: Python<'_>, masters: Vec<Floats<'_>>) -> PyResult<()> {
        let slices = slices(py, &masters, &self.weights)?;
        let Self { method, weights, before, room, .. } = self;
        let stored = detached(py, || {
            take(weights, &slices);
            method.project(weights);
            for ((before, given), own) in before.iter_mut().zip(slices).zip(&weights.tensors) {
                before.clear();
                before.extend_from_slice(if same_bits(given, &own.values) { &[] } else { given });
            }
            method.store_in(weights, room)
        })?;
        let stored = stored.map_err(|error| wrong(py, error))?;
        self.step = Some(Step { stored, clean: None, perturbed: Vec::new() });
        Ok(())
    }

    /// Writes the masters, as they were projected.
    fn masters(&self, py: Python<'_>, mut out: Vec<FloatsMut<'_>>) -> PyResult<()> {
        let slices = slices_mut(py, &mut out, &self.weights)?;
        let own = &self.weights.tensors;
        slices.into_iter().zip(own).for_each(|(out, own)| out.copy_from_slice(&own.values));
        Ok(())
    }

    /// Writes the masters as they were given.
    fn given(&self, py: Python<'_>, mut out: Vec<FloatsMut<'_>>) -> PyResult<()> {
        let slices = slices_mut(py, &mut out, &self.weights)?;
        let given = self.before.iter().zip(&self.weights.tensors);
        let given = given.map(|(before, own)| if before.is_empty() { &own.values } else { before });
        slices.into_iter().zip(given).for_each(|(out, given)| out.copy_from_slice(given));
        Ok(())
    }

    /// Whether the arrays hold the masters, as they were projected.
    fn are_masters(&self, py: Python<'_>, arrays: Vec<Floats<'_>>) -> PyResult<bool> {
        let slices = slices(py, &arrays, &self.weights)?;
        Ok(slices.iter().zip(&self.weights.tensors).all(|(given, own)| same_bits(given, &own.values)))
    }

    /// The passes of the step: whether there is a clean one, how many perturbed ones, whether those are attacks, and whether the same batch
    /// takes another step after this one.
    #[getter]
    fn passes(&self) -> (bool, u32, bool, bool) {
        let passes = self.method.plan();
        (passes.clean, passes.perturbed, passes.attack, passes.again)
    }

    /// Writes what the network computes with when nothing is faulty.
    fn clean_levels(&self, py: Python<'_>, mut out: Vec<FloatsMut<'_>>) -> PyResult<()> {
        let levels = self.begun(py)?.stored.levels();
        self.write(py, levels, &mut out)
    }

    /// Writes what the network computes with in perturbed pass `k` of a step, and returns the flips.
    fn perturbed_levels(
        &mut self,
        py: Python<'_>,
        step: u64,
        k: u32,
        mut out: Vec<FloatsMut<'_>>,
    ) -> PyResult<u64> {
        let Self { method, weights, step: begun, room, .. } = self;
        let stored = &begun.as_ref().ok_or_else(|| usage(py, NOT_BEGUN))?.stored;
        let levels = detached(py, || method.perturbed_in(stored, weights, step, k, room))?;
        let levels = levels.map_err(|error| wrong(py, error))?;
        self.write(py, &levels, &mut out)?;
        let flips = levels.flips;
        self.room.keep_levels(levels);
        Ok(flips)
    }

    /// Writes levels to validate with: pattern `k` of an epoch. Returns the flips; `None`, and nothing is written, where the method draws
    /// no faults.
    fn validation_levels(
        &self,
        py: Python<'_>,
        epoch: u64,
        k: u32,
        mut out: Vec<FloatsMut<'_>>,
    ) -> PyResult<Option<u64>> {
        let stored = &self.begun(py)?.stored;
        let levels = detached(py, || self.method.validation_faults(stored, &self.weights, epoch, k))?;
        let Some(levels) = levels.map_err(|error| wrong(py, error))? else { return Ok(None) };
        self.write(py, &levels, &mut out)?;
        Ok(Some(levels.flips))
    }

    /// Writes the levels of the worst bit errors found. `gradient` gets the levels of every tensor and returns the loss and the gradient of
    /// each.
    fn attacked_levels(
        &self,
        py: Python<'_>,
        step: u64,
        k: u32,
        gradient: Bound<'_, PyAny>,
        mut out: Vec<FloatsMut<'_>>,
    ) -> PyResult<u64> {
        let stored = &self.begun(py)?.stored;
        let mut raised = None;
        let mut ask = |levels: &Levels| {
            ask_python(&gradient, levels).map_err(|error| {
                let message = error.to_string();
                raised = Some(error);
                message.into()
            })
        };
        let found = self.method.attack(stored, &self.weights, step, k, &mut ask);
        let levels = found.map_err(|error| raised.take().unwrap_or_else(|| wrong(py, error)))?;
        self.write(py, &levels, &mut out)?;
        Ok(levels.flips)
    }

    /// Tells what the clean pass gave: its loss, and the gradient of each tensor's levels.
    fn add_clean(&mut self, py: Python<'_>, loss: f64, gradients: &PyGradients) -> PyResult<()> {
        let half = self.half(py, loss, gradients)?;
        self.begun_mut(py)?.clean = Some(half);
        Ok(())
    }

    /// Tells what a perturbed pass gave.
    fn add_perturbed(&mut self, py: Python<'_>, loss: f64, gradients: &PyGradients) -> PyResult<()> {
        let half = self.half(py, loss, gradients)?;
        self.begun_mut(py)?.perturbed.push(half);
        Ok(())
    }

    /// Writes the gradients of the masters, and returns the loss of the penalties.
    fn combine(&mut self, py: Python<'_>, out: &PyGradients) -> PyResult<f64> {
        check_lengths(py, out.lengths(), &self.weights)?;
        let Self { method, weights, room, step, .. } = self;
        let step = step.as_ref().ok_or_else(|| usage(py, NOT_BEGUN))?;
        let update = detached(py, || {
            method.combine_in(step.clean.as_ref(), &step.perturbed, &step.stored, weights, room)
        })?;
        let update = update.map_err(|error| wrong(py, error))?;
        out.write(&update.gradients);
        let penalty = update.penalty;
        room.keep_update(update);
        Ok(penalty)
    }

    /// Ends a step after the optimiser's. The masters may be changed: those of alternating training go back into their range.
    fn finish(&mut self, py: Python<'_>, mut masters: Vec<FloatsMut<'_>>) -> PyResult<()> {
        let step = self.step.take().ok_or_else(|| usage(py, NOT_BEGUN))?;
        let mut slices = slices_mut(py, &mut masters, &self.weights)?;
        let perturbed = step.perturbed.iter().map(|half| half.loss).sum::<f64>();
        let losses = StepLosses {
            clean: step.clean.as_ref().map(|half| half.loss),
            perturbed: (!step.perturbed.is_empty()).then(|| perturbed / step.perturbed.len() as f64),
        };
        let (method, weights) = (&mut self.method, &mut self.weights);
        detached(py, || {
            take(weights, &slices);
            method.finish_step(losses, weights);
            let changed = slices.iter_mut().zip(&weights.tensors);
            let changed = changed.filter(|(given, own)| !same_bits(given, &own.values));
            changed.for_each(|(given, own)| given.copy_from_slice(&own.values));
        })?;
        self.room.keep_stored(step.stored);
        self.spare = step.clean.into_iter().chain(step.perturbed).collect();
        Ok(())
    }

    /// Tells which epoch begins, counted from 0, of how many.
    fn begin_epoch(&mut self, epoch: u64, epochs: u64) {
        self.method.begin_epoch(epoch, epochs);
    }

    /// The bit error rate of the perturbed passes in this epoch, if there is one.
    #[getter]
    fn rate(&self) -> Option<f64> {
        self.method.rate()
    }

    /// The learnt ranges: tensor, value, gradient, weight decay, factor on the learning rate, lower bound.
    #[getter]
    fn ranges(&mut self) -> Vec<(String, f32, f32, f32, f32, f32)> {
        let one = |range: &bitquake::train::method::RangeParameter| {
            (
                range.name.clone(),
                range.value,
                range.gradient,
                range.weight_decay,
                range.rate_factor,
                range.lower,
            )
        };
        self.method.ranges().iter().map(one).collect()
    }

    /// Sets the learnt ranges, in their order: what the optimiser made of them.
    fn set_ranges(&mut self, py: Python<'_>, values: Vec<f32>) -> PyResult<()> {
        let ranges = self.method.ranges();
        if ranges.len() != values.len() {
            return Err(usage(py, format!("{} values for {} learnt ranges", values.len(), ranges.len())));
        }
        ranges.iter_mut().zip(values).for_each(|(range, value)| range.value = value);
        Ok(())
    }

    /// The averaged weights, if there are any: one array a tensor.
    #[getter]
    fn averaged<'py>(&self, py: Python<'py>) -> Option<Vec<Bound<'py, PyArray1<f32>>>> {
        let averaged = self.method.averaged()?;
        Some(averaged.tensors.iter().map(|tensor| PyArray1::from_slice(py, &tensor.values)).collect())
    }

    /// The range that a tensor's codes cover in the step that was begun; `None` where it is not quantized.
    fn range(&self, py: Python<'_>, tensor: &str) -> PyResult<Option<(f32, f32)>> {
        Ok(self.begun(py)?.stored.range(tensor))
    }

    /// The `[storage]` that gives the codes of these weights again, as JSON.
    fn storage(&self, py: Python<'_>) -> PyResult<String> {
        let spec = self.method.storage(&self.weights).map_err(|error| wrong(py, error))?;
        serde_json::to_string(&spec).map_err(|error| usage(py, error))
    }

    /// Everything that the table, the seed and the weights do not say: text, and vectors by name.
    fn state<'py>(&self, py: Python<'py>) -> PyResult<(String, Named<'py>)> {
        let state = self.method.state().map_err(|error| wrong(py, error))?;
        let vectors = state.tensors.into_iter().map(|(name, values)| (name, values.into_pyarray(py)));
        Ok((state.values.to_string(), vectors.collect()))
    }

    /// Goes on from such a state.
    fn restore(&mut self, py: Python<'_>, text: &str, vectors: Vec<(String, Floats<'_>)>) -> PyResult<()> {
        let one = |(name, values): (String, Floats<'_>)| Ok((name, values.as_slice()?.to_vec()));
        let tensors = vectors.into_iter().map(one).collect::<PyResult<_>>()?;
        let values = serde_json::from_str(text).map_err(|error| usage(py, error))?;
        let state = MethodState { values, tensors };
        self.method.restore(&state, &self.weights).map_err(|error| wrong(py, error))
    }
}

const NOT_BEGUN: &str = "no step has begun";

impl PyMethod {
    fn begun(&self, py: Python<'_>) -> PyResult<&Step> {
        self.step.as_ref().ok_or_else(|| usage(py, NOT_BEGUN))
    }

    fn begun_mut(&mut self, py: Python<'_>) -> PyResult<&mut Step> {
        self.step.as_mut().ok_or_else(|| usage(py, NOT_BEGUN))
    }

    /// What a pass gave, in memory that is there, if there is any.
    fn half(&mut self, py: Python<'_>, loss: f64, gradients: &PyGradients) -> PyResult<Half> {
        let mut kept = self.spare.pop().unwrap_or_default().gradients;
        let given = gradients.values();
        kept.resize_with(given.len(), Vec::new);
        detached(py, || kept.iter_mut().zip(given).for_each(|(own, given)| given.clone_into(own)))?;
        Ok(Half { loss, gradients: kept, ..Half::default() })
    }

    fn write(&self, py: Python<'_>, levels: &Levels, out: &mut [FloatsMut<'_>]) -> PyResult<()> {
        let mut slices = slices_mut(py, out, &self.weights)?;
        detached(py, || {
            slices.iter_mut().zip(&levels.tensors).for_each(|(out, own)| out.copy_from_slice(own))
        })?;
        Ok(())
    }
}

fn wrong(py: Python<'_>, error: MethodError) -> PyErr {
    of(py, TrainError::from(error))
}

/// The arrays as slices, one a tensor and as long.
fn slices_mut<'a>(
    py: Python<'_>,
    arrays: &'a mut [FloatsMut<'_>],
    weights: &Weights,
) -> PyResult<Vec<&'a mut [f32]>> {
    check_lengths(py, arrays.iter().map(|array| array.len().unwrap_or(0)).collect(), weights)?;
    arrays.iter_mut().map(|array| Ok(array.as_slice_mut()?)).collect()
}

/// The same to be read.
fn slices<'a>(py: Python<'_>, arrays: &'a [Floats<'_>], weights: &Weights) -> PyResult<Vec<&'a [f32]>> {
    check_lengths(py, arrays.iter().map(|array| array.len().unwrap_or(0)).collect(), weights)?;
    arrays.iter().map(|array| Ok(array.as_slice()?)).collect()
}

fn check_lengths(py: Python<'_>, lengths: Vec<usize>, weights: &Weights) -> PyResult<()> {
    let wanted: Vec<usize> = weights.tensors.iter().map(|tensor| tensor.values.len()).collect();
    if lengths == wanted {
        return Ok(());
    }
    Err(usage(py, format!("arrays of {lengths:?} values for tensors of {wanted:?}")))
}

/// Takes values over, one slice a tensor and as long.
fn take<V: AsRef<[f32]>>(weights: &mut Weights, given: &[V]) {
    weights.tensors.iter_mut().zip(given).for_each(|(own, given)| own.values.copy_from_slice(given.as_ref()));
}

/// Whether the values are the same to the bit.
fn same_bits(a: &[f32], b: &[f32]) -> bool {
    bytemuck::cast_slice::<_, u32>(a) == bytemuck::cast_slice::<_, u32>(b)
}

/// Runs Python's network on levels.
fn ask_python(gradient: &Bound<'_, PyAny>, levels: &Levels) -> PyResult<LossAndGradient> {
    let py = gradient.py();
    let arrays: Vec<_> = levels.tensors.iter().map(|values| PyArray1::from_slice(py, values)).collect();
    let (loss, gradients): (f64, Bound<'_, PyGradients>) = gradient.call1((arrays,))?.extract()?;
    Ok((loss, gradients.get().values().into_iter().map(<[f32]>::to_vec).collect()))
}
