//! Outputs of one node for one image, recomputed in part.
//!
//! A flipped weight of a convolution changes one channel of its output, one of a matrix product one column. So a trial with
//! such a fault need not run the node: [`DirectNode`] tells which outputs the fault can reach, and computes those from the
//! golden input of the image. All else in the golden output stays as it is.
//!
//! The arithmetic is that of the engine: float32, fused where the engine fuses, products added in the engine's order as far
//! as that is known (`order`). So results agree with it to rounding, mostly to the bit, and a NaN or an infinity arises
//! where the engine makes one.

pub(crate) mod conv;
mod elementwise;
mod matmul;
pub(crate) mod norm;
mod order;
mod sums;
mod touched;

use std::borrow::Cow;

use bitquake_tensors::onnx::{AttributeValue, Node};
use thiserror::Error;

use conv::Conv;
use elementwise::Elementwise;
use matmul::Product;
use norm::{BatchNorm, LayerNorm};
use sums::Tap;
pub use touched::Touched;

/// What an input of a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A float32 value that every image has its own of.
    Activation {
        /// Its dimensions for one image, without the batch, which must be the first dimension in the graph.
        dims: Vec<usize>,
    },
    /// A tensor of the file, which the engine sees as float32.
    Stored {
        /// Its dimensions.
        dims: Vec<usize>,
        /// Its name in the file.
        tensor: String,
    },
}

/// Why outputs could not be recomputed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DirectError {
    /// A fault outside its tensor.
    #[error("tensor `{tensor}` has {elements} elements, so there is no element {element}")]
    Element {
        /// The tensor.
        tensor: String,
        /// The element that was asked for.
        element: u64,
        /// How many there are.
        elements: u64,
    },
    /// The values of a stored tensor were not given.
    #[error("the values of tensor `{tensor}` are missing")]
    Missing {
        /// The tensor.
        tensor: String,
    },
    /// Too many or too few values.
    #[error("{what} has {found} values, wanted are {wanted}")]
    Length {
        /// Which values: a tensor, the input or the output.
        what: String,
        /// How many were given.
        found: usize,
        /// How many belong there.
        wanted: usize,
    },
}

/// Memory that is used again from call to call. Its content means nothing.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// The input with its padding, laid out so that each tap of a convolution reads one run of it.
    source: Vec<f32>,
    /// The outputs of one channel or column, and what lies between their rows.
    sums: Vec<f32>,
    /// The weights of one channel or column in the order of their use.
    taps: Vec<Tap>,
}

/// A node of the graph of which outputs can be recomputed in part.
///
/// Supported are, in float32 and with one input that is an activation, all others stored:
///
/// - `Conv` with 1 or 2 spatial dimensions, with groups, strides, dilations and padding (but not several padded
///   output channels for each single input channel);
/// - `Gemm` without `transA`, and `MatMul` with a right operand of 2 dimensions;
/// - `Add`, `Sub`, `Mul`, `Div`, `PRelu` with broadcasting;
/// - `BatchNormalization` in inference, `LayerNormalization`.
///
/// ```
/// use std::borrow::Cow;
///
/// use bitquake_engine::{DirectNode, Operand, Scratch};
/// use bitquake_tensors::onnx::Node;
///
/// let node = Node {
///     name: String::new(),
///     op_type: "MatMul".into(),
///     domain: String::new(),
///     inputs: vec!["x".into(), "w".into()],
///     outputs: vec!["y".into()],
///     attributes: Vec::new(),
/// };
/// let direct = DirectNode::new(&node, &|name| match name {
///     "x" => Some(Operand::Activation { dims: vec![2] }),
///     _ => Some(Operand::Stored { dims: vec![2, 3], tensor: name.into() }),
/// });
/// let direct = direct.ok_or("not supported")?;
///
/// // Element 4 of w is in column 1: 5.0 became -5.0.
/// let touched = direct.touched("w", &[4])?;
/// assert_eq!(direct.ranges(&touched), [1..2]);
/// let faulty = [1.0, 2.0, 3.0, 4.0, -5.0, 6.0];
/// let mut out = [41.0, 52.0, 63.0];
/// direct.recompute(&touched, &[1.0, 10.0], &|_| Some(Cow::Borrowed(&faulty)), &mut out, &mut Scratch::default())?;
/// assert_eq!(out, [41.0, -48.0, 63.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DirectNode {
    kind: Kind,
    activation: usize,
    input_len: usize,
    output_len: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Conv(Conv),
    Product(Product),
    Elementwise(Elementwise),
    BatchNorm(BatchNorm),
    LayerNorm(LayerNorm),
}

/// The values of stored inputs by the names of their tensors: complete, with the faults in them.
pub type StoredValues<'v> = dyn Fn(&str) -> Option<Cow<'v, [f32]>> + 'v;

impl DirectNode {
    /// Prepares a node. `lookup` tells what an input is, by its name in the graph; it gives `None` for what is neither
    /// float32 nor of known dimensions.
    ///
    /// `None` for everything that is not supported: the node must then be run by the engine.
    pub fn new(node: &Node, lookup: &dyn Fn(&str) -> Option<Operand>) -> Option<DirectNode> {
        if !node.is_standard() || node.outputs.iter().skip(1).any(|name| !name.is_empty()) {
            return None;
        }
        let inputs = Inputs::new(node, lookup)?;
        let (kind, output_len) = match node.op_type.as_str() {
            "Conv" => Conv::new(node, &inputs).map(|conv| (conv.output_len(), Kind::Conv(conv))),
            "Gemm" => {
                Product::gemm(node, &inputs).map(|product| (product.output_len(), Kind::Product(product)))
            }
            "MatMul" => {
                Product::matmul(&inputs).map(|product| (product.output_len(), Kind::Product(product)))
            }
            "BatchNormalization" => {
                BatchNorm::new(node, &inputs).map(|norm| (inputs.input_len(), Kind::BatchNorm(norm)))
            }
            "LayerNormalization" => {
                LayerNorm::new(node, &inputs).map(|norm| (inputs.input_len(), Kind::LayerNorm(norm)))
            }
            op => Elementwise::new(op, &inputs).map(|each| (each.output_len(), Kind::Elementwise(each))),
        }
        .map(|(len, kind)| (kind, len))?;
        Some(DirectNode { kind, activation: inputs.activation, input_len: inputs.input_len(), output_len })
    }

    /// The convolution, if it is one.
    pub(crate) fn as_conv(&self) -> Option<&Conv> {
        if let Kind::Conv(conv) = &self.kind { Some(conv) } else { None }
    }

    /// The batch normalisation, if it is one.
    pub(crate) fn as_batch_norm(&self) -> Option<&BatchNorm> {
        if let Kind::BatchNorm(norm) = &self.kind { Some(norm) } else { None }
    }

    /// The position, among the node's inputs, of the one that is an activation.
    pub fn activation(&self) -> usize {
        self.activation
    }

    /// Elements of the node's output for one image.
    pub fn output_len(&self) -> usize {
        self.output_len
    }

    /// What can differ in the output of an image when these elements of a stored tensor differ; nothing if the tensor is no
    /// input of the node.
    ///
    /// # Errors
    /// [`DirectError::Element`] if the tensor is smaller.
    pub fn touched(&self, tensor: &str, elements: &[u64]) -> Result<Touched, DirectError> {
        let mut touched = Touched::default();
        for (position, stored) in self.stored_inputs().iter().enumerate() {
            if let Some(stored) = stored.as_ref().filter(|stored| stored.tensor == tensor) {
                for &element in elements {
                    let element = stored.check(element)?;
                    self.touch(position, element, &mut touched);
                }
            }
        }
        Ok(touched)
    }

    /// The same as indices into the output of an image (C order): sorted, disjoint, not adjoining.
    ///
    /// `touched` must come from this node, as everywhere.
    pub fn ranges(&self, touched: &Touched) -> Vec<std::ops::Range<usize>> {
        let mut ranges = touched::Ranges::default();
        match &self.kind {
            Kind::Conv(conv) => conv.ranges(touched, &mut ranges),
            Kind::Product(product) => product.ranges(touched, &mut ranges),
            Kind::Elementwise(each) => each.ranges(touched, &mut ranges),
            Kind::BatchNorm(norm) => norm.ranges(touched, &mut ranges),
            Kind::LayerNorm(norm) => norm.ranges(touched, &mut ranges),
        }
        ranges.finish()
    }

    /// Computes the touched outputs of one image, in `out`, where all others stay as they are.
    ///
    /// `input` is the image's value of the input at [`DirectNode::activation`]. `stored` gives the values of stored tensors,
    /// with all faults; it is asked for those of this node, once a call.
    ///
    /// # Errors
    /// [`DirectError`] if values are missing or their number is wrong; `out` is then as it was.
    pub fn recompute(
        &self,
        touched: &Touched,
        input: &[f32],
        stored: &StoredValues<'_>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), DirectError> {
        check_len("the input", input.len(), self.input_len)?;
        check_len("the output", out.len(), self.output_len)?;
        if touched.is_empty() {
            return Ok(());
        }
        match &self.kind {
            Kind::Conv(conv) => conv.recompute(touched, input, stored, out, scratch),
            Kind::Product(product) => product.recompute(touched, input, stored, out, scratch),
            Kind::Elementwise(each) => each.recompute(touched, input, stored, out),
            Kind::BatchNorm(norm) => norm.recompute(touched, input, stored, out),
            Kind::LayerNorm(norm) => norm.recompute(touched, input, stored, out),
        }
    }

    /// The stored inputs by the roles that the operator gives them.
    fn stored_inputs(&self) -> [Option<&Stored>; 4] {
        match &self.kind {
            Kind::Conv(conv) => [Some(&conv.weight), conv.bias.as_ref(), None, None],
            Kind::Product(product) => [Some(&product.weight), product.bias.as_ref(), None, None],
            Kind::Elementwise(each) => [Some(&each.stored), None, None, None],
            Kind::BatchNorm(norm) => norm.stored.each_ref().map(Some),
            Kind::LayerNorm(norm) => [Some(&norm.gamma), norm.beta.as_ref(), None, None],
        }
    }

    fn touch(&self, role: usize, element: usize, touched: &mut Touched) {
        match &self.kind {
            Kind::Conv(conv) => conv.touch(role, element, touched),
            Kind::Product(product) => product.touch(role, element, touched),
            Kind::Elementwise(_) | Kind::BatchNorm(_) | Kind::LayerNorm(_) => touched.all_of(element),
        }
    }
}

/// A stored tensor: its name in the file and the number of its elements.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) tensor: String,
    elements: usize,
}

impl Stored {
    fn check(&self, element: u64) -> Result<usize, DirectError> {
        let inside = usize::try_from(element).ok().filter(|&index| index < self.elements);
        inside.ok_or_else(|| DirectError::Element {
            tensor: self.tensor.clone(),
            element,
            elements: self.elements as u64,
        })
    }

    /// Its values, as many as it has elements.
    fn values<'v>(&self, stored: &StoredValues<'v>) -> Result<Cow<'v, [f32]>, DirectError> {
        let values =
            stored(&self.tensor).ok_or_else(|| DirectError::Missing { tensor: self.tensor.clone() })?;
        check_len(&self.tensor, values.len(), self.elements)?;
        Ok(values)
    }
}

fn check_len(what: &str, found: usize, wanted: usize) -> Result<(), DirectError> {
    if found == wanted { Ok(()) } else { Err(DirectError::Length { what: what.to_owned(), found, wanted }) }
}

/// The inputs of a node, of which exactly one is an activation.
struct Inputs {
    operands: Vec<Option<Operand>>,
    activation: usize,
}

impl Inputs {
    /// `None` if an input is unknown, or if not exactly one is an activation.
    fn new(node: &Node, lookup: &dyn Fn(&str) -> Option<Operand>) -> Option<Inputs> {
        let mut operands = Vec::new();
        for name in &node.inputs {
            operands.push(if name.is_empty() { None } else { Some(lookup(name)?) });
        }
        let is_activation = |operand: &Option<Operand>| matches!(operand, Some(Operand::Activation { .. }));
        let activation = operands.iter().position(is_activation)?;
        let alone = operands.iter().filter(|operand| is_activation(operand)).count() == 1;
        (alone && operands.iter().all(is_countable)).then_some(Inputs { operands, activation })
    }

    /// The dimensions of the activation, if it is the input at `position`.
    fn activation_at(&self, position: usize) -> Option<&[usize]> {
        match self.operands.get(position)? {
            Some(Operand::Activation { dims }) => Some(dims),
            _ => None,
        }
    }

    /// The stored tensor at `position` and its dimensions.
    fn stored_at(&self, position: usize) -> Option<(Stored, &[usize])> {
        match self.operands.get(position)? {
            Some(Operand::Stored { dims, tensor }) => {
                Some((Stored { tensor: tensor.clone(), elements: dims.iter().product() }, dims))
            }
            _ => None,
        }
    }

    fn has(&self, position: usize) -> bool {
        self.operands.get(position).is_some_and(Option::is_some)
    }

    fn input_len(&self) -> usize {
        self.activation_at(self.activation).unwrap_or_default().iter().product()
    }
}

/// Whether the number of elements fits, with room for padding. Empty tensors need no fast path.
fn is_countable(operand: &Option<Operand>) -> bool {
    let Some(Operand::Activation { dims } | Operand::Stored { dims, .. }) = operand else { return true };
    let count = dims.iter().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
    count.is_some_and(|count| count > 0 && count < 1 << 40)
}

/// A whole number, `default` if the attribute is not there; `None` if it is something else.
fn int_attribute(node: &Node, name: &str, default: i64) -> Option<i64> {
    match node.attribute(name) {
        None => Some(default),
        Some(AttributeValue::Int(value)) => Some(*value),
        Some(_) => None,
    }
}

/// Like [`int_attribute`] for a float.
fn float_attribute(node: &Node, name: &str, default: f32) -> Option<f32> {
    match node.attribute(name) {
        None => Some(default),
        Some(AttributeValue::Float(value)) => Some(*value),
        Some(_) => None,
    }
}

/// Whole numbers from 0 on, `count` of them, all `default` if the attribute is not there.
fn sizes_attribute(node: &Node, name: &str, count: usize, default: usize) -> Option<Vec<usize>> {
    match node.attribute(name) {
        None => Some(vec![default; count]),
        Some(AttributeValue::Ints(values)) if values.len() == count => {
            values.iter().map(|&value| usize::try_from(value).ok().filter(|&size| size < 1 << 24)).collect()
        }
        Some(_) => None,
    }
}
