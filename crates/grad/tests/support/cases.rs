//! One case or more for each operator: a graph from input `x` to output `y`.

use bitquake_graph::build::{AttrValue, BuildDim, ElemType, GraphBuilder, ModelBuilder, TensorSpec};

use super::normal;

/// A small graph that uses an operator.
pub struct Case {
    pub name: &'static str,
    /// The shape of `x`.
    pub shape: &'static [usize],
    /// The version of the operator set.
    pub opset: u8,
    /// The rank of `y`.
    pub rank: usize,
    /// What the numbers of `x` are made of normal ones by.
    pub input: fn(f32) -> f32,
    pub build: fn(&mut Nodes<'_>),
    /// Whether NaN and infinities in `x` are tried.
    pub nonfinite: bool,
    /// Whether ONNX Runtime passes over a NaN here, where PyTorch and this crate do not.
    pub runtime_drops_nan: bool,
    /// Whether the gradient is that of the value, so that differences show it.
    pub exact_gradient: bool,
}

/// Adds nodes and tensors to a case's graph.
pub struct Nodes<'g> {
    pub graph: &'g mut GraphBuilder,
    seed: u64,
}

impl Nodes<'_> {
    /// A float initializer of normal numbers.
    pub fn weight(&mut self, name: &str, shape: &[u64]) -> &mut Self {
        self.weight_with(name, shape, |value| value)
    }

    /// A float initializer of changed normal numbers.
    pub fn weight_with(&mut self, name: &str, shape: &[u64], change: fn(f32) -> f32) -> &mut Self {
        self.seed += 1;
        let values = normal(self.seed, shape.iter().product::<u64>() as usize);
        let values: Vec<f32> = values.into_iter().map(change).collect();
        self.graph.initializer(TensorSpec::f32(name, shape, &values));
        self
    }

    pub fn floats(&mut self, name: &str, shape: &[u64], values: &[f32]) -> &mut Self {
        self.graph.initializer(TensorSpec::f32(name, shape, values));
        self
    }

    pub fn ints(&mut self, name: &str, values: &[i64]) -> &mut Self {
        self.graph.initializer(TensorSpec::i64(name, &[values.len() as u64], values));
        self
    }

    pub fn scalar_int(&mut self, name: &str, value: i64) -> &mut Self {
        self.graph.initializer(TensorSpec::i64(name, &[], &[value]));
        self
    }

    pub fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, AttrValue)],
    ) -> &mut Self {
        self.graph.node(op, inputs, &[output], attributes);
        self
    }

    pub fn nodes(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, AttrValue)],
    ) -> &mut Self {
        self.graph.node(op, inputs, outputs, attributes);
        self
    }
}

impl Case {
    /// The model: `x` in, `y` out.
    pub fn model(&self) -> Vec<u8> {
        self.with("x", |_| {}, "y")
    }

    /// The model with everything that is differentiated as a parameter, and curved: `x = in + moved` with zeros, output `y * y`.
    pub fn curved(&self) -> Vec<u8> {
        let zeros = vec![0.0; self.shape.iter().product()];
        let shape: Vec<u64> = self.shape.iter().map(|&size| size as u64).collect();
        let around = |graph: &mut GraphBuilder| {
            graph.initializer(TensorSpec::f32("moved", &shape, &zeros));
            graph.node("Add", &["in", "moved"], &["x"], &[]);
        };
        self.with("in", around, "z")
    }

    fn with(&self, input: &str, before: impl FnOnce(&mut GraphBuilder), output: &str) -> Vec<u8> {
        let mut model = ModelBuilder::new(self.name);
        let fixed = |&size: &usize| BuildDim::Fixed(size as u64);
        let mut dims: Vec<BuildDim<'_>> = self.shape.iter().map(fixed).collect();
        dims[0] = BuildDim::Named("batch");
        model.graph().input(input, ElemType::F32, &dims);
        before(model.graph());
        (self.build)(&mut Nodes { graph: model.graph(), seed: 100 });
        let names = ["a", "b", "c", "d", "e"].map(BuildDim::Named);
        if output == "z" {
            model.graph().node("Mul", &["y", "y"], &["z"], &[]);
        }
        model.graph().output(output, ElemType::F32, &names[..self.rank]);
        let mut bytes = model.finish();
        // The version of the operator set is the last byte that the builder writes.
        *bytes.last_mut().expect("a model") = self.opset;
        bytes
    }

    pub fn images(&self) -> Vec<f32> {
        normal(7, self.shape.iter().product()).into_iter().map(self.input).collect()
    }
}

fn ints(values: &[i64]) -> AttrValue {
    AttrValue::Ints(values.to_vec())
}

fn int(value: i64) -> AttrValue {
    AttrValue::Int(value)
}

fn float(value: f32) -> AttrValue {
    AttrValue::Float(value)
}

fn text(value: &str) -> AttrValue {
    AttrValue::Text(value.to_owned())
}

const IMAGE: &[usize] = &[2, 4, 6, 5];

const fn case(name: &'static str, shape: &'static [usize], rank: usize, build: fn(&mut Nodes<'_>)) -> Case {
    Case {
        name,
        shape,
        opset: 17,
        rank,
        input: |value| value,
        build,
        nonfinite: true,
        runtime_drops_nan: false,
        exact_gradient: true,
    }
}

const fn at(opset: u8, case: Case) -> Case {
    Case { opset, ..case }
}

/// Values in [0.5, ...), for roots and logarithms.
const fn positive(case: Case) -> Case {
    Case { input: |value| value.abs() + 0.5, ..case }
}

const fn finite(case: Case) -> Case {
    Case { nonfinite: false, ..case }
}

const fn maximum(case: Case) -> Case {
    Case { runtime_drops_nan: true, ..case }
}

const fn straight_through(case: Case) -> Case {
    Case { exact_gradient: false, ..case }
}

macro_rules! unary {
    ($op:literal) => {
        case($op, &[2, 5], 2, |g| {
            g.node($op, &["x"], "y", &[]);
        })
    };
}

/// One case or more for each operator; the name's first word is the operator.
pub const CASES: &[Case] = &[
    case("Conv pads", IMAGE, 4, |g| {
        g.weight("w", &[3, 4, 3, 3]).weight("b", &[3]);
        g.node("Conv", &["x", "w", "b"], "y", &[("pads", ints(&[1, 1, 1, 1]))]);
    }),
    case("Conv stride dilation uneven", &[2, 3, 9, 8], 4, |g| {
        g.weight("w", &[2, 3, 3, 2]);
        let attributes = [
            ("pads", ints(&[2, 0, 1, 3])),
            ("strides", ints(&[2, 3])),
            ("dilations", ints(&[2, 1])),
            ("kernel_shape", ints(&[3, 2])),
        ];
        g.node("Conv", &["x", "w"], "y", &attributes);
    }),
    case("Conv stride rest", &[2, 2, 7, 8], 4, |g| {
        g.weight("w", &[2, 2, 3, 3]);
        g.node("Conv", &["x", "w"], "y", &[("pads", ints(&[1, 1, 1, 1])), ("strides", ints(&[2, 2]))]);
    }),
    case("Conv groups", IMAGE, 4, |g| {
        g.weight("w", &[6, 2, 3, 3]).weight("b", &[6]);
        g.node("Conv", &["x", "w", "b"], "y", &[("group", int(2)), ("pads", ints(&[1, 1, 1, 1]))]);
    }),
    case("Conv depthwise", IMAGE, 4, |g| {
        g.weight("w", &[4, 1, 3, 3]);
        g.node(
            "Conv",
            &["x", "w"],
            "y",
            &[("group", int(4)), ("pads", ints(&[1, 1, 1, 1])), ("strides", ints(&[2, 2]))],
        );
    }),
    case("Conv 1x1", IMAGE, 4, |g| {
        g.weight("w", &[3, 4, 1, 1]);
        g.node("Conv", &["x", "w"], "y", &[("strides", ints(&[2, 2]))]);
    }),
    case("Conv same upper", &[1, 2, 7, 6], 4, |g| {
        g.weight("w", &[2, 2, 4, 3]);
        g.node("Conv", &["x", "w"], "y", &[("auto_pad", text("SAME_UPPER")), ("strides", ints(&[2, 2]))]);
    }),
    case("Conv same lower", &[1, 2, 7, 6], 4, |g| {
        g.weight("w", &[2, 2, 2, 4]);
        g.node("Conv", &["x", "w"], "y", &[("auto_pad", text("SAME_LOWER"))]);
    }),
    case("Conv one axis", &[2, 3, 9], 3, |g| {
        g.weight("w", &[4, 3, 3]).weight("b", &[4]);
        g.node("Conv", &["x", "w", "b"], "y", &[("pads", ints(&[1, 2])), ("strides", ints(&[2]))]);
    }),
    case("Gemm", &[3, 4], 2, |g| {
        g.weight("w", &[5, 4]).weight("b", &[5]);
        g.node(
            "Gemm",
            &["x", "w", "b"],
            "y",
            &[("transB", int(1)), ("alpha", float(0.5)), ("beta", float(2.0))],
        );
    }),
    case("Gemm transposed", &[3, 4], 2, |g| {
        g.weight("w", &[3, 2]).weight("b", &[4, 1]);
        g.node("Gemm", &["x", "w", "b"], "y", &[("transA", int(1))]);
    }),
    case("MatMul matrix", &[2, 3, 4], 3, |g| {
        g.weight("w", &[4, 5]).node("MatMul", &["x", "w"], "y", &[]);
    }),
    case("MatMul batches", &[2, 1, 3, 4], 4, |g| {
        g.weight("w", &[3, 4, 2]).node("MatMul", &["x", "w"], "y", &[]);
    }),
    case("MatMul vector", &[2, 3, 4], 2, |g| {
        g.weight("w", &[4]).node("MatMul", &["x", "w"], "y", &[]);
    }),
    case("MatMul itself", &[2, 3, 3], 3, |g| {
        g.node("MatMul", &["x", "x"], "y", &[]);
    }),
    case("Add", &[2, 3, 4], 3, |g| {
        g.weight("w", &[3, 1]).node("Add", &["x", "w"], "y", &[]);
    }),
    case("Add wider", &[2, 1], 3, |g| {
        g.weight("w", &[3, 1, 4]).node("Add", &["w", "x"], "y", &[]);
    }),
    case("Sub", &[2, 3], 2, |g| {
        g.weight("w", &[]).node("Sub", &["w", "x"], "y", &[]);
    }),
    case("Mul", &[2, 3], 2, |g| {
        g.weight("w", &[2, 1]).node("Mul", &["x", "w"], "y", &[]);
    }),
    case("Div", &[2, 3], 2, |g| {
        g.weight_with("w", &[3], |value| value.abs() + 1.0).node("Div", &["x", "w"], "y", &[]);
    }),
    case("Pow 2", &[2, 3], 2, |g| {
        g.floats("w", &[], &[2.0]).node("Pow", &["x", "w"], "y", &[]);
    }),
    case("Pow 3", &[2, 3], 2, |g| {
        g.floats("w", &[1], &[3.0]).node("Pow", &["x", "w"], "y", &[]);
    }),
    finite(positive(case("Pow", &[2, 3], 2, |g| {
        g.weight("w", &[3]).node("Pow", &["x", "w"], "y", &[]);
    }))),
    finite(positive(case("Pow constant", &[2, 3], 2, |g| {
        g.floats("w", &[], &[1.7]).node("Pow", &["x", "w"], "y", &[]);
    }))),
    case("Max", &[2, 4], 2, |g| {
        g.weight("w", &[4]).weight("v", &[2, 1]).node("Max", &["x", "w", "v"], "y", &[]);
    }),
    case("Min", &[2, 4], 2, |g| {
        g.weight("w", &[4]).weight("v", &[2, 1]).node("Min", &["x", "w", "v"], "y", &[]);
    }),
    case("Sum", &[2, 4], 2, |g| {
        g.weight("w", &[4]).weight("v", &[2, 1]).node("Sum", &["x", "w", "v"], "y", &[]);
    }),
    unary!("Neg"),
    unary!("Abs"),
    positive(unary!("Sqrt")),
    unary!("Exp"),
    positive(unary!("Log")),
    unary!("Erf"),
    positive(unary!("Reciprocal")),
    unary!("Floor"),
    unary!("Ceil"),
    case("Equal", &[2, 5], 2, |g| {
        g.floats("zero", &[], &[0.0]).node("Relu", &["x"], "r", &[]).node("Equal", &["r", "zero"], "m", &[]);
        g.node("Cast", &["m"], "y", &[("to", int(1))]);
    }),
    case("Greater", &[2, 5], 2, |g| {
        g.weight("w", &[5]).node("Greater", &["x", "w"], "m", &[]).node(
            "Cast",
            &["m"],
            "y",
            &[("to", int(1))],
        );
    }),
    case("Less", &[2, 5], 2, |g| {
        g.weight("w", &[5]).node("Less", &["x", "w"], "m", &[]).node("Cast", &["m"], "y", &[("to", int(1))]);
    }),
    case("Not", &[2, 5], 2, |g| {
        g.weight("w", &[5]).node("Less", &["x", "w"], "m", &[]).node("Not", &["m"], "n", &[]);
        g.node("Cast", &["n"], "y", &[("to", int(1))]);
    }),
    case("Where", &[2, 5], 2, |g| {
        g.weight("w", &[5]).weight("v", &[2, 1]).node("Less", &["x", "w"], "m", &[]);
        g.node("Where", &["m", "x", "v"], "y", &[]);
    }),
    unary!("Relu"),
    case("LeakyRelu", &[2, 5], 2, |g| {
        g.node("LeakyRelu", &["x"], "y", &[("alpha", float(0.2))]);
    }),
    case("PRelu", &[2, 3, 4], 3, |g| {
        g.weight("w", &[3, 1]).node("PRelu", &["x", "w"], "y", &[]);
    }),
    case("Elu", &[2, 5], 2, |g| {
        g.node("Elu", &["x"], "y", &[("alpha", float(1.5))]);
    }),
    unary!("Sigmoid"),
    unary!("Tanh"),
    unary!("Softplus"),
    case("HardSigmoid", &[2, 9], 2, |g| {
        g.node("HardSigmoid", &["x"], "y", &[("alpha", float(0.4)), ("beta", float(0.3))]);
    }),
    case("HardSwish", &[2, 9], 2, |g| {
        g.floats("three", &[], &[2.9]).node("Mul", &["x", "three"], "t", &[]).node(
            "HardSwish",
            &["t"],
            "y",
            &[],
        );
    }),
    case("Clip", &[2, 9], 2, |g| {
        g.floats("low", &[], &[-0.4]).floats("high", &[], &[0.7]).node(
            "Clip",
            &["x", "low", "high"],
            "y",
            &[],
        );
    }),
    case("Clip from below", &[2, 9], 2, |g| {
        g.floats("low", &[], &[0.1]).node("Clip", &["x", "low"], "y", &[]);
    }),
    at(
        6,
        case("Clip by attributes", &[2, 9], 2, |g| {
            g.node("Clip", &["x"], "y", &[("min", float(-0.5)), ("max", float(0.5))]);
        }),
    ),
    at(
        20,
        case("Gelu", &[2, 9], 2, |g| {
            g.node("Gelu", &["x"], "y", &[]);
        }),
    ),
    at(
        20,
        case("Gelu tanh", &[2, 9], 2, |g| {
            g.node("Gelu", &["x"], "y", &[("approximate", text("tanh"))]);
        }),
    ),
    case("Softmax", &[2, 3, 4], 3, |g| {
        g.node("Softmax", &["x"], "y", &[("axis", int(1))]);
    }),
    at(
        11,
        case("Softmax old", &[2, 3, 4], 3, |g| {
            g.node("Softmax", &["x"], "y", &[]);
        }),
    ),
    case("LogSoftmax", &[2, 3, 4], 3, |g| {
        g.node("LogSoftmax", &["x"], "y", &[]);
    }),
    case("BatchNormalization", &[3, 4, 2, 3], 4, |g| {
        g.weight("s", &[4])
            .weight("b", &[4])
            .weight("m", &[4])
            .weight_with("v", &[4], |value| value.abs() + 0.3);
        g.node("BatchNormalization", &["x", "s", "b", "m", "v"], "y", &[("epsilon", float(1e-3))]);
    }),
    case("BatchNormalization with a computed scale", &[5, 4], 2, |g| {
        g.weight("a", &[4])
            .weight("b", &[4])
            .weight("m", &[4])
            .weight_with("v", &[4], |value| value.abs() + 0.3);
        g.floats("one", &[], &[1.0]).node("Add", &["a", "one"], "s", &[]);
        g.node("BatchNormalization", &["x", "s", "b", "m", "v"], "y", &[]);
    }),
    case("LayerNormalization", &[2, 3, 5], 3, |g| {
        g.weight("s", &[5]).weight("b", &[5]).node("LayerNormalization", &["x", "s", "b"], "y", &[]);
    }),
    case("LayerNormalization two axes", &[2, 3, 5], 3, |g| {
        g.weight("s", &[3, 5]).node(
            "LayerNormalization",
            &["x", "s"],
            "y",
            &[("axis", int(1)), ("epsilon", float(0.1))],
        );
    }),
    at(
        21,
        case("GroupNormalization", &[2, 4, 3, 2], 4, |g| {
            g.weight("s", &[4]).weight("b", &[4]);
            g.node("GroupNormalization", &["x", "s", "b"], "y", &[("num_groups", int(2))]);
        }),
    ),
    at(
        18,
        case("GroupNormalization by group", &[2, 4, 3, 2], 4, |g| {
            g.weight("s", &[2]).weight("b", &[2]);
            g.node("GroupNormalization", &["x", "s", "b"], "y", &[("num_groups", int(2))]);
        }),
    ),
    case("InstanceNormalization", &[2, 3, 4, 2], 4, |g| {
        g.weight("s", &[3]).weight("b", &[3]).node("InstanceNormalization", &["x", "s", "b"], "y", &[]);
    }),
    maximum(case("MaxPool", IMAGE, 4, |g| {
        g.node("MaxPool", &["x"], "y", &[("kernel_shape", ints(&[2, 2])), ("strides", ints(&[2, 2]))]);
    })),
    maximum(case("MaxPool uneven", &[1, 2, 7, 6], 4, |g| {
        let attributes = [
            ("kernel_shape", ints(&[3, 2])),
            ("strides", ints(&[2, 1])),
            ("pads", ints(&[0, 0, 1, 1])),
            ("dilations", ints(&[2, 1])),
        ];
        g.node("MaxPool", &["x"], "y", &attributes);
    })),
    maximum(case("MaxPool ceil", &[1, 2, 6, 6], 4, |g| {
        g.node(
            "MaxPool",
            &["x"],
            "y",
            &[("kernel_shape", ints(&[3, 3])), ("strides", ints(&[2, 2])), ("ceil_mode", int(1))],
        );
    })),
    maximum(case("MaxPool one axis", &[2, 2, 7], 3, |g| {
        g.node("MaxPool", &["x"], "y", &[("kernel_shape", ints(&[3])), ("strides", ints(&[2]))]);
    })),
    case("AveragePool", IMAGE, 4, |g| {
        g.node(
            "AveragePool",
            &["x"],
            "y",
            &[("kernel_shape", ints(&[2, 3])), ("strides", ints(&[2, 1])), ("pads", ints(&[1, 1, 0, 1]))],
        );
    }),
    case("AveragePool counting padding", IMAGE, 4, |g| {
        g.node(
            "AveragePool",
            &["x"],
            "y",
            &[("kernel_shape", ints(&[3, 3])), ("pads", ints(&[1, 1, 1, 1])), ("count_include_pad", int(1))],
        );
    }),
    at(
        19,
        case("AveragePool ceil", &[1, 2, 6, 6], 4, |g| {
            g.node(
                "AveragePool",
                &["x"],
                "y",
                &[("kernel_shape", ints(&[3, 3])), ("strides", ints(&[2, 2])), ("ceil_mode", int(1))],
            );
        }),
    ),
    at(
        19,
        case("AveragePool ceil counting padding", &[1, 2, 6, 6], 4, |g| {
            g.node(
                "AveragePool",
                &["x"],
                "y",
                &[
                    ("kernel_shape", ints(&[3, 3])),
                    ("strides", ints(&[2, 2])),
                    ("ceil_mode", int(1)),
                    ("pads", ints(&[1, 1, 1, 1])),
                    ("count_include_pad", int(1)),
                ],
            );
        }),
    ),
    case("GlobalAveragePool", IMAGE, 4, |g| {
        g.node("GlobalAveragePool", &["x"], "y", &[]);
    }),
    maximum(case("GlobalMaxPool", IMAGE, 4, |g| {
        g.node("GlobalMaxPool", &["x"], "y", &[]);
    })),
    case("ReduceMean", &[2, 3, 4], 2, |g| {
        g.node("ReduceMean", &["x"], "y", &[("axes", ints(&[-1])), ("keepdims", int(0))]);
    }),
    at(
        18,
        case("ReduceMean input", &[2, 3, 4], 3, |g| {
            g.ints("axes", &[0, 2]).node("ReduceMean", &["x", "axes"], "y", &[]);
        }),
    ),
    case("ReduceSum", &[2, 3, 4], 0, |g| {
        g.node("ReduceSum", &["x"], "y", &[("keepdims", int(0))]);
    }),
    maximum(case("ReduceMax", &[2, 3, 4], 2, |g| {
        g.node("ReduceMax", &["x"], "y", &[("axes", ints(&[1])), ("keepdims", int(0))]);
    })),
    maximum(case("ReduceMin", &[2, 3, 4], 3, |g| {
        g.node("ReduceMin", &["x"], "y", &[("axes", ints(&[1, 2]))]);
    })),
    case("ReduceProd", &[2, 3, 4], 2, |g| {
        g.node("ReduceProd", &["x"], "y", &[("axes", ints(&[2])), ("keepdims", int(0))]);
    }),
    case("ReduceProd numbers", &[2, 3, 4], 2, |g| {
        g.ints("last", &[2]).ints("minus", &[-1]);
        g.node("Shape", &["x"], "s", &[]).node("Gather", &["s", "last"], "n", &[]);
        g.node("ReduceProd", &["n"], "p", &[]).node("Concat", &["minus", "p"], "t", &[("axis", int(0))]);
        g.node("Reshape", &["x", "t"], "y", &[]);
    }),
    case("ReduceL2", &[2, 3, 4], 2, |g| {
        g.node("ReduceL2", &["x"], "y", &[("axes", ints(&[2])), ("keepdims", int(0))]);
    }),
    unary!("Identity"),
    unary!("Dropout"),
    case("Reshape", &[2, 3, 4], 3, |g| {
        g.ints("shape", &[0, -1, 6]).node("Reshape", &["x", "shape"], "y", &[]);
    }),
    case("Flatten", &[2, 3, 4], 2, |g| {
        g.node("Flatten", &["x"], "y", &[("axis", int(-1))]);
    }),
    case("Squeeze", &[2, 1, 3, 1], 2, |g| {
        g.ints("axes", &[1, -1]).node("Squeeze", &["x", "axes"], "y", &[]);
    }),
    case("Unsqueeze", &[2, 3], 4, |g| {
        g.ints("axes", &[-1, 1]).node("Unsqueeze", &["x", "axes"], "y", &[]);
    }),
    case("Transpose", &[2, 3, 4], 3, |g| {
        g.node("Transpose", &["x"], "y", &[("perm", ints(&[2, 0, 1]))]);
    }),
    case("Transpose reversed", &[2, 3, 4], 3, |g| {
        g.node("Transpose", &["x"], "y", &[]);
    }),
    case("Expand", &[2, 1, 3], 4, |g| {
        g.ints("shape", &[2, 1, 4, 1]).node("Expand", &["x", "shape"], "y", &[]);
    }),
    case("Concat", &[2, 3], 2, |g| {
        g.weight("w", &[2, 2]).node("Concat", &["x", "w", "x"], "y", &[("axis", int(-1))]);
    }),
    case("Split", &[2, 7], 2, |g| {
        g.ints("sizes", &[2, 5]).nodes("Split", &["x", "sizes"], &["a", "b"], &[("axis", int(1))]);
        g.ints("shape", &[2, 1]).node("ReduceMean", &["a"], "m", &[("axes", ints(&[1]))]);
        g.node("Mul", &["m", "b"], "y", &[]);
    }),
    case("Split equal", &[2, 6], 2, |g| {
        g.nodes("Split", &["x"], &["a", "b", "c"], &[("axis", int(1))]);
        g.node("Mul", &["a", "b"], "ab", &[]).node("Mul", &["ab", "c"], "y", &[]);
    }),
    case("Slice", &[3, 6, 5], 3, |g| {
        g.ints("starts", &[-2, 1]).ints("ends", &[100, -1]).ints("axes", &[2, 1]).ints("steps", &[1, 2]);
        g.node("Slice", &["x", "starts", "ends", "axes", "steps"], "y", &[]);
    }),
    case("Slice backwards", &[3, 6, 5], 3, |g| {
        g.ints("starts", &[-1, 4]).ints("ends", &[-100, 0]).ints("axes", &[0, 1]).ints("steps", &[-1, -3]);
        g.node("Slice", &["x", "starts", "ends", "axes", "steps"], "y", &[]);
    }),
    case("Gather", &[2, 5, 3], 4, |g| {
        g.graph.initializer(TensorSpec::i64("i", &[2, 2], &[0, -1, 3, 3]));
        g.node("Gather", &["x", "i"], "y", &[("axis", int(1))]);
    }),
    case("Gather one", &[2, 5, 3], 2, |g| {
        g.scalar_int("i", 2).node("Gather", &["x", "i"], "y", &[("axis", int(1))]);
    }),
    case("Pad", &[2, 3, 4], 3, |g| {
        g.ints("pads", &[0, 2, 1, 0, 0, -1]).floats("fill", &[], &[0.7]).node(
            "Pad",
            &["x", "pads", "fill"],
            "y",
            &[],
        );
    }),
    case("Pad reflect", &[2, 3, 4], 3, |g| {
        g.ints("pads", &[0, 2, 1, 0, 1, 3]).node("Pad", &["x", "pads"], "y", &[("mode", text("reflect"))]);
    }),
    case("Pad edge", &[2, 3, 4], 3, |g| {
        g.ints("pads", &[0, 2, 1, 0, 1, 3]).node("Pad", &["x", "pads"], "y", &[("mode", text("edge"))]);
    }),
    case("Shape", &[2, 3, 4], 1, |g| {
        g.node("Shape", &["x"], "s", &[("start", int(-2))]).node("Cast", &["s"], "f", &[("to", int(1))]);
        g.node("ReduceSum", &["x"], "t", &[("keepdims", int(0))]).node("Mul", &["f", "t"], "y", &[]);
    }),
    case("ConstantOfShape", &[2, 3], 2, |g| {
        g.node("Shape", &["x"], "s", &[]);
        g.node(
            "ConstantOfShape",
            &["s"],
            "c",
            &[("value", AttrValue::Tensor(TensorSpec::f32("", &[1], &[1.5])))],
        );
        g.node("Mul", &["x", "c"], "y", &[]);
    }),
    case("Range", &[2, 3], 2, |g| {
        g.scalar_int("zero", 0).scalar_int("one", 1).node("Shape", &["x"], "s", &[]);
        g.node("Gather", &["s", "one"], "n", &[]).node("Range", &["zero", "n", "one"], "r", &[]);
        g.node("Cast", &["r"], "f", &[("to", int(1))]).node("Mul", &["x", "f"], "y", &[]);
    }),
    case("Cast", &[2, 3], 2, |g| {
        g.node("Shape", &["x"], "s", &[]).node("Cast", &["s"], "f", &[("to", int(1))]);
        g.node("ReduceSum", &["f"], "n", &[("keepdims", int(0))]).node("Sqrt", &["n"], "r", &[]);
        g.node("Div", &["x", "r"], "y", &[]);
    }),
    case("CastLike", &[2, 3], 2, |g| {
        g.node("Shape", &["x"], "s", &[]).node("CastLike", &["s", "x"], "f", &[]);
        g.node("ReduceSum", &["f"], "n", &[("keepdims", int(0))]).node("Mul", &["x", "n"], "y", &[]);
    }),
    straight_through(case("QuantizeLinear", &[2, 9], 2, |g| {
        g.floats("scale", &[], &[0.013]);
        g.graph.initializer(TensorSpec::raw("zero", ElemType::U8, &[], &[120]));
        g.node("QuantizeLinear", &["x", "scale", "zero"], "q", &[]);
        g.node("DequantizeLinear", &["q", "scale", "zero"], "y", &[]);
    })),
    case("DequantizeLinear", &[2, 3], 2, |g| {
        g.floats("scale", &[3], &[0.1, 0.2, 0.3]);
        g.graph.initializer(TensorSpec::raw("w", ElemType::I8, &[3, 3], &[1, 2, 253, 4, 5, 250, 7, 8, 129]));
        g.graph.initializer(TensorSpec::raw("zero", ElemType::I8, &[3], &[1, 0, 255]));
        g.node("DequantizeLinear", &["w", "scale", "zero"], "d", &[("axis", int(0))]);
        g.node("MatMul", &["x", "d"], "y", &[]);
    }),
];
