//! ONNX: the thin graph, and where a model keeps its tensors.
//!
//! The graph is what the file says, without inference, simplification or constant folding. It is read from the
//! protobuf message by the field numbers of the ONNX specification; unknown fields are passed over (and kept on
//! saving). Not read: `training_info`, and graphs that it holds.
//!
//! # Names of tensors
//!
//! Tensor names are unique within the file:
//!
//! - an initializer of the main graph: its name;
//! - the value of a `Constant` node: the name of the node's output;
//! - anything inside a subgraph: `<node>/<attribute>/<name>`, where `<node>` is the name of the node that holds the
//!   subgraph (or its first output, if it has no name), and nested subgraphs nest the path; subgraphs of a list
//!   attribute add their index, `<node>/<attribute>/<index>/<name>`;
//! - anything inside a function: `<function>/<name>`;
//! - a tensor in an attribute of another node: `<node>/<attribute>`, with `/<index>` in a list;
//! - of a sparse tensor, the values carry the name and the indices are `<name>/indices`;
//! - a tensor without a name is called `unnamed`; if a name is taken, `#2`, `#3` ... is appended.

mod attribute;
mod consumers;
mod dtype;
mod names;
mod parse;
mod roles;
mod tensor;
mod value_info;

use std::ops::Range;

use crate::Dtype;

pub(crate) use consumers::assign_roles;
pub(crate) use dtype::opaque_size;
pub(crate) use parse::{Found, Parsed, Problem, parse};
pub(crate) use tensor::{Data, ExternalRecord, Rewrite};

/// The entry (key, value) of `TensorProto.metadata_props` (ONNX IR version 10) that makes a stored tensor a setting, whatever
/// takes it: [`Role::Attribute`](crate::Role::Attribute). Operators alone do not tell the constants of input whitening from
/// trained weights.
pub const SETTING_MARK: (&str, &str) = ("bitquake.role", "setting");

/// Graphs nested deeper than this are refused.
pub const MAX_GRAPH_DEPTH: usize = 32;

/// A model: versions, graph, functions.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxModel {
    /// The version of the file format; 0 if the file does not say.
    pub ir_version: i64,
    /// The operator sets: domain (empty for the standard one) and version.
    pub opsets: Vec<(String, i64)>,
    /// The main graph.
    pub graph: OnnxGraph,
    /// The functions that the model defines.
    pub functions: Vec<OnnxFunction>,
}

impl OnnxModel {
    /// The version of the standard operator set; `None` if the file imports none.
    pub fn opset(&self) -> Option<i64> {
        self.opsets.iter().find(|(domain, _)| is_standard(domain)).map(|(_, version)| *version)
    }
}

/// A model as the bytes of a file hold it: the thin graph, and where each tensor stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelLayout {
    /// The thin graph.
    pub model: OnnxModel,
    /// Of each tensor, in the order of a walk through the file: its name in the file
    /// ([`TensorInfo::name`](crate::TensorInfo::name)), and the bytes of the message that holds its data.
    pub tensors: Vec<(String, Range<usize>)>,
}

/// A function: a graph that nodes call by `op_type`.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxFunction {
    /// The operator domain it belongs to.
    pub domain: String,
    /// The body; its name is the operator's name, its inputs and outputs have no types.
    pub body: OnnxGraph,
}

/// A graph, main or sub.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OnnxGraph {
    /// The graph's name.
    pub name: String,
    /// The nodes, in file order (topological in a valid model).
    pub nodes: Vec<Node>,
    /// The inputs; old models list initializers here too.
    pub inputs: Vec<ValueInfo>,
    /// The outputs.
    pub outputs: Vec<ValueInfo>,
    /// The initializers, dense and sparse.
    pub initializers: Vec<StoredTensor>,
    /// The values of `Constant` nodes.
    pub constants: Vec<StoredTensor>,
}

/// The link from a value name within a graph to a tensor of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// The name that the graph's nodes use.
    pub name: String,
    /// The name of the tensor in the file, unique there: [`TensorInfo::name`](crate::TensorInfo::name).
    pub tensor: String,
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The node's name, often empty.
    pub name: String,
    /// The operator, never empty.
    pub op_type: String,
    /// The operator's domain; empty for the standard one.
    pub domain: String,
    /// Names of the input values by position; an empty name is an omitted input.
    pub inputs: Vec<String>,
    /// Names of the output values by position; an empty name is an unused output.
    pub outputs: Vec<String>,
    /// The attributes.
    pub attributes: Vec<Attribute>,
}

impl Node {
    /// The value of an attribute; `None` if the node does not have it.
    pub fn attribute(&self, name: &str) -> Option<&AttributeValue> {
        self.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| &attribute.value)
    }

    /// Whether the operator is from the standard set.
    pub fn is_standard(&self) -> bool {
        is_standard(&self.domain)
    }
}

fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// A named attribute of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// The attribute's name.
    pub name: String,
    /// Its value.
    pub value: AttributeValue,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AttributeValue {
    /// A whole number.
    Int(i64),
    /// A float.
    Float(f32),
    /// Text; bytes that are not UTF-8 are replaced.
    String(String),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Texts.
    Strings(Vec<String>),
    /// A tensor, by its name in the file.
    Tensor(String),
    /// Tensors, by their names in the file.
    Tensors(Vec<String>),
    /// A subgraph.
    Graph(OnnxGraph),
    /// Subgraphs.
    Graphs(Vec<OnnxGraph>),
    /// A reference to an attribute of the enclosing function, a type, or a kind not known here.
    Other,
}

impl AttributeValue {
    /// The subgraphs it holds.
    pub fn graphs(&self) -> &[OnnxGraph] {
        match self {
            AttributeValue::Graph(graph) => std::slice::from_ref(graph),
            AttributeValue::Graphs(graphs) => graphs,
            _ => &[],
        }
    }
}

/// The name and the type of a graph's input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// The value's name.
    pub name: String,
    /// The type of its elements; `None` if it is no tensor or has no type.
    pub elem_type: Option<Dtype>,
    /// Its dimensions; `None` if the rank is not given.
    pub shape: Option<Vec<Dim>>,
}

/// One dimension of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// A size.
    Fixed(u64),
    /// A size known by name only, such as `batch`.
    Named(String),
    /// Not given (or negative, which some exporters write).
    Unknown,
}
