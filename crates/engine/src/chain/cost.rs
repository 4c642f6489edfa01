//! What nodes cost, roughly: for parting a graph into equal shares.

use std::collections::BTreeMap;

use bitquake_graph::cut::{Cuts, NodeInfo, ValueKind};

use crate::model::Model;

/// Multiplications of a node that only touches every element of its output, relative to one in a matrix product: it waits
/// for memory.
const TOUCH: f64 = 4.0;

/// Costs of nodes, summed from the start.
pub(crate) struct Costs {
    before: Vec<f64>,
}

impl Costs {
    pub(crate) fn new(model: &Model, cuts: &Cuts<'_>, kinds: &BTreeMap<String, ValueKind>) -> Self {
        let mut before = vec![0.0];
        for node in cuts.nodes() {
            let last = before[before.len() - 1];
            before.push(last + if node.is_constant { 0.0 } else { cost(model, node, kinds) });
        }
        Self { before }
    }

    pub(crate) fn total(&self) -> f64 {
        self.before[self.before.len() - 1]
    }

    /// Of the first `after` nodes.
    pub(crate) fn before(&self, after: usize) -> f64 {
        self.before[after]
    }
}

/// Multiplications for one image.
fn cost(model: &Model, node: &NodeInfo, kinds: &BTreeMap<String, ValueKind>) -> f64 {
    let elements =
        |name: &String| kinds.get(name).map_or(0.0, |kind| kind.dims.iter().product::<u64>() as f64);
    let output: f64 = node.outputs.iter().map(elements).sum();
    let weight =
        node.inputs.get(1).and_then(|name| model.tensors().iter().find(|tensor| &tensor.name == name));
    let Some(weight) = weight else { return TOUCH * output };
    let stored = weight.elements() as f64;
    match node.op_type.as_str() {
        // Each output element takes one filter.
        "Conv" => output * stored / weight.shape.first().map_or(1.0, |&filters| filters.max(1) as f64),
        "ConvTranspose" => {
            node.inputs.first().map_or(0.0, elements) * stored
                / weight.shape.first().map_or(1.0, |&n| n.max(1) as f64)
        }
        "Gemm" | "MatMul" => {
            let columns = node.outputs.first().and_then(|name| kinds.get(name)?.dims.last().copied());
            output / columns.unwrap_or(1).max(1) as f64 * stored
        }
        _ => TOUCH * output,
    }
}
