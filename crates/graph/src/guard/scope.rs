//! Which values of a model to guard.

use std::collections::{HashMap, HashSet};

use bitquake_tensors::onnx::Node;
use serde::Serialize;

use super::unguarded_name;
use crate::Graph;
use crate::view::qualified;

/// Operators that are activation functions.
pub const ACTIVATION_FUNCTIONS: &[&str] = &[
    "Celu",
    "Clip",
    "Elu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "PRelu",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
];

/// Operators whose first output lies within the range of what goes in, but for rounding: they pass values on, choose among them, or
/// average them. `Concat` takes all of its inputs, the others their first.
pub const PASSING: &[&str] = &[
    "AveragePool",
    "Concat",
    "Dropout",
    "Flatten",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "MaxPool",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// A value of the main graph that a guard may be put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guardable {
    /// The value's name.
    pub value: String,
    /// The operator that computes it, with its domain before it if that is not the standard one.
    pub op: String,
    /// The guarded values that it is made of, if it is there because it passes them on.
    pub follows: Vec<String>,
}

/// A value that an operator gives and no guard is put on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The value's name.
    pub value: String,
    /// The operator.
    pub op: String,
    /// Why.
    pub reason: String,
}

/// The values that operators give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Those that can be guarded, in the order of the graph.
    pub values: Vec<Guardable>,
    /// Those that cannot.
    pub left_out: Vec<LeftOut>,
}

impl Scope {
    /// The values that operators of these names give: in the main graph, for those in subgraphs and functions are not in reach.
    #[must_use]
    pub fn of(graph: &Graph<'_>, ops: &[&str]) -> Self {
        let mut scope = Self::default();
        let main: HashSet<*const Node> = graph.nodes().iter().map(std::ptr::from_ref).collect();
        let given: HashSet<&str> =
            graph.nodes().iter().flat_map(|node| &node.outputs).map(String::as_str).collect();
        graph.visit(&mut |node| {
            let op = qualified(node);
            if !ops.contains(&op.as_str()) || is_of_guard(node, &given) {
                return;
            }
            for value in node.outputs.iter().filter(|value| !value.is_empty()).cloned() {
                let guarded = value.strip_suffix("/unguarded").filter(|name| given.contains(name));
                let reason = match (main.contains(&std::ptr::from_ref(node)), guarded) {
                    (false, _) => "it is in the body of an If, a Loop or a function".to_owned(),
                    (true, Some(name)) => format!("it is guarded already, as `{name}`"),
                    (true, None) => {
                        scope.values.push(Guardable { value, op: op.clone(), follows: Vec::new() });
                        continue;
                    }
                };
                scope.left_out.push(LeftOut { value, op: op.clone(), reason });
            }
        });
        scope
    }

    /// Adds the values that only pass on what values of the scope hold ([`PASSING`]), directly or through each other.
    pub fn follow(&mut self, graph: &Graph<'_>) {
        let mut known: HashMap<String, Guardable> =
            self.values.drain(..).map(|one| (one.value.clone(), one)).collect();
        for node in graph.nodes() {
            for value in &node.outputs {
                self.values.extend(known.get(value).cloned());
            }
            if let Some(next) = passes_on(node, &known) {
                self.values.push(next.clone());
                known.insert(next.value.clone(), next);
            }
        }
    }
}

/// The node's first output, if it only passes on what is known.
fn passes_on(node: &Node, known: &HashMap<String, Guardable>) -> Option<Guardable> {
    let op = node.op_type.as_str();
    let value = node.outputs.first().filter(|value| !value.is_empty() && !known.contains_key(*value))?;
    let inputs = if op == "Concat" { node.inputs.as_slice() } else { node.inputs.get(..1)? };
    let follows = node.is_standard()
        && PASSING.contains(&op)
        && !inputs.is_empty()
        && inputs.iter().all(|input| known.contains_key(input));
    follows.then(|| Guardable { value: value.clone(), op: op.to_owned(), follows: inputs.to_vec() })
}

/// Whether the node is the `Clip` of a guard, which is an activation function by its operator alone.
fn is_of_guard(node: &Node, given: &HashSet<&str>) -> bool {
    let guarded = node.outputs.first().and_then(|value| value.strip_suffix("/clipped"));
    guarded.is_some_and(|value| given.contains(unguarded_name(value).as_str()))
}
