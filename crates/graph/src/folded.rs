//! Telling a model whose batch normalization was folded into its convolutions.

use std::fmt;

use bitquake_tensors::onnx::Node;

use crate::Graph;

/// Operators that normalize; a model that has any was not stripped of its normalization.
const NORMALIZATIONS: &[&str] = &[
    "BatchNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "LayerNormalization",
    "LpNormalization",
    "LRN",
    "MeanVarianceNormalization",
    "RMSNormalization",
];

/// Signs that batch normalization was folded into the convolutions on export.
///
/// Networks with batch normalization leave the bias out of their convolutions, since the normalization's shift does
/// its work; folding brings a bias to each. So a model is suspected if it has at least two `Conv` nodes, every one
/// of them with a bias, and no normalization of any kind. This is a suspicion: small networks from before batch
/// normalization (LeNet-5, VGG without it) look the same. The consequence for a campaign is that faults hit
/// products of weight and scale rather than the trained weights, and never the normalization's own parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldedEvidence {
    /// The number of `Conv` nodes, all of which have a bias.
    pub convolutions: usize,
}

impl fmt::Display for FoldedEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "batch normalization looks folded: all {} Conv nodes have a bias and nothing normalizes; faults then hit \
             folded weights (to keep BatchNorm, export with `torch.onnx.export(..., optimize=False)`, or, with `dynamo=False`, with `training=TrainingMode.PRESERVE`)",
            self.convolutions
        )
    }
}

/// The evidence, if the graph looks folded.
pub(crate) fn folded_evidence(graph: &Graph<'_>) -> Option<FoldedEvidence> {
    let (mut convolutions, mut with_bias, mut normalizes) = (0, 0, false);
    graph.visit(&mut |node| {
        if node.is_standard() && node.op_type == "Conv" {
            convolutions += 1;
            with_bias += usize::from(has_bias(node));
        }
        normalizes |= NORMALIZATIONS.contains(&node.op_type.as_str());
    });
    (convolutions >= 2 && with_bias == convolutions && !normalizes).then_some(FoldedEvidence { convolutions })
}

fn has_bias(node: &Node) -> bool {
    node.inputs.get(2).is_some_and(|bias| !bias.is_empty())
}
