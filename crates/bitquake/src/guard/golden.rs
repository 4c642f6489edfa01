//! What a model does without faults, and that guards do not change it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bitquake_data::Dataset;
use bitquake_engine::{Model, ValueRange, watch, watch_variant};
use bitquake_graph::guard::Scope;
use bitquake_sample::{StreamKey, subset_of};

use super::error::GuardingError;
use crate::error::Error;

/// Some of the images, drawn; none if all are wanted.
///
/// # Errors
/// [`GuardingError::Images`].
pub(super) fn drawn(data: &Dataset, wanted: Option<u64>, seed: u64) -> Result<Option<Dataset>, Error> {
    let available = data.len() as u64;
    let Some(wanted) = wanted.filter(|&wanted| wanted != available) else { return Ok(None) };
    let key = StreamKey { seed, point: 0, trial: 0 }.part("guard images");
    let places = subset_of(&key.whole(), available, wanted)
        .map_err(|_| GuardingError::Images { wanted, available })?;
    let places = places.into_iter().map(|place| place as usize);
    let mut images = Vec::with_capacity(wanted as usize * data.image_len());
    places.for_each(|place| images.extend_from_slice(data.images(place..place + 1)));
    Ok(Some(Dataset::new(images, data.image_shape().to_vec(), vec![0; wanted as usize])?))
}

/// What the model does without guards.
pub(super) struct Golden {
    /// Of each value that is to be guarded; none if it is not float32.
    pub(super) ranges: HashMap<String, Option<ValueRange>>,
    /// The float32 outputs of all images.
    outputs: Outputs,
}

impl Golden {
    /// Runs the model on all images.
    pub(super) fn of(model: &Model, scope: &Scope, data: &Dataset, batch: u64) -> Result<Self, Error> {
        let values: Vec<&str> = scope.values.iter().map(|one| one.value.as_str()).collect();
        let mut ranges: HashMap<String, Option<ValueRange>> =
            values.iter().map(|&value| (value.to_owned(), Some(ValueRange::default()))).collect();
        let mut outputs = empty_outputs(model);
        watch(model, &values, data, batch, &mut |(name, elements)| {
            if let Some(range) = ranges.get_mut(name) {
                match (range.as_mut(), elements) {
                    (Some(range), Some(elements)) => range.add(elements),
                    _ => *range = None,
                }
            }
            add(&mut outputs, name, elements);
        })?;
        Ok(Self { ranges, outputs })
    }

    /// That a guarded variant of the model gives the same outputs, bit for bit.
    ///
    /// # Errors
    /// [`GuardingError::Differs`] names the first element that is another one.
    pub(super) fn check(
        &self,
        path: &Path,
        model: &Model,
        guarded: &[u8],
        data: &Dataset,
        batch: u64,
    ) -> Result<(), Error> {
        let mut found = empty_outputs(model);
        watch_variant(model, guarded, data, batch, &mut |(name, elements)| add(&mut found, name, elements))?;
        for (output, wanted) in &self.outputs {
            let found = found.get(output).map(Vec::as_slice).unwrap_or_default();
            let same = wanted.iter().zip(found).take_while(|(a, b)| a.to_bits() == b.to_bits()).count();
            if same < wanted.len().max(found.len()) {
                let told = |elements: &[f32]| elements.get(same).map_or("nothing".into(), f32::to_string);
                return Err(GuardingError::Differs {
                    path: path.to_owned(),
                    output: output.clone(),
                    element: same as u64,
                    found: told(found),
                    wanted: told(wanted),
                }
                .into());
            }
        }
        Ok(())
    }
}

type Outputs = BTreeMap<String, Vec<f32>>;

fn empty_outputs(model: &Model) -> Outputs {
    model.outputs().map(|name| (name.to_owned(), Vec::new())).collect()
}

/// Adds what was seen of a value, if it is an output and float32.
fn add(outputs: &mut Outputs, name: &str, elements: Option<&[f32]>) {
    if let Some(output) = outputs.get_mut(name) {
        output.extend_from_slice(elements.unwrap_or_default());
    }
}
