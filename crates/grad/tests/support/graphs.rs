//! Small graphs that use what the architectures do not.

use bitquake_graph::build::{AttrValue, BuildDim, ElemType, GraphBuilder, ModelBuilder, TensorSpec};

use super::normal;

/// A graph from `x` `[batch, 4, 6, 5]` to `y`.
pub fn small(build: impl FnOnce(&mut GraphBuilder)) -> Vec<u8> {
    let mut model = ModelBuilder::new("small");
    let batch = BuildDim::Named("batch");
    let sizes = [batch, BuildDim::Fixed(4), BuildDim::Fixed(6), BuildDim::Fixed(5)];
    model.graph().input("x", ElemType::F32, &sizes);
    build(model.graph());
    model.graph().output("y", ElemType::F32, &[batch]);
    model.finish()
}

fn stored(graph: &mut GraphBuilder, name: &str, shape: &[u64], seed: u64) {
    let values = normal(seed, shape.iter().product::<u64>() as usize);
    graph.initializer(TensorSpec::f32(name, shape, &values));
}

fn ints(values: &[i64]) -> AttrValue {
    AttrValue::Ints(values.to_vec())
}

pub type Build = fn(&mut GraphBuilder);

/// Graphs that use what the architectures do not.
pub const GRAPHS: &[(&str, Build)] = &[
    ("identities between, and a value used twice", |g| {
        stored(g, "w", &[4, 4, 3, 3], 1);
        g.node("Conv", &["x", "w"], &["a"], &[("pads", ints(&[1; 4]))]);
        g.node("Identity", &["a"], &["b"], &[]).node("Relu", &["b"], &["c"], &[]);
        g.node("Dropout", &["a"], &["d"], &[]).node("Add", &["c", "d"], &["e"], &[]);
        g.node("Add", &["e", "a"], &["f"], &[]).node("Add", &["f", "f"], &["h"], &[]);
        g.node("Flatten", &["h"], &["y"], &[]);
    }),
    ("group norms with a scale for each channel and for each group", |g| {
        for (name, shape) in [("w", &[6, 4, 2, 2][..]), ("s", &[6]), ("t", &[6]), ("u", &[3]), ("v", &[3])] {
            stored(g, name, shape, shape.len() as u64 + shape[0]);
        }
        g.node("Conv", &["x", "w"], &["a"], &[]);
        g.node("GroupNormalization", &["a", "s", "t"], &["b"], &[("num_groups", AttrValue::Int(2))]);
        g.node("GroupNormalization", &["b", "u", "v"], &["c"], &[("num_groups", AttrValue::Int(3))]);
        g.node("InstanceNormalization", &["c", "s", "t"], &["d"], &[]);
        g.node("Relu", &["d"], &["e"], &[]).node("GlobalAveragePool", &["e"], &["y"], &[]);
    }),
    ("pools that overlap, with padding", |g| {
        let kernel = ("kernel_shape", ints(&[3, 2]));
        g.node(
            "MaxPool",
            &["x"],
            &["a"],
            &[kernel, ("strides", ints(&[2, 1])), ("pads", ints(&[1, 0, 1, 1]))],
        );
        let average = [
            ("kernel_shape", ints(&[2, 2])),
            ("pads", ints(&[1, 1, 0, 0])),
            ("count_include_pad", AttrValue::Int(1)),
            ("ceil_mode", AttrValue::Int(1)),
            ("strides", ints(&[2, 2])),
        ];
        stored(g, "w", &[3, 4, 1, 1], 2);
        g.node("AveragePool", &["a"], &["b"], &average).node("Conv", &["b", "w"], &["y"], &[]);
    }),
    ("numbers for channels before and after a layer", |g| {
        for (name, shape) in
            [("m", &[4, 1, 1][..]), ("k", &[1, 4, 1, 1]), ("w", &[12, 2, 3, 3]), ("b", &[12]), ("n", &[])]
        {
            stored(g, name, shape, 3 + shape.len() as u64);
        }
        g.node("Sub", &["x", "m"], &["a"], &[]).node("Div", &["a", "k"], &["c"], &[]);
        g.node("Mul", &["n", "c"], &["d"], &[]).node("Add", &["d", "m"], &["e"], &[]);
        let convolution =
            [("group", AttrValue::Int(2)), ("strides", ints(&[2, 2])), ("pads", ints(&[1, 0, 1, 2]))];
        g.node("Conv", &["e", "w", "b"], &["f"], &convolution);
        g.node("Mul", &["f", "n"], &["y"], &[]);
    }),
    ("a norm of features, and matrices both ways", |g| {
        for (name, shape) in
            [("w", &[120, 20][..]), ("v", &[7, 20]), ("c", &[1, 7]), ("s", &[20]), ("t", &[20])]
        {
            stored(g, name, shape, shape[0] + 5);
        }
        g.initializer(TensorSpec::f32("q", &[20], &[2.0; 20]));
        g.initializer(TensorSpec::i64("flat", &[2], &[-1, 120]));
        g.node("Reshape", &["x", "flat"], &["a"], &[]).node("MatMul", &["a", "w"], &["b"], &[]);
        g.node("BatchNormalization", &["b", "s", "t", "t", "q"], &["d"], &[]).node(
            "Relu",
            &["d"],
            &["e"],
            &[],
        );
        g.node("Gemm", &["e", "v", "c"], &["f"], &[("transB", AttrValue::Int(1))]);
        g.node("Softmax", &["f"], &["y"], &[]);
    }),
    ("a clip in the middle", |g| {
        stored(g, "w", &[5, 4, 3, 3], 9);
        g.initializer(TensorSpec::f32("low", &[], &[-1.0])).initializer(TensorSpec::f32("high", &[], &[1.5]));
        g.node("Conv", &["x", "w"], &["a"], &[]).node("Clip", &["a", "low", "high"], &["b"], &[]);
        g.node("GlobalAveragePool", &["b"], &["y"], &[]);
    }),
];
