//! What is in a file, and how much of it may be hit.

use std::path::Path;

use bitquake_bits::BitSelection;
use bitquake_campaign::candidates;
use bitquake_fault::{FaultSpace, Selector};
use bitquake_graph::Graph;
use bitquake_tensors::{Dtype, Role, TensorFile};
use serde::Serialize;

use crate::error::Error;

/// What is in a file.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The kind of file.
    pub kind: String,
    /// Its tensors, in file order.
    pub tensors: Vec<InspectedTensor>,
    /// Words of all tensors of the fault space.
    pub words: u64,
    /// Bits of the fault space: what the selection may hit.
    pub bits: u64,
    /// What to know before injecting faults into this file.
    pub warnings: Vec<String>,
}

/// One tensor of a file.
#[derive(Clone, Debug, Serialize)]
pub struct InspectedTensor {
    /// Its name.
    pub tensor: String,
    /// Its number format.
    pub format: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its number of elements.
    pub elements: u64,
    /// `weight`, `statistic` for running means and variances, or `attribute` for shapes, axes and bounds that only their own name selects.
    pub role: String,
    /// Where in the file it is.
    pub origin: String,
    /// Whether the selection takes it.
    pub selected: bool,
    /// Bits of it that the selection may hit.
    pub bits: u64,
}

/// Lists the tensors of a file, and the fault space of a selection.
///
/// # Errors
/// [`Error`] when the file cannot be read or the selection matches nothing.
pub fn inspect(path: &Path, select: &[String], bits: BitSelection) -> Result<Inspection, Error> {
    let file = TensorFile::open(path)?;
    let selector = Selector::new(select)?;
    let space = FaultSpace::select(candidates(file.tensors()), &selector, bits)?;
    let mut in_space = space.tensors().iter().peekable();
    let tensors = file.tensors().iter().map(|tensor| {
        let hit = in_space.next_if(|hit| hit.name == tensor.name);
        InspectedTensor {
            tensor: tensor.name.clone(),
            format: tensor.dtype.to_string(),
            shape: tensor.shape.clone(),
            elements: tensor.elements(),
            role: if matches!(tensor.dtype, Dtype::Known(_)) { tensor.role } else { Role::Attribute }.to_string(),
            origin: tensor.origin.to_string(),
            selected: hit.is_some(),
            bits: hit.map_or(0, bitquake_fault::SpaceTensor::bits),
        }
    });
    let tensors: Vec<InspectedTensor> = tensors.collect();
    let words = space.tensors().iter().map(|tensor| tensor.elements).sum();
    Ok(Inspection {
        kind: file.kind().to_string(),
        tensors,
        words,
        bits: space.bits(),
        warnings: warnings(&file),
    })
}

fn warnings(file: &TensorFile) -> Vec<String> {
    let folded = Graph::from_file(file).ok().and_then(|graph| graph.batch_norm_looks_folded());
    folded.map(|evidence| evidence.to_string()).into_iter().collect()
}
