//! Which values of a graph have a float32 row for each image, and their shapes.

use std::collections::BTreeMap;

use bitquake_data::Dataset;
use bitquake_graph::cut::{Cuts, ValueKind};

use crate::chain::session::{Settings, build_owned, run_owned};
use crate::error::EngineError;
use crate::model::Model;

/// float32 in ONNX.
const F32: u64 = 1;

/// The values of the main graph, the input among them, whose first dimension is the batch, as runs with two batch sizes show.
pub(crate) fn probe(
    model: &Model,
    data: &Dataset,
    cuts: &Cuts<'_>,
) -> Result<BTreeMap<String, ValueKind>, EngineError> {
    let values = cuts.values();
    let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
    let bytes = cuts.with_outputs(&names);
    let mut session = build_owned(&bytes, model, Settings::one_thread())?;
    let sizes = match model.fixed_batch {
        Some(batch) => vec![batch as usize],
        None => vec![2, 3],
    };
    let mut found: Option<BTreeMap<String, ValueKind>> = None;
    for rows in sizes {
        let shapes = shapes(&mut session, model, data, rows, &names)?;
        found = Some(match found {
            None => shapes,
            Some(before) => {
                before.into_iter().filter(|(name, kind)| shapes.get(name) == Some(kind)).collect()
            }
        });
    }
    let mut found = found.unwrap_or_default();
    let dims = data.image_shape().iter().map(|&dim| dim as u64).collect();
    found.insert(model.input.clone(), ValueKind { elem_type: F32, dims });
    Ok(found)
}

fn shapes(
    session: &mut ort::session::Session,
    model: &Model,
    data: &Dataset,
    rows: usize,
    names: &[&str],
) -> Result<BTreeMap<String, ValueKind>, EngineError> {
    let mut pixels = data.images(0..rows.min(data.len())).to_vec();
    pixels.resize(rows * data.image_len(), 0.0);
    let mut shape = vec![rows as i64];
    shape.extend(data.image_shape().iter().map(|&dim| dim as i64));
    let outputs = run_owned(session, model, &[(model.input.as_str(), shape, &pixels)])?;
    let kind = |name: &str| {
        let (shape, values) = outputs.get(name)?.try_extract_tensor::<f32>().ok()?;
        let (batch, dims) = shape.split_first()?;
        let dims: Vec<u64> = dims.iter().map(|&dim| u64::try_from(dim).ok()).collect::<Option<_>>()?;
        (*batch == rows as i64 && !values.is_empty()).then_some(ValueKind { elem_type: F32, dims })
    };
    Ok(names.iter().filter_map(|&name| Some((name.to_owned(), kind(name)?))).collect())
}
