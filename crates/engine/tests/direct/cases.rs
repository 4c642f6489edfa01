//! The nodes that are tried.

use bitquake_engine::Operand;
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_tensors::onnx::{Attribute, AttributeValue, Node};
use bitquake_testing::SplitMix64;

/// Two images and their negatives, and one with zeros for its negative pixels, as after a ReLU.
pub const IMAGES: usize = 5;

/// Names and values of the stored inputs.
pub type Stored = Vec<(String, Vec<f32>)>;

/// One node with one activation `x`.
pub struct Case {
    pub name: &'static str,
    pub op: &'static str,
    /// Dimensions of `x` without the batch.
    pub input: &'static [usize],
    /// The other inputs in order.
    pub stored: Vec<(&'static str, Vec<usize>)>,
    pub attributes: Vec<(&'static str, AttrValue)>,
    /// Whether `x` is the second input.
    pub second: bool,
}

impl Case {
    /// Whether the order of adding is known to the last product, where the order is that of an x86-64 machine with AVX-512.
    pub fn is_exact(&self) -> bool {
        self.op != "LayerNormalization" && !self.name.starts_with("depthwise, odd")
    }

    pub fn seed(&self) -> u64 {
        self.name.bytes().fold(1, |seed, byte| seed * 31 % 1_000_000_007 + u64::from(byte))
    }

    fn inputs(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = self.stored.iter().map(|stored| stored.0).collect();
        names.insert(usize::from(self.second), "x");
        names
    }

    pub fn node(&self) -> Node {
        let attribute = |(name, value): &(&str, AttrValue)| Attribute {
            name: (*name).to_owned(),
            value: match value {
                AttrValue::Int(value) => AttributeValue::Int(*value),
                AttrValue::Float(value) => AttributeValue::Float(*value),
                AttrValue::Text(value) => AttributeValue::String(value.clone()),
                AttrValue::Ints(values) => AttributeValue::Ints(values.clone()),
                other => panic!("no case has {other:?}"),
            },
        };
        Node {
            name: String::new(),
            op_type: self.op.to_owned(),
            domain: String::new(),
            inputs: self.inputs().into_iter().map(str::to_owned).collect(),
            outputs: vec!["y".to_owned()],
            attributes: self.attributes.iter().map(attribute).collect(),
        }
    }

    pub fn lookup(&self) -> impl Fn(&str) -> Option<Operand> {
        |name| match self.stored.iter().find(|stored| stored.0 == name) {
            Some((name, dims)) => Some(Operand::Stored { dims: dims.clone(), tensor: (*name).to_owned() }),
            None => Some(Operand::Activation { dims: self.input.to_vec() }),
        }
    }

    pub fn model(&self, stored: &Stored) -> Vec<u8> {
        let mut model = ModelBuilder::new("case");
        let graph = model.graph();
        let fixed = |dims: &[usize]| dims.iter().map(|&dim| BuildDim::Fixed(dim as u64)).collect::<Vec<_>>();
        graph.input("x", ElemType::F32, &[vec![BuildDim::Named("batch")], fixed(self.input)].concat());
        for ((name, values), (_, dims)) in stored.iter().zip(&self.stored) {
            let dims: Vec<u64> = dims.iter().map(|&dim| dim as u64).collect();
            graph.initializer(TensorSpec::f32(name, &dims, values));
        }
        graph.node(self.op, &self.inputs(), &["y"], &self.attributes);
        graph.output("y", ElemType::F32, &vec![BuildDim::Named("any"); self.input.len() + 1]);
        model.finish()
    }

    /// The activation for all images, and the stored inputs.
    pub fn values(&self, random: &mut SplitMix64) -> (Vec<f32>, Stored) {
        let len: usize = self.input.iter().product();
        let normal =
            |random: &mut SplitMix64, len| (0..len).map(|_| random.normal() as f32).collect::<Vec<f32>>();
        let (a, b, c) = (normal(random, len), normal(random, len), normal(random, len));
        let negative = |image: &[f32]| image.iter().map(|x| -x).collect::<Vec<f32>>();
        let zeroed = c.iter().map(|x| x.max(0.0)).collect();
        let input = [a.clone(), negative(&a), b.clone(), negative(&b), zeroed].concat();
        let stored = self.stored.iter().map(|(name, dims)| {
            let values = normal(random, dims.iter().product());
            let variance = *name == "var";
            let values = values.into_iter().map(|x| if variance { x.abs() + 0.1 } else { x }).collect();
            ((*name).to_owned(), values)
        });
        (input, stored.collect())
    }
}

pub fn ints(values: &[i64]) -> AttrValue {
    AttrValue::Ints(values.to_vec())
}

pub fn text(value: &str) -> AttrValue {
    AttrValue::Text(value.to_owned())
}

type Attributes = Vec<(&'static str, AttrValue)>;

fn case(
    name: &'static str,
    op: &'static str,
    input: &'static [usize],
    stored: &[(&'static str, &[usize])],
    attributes: Attributes,
) -> Case {
    let stored = stored.iter().map(|(name, dims)| (*name, dims.to_vec())).collect();
    Case { name, op, input, stored, attributes, second: false }
}

fn conv(
    name: &'static str,
    input: &'static [usize],
    weight: &[usize],
    bias: bool,
    attributes: Attributes,
) -> Case {
    let bias = bias.then_some(("b", &weight[..1]));
    let stored: Vec<(&str, &[usize])> = [("w", weight)].into_iter().chain(bias).collect();
    case(name, "Conv", input, &stored, attributes)
}

fn second(mut case: Case) -> Case {
    case.second = true;
    case
}

/// Every way that is supported.
pub fn all() -> Vec<Case> {
    let pads = |pad: i64| ("pads", ints(&[pad; 4]));
    let strides = |stride: i64| ("strides", ints(&[stride; 2]));
    let group = |groups| ("group", AttrValue::Int(groups));
    let auto = |name| ("auto_pad", text(name));
    let norm = |eps| ("epsilon", AttrValue::Float(eps));
    vec![
        conv("few channels", &[3, 8, 8], &[16, 3, 3, 3], false, vec![pads(1)]),
        conv("few channels, bias", &[3, 9, 7], &[6, 3, 5, 3], true, vec![pads(2)]),
        conv("one block", &[16, 8, 8], &[16, 16, 3, 3], false, vec![pads(1)]),
        conv("blocks, bias", &[64, 8, 8], &[32, 64, 3, 3], true, vec![pads(1)]),
        conv("large window", &[16, 9, 9], &[16, 16, 7, 7], true, vec![pads(3)]),
        conv("a part of a block", &[20, 6, 6], &[12, 20, 3, 3], true, vec![pads(1)]),
        conv("odd channels", &[21, 6, 6], &[5, 21, 3, 3], true, vec![pads(1)]),
        conv("odd channels, large", &[17, 20, 20], &[3, 17, 3, 3], true, vec![pads(1)]),
        conv("strides", &[16, 9, 9], &[8, 16, 3, 3], true, vec![pads(1), strides(2)]),
        conv("uneven strides", &[4, 9, 11], &[8, 4, 3, 2], true, vec![("strides", ints(&[3, 2]))]),
        conv("stride beyond the window", &[4, 9, 9], &[8, 4, 2, 2], true, vec![strides(3)]),
        conv("dilations", &[16, 9, 9], &[8, 16, 3, 3], true, vec![pads(2), ("dilations", ints(&[2, 2]))]),
        conv(
            "dilations and strides",
            &[5, 12, 13],
            &[8, 5, 3, 3],
            true,
            vec![("dilations", ints(&[3, 2])), ("strides", ints(&[2, 3])), ("pads", ints(&[3, 0, 1, 2]))],
        ),
        conv("uneven pads", &[16, 5, 6], &[8, 16, 3, 3], true, vec![("pads", ints(&[0, 2, 1, 0]))]),
        conv("more padding than input", &[2, 2, 2], &[3, 2, 3, 3], true, vec![pads(2)]),
        conv("pointwise", &[48, 5, 5], &[16, 48, 1, 1], true, vec![]),
        conv("pointwise, many channels", &[320, 4, 4], &[16, 320, 1, 1], true, vec![]),
        conv("pointwise, strides", &[32, 8, 8], &[16, 32, 1, 1], true, vec![strides(2)]),
        conv("pointwise, odd channels", &[301, 5, 5], &[16, 301, 1, 1], true, vec![]),
        conv("pointwise, padded", &[32, 4, 4], &[16, 32, 1, 1], true, vec![pads(1)]),
        conv("depthwise", &[16, 8, 8], &[16, 1, 3, 3], true, vec![pads(1), group(16)]),
        conv("depthwise, odd channels", &[6, 8, 8], &[6, 1, 3, 3], true, vec![pads(1), group(6)]),
        conv("depthwise, multiplied", &[8, 8, 8], &[16, 1, 3, 3], true, vec![group(8), strides(2)]),
        conv("depthwise, odd window", &[7, 9, 9], &[7, 1, 5, 5], true, vec![pads(2), group(7), strides(2)]),
        conv("depthwise, odd, strides", &[6, 9, 9], &[6, 1, 3, 3], true, vec![pads(1), group(6), strides(2)]),
        conv("groups of a block", &[32, 6, 6], &[32, 16, 3, 3], true, vec![pads(1), group(2)]),
        conv("small groups", &[8, 6, 6], &[12, 2, 3, 3], true, vec![pads(1), group(4)]),
        conv("same upper", &[16, 7, 8], &[8, 16, 4, 3], true, vec![auto("SAME_UPPER"), strides(2)]),
        conv("same lower", &[16, 7, 8], &[8, 16, 4, 3], true, vec![auto("SAME_LOWER"), strides(2)]),
        conv("valid", &[16, 7, 8], &[8, 16, 4, 3], true, vec![auto("VALID")]),
        conv("the window is the image", &[32, 4, 4], &[16, 32, 4, 4], true, vec![]),
        conv("kernel shape given", &[3, 5, 5], &[4, 3, 3, 3], true, vec![("kernel_shape", ints(&[3, 3]))]),
        conv("one dimension", &[16, 30], &[8, 16, 5], true, vec![("pads", ints(&[2, 2]))]),
        conv(
            "one dimension, strides",
            &[3, 31],
            &[8, 3, 5],
            true,
            vec![("pads", ints(&[4, 1])), ("strides", ints(&[2])), ("dilations", ints(&[2]))],
        ),
        conv("one dimension, long", &[64, 10], &[8, 64, 5], false, vec![]),
        case("gemm", "Gemm", &[12], &[("w", &[12, 7]), ("b", &[7])], vec![]),
        case(
            "gemm, transposed",
            "Gemm",
            &[300],
            &[("w", &[10, 300]), ("b", &[10])],
            vec![("transB", AttrValue::Int(1))],
        ),
        case(
            "gemm, factors",
            "Gemm",
            &[600],
            &[("w", &[600, 10]), ("b", &[1, 10])],
            vec![("alpha", AttrValue::Float(0.7)), ("beta", AttrValue::Float(-1.3))],
        ),
        case("gemm, one bias", "Gemm", &[12], &[("w", &[12, 7]), ("b", &[])], vec![]),
        case("gemm, no bias", "Gemm", &[70], &[("w", &[70, 3])], vec![]),
        case("matmul of vectors", "MatMul", &[530], &[("w", &[530, 9])], vec![]),
        case("matmul of rows", "MatMul", &[11, 40], &[("w", &[40, 20])], vec![]),
        case("matmul of heads", "MatMul", &[2, 9, 300], &[("w", &[300, 33])], vec![]),
        case("matmul to one column", "MatMul", &[9, 70], &[("w", &[70, 1])], vec![]),
        case("add a channel", "Add", &[4, 5, 3], &[("w", &[4, 1, 1])], vec![]),
        case("multiply with a batch of 1", "Mul", &[4, 5, 3], &[("w", &[1, 4, 1, 1])], vec![]),
        case("multiply rows", "Mul", &[4, 5, 3], &[("w", &[5, 1])], vec![]),
        case("add the ends", "Add", &[4, 5, 3], &[("w", &[4, 1, 3])], vec![]),
        case("subtract a number", "Sub", &[7, 3], &[("w", &[])], vec![]),
        second(case("subtract from columns", "Sub", &[7, 3], &[("w", &[3])], vec![])),
        case("divide by all", "Div", &[7, 3], &[("w", &[7, 3])], vec![]),
        second(case("divide a column", "Div", &[7, 3], &[("w", &[7, 1])], vec![])),
        case("add and grow", "Add", &[7, 1], &[("w", &[7, 4])], vec![]),
        case("prelu by channel", "PRelu", &[4, 5, 3], &[("w", &[4, 1, 1])], vec![]),
        case("prelu with one slope", "PRelu", &[4, 5], &[("w", &[1])], vec![]),
        case(
            "batch norm",
            "BatchNormalization",
            &[4, 5, 3],
            &[("scale", &[4]), ("b", &[4]), ("mean", &[4]), ("var", &[4])],
            vec![],
        ),
        case(
            "batch norm of vectors",
            "BatchNormalization",
            &[6],
            &[("scale", &[6]), ("b", &[6]), ("mean", &[6]), ("var", &[6])],
            vec![norm(0.01)],
        ),
        case("layer norm", "LayerNormalization", &[5, 24], &[("g", &[24]), ("b", &[24])], vec![]),
        case(
            "layer norm over two",
            "LayerNormalization",
            &[3, 4, 6],
            &[("g", &[4, 6]), ("b", &[4, 6])],
            vec![("axis", AttrValue::Int(2)), norm(0.01)],
        ),
        case("layer norm without beta", "LayerNormalization", &[24], &[("g", &[24])], vec![]),
    ]
}

/// Convolutions as large as in networks, for which the engine may choose another way.
pub fn large() -> Vec<Case> {
    let pads = |pad: i64| ("pads", ints(&[pad; 4]));
    vec![
        conv("many blocks", &[128, 14, 14], &[128, 128, 3, 3], true, vec![pads(1)]),
        conv("many blocks, large", &[64, 28, 28], &[64, 64, 3, 3], false, vec![pads(1)]),
        conv("a block, large", &[16, 56, 56], &[16, 16, 3, 3], false, vec![pads(1)]),
        conv(
            "depthwise, large window",
            &[32, 14, 14],
            &[32, 1, 7, 7],
            true,
            vec![pads(3), ("group", AttrValue::Int(32))],
        ),
    ]
}

/// What is left to the engine.
pub fn unsupported() -> Vec<Case> {
    vec![
        conv(
            "depthwise, multiplied and padded",
            &[8, 8, 8],
            &[16, 1, 7, 7],
            true,
            vec![("pads", ints(&[3; 4])), ("group", AttrValue::Int(8)), ("strides", ints(&[2, 2]))],
        ),
        conv("three dimensions", &[2, 4, 4, 4], &[2, 2, 3, 3, 3], true, vec![]),
        conv("negative padding", &[2, 8, 8], &[2, 2, 3, 3], true, vec![("pads", ints(&[-1, 0, 0, 0]))]),
        conv("no output", &[2, 2, 2], &[2, 2, 3, 3], true, vec![]),
        conv("wrong channels", &[3, 8, 8], &[2, 2, 3, 3], true, vec![]),
        conv("wrong kernel shape", &[2, 8, 8], &[2, 2, 3, 3], true, vec![("kernel_shape", ints(&[3, 2]))]),
        conv("unknown padding", &[2, 8, 8], &[2, 2, 3, 3], true, vec![("auto_pad", text("SOME"))]),
        conv("too few strides", &[2, 8, 8], &[2, 2, 3, 3], true, vec![("strides", ints(&[2]))]),
        case("wrong bias", "Conv", &[2, 8, 8], &[("w", &[4, 2, 3, 3]), ("b", &[3])], vec![]),
        case("transA", "Gemm", &[12], &[("w", &[12, 7])], vec![("transA", AttrValue::Int(1))]),
        case("bias by image", "Gemm", &[12], &[("w", &[12, 7]), ("b", &[5, 7])], vec![]),
        case("stored heads", "MatMul", &[2, 9, 30], &[("w", &[2, 30, 3])], vec![]),
        second(case("stored on the left", "MatMul", &[9, 30], &[("w", &[4, 9])], vec![])),
        case("stored batch", "Add", &[7, 3], &[("w", &[5, 7, 3])], vec![]),
        case("does not fit", "Add", &[7, 3], &[("w", &[4])], vec![]),
        case(
            "training",
            "BatchNormalization",
            &[4],
            &[("s", &[4]), ("b", &[4]), ("m", &[4]), ("v", &[4])],
            vec![("training_mode", AttrValue::Int(1))],
        ),
        case(
            "over the batch",
            "LayerNormalization",
            &[4],
            &[("g", &[4]), ("b", &[4])],
            vec![("axis", AttrValue::Int(0))],
        ),
        case("another operator", "Pow", &[4], &[("w", &[4])], vec![]),
        case("empty", "Add", &[0], &[("w", &[1])], vec![]),
    ]
}
