//! A training method whose network, and whose optimiser, are Python's.

use bitquake::train::TrainError;
use bitquake::train::method::{
    Half, Levels, LossAndGradient, Method, MethodConfig, MethodError, MethodState, Room, StepLosses, Stored,
    WeightTensor, Weights,
};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::error::{of, usage};
use crate::floats::PyFloats;
use crate::threads::detached;

/// A float32 array that is read.
type Floats<'py> = PyReadonlyArray1<'py, f32>;
/// Vectors by name.
type Named<'py> = Vec<(String, Bound<'py, PyArray1<f32>>)>;

/// `[method]` of a recipe at work. A step is `begin`, the passes of `passes` with the levels of `clean_levels` and `perturbed_levels`, each told
/// by `add`, the last one by `combine`, the optimiser's step, and `finish`.
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
    /// The passes but the last.
    earlier: Vec<Half>,
    /// The loss of the last one.
    last: Option<f64>,
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

    /// Begins a step: takes the masters over, projects them and stores them. What was given stays as it is.
    fn begin(&mut self, py: Python<'_>, masters: &PyFloats) -> PyResult<()> {
        check_lengths(py, masters, &self.weights)?;
        let Self { method, weights, before, room, .. } = self;
        let stored = masters.read(py, |given| {
            take(weights, given);
            method.project(weights);
            for ((before, given), own) in before.iter_mut().zip(given).zip(&weights.tensors) {
                before.clear();
                before.extend_from_slice(if same_bits(given, &own.values) { &[] } else { given });
            }
            method.store_in(weights, room)
        })?;
        let stored = stored.map_err(|error| wrong(py, error))?;
        self.step = Some(Step { stored, earlier: Vec::new(), last: None });
        Ok(())
    }

    /// Writes the masters, as they were projected.
    fn masters(&self, py: Python<'_>, out: &PyFloats) -> PyResult<()> {
        self.write(py, self.weights.tensors.iter().map(|own| own.values.as_slice()), out)
    }

    /// Writes the masters as they were given.
    fn given(&self, py: Python<'_>, out: &PyFloats) -> PyResult<()> {
        let given = self.before.iter().zip(&self.weights.tensors);
        let given = given.map(|(before, own)| if before.is_empty() { &own.values } else { before });
        self.write(py, given.map(Vec::as_slice), out)
    }

    /// Whether these are the masters, as they were projected.
    fn are_masters(&self, py: Python<'_>, given: &PyFloats) -> PyResult<bool> {
        check_lengths(py, given, &self.weights)?;
        let own = &self.weights.tensors;
        given.read(py, |given| given.iter().zip(own).all(|(given, own)| same_bits(given, &own.values)))
    }

    /// The passes of the step: whether there is a clean one, how many perturbed ones, whether those are attacks, and whether the same batch
    /// takes another step after this one.
    #[getter]
    fn passes(&self) -> (bool, u32, bool, bool) {
        let passes = self.method.plan();
        (passes.clean, passes.perturbed, passes.attack, passes.again)
    }

    /// Writes what the network computes with when nothing is faulty.
    fn clean_levels(&self, py: Python<'_>, out: &PyFloats) -> PyResult<()> {
        self.write_levels(py, self.begun(py)?.stored.levels(), out)
    }

    /// Writes what the network computes with in perturbed pass `k` of a step, and returns the flips.
    fn perturbed_levels(&mut self, py: Python<'_>, step: u64, k: u32, out: &PyFloats) -> PyResult<u64> {
        let Self { method, weights, step: begun, room, .. } = self;
        let stored = &begun.as_ref().ok_or_else(|| usage(py, NOT_BEGUN))?.stored;
        let flips = out.change(py, |out| method.put_perturbed(stored, weights, step, k, room, out))?;
        flips.map_err(|error| wrong(py, error))
    }

    /// Writes levels to validate with: pattern `k` of an epoch. Returns the flips; `None`, and nothing is written, where the method draws
    /// no faults.
    fn validation_levels(&self, py: Python<'_>, epoch: u64, k: u32, out: &PyFloats) -> PyResult<Option<u64>> {
        let stored = &self.begun(py)?.stored;
        let levels = detached(py, || self.method.validation_faults(stored, &self.weights, epoch, k))?;
        let Some(levels) = levels.map_err(|error| wrong(py, error))? else { return Ok(None) };
        self.write_levels(py, &levels, out)?;
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
        out: &PyFloats,
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
        self.write_levels(py, &levels, out)?;
        Ok(levels.flips)
    }

    /// Tells what a pass gave that is not the last one: its loss, and the gradient of each tensor's levels.
    fn add(&mut self, py: Python<'_>, loss: f64, gradients: &PyFloats) -> PyResult<()> {
        let step = self.step.as_mut().ok_or_else(|| usage(py, NOT_BEGUN))?;
        let mut kept = self.spare.pop().unwrap_or_default().gradients;
        gradients.read(py, |given| {
            kept.resize_with(given.len(), Vec::new);
            kept.iter_mut().zip(given).for_each(|(own, given)| (*given).clone_into(own));
        })?;
        step.earlier.push(Half { loss, gradients: kept, ..Half::default() });
        Ok(())
    }

    /// Tells what the last pass gave, writes the gradients of the masters in the place of its gradients, and returns the loss of the penalties.
    fn combine(&mut self, py: Python<'_>, loss: f64, gradients: &PyFloats) -> PyResult<f64> {
        let Self { method, weights, step, .. } = self;
        let step = step.as_mut().ok_or_else(|| usage(py, NOT_BEGUN))?;
        let penalty = gradients.change(py, |gradients| {
            let last = Half { loss, gradients: std::mem::take(gradients), ..Half::default() };
            method.combine(&step.earlier, last, &step.stored, weights).map(|update| update.penalty)
        })?;
        step.last = Some(loss);
        penalty.map_err(|error| wrong(py, error))
    }

    /// Whether `finish` is to be given the masters.
    #[getter]
    fn finishes_with_masters(&self) -> bool {
        self.method.finishes_with_weights()
    }

    /// Ends a step after the optimiser's. The masters may be changed: those of alternating training go back into their range.
    #[pyo3(signature = (masters=None))]
    fn finish(&mut self, py: Python<'_>, masters: Option<&PyFloats>) -> PyResult<()> {
        let Step { stored, earlier, last } = self.step.take().ok_or_else(|| usage(py, NOT_BEGUN))?;
        let losses: Vec<f64> = earlier.iter().map(|half| half.loss).chain(last).collect();
        let (clean, perturbed) = losses.split_at(usize::from(self.method.plan().clean));
        let mean = perturbed.iter().sum::<f64>() / perturbed.len() as f64;
        let losses =
            StepLosses { clean: clean.first().copied(), perturbed: (!perturbed.is_empty()).then_some(mean) };
        let (method, weights) = (&mut self.method, &mut self.weights);
        match masters {
            None => method.finish_step(losses, weights),
            Some(masters) => {
                check_lengths(py, masters, weights)?;
                masters.change(py, |masters| {
                    take(weights, masters);
                    method.finish_step(losses, weights);
                    let changed = masters.iter_mut().zip(&weights.tensors);
                    let changed = changed.filter(|(given, own)| !same_bits(given, &own.values));
                    changed.for_each(|(given, own)| given.copy_from_slice(&own.values));
                })?;
            }
        }
        self.room.keep_stored(stored);
        self.spare = earlier;
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

    fn write_levels(&self, py: Python<'_>, levels: &Levels, out: &PyFloats) -> PyResult<()> {
        self.write(py, levels.tensors.iter().map(Vec::as_slice), out)
    }

    /// Writes values of the tensors in their order.
    fn write<'a>(
        &self,
        py: Python<'_>,
        values: impl Iterator<Item = &'a [f32]> + Send,
        out: &PyFloats,
    ) -> PyResult<()> {
        check_lengths(py, out, &self.weights)?;
        out.change(py, |out| out.iter_mut().zip(values).for_each(|(out, own)| out.copy_from_slice(own)))
    }
}

fn wrong(py: Python<'_>, error: MethodError) -> PyErr {
    of(py, TrainError::from(error))
}

fn check_lengths(py: Python<'_>, given: &PyFloats, weights: &Weights) -> PyResult<()> {
    let wanted = weights.tensors.iter().map(|tensor| tensor.values.len());
    if given.lengths().eq(wanted.clone()) {
        return Ok(());
    }
    let (given, wanted): (Vec<usize>, Vec<usize>) = (given.lengths().collect(), wanted.collect());
    Err(usage(py, format!("arrays of {given:?} values for tensors of {wanted:?}")))
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
    let (loss, gradients): (f64, Bound<'_, PyFloats>) = gradient.call1((arrays,))?.extract()?;
    let gradients =
        gradients.get().read(py, |values| values.iter().map(|values| values.to_vec()).collect())?;
    Ok((loss, gradients))
}
