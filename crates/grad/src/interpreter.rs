//! Running a plan on a backend, node by node.

use std::cell::RefCell;

use bitquake_graph::plan::Step;
use burn_backend::Backend;

use crate::call::{Call, Measured, Value};
use crate::float::Float;
use crate::model::Model;
use crate::operators;
use crate::seam::Kernels;
use crate::{GradError, Mode};

thread_local! {
    /// The node that runs, for the message of a panic that gets this far.
    static RUNNING: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What is done with each float value as it is computed: it is given the value's number and returns what is gone on with.
pub(crate) type Watch<'w, B> = dyn FnMut(usize, Float<B>) -> Result<Float<B>, GradError> + 'w;

/// What a run gives.
pub(crate) struct Run<B: Backend> {
    pub(crate) output: Float<B>,
    /// What cross-entropy is taken of.
    pub(crate) logits: Float<B>,
    pub(crate) measured: Vec<Measured<B>>,
}

/// Runs the plan of a model. `parameters` are in the plan's order.
pub(crate) fn run<B: Kernels>(
    Model { plan, rows, .. }: &Model,
    parameters: &[Float<B>],
    images: Float<B>,
    mode: Mode,
    watch: &mut Watch<'_, B>,
) -> Result<Run<B>, GradError> {
    let device = images.device();
    let mut values: Vec<Option<Value<B>>> = vec![None; plan.names.len()];
    values[plan.input] = Some(Value::Float(watch(plan.input, images)?));
    for (&value, parameter) in plan.parameter_values.iter().zip(parameters) {
        values[value] = Some(Value::Float(parameter.clone()));
    }
    for (value, ints) in &plan.constants {
        values[*value] = Some(Value::Ints(ints.clone()));
    }
    let mut measured = Vec::new();
    for (step, &row) in plan.steps.iter().zip(rows) {
        let inputs = step.inputs.iter().map(|input| input.and_then(|value| values[value].clone())).collect();
        for &value in &step.done {
            values[value] = None;
        }
        let call = Call { plan, step, inputs, device: &device, mode, measured: &mut measured };
        let results = compute(step, row, call)?;
        for (&place, result) in step.outputs.iter().zip(results) {
            if let Some(place) = place {
                values[place] = Some(match result {
                    Value::Float(float) => Value::Float(watch(place, float)?),
                    ints => ints,
                });
            }
        }
        for &value in &step.done {
            values[value] = None;
        }
    }
    let float = |value: usize| match &values[value] {
        Some(Value::Float(float)) => Ok(float.clone()),
        _ => Err(GradError::NoValue { value: plan.names[value].clone() }),
    };
    Ok(Run { output: float(plan.output)?, logits: float(plan.logits)?, measured })
}

fn compute<B: Kernels>(step: &Step, row: usize, call: Call<'_, B>) -> Result<Vec<Value<B>>, GradError> {
    RUNNING.with_borrow_mut(|running| *running = Some(step.node.clone()));
    let failed = |problem: String| {
        let (node, operator) = (step.node.clone(), step.op_type.clone());
        GradError::Node { node, operator, problem }
    };
    let results = operators::run(row, call).map_err(failed)?;
    let wanted = step.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    if results.len() < wanted {
        let given = results.len();
        return Err(failed(format!("output {} is used; outputs up to {given} are supported", wanted - 1)));
    }
    RUNNING.with_borrow_mut(|running| *running = None);
    Ok(results)
}

/// The last net: what the checks missed and the backend panics at becomes an error. (The panic's own message has been
/// written to standard error by then, as Rust does.)
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, GradError>) -> Result<T, GradError> {
    RUNNING.with_borrow_mut(|running| *running = None);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
            let node = RUNNING.with_borrow_mut(Option::take);
            Err(GradError::Backend { node, message: text.to_owned() })
        }
    }
}
