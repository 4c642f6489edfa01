//! Watching values of a model while it runs as its file says.

use bitquake_data::Dataset;
use bitquake_graph::cut::Cuts;
use ort::session::Session;

use crate::chain::session::{Settings, build_owned, run_owned};
use crate::error::EngineError;
use crate::model::Model;
use crate::runtime::Runtime;

/// A value in one call of the engine: its name and its elements, or none if they are no float32.
pub type Watched<'v> = (&'v str, Option<&'v [f32]>);

/// Runs all images, `batch` at a time, and shows the outputs of the model and `values` besides, call by call.
///
/// The graph is run as the file says, operator by operator: nothing is fused, and no other layout is chosen. So a value is the same
/// whatever else is watched, and whatever stands behind it. Where the model fixes the number of images in a batch, the last image
/// is repeated to fill the last one.
///
/// # Errors
/// [`EngineError`]: no runtime, images that do not fit, a model that cannot be loaded or run, or without one of the values.
pub fn watch(
    model: &Model,
    values: &[&str],
    data: &Dataset,
    batch: u64,
    see: &mut dyn FnMut(Watched<'_>),
) -> Result<(), EngineError> {
    let cuts = Cuts::new(&model.image)
        .map_err(|error| EngineError::Unsupported { model: model.file.clone(), reason: error.to_string() })?;
    watch_variant(model, &cuts.with_outputs(values), data, batch, see)
}

/// As [`watch`], of the outputs of a variant: `bytes` are the main part of the model's [`image`](Model::image) with other nodes,
/// such as guards.
///
/// # Errors
/// As [`watch`].
pub fn watch_variant(
    model: &Model,
    bytes: &[u8],
    data: &Dataset,
    batch: u64,
    see: &mut dyn FnMut(Watched<'_>),
) -> Result<(), EngineError> {
    model.check_shape(data.image_shape())?;
    Runtime::load()?;
    let mut session = build_owned(bytes, model, Settings::as_written())?;
    let batch = usize::try_from(model.batch(batch)).unwrap_or(usize::MAX);
    for first in (0..data.len()).step_by(batch) {
        let end = first.saturating_add(batch).min(data.len());
        let mut pixels = data.images(first..end).to_vec();
        if model.fixed_batch.is_some() {
            let last = data.images(end - 1..end);
            (end - first..batch).for_each(|_| pixels.extend_from_slice(last));
        }
        call(&mut session, model, data, &pixels, see)?;
    }
    Ok(())
}

fn call(
    session: &mut Session,
    model: &Model,
    data: &Dataset,
    pixels: &[f32],
    see: &mut dyn FnMut(Watched<'_>),
) -> Result<(), EngineError> {
    let mut shape = vec![(pixels.len() / data.image_len()) as i64];
    shape.extend(data.image_shape().iter().map(|&dim| dim as i64));
    let outputs = run_owned(session, model, &[(model.input.as_str(), shape, pixels)])?;
    for (name, value) in outputs.iter() {
        see((name, value.try_extract_tensor::<f32>().ok().map(|(_, elements)| elements)));
    }
    Ok(())
}

/// What the elements of a value came to.
///
/// ```
/// use bitquake_engine::ValueRange;
/// let mut range = ValueRange::default();
/// range.add(&[1.5, -0.25]);
/// range.add(&[f32::INFINITY, 0.5]);
/// assert_eq!(range, ValueRange { ends: Some([-0.25, 1.5]), elements: 4, non_finite: 1 });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ValueRange {
    /// The least and the greatest finite element; none if there was none. A zero is positive.
    pub ends: Option<[f32; 2]>,
    /// How many elements there were.
    pub elements: u64,
    /// How many of them are NaN or infinite.
    pub non_finite: u64,
}

impl ValueRange {
    /// Adds elements.
    pub fn add(&mut self, elements: &[f32]) {
        self.elements += elements.len() as u64;
        for element in elements {
            if element.is_finite() {
                // -0 + 0 is +0.
                let element = element + 0.0;
                let [low, high] = self.ends.unwrap_or([element; 2]);
                self.ends = Some([low.min(element), high.max(element)]);
            } else {
                self.non_finite += 1;
            }
        }
    }
}
