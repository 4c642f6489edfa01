//! The values that faults can hit.

use bitquake_data::Dataset;
use bitquake_graph::cut::Cuts;

use crate::chain::places::Places;
use crate::chain::plan::Value;
use crate::chain::probe::probe;
use crate::error::EngineError;
use crate::model::Model;

/// A value that can be reached while the model runs: it has a float32 row for each image, and so has everything else that is
/// alive when it has been computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activation {
    /// Its name and the dimensions of a row.
    pub value: Value,
    /// The operator that computes it; none for the model's input.
    pub op_type: Option<String>,
}

/// The model's input, and every value of the main graph that can be reached, in the order of the graph.
///
/// # Errors
/// [`EngineError`] when the model cannot be run or its graph cannot be cut.
pub fn activations(model: &Model, data: &Dataset) -> Result<Vec<Activation>, EngineError> {
    let cuts = Cuts::new(&model.image)
        .map_err(|error| EngineError::Unsupported { model: model.file.clone(), reason: error.to_string() })?;
    let kinds = probe(model, data, &cuts)?;
    let places = Places::new(&cuts, &kinds);
    let value = |name: &str| Some(Value { name: name.to_owned(), dims: kinds.get(name)?.dims.clone() });
    let input = value(&model.input).map(|value| Activation { value, op_type: None });
    let computed = cuts.values().into_iter().filter_map(|(name, node)| {
        places.reaches(&name, model).then_some(())?;
        Some(Activation { value: value(&name)?, op_type: Some(node.op_type.clone()) })
    });
    Ok(input.into_iter().chain(computed).collect())
}
