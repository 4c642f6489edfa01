//! What several tests of cutting need.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test program uses some of it")]

use std::path::Path;

use bitquake_graph::build::{AttrValue, BuildDim, ElemType, GraphBuilder, ModelBuilder, TensorSpec};
use bitquake_graph::cut::{CutError, Cuts, Segment, ValueKind};
use bitquake_tensors::{EngineImage, TensorFile};

/// Opens a model; `externals` become files beside it.
pub fn open(bytes: &[u8], externals: Option<&EngineImage>) -> TensorFile {
    let folder = tempfile::tempdir().unwrap();
    for part in externals.iter().flat_map(|image| image.externals()) {
        std::fs::write(folder.path().join(&part.location), &*part.bytes).unwrap();
    }
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, bytes).unwrap();
    TensorFile::open(&path).unwrap()
}

/// The model as a runtime gets it; weights of at least `lent` bytes are external.
pub fn image(bytes: &[u8], lent: usize) -> EngineImage {
    open(bytes, None).into_engine_image_lending(lent).unwrap()
}

/// Any kind.
pub fn some_kind(_: &str) -> Option<ValueKind> {
    Some(ValueKind { elem_type: 1, dims: vec![2] })
}

/// The segments between these places, first to last, without the empty ones.
pub fn chain(cuts: &Cuts<'_>, places: &[usize], kinds: &dyn Fn(&str) -> Option<ValueKind>) -> Vec<Segment> {
    let segment = |pair: &[usize]| match cuts.segment(pair[0], pair[1], kinds) {
        Err(CutError::Empty { from, to }) => {
            assert_eq!([from, to], [pair[0], pair[1]]);
            None
        }
        segment => Some(segment.unwrap()),
    };
    places.windows(2).filter_map(segment).collect()
}

pub fn fashion_cnn() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/fashion_cnn.onnx");
    std::fs::read(path).unwrap()
}

/// A small model with everything that makes cutting hard: a skip connection, a constant and an initializer that are used in
/// several places, constant nodes upon each other, a branch that reads outer values, outputs that are computed early, are an
/// input, a constant, or an initializer, an initializer among the inputs, a node that nothing needs.
///
/// Nodes: 0 k, 1 k2, 2 a, 3 pos, 4 top, 5 cond, 6 picked, 7 unused, 8 sum, 9 y, 10 fixed.
pub fn knot() -> Vec<u8> {
    let row = [BuildDim::Named("n"), BuildDim::Fixed(2)];
    let branch = |name: &str, op: &str, reads: [&str; 2]| {
        let mut graph = GraphBuilder::new(name);
        graph.constant("own", TensorSpec::f32("", &[1], &[0.25]));
        graph.node(op, &reads, &["mid"], &[]).node("Mul", &["mid", "own"], &["out"], &[]);
        graph.output("out", ElemType::F32, &row);
        AttrValue::Graph(graph)
    };
    let mut model = ModelBuilder::new("knot");
    let graph = model.graph();
    graph.input("x", ElemType::F32, &row).input("w", ElemType::F32, &[BuildDim::Fixed(2)]);
    graph.initializer(TensorSpec::f32("w", &[2], &[0.5, -3.0]));
    graph.initializer(TensorSpec::f32("outer", &[2], &[1.5, 0.125]));
    graph.initializer(TensorSpec::int32_data("unread", ElemType::I8, &[3], &[1, 2, 3]));
    graph.constant("k", TensorSpec::f32("", &[1], &[1.75]));
    graph.named_node("double", "Add", &["k", "k"], &["k2"], &[]);
    graph.node("Mul", &["x", "w"], &["a"], &[]);
    graph.node("Add", &["a", "k2"], &["pos"], &[]);
    graph.node("ReduceMax", &["pos"], &["top"], &[("keepdims", AttrValue::Int(1))]);
    graph.node("Greater", &["top", "k"], &["cond"], &[]);
    let then = branch("then", "Add", ["a", "outer"]);
    let other = branch("other", "Sub", ["pos", "k2"]);
    graph.named_node("pick", "If", &["cond"], &["picked"], &[("then_branch", then), ("else_branch", other)]);
    graph.node("Neg", &["picked"], &["unused"], &[]);
    graph.node("Add", &["picked", "a"], &["sum"], &[]);
    graph.node("Mul", &["sum", "w"], &["y"], &[]);
    graph.node("Identity", &["k2"], &["fixed"], &[]);
    for output in ["pos", "y", "x"] {
        graph.output(output, ElemType::F32, &row);
    }
    graph.output("fixed", ElemType::F32, &[BuildDim::Fixed(1)]);
    graph.output("outer", ElemType::F32, &[BuildDim::Fixed(2)]);
    model.finish()
}
