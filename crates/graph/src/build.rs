//! Writing small ONNX models, for tests and benches.
//!
//! What is written: IR version 8 (10 with marked settings), operator set 17 unless another is asked for, one main graph; nodes with attributes and subgraphs; initializers
//! in the storage forms that files have. Nothing is checked: a wrong graph makes a wrong file, which tests want too.

use bitquake_tensors::onnx::SETTING_MARK;
use bitquake_tensors::wire::Writer;

pub use crate::resnet::resnet20;

/// The version of the file format that is written.
pub const IR_VERSION: u64 = 8;

/// The first version of the file format that has room for the mark of [`TensorSpec::setting`].
const IR_VERSION_OF_MARKS: u64 = 10;

/// The version of the standard operator set that is written, unless another is asked for.
pub const OPSET: u64 = 17;

/// The type of a tensor's elements, with its number in ONNX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ElemType {
    /// binary32.
    F32 = 1,
    /// 8-bit unsigned.
    U8 = 2,
    /// 8-bit signed.
    I8 = 3,
    /// 16-bit unsigned.
    U16 = 4,
    /// 16-bit signed.
    I16 = 5,
    /// 32-bit signed.
    I32 = 6,
    /// 64-bit signed.
    I64 = 7,
    /// A truth value in a byte.
    Bool = 9,
    /// binary16.
    F16 = 10,
    /// binary64.
    F64 = 11,
    /// 32-bit unsigned.
    U32 = 12,
    /// bfloat16.
    Bf16 = 16,
}

/// One dimension of an input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildDim<'a> {
    /// A size.
    Fixed(u64),
    /// A name, such as `batch`.
    Named(&'a str),
}

/// A tensor to be written: name, type, shape, and the data in one of the storage forms.
#[derive(Clone, Debug)]
pub struct TensorSpec {
    message: Writer,
}

impl TensorSpec {
    fn new(name: &str, elem_type: ElemType, shape: &[u64]) -> TensorSpec {
        let mut message = Writer::new();
        for &dim in shape {
            message.varint(1, dim);
        }
        message.varint(2, elem_type as u64).bytes(8, name.as_bytes());
        TensorSpec { message }
    }

    /// Little-endian words in `raw_data`, as most exporters write.
    pub fn raw(name: &str, elem_type: ElemType, shape: &[u64], bytes: &[u8]) -> TensorSpec {
        let mut tensor = TensorSpec::new(name, elem_type, shape);
        tensor.message.bytes(9, bytes);
        tensor
    }

    /// f32 values in `raw_data`.
    pub fn f32(name: &str, shape: &[u64], values: &[f32]) -> TensorSpec {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        TensorSpec::raw(name, ElemType::F32, shape, &bytes)
    }

    /// i64 values in `raw_data`, as shapes and axes are written.
    pub fn i64(name: &str, shape: &[u64], values: &[i64]) -> TensorSpec {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        TensorSpec::raw(name, ElemType::I64, shape, &bytes)
    }

    /// f32 values in `float_data`.
    pub fn float_data(name: &str, shape: &[u64], values: &[f32]) -> TensorSpec {
        let mut tensor = TensorSpec::new(name, ElemType::F32, shape);
        tensor.message.packed_floats(4, values);
        tensor
    }

    /// Numbers in `int32_data`, as varints: i32, i16, i8, u16, u8 by value, f16 and bf16 by their word.
    pub fn int32_data(name: &str, elem_type: ElemType, shape: &[u64], values: &[i32]) -> TensorSpec {
        let mut tensor = TensorSpec::new(name, elem_type, shape);
        tensor.message.packed_varints(5, values.iter().map(|&value| i64::from(value) as u64));
        tensor
    }

    /// The same tensor, marked as a setting: whatever takes it, no campaign or quantizer takes it for a weight
    /// ([`SETTING_MARK`]).
    #[must_use]
    pub fn setting(mut self) -> TensorSpec {
        let mut entry = Writer::new();
        entry.bytes(1, SETTING_MARK.0.as_bytes()).bytes(2, SETTING_MARK.1.as_bytes());
        self.message.message(16, &entry);
        self
    }

    /// Words in another file, `length` bytes from `offset`.
    pub fn external(
        name: &str,
        elem_type: ElemType,
        shape: &[u64],
        location: &str,
        offset: u64,
        length: u64,
    ) -> TensorSpec {
        let mut tensor = TensorSpec::new(name, elem_type, shape);
        let [offset, length] = [offset, length].map(|number| number.to_string());
        for (key, value) in [("location", location), ("offset", &offset), ("length", &length)] {
            let mut entry = Writer::new();
            entry.bytes(1, key.as_bytes()).bytes(2, value.as_bytes());
            tensor.message.message(13, &entry);
        }
        tensor.message.varint(14, 1);
        tensor
    }
}

/// The value of a node's attribute.
#[derive(Clone, Debug)]
pub enum AttrValue {
    /// A whole number.
    Int(i64),
    /// A float.
    Float(f32),
    /// Text.
    Text(String),
    /// Whole numbers.
    Ints(Vec<i64>),
    /// Floats, each with its own tag, as ONNX writes them.
    Floats(Vec<f32>),
    /// A tensor.
    Tensor(TensorSpec),
    /// A subgraph.
    Graph(GraphBuilder),
}

impl AttrValue {
    /// The message that says that the attribute `name` has this value.
    fn message(&self, name: &str) -> Writer {
        let mut out = Writer::new();
        out.bytes(1, name.as_bytes());
        match self {
            AttrValue::Float(value) => out.varint(20, 1).float(2, *value),
            AttrValue::Int(value) => out.varint(20, 2).varint(3, *value as u64),
            AttrValue::Text(value) => out.varint(20, 3).bytes(4, value.as_bytes()),
            AttrValue::Tensor(value) => out.varint(20, 4).message(5, &value.message),
            AttrValue::Graph(value) => out.varint(20, 5).message(6, &value.message()),
            AttrValue::Floats(values) => {
                values.iter().fold(out.varint(20, 6), |out, &value| out.float(7, value))
            }
            AttrValue::Ints(values) => {
                values.iter().fold(out.varint(20, 7), |out, &value| out.varint(8, value as u64))
            }
        };
        out
    }
}

/// A graph to be written, main or sub. Nodes are written in the order in which they are added.
#[derive(Clone, Debug)]
pub struct GraphBuilder {
    name: String,
    nodes: Vec<Writer>,
    initializers: Vec<Writer>,
    inputs: Vec<Writer>,
    outputs: Vec<Writer>,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> GraphBuilder {
        let (nodes, initializers, inputs, outputs) = Default::default();
        GraphBuilder { name: name.to_owned(), nodes, initializers, inputs, outputs }
    }

    /// Adds an input.
    pub fn input(&mut self, name: &str, elem_type: ElemType, dims: &[BuildDim<'_>]) -> &mut Self {
        self.inputs.push(value_info(name, elem_type as u64, dims));
        self
    }

    /// Adds an output.
    pub fn output(&mut self, name: &str, elem_type: ElemType, dims: &[BuildDim<'_>]) -> &mut Self {
        self.outputs.push(value_info(name, elem_type as u64, dims));
        self
    }

    /// Adds an initializer.
    pub fn initializer(&mut self, tensor: TensorSpec) -> &mut Self {
        self.initializers.push(tensor.message);
        self
    }

    /// Adds a node without a name; an empty input name leaves that input out.
    pub fn node(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, AttrValue)],
    ) -> &mut Self {
        self.named_node("", op_type, inputs, outputs, attributes)
    }

    /// Adds a node with a name.
    pub fn named_node(
        &mut self,
        name: &str,
        op_type: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, AttrValue)],
    ) -> &mut Self {
        self.nodes.push(node(name, op_type, inputs, outputs, attributes));
        self
    }

    /// Adds a `Constant` node that gives `tensor` under the name `output`.
    pub fn constant(&mut self, output: &str, tensor: TensorSpec) -> &mut Self {
        self.node("Constant", &[], &[output], &[("value", AttrValue::Tensor(tensor))])
    }

    fn message(&self) -> Writer {
        let mut out = Writer::new();
        self.nodes.iter().fold(&mut out, |out, node| out.message(1, node));
        out.bytes(2, self.name.as_bytes());
        self.initializers.iter().fold(&mut out, |out, tensor| out.message(5, tensor));
        self.inputs.iter().fold(&mut out, |out, input| out.message(11, input));
        self.outputs.iter().fold(&mut out, |out, output| out.message(12, output));
        out
    }
}

/// A `NodeProto` of the standard domain; an empty input name leaves that input out.
pub(crate) fn node(
    name: &str,
    op_type: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[(&str, AttrValue)],
) -> Writer {
    let mut out = Writer::new();
    inputs.iter().fold(&mut out, |out, input| out.bytes(1, input.as_bytes()));
    outputs.iter().fold(&mut out, |out, output| out.bytes(2, output.as_bytes()));
    out.bytes(3, name.as_bytes()).bytes(4, op_type.as_bytes());
    attributes.iter().fold(&mut out, |out, (name, value)| out.message(5, &value.message(name)));
    out
}

/// A `ValueInfoProto` of a tensor, with the number that ONNX gives its element type.
pub(crate) fn value_info(name: &str, elem_type: u64, dims: &[BuildDim<'_>]) -> Writer {
    let mut shape = Writer::new();
    for dim in dims {
        let mut message = Writer::new();
        match dim {
            BuildDim::Fixed(size) => message.varint(1, *size),
            BuildDim::Named(name) => message.bytes(2, name.as_bytes()),
        };
        shape.message(1, &message);
    }
    let mut tensor = Writer::new();
    tensor.varint(1, elem_type).message(2, &shape);
    let mut kind = Writer::new();
    kind.message(1, &tensor);
    let mut out = Writer::new();
    out.bytes(1, name.as_bytes()).message(2, &kind);
    out
}

/// A model to be written: a main graph and the head of the file.
///
/// ```
/// use bitquake_graph::build::{BuildDim, ElemType, ModelBuilder, TensorSpec};
/// use bitquake_tensors::TensorFile;
///
/// let mut model = ModelBuilder::new("linear");
/// model.graph().input("x", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(2)]);
/// model.graph().initializer(TensorSpec::f32("w", &[2, 1], &[0.5, -0.5]));
/// model.graph().node("MatMul", &["x", "w"], &["y"], &[]);
/// model.graph().output("y", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(1)]);
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("linear.onnx");
/// std::fs::write(&path, model.finish())?;
/// assert_eq!(TensorFile::open(&path)?.tensors()[0].name, "w");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ModelBuilder {
    graph: GraphBuilder,
    ir_version: u64,
    opset: u64,
}

impl ModelBuilder {
    /// A model with an empty graph.
    pub fn new(graph_name: &str) -> ModelBuilder {
        ModelBuilder { graph: GraphBuilder::new(graph_name), ir_version: IR_VERSION, opset: OPSET }
    }

    /// A model in the first version of the file format that has room for marked settings ([`TensorSpec::setting`]).
    pub fn with_settings(graph_name: &str) -> ModelBuilder {
        ModelBuilder { ir_version: IR_VERSION_OF_MARKS, ..ModelBuilder::new(graph_name) }
    }

    /// Another version of the standard operator set than [`OPSET`].
    pub fn opset(&mut self, version: u64) -> &mut Self {
        self.opset = version;
        self
    }

    /// The main graph.
    pub fn graph(&mut self) -> &mut GraphBuilder {
        &mut self.graph
    }

    /// The bytes of the file.
    pub fn finish(&self) -> Vec<u8> {
        let mut opset = Writer::new();
        opset.bytes(1, b"").varint(2, self.opset);
        let mut out = Writer::new();
        out.varint(1, self.ir_version)
            .bytes(2, b"bitquake")
            .message(7, &self.graph.message())
            .message(8, &opset);
        out.into_bytes()
    }
}
