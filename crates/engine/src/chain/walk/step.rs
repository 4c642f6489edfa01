//! One node on a part of an image.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bitquake_bits::WordStore;
use bitquake_tensors::onnx::Node;

use crate::chain::walk::conv::WalkConv;
use crate::direct::{DirectNode, Operand};
use crate::model::Model;

/// A node that can be walked.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    /// The values that it reads, by their places in the walk; twice the same if there is but one.
    pub(crate) inputs: [usize; 2],
    pub(crate) output: usize,
}

/// What it computes.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Conv(Box<WalkConv>),
    /// `x * factor + term`, by channel.
    Scale {
        factors: Vec<f32>,
        terms: Vec<f32>,
    },
    Relu,
    Add,
}

impl Kind {
    /// `None` if the node cannot be walked. `dims` knows values that have a row for each image.
    pub(crate) fn new(node: &Node, model: &Model, dims: &BTreeMap<String, Vec<usize>>) -> Option<Self> {
        let of_input = |at: usize| node.inputs.get(at).and_then(|name| dims.get(name));
        let of_output = dims.get(node.outputs.first()?)?;
        let is_plain = node.is_standard() && node.outputs.len() == 1 && of_output.len() == 3;
        if !is_plain || of_input(0)?.len() != 3 {
            return None;
        }
        match node.op_type.as_str() {
            "Relu" => Some(Self::Relu),
            "Add" if of_input(0) == Some(of_output) && of_input(1) == Some(of_output) => Some(Self::Add),
            "Conv" | "BatchNormalization" => {
                let direct = DirectNode::new(node, &|name| operand(name, model, dims))?;
                Self::of_direct(&direct, model)
            }
            _ => None,
        }
    }

    fn of_direct(direct: &DirectNode, model: &Model) -> Option<Self> {
        if let Some(conv) = direct.as_conv() {
            let bias = match &conv.bias {
                Some(bias) => Some(stored(model, &bias.tensor)?.into_owned()),
                None => None,
            };
            let conv = WalkConv::new(conv, &stored(model, &conv.weight.tensor)?, bias)?;
            return Some(Self::Conv(Box::new(conv)));
        }
        let norm = direct.as_batch_norm()?;
        let [scale, bias, mean, variance] =
            norm.stored.each_ref().map(|tensor| stored(model, &tensor.tensor));
        let (scale, bias, mean, variance) = (scale?, bias?, mean?, variance?);
        let of = |at: usize| norm.factor_and_term([scale[at], bias[at], mean[at], variance[at]]);
        let (factors, terms) = (0..scale.len()).map(of).unzip();
        Some(Self::Scale { factors, terms })
    }
}

fn operand(name: &str, model: &Model, dims: &BTreeMap<String, Vec<usize>>) -> Option<Operand> {
    if let Some(dims) = dims.get(name) {
        return Some(Operand::Activation { dims: dims.clone() });
    }
    let tensor = model.tensors().iter().find(|tensor| tensor.name == name)?;
    let dims = tensor.shape.iter().map(|&dim| dim as usize).collect();
    Some(Operand::Stored { dims, tensor: name.to_owned() })
}

/// The words of a float32 tensor.
fn stored<'m>(model: &'m Model, tensor: &str) -> Option<Cow<'m, [f32]>> {
    let words = model.image.words(tensor)?;
    if words.format() != bitquake_bits::Format::F32 {
        return None;
    }
    let bytes = words.packed_bytes()?.as_chunks::<4>().0;
    Some(Cow::Owned(bytes.iter().map(|word| f32::from_le_bytes(*word)).collect()))
}
