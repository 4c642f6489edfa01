//! The nodes of guards.

use bitquake_tensors::wire::Writer;

use super::{GuardAction, RangeGuard, unguarded_name};
use crate::build::{AttrValue, ElemType, TensorSpec, node};

/// The first version of the standard operator set whose `Clip` takes its bounds as inputs; before, they are attributes.
const CLIP_WITH_INPUTS: i64 = 11;

/// The nodes of one guard, in order.
pub(super) struct GuardNodes {
    pub(super) nodes: Vec<Writer>,
    /// The names of the values that they add to the model, that before the guard included.
    pub(super) names: Vec<String>,
}

/// Nodes that give 0 under the name `zero`, in an operator set from 9 on. `ConstantOfShape` gives a float32 zero when it is told
/// nothing else, so no stored float is needed, which a fault could hit.
pub(super) fn shared_zero(shape: &str, zero: &str) -> [Writer; 2] {
    let one = AttrValue::Tensor(TensorSpec::i64("", &[1], &[1]));
    [
        node(shape, "Constant", &[], &[shape], &[("value", one)]),
        node(zero, "ConstantOfShape", &[shape], &[zero], &[]),
    ]
}

impl GuardNodes {
    /// The nodes of a guard in a model with this operator set; `zero` is the name of a value that is 0.
    pub(super) fn new(guard: &RangeGuard, zero: &str, opset: i64) -> Self {
        let value = guard.value.as_str();
        let raw = unguarded_name(value);
        let name = |part: &str| format!("{value}/{part}");
        let [clipped, beyond, lost] = ["clipped", "beyond", "lost"].map(name);
        let mut nodes = clip(guard, &raw, &clipped, opset);
        let otherwise = match guard.action {
            GuardAction::Clip => {
                nodes.push(node(&lost, "IsNaN", &[&raw], &[&lost], &[]));
                &clipped
            }
            GuardAction::Zero => {
                nodes.push(node(&beyond, "Sub", &[&raw, &clipped], &[&beyond], &[]));
                let to = AttrValue::Int(ElemType::Bool as i64);
                nodes.push(node(&lost, "Cast", &[&beyond], &[&lost], &[("to", to)]));
                &raw
            }
        };
        // ONNX Runtime's `Where` makes a -0 from its second input +0, and `Not` before a `Where` swaps the inputs: hence this order,
        // and no comparison that would have to be negated.
        nodes.push(node(&name("guard"), "Where", &[&lost, zero, otherwise], &[value], &[]));
        Self { nodes, names: vec![name("low"), name("high"), clipped, beyond, lost, raw] }
    }
}

/// `Clip`, with its bounds.
fn clip(guard: &RangeGuard, raw: &str, clipped: &str, opset: i64) -> Vec<Writer> {
    let RangeGuard { value, low, high, .. } = guard;
    if opset < CLIP_WITH_INPUTS {
        let bounds = [("min", AttrValue::Float(*low)), ("max", AttrValue::Float(*high))];
        return vec![node(clipped, "Clip", &[raw], &[clipped], &bounds)];
    }
    let names = [format!("{value}/low"), format!("{value}/high")];
    let constant = |name: &String, bound: f32| {
        let tensor = AttrValue::Tensor(TensorSpec::f32("", &[], &[bound]));
        node(name, "Constant", &[], &[name], &[("value", tensor)])
    };
    let [of_low, of_high] = [constant(&names[0], *low), constant(&names[1], *high)];
    vec![of_low, of_high, node(clipped, "Clip", &[raw, &names[0], &names[1]], &[clipped], &[])]
}
