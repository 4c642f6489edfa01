//! What a snapshot keeps of a method.

use serde::{Deserialize, Serialize};

use super::curriculum::CurriculumState;
use super::{Between, Method, MethodError};

/// Everything about a method that its table, the seed and the weights do not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodState {
    /// Small things, as JSON; all numbers are finite.
    pub values: serde_json::Value,
    /// Vectors, by name.
    pub tensors: Vec<(String, Vec<f32>)>,
}

/// The small things.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    step: u64,
    quantization: serde_json::Value,
    errors: Option<ErrorValues>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorValues {
    curriculum: CurriculumState,
    share: f64,
    start: Option<u64>,
    /// Whether the next step is the second one of alternating training, and its first one's clean loss.
    is_between: bool,
    clean_loss: Option<f64>,
}

const RANGES: &str = "ranges";
const LOWEST: &str = "alternating/lowest";
const HIGHEST: &str = "alternating/highest";
const AVERAGE: &str = "average/";

impl Method {
    /// The state after the last [`finish_step`](Self::finish_step). A method made of the same table, for the same network and with
    /// the same seed, goes on from it exactly as this one does.
    ///
    /// # Errors
    /// [`MethodError::State`] if it cannot be written down, which no state of a method is known to be.
    pub fn state(&self) -> Result<MethodState, MethodError> {
        let errors = self.errors.as_ref().map(|errors| ErrorValues {
            curriculum: errors.curriculum.state(),
            share: errors.faults.share,
            start: errors.start,
            is_between: errors.between.is_some(),
            clean_loss: errors.between.as_ref().and_then(|between| between.clean_loss),
        });
        let unwritten = |error: serde_json::Error| MethodError::State(error.to_string());
        let quantization = self.quantization.state().map_err(unwritten)?;
        let values =
            serde_json::to_value(Values { step: self.step, quantization, errors }).map_err(unwritten)?;
        Ok(MethodState { values, tensors: self.vectors() })
    }

    fn vectors(&self) -> Vec<(String, Vec<f32>)> {
        let ranges = self.quantization.ranges.iter().map(|range| range.value).collect();
        let mut all = vec![(RANGES.to_owned(), ranges)];
        if let Some(between) = self.errors.as_ref().and_then(|errors| errors.between.as_ref()) {
            let (lowest, highest) = between.ends.iter().copied().unzip();
            all.extend([(LOWEST.to_owned(), lowest), (HIGHEST.to_owned(), highest)]);
        }
        for tensor in self.averaged().iter().flat_map(|average| &average.tensors) {
            all.push((format!("{AVERAGE}{}", tensor.name), tensor.values.clone()));
        }
        all
    }

    /// Takes over the state of a method of the same table, network and seed.
    ///
    /// # Errors
    /// [`MethodError::State`] says what does not fit; then the method is as if new.
    pub fn restore(&mut self, state: &MethodState, weights: &super::Weights) -> Result<(), MethodError> {
        let values: Values = serde_json::from_value(state.values.clone())
            .map_err(|error| MethodError::State(error.to_string()))?;
        if values.errors.is_some() != self.errors.is_some() {
            return Err(MethodError::State("one trains on bit errors, the other does not".into()));
        }
        let mut new = self.clone();
        new.quantization.restore(&values.quantization, vector(state, RANGES)?, weights)?;
        if let (Some(errors), Some(values)) = (&mut new.errors, values.errors) {
            errors.curriculum.restore(values.curriculum);
            errors.faults.share = values.share;
            errors.start = values.start;
            errors.between = values.is_between.then(|| between(state, values.clean_loss)).transpose()?;
        }
        if let Some(averaging) = &mut new.averaging {
            for tensor in &mut averaging.average.tensors {
                let values = vector(state, &format!("{AVERAGE}{}", tensor.name))?;
                if values.len() != tensor.values.len() {
                    return Err(MethodError::State(format!(
                        "the average of `{}` has another size",
                        tensor.name
                    )));
                }
                tensor.values.copy_from_slice(values);
            }
        }
        new.step = values.step;
        *self = new;
        Ok(())
    }
}

fn between(state: &MethodState, clean_loss: Option<f64>) -> Result<Between, MethodError> {
    let (lowest, highest) = (vector(state, LOWEST)?, vector(state, HIGHEST)?);
    Ok(Between { clean_loss, ends: lowest.iter().copied().zip(highest.iter().copied()).collect() })
}

fn vector<'s>(state: &'s MethodState, name: &str) -> Result<&'s [f32], MethodError> {
    let found = state.tensors.iter().find(|(tensor, _)| tensor == name);
    found.map(|(_, values)| values.as_slice()).ok_or_else(|| MethodError::State(format!("it lacks `{name}`")))
}
