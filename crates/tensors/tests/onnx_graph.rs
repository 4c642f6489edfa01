//! The thin graph, the names of tensors, and their roles.

mod common;

use bitquake_bits::WordStore;
use bitquake_tensors::onnx::{AttributeValue, Dim, MAX_GRAPH_DEPTH, SETTING_MARK};
use bitquake_tensors::wire::Writer;
use bitquake_tensors::{Dtype, Place, Role, TensorFile, TensorsError};
use common::*;

fn names(file: &TensorFile) -> Vec<&str> {
    file.tensors().iter().map(|info| info.name.as_str()).collect()
}

fn role(file: &TensorFile, name: &str) -> Role {
    file.tensor(name).unwrap_or_else(|| panic!("no tensor {name}")).role
}

#[test]
fn subgraphs_are_walked_at_any_depth_and_named_by_path() {
    let leaf = graph(&[constant("k", &floats("", &[1.0]))], &[floats("w", &[2.0])]);
    let looped = graph(&[node("If", "", &["c"], &["out"], &[graph_attribute("else_branch", &leaf)])], &[]);
    let top = graph(
        &[
            node("Loop", "loop", &["n", "c"], &["y"], &[graph_attribute("body", &looped)]),
            node("Loop", "loop", &["n", "c"], &["z"], &[graph_attribute("body", &looped)]),
            constant("k", &floats("ignored", &[3.0])),
        ],
        &[floats("w", &[4.0])],
    );
    let file = open(&model(&top)).unwrap();
    let deep = "loop/body/out/else_branch";
    let expected = [
        &format!("{deep}/k"),
        &format!("{deep}/w"),
        &format!("{deep}/k#2"),
        &format!("{deep}/w#2"),
        "k",
        "w",
    ];
    assert_eq!(names(&file), expected);
    assert!(file.tensors().iter().all(|info| info.role == Role::Weight));
    let body = file.onnx().unwrap().graph.nodes[0].attribute("body").unwrap().graphs();
    let branch = body[0].nodes[0].attribute("else_branch").unwrap().graphs();
    assert_eq!(branch[0].initializers[0].name, "w");
    assert_eq!(branch[0].initializers[0].tensor, format!("{deep}/w"));
}

#[test]
fn nesting_has_a_limit() {
    let mut nested = graph(&[], &[floats("w", &[1.0])]);
    for _ in 1..MAX_GRAPH_DEPTH {
        nested = graph(&[node("If", "n", &["c"], &["y"], &[graph_attribute("then_branch", &nested)])], &[]);
    }
    assert_eq!(open(&model(&nested)).unwrap().tensors().len(), 1);
    nested = graph(&[node("If", "n", &["c"], &["y"], &[graph_attribute("then_branch", &nested)])], &[]);
    let error = open(&model(&nested)).unwrap_err();
    assert!(matches!(error, TensorsError::TooDeep { limit: MAX_GRAPH_DEPTH, .. }), "{error}");
    assert!(error.to_string().contains("more than 32 deep"), "{error}");
}

#[test]
fn constants_of_every_kind() {
    let mut int = attribute("value_int", 2);
    int.varint(3, 5);
    let mut ints = attribute("value_ints", 7);
    ints.varint(8, 5).varint(8, -6_i64 as u64);
    let mut packed_ints = attribute("value_ints", 7);
    packed_ints.packed_varints(8, [1, 2, 3]);
    let mut float = attribute("value_float", 1);
    float.float(2, 1.0);
    let zero = attribute("value_float", 1); // the writer left out a 0
    let mut text = attribute("value_string", 3);
    text.bytes(4, b"x");
    let mut texts = attribute("value_strings", 8);
    texts.bytes(9, b"x").bytes(9, b"y");
    let mut sparse = Writer::new();
    sparse.message(1, &floats("", &[1.0, 2.0])).message(2, &raw("", I64, &[2], &[0; 16]));
    let mut sparse_value = attribute("sparse_value", 11);
    sparse_value.message(22, &sparse);
    let attributes = [int, ints, packed_ints, float, zero, text, texts, sparse_value];
    let nodes: Vec<Writer> = attributes
        .into_iter()
        .enumerate()
        .map(|(index, attribute)| node("Constant", "", &[], &[&format!("c{index}")], &[attribute]))
        .collect();
    let file = open(&model(&graph(&nodes, &[]))).unwrap();
    let listed: Vec<_> = file
        .tensors()
        .iter()
        .map(|info| (info.name.as_str(), info.dtype.to_string(), info.shape.clone(), info.role))
        .collect();
    let expected = [
        ("c0", "i64", vec![], Role::Attribute),
        ("c1", "i64", vec![2], Role::Attribute),
        ("c2", "i64", vec![3], Role::Attribute),
        ("c3", "f32", vec![], Role::Weight),
        ("c5", "string", vec![], Role::Attribute),
        ("c6", "string", vec![2], Role::Attribute),
        ("c7", "f32", vec![2], Role::Weight),
        ("c7/indices", "i64", vec![2], Role::Attribute),
    ];
    assert_eq!(listed, expected.map(|(name, dtype, shape, role)| (name, dtype.to_owned(), shape, role)));
    assert_eq!(file.words("c3").unwrap().bytes(), 1.0_f32.to_le_bytes());
    assert_eq!(
        file.onnx().unwrap().graph.nodes[1].attribute("value_ints"),
        Some(&AttributeValue::Ints(vec![5, -6]))
    );
}

#[test]
fn sparse_initializers_functions_and_lists() {
    let mut sparse = Writer::new();
    sparse.message(1, &floats("s", &[1.0])).message(2, &varints("", I32, 5, &[0]));
    let mut lists = attribute("bodies", 10);
    lists.message(11, &graph(&[], &[floats("a", &[1.0])])).message(11, &graph(&[], &[floats("a", &[1.0])]));
    let mut tensors = attribute("tables", 9);
    tensors.message(10, &floats("t", &[1.0])).message(10, &floats("t", &[1.0]));
    let mut top = graph(
        &[
            node("Custom", "c", &[], &["y"], &[lists, tensors]),
            node(
                "ConstantOfShape",
                "",
                &["n"],
                &["filled"],
                &[tensor_attribute("value", &floats("v", &[0.0]))],
            ),
        ],
        &[],
    );
    top.message(15, &sparse);
    let mut function = Writer::new();
    function.bytes(1, b"F").bytes(4, b"x").bytes(5, b"y").bytes(10, b"my");
    function.message(7, &constant("k", &floats("", &[1.0])));
    let file = open(&model_with(&top, &[function])).unwrap();
    let expected = [
        ("c/bodies/0/a", Role::Weight, Place::Initializer),
        ("c/bodies/1/a", Role::Weight, Place::Initializer),
        ("c/tables/0", Role::Attribute, Place::NodeAttribute),
        ("c/tables/1", Role::Attribute, Place::NodeAttribute),
        ("filled/value", Role::Attribute, Place::NodeAttribute),
        ("s", Role::Weight, Place::Sparse),
        ("s/indices", Role::Attribute, Place::Sparse),
        ("F/k", Role::Weight, Place::Constant),
    ];
    let listed: Vec<_> =
        file.tensors().iter().map(|info| (info.name.as_str(), info.role, info.origin.place)).collect();
    assert_eq!(listed, expected);
    let function = &file.onnx().unwrap().functions[0];
    assert_eq!((function.domain.as_str(), function.body.name.as_str()), ("my", "F"));
    assert_eq!(function.body.inputs[0].name, "x");
}

#[test]
fn roles_follow_the_consumers() {
    let byte = |name: &str| raw(name, I8, &[1], &[0]);
    let word = |name: &str| raw(name, I32, &[1], &[0; 4]);
    let inner = graph(&[node("Clip", "", &["x", "outer_bound", "mixed"], &["y"], &[])], &[]);
    let shadow = graph(&[node("Relu", "", &["bound"], &["y"], &[])], &[floats("bound", &[0.0])]);
    let nodes = [
        node("Clip", "", &["x", "bound", "bound"], &["a"], &[]),
        node("Mul", "", &["x", "mixed"], &["b"], &[]),
        node("If", "if", &["c"], &["i"], &[graph_attribute("then_branch", &inner)]),
        node("If", "shadow", &["c"], &["i2"], &[graph_attribute("then_branch", &shadow)]),
        node("Resize", "", &["x", "", "scales", ""], &["r"], &[]),
        node("Reshape", "", &["x", "shape8"], &["s"], &[]),
        node("Gather", "", &["table8", "index8"], &["t"], &[]),
        node("QLinearConv", "", &["x", "xs", "xz", "w8", "ws", "wz", "ys", "yz", "bias32"], &["q"], &[]),
        node("Add", "", &["q", "unclear32"], &["u"], &[]),
        node("Gather", "", &["table32", "index32"], &["v"], &[]),
    ];
    let initializers = [
        floats("bound", &[6.0]),
        floats("outer_bound", &[6.0]),
        floats("mixed", &[6.0]),
        floats("scales", &[2.0]),
        byte("shape8"),
        byte("table8"),
        byte("index8"),
        byte("w8"),
        byte("wz"),
        floats("ws", &[1.0]),
        word("bias32"),
        word("unclear32"),
        word("table32"),
        word("index32"),
        floats("unused", &[1.0]),
        byte("unused8"),
        word("unused32"),
        floats("returned", &[1.0]),
        raw("half", F16, &[1], &[0; 2]),
        raw("long", I64, &[1], &[0; 8]),
    ];
    let mut top = graph(&nodes, &initializers);
    let mut output = Writer::new();
    output.bytes(1, b"returned");
    top.message(12, &output);
    let file = open(&model(&top)).unwrap();
    let weights = [
        "mixed",
        "table8",
        "w8",
        "wz",
        "ws",
        "bias32",
        "table32",
        "unused",
        "unused8",
        "returned",
        "half",
        "shadow/then_branch/bound",
    ];
    for info in file.tensors() {
        let expected = if weights.contains(&info.name.as_str()) { Role::Weight } else { Role::Attribute };
        assert_eq!(info.role, expected, "{}", info.name);
    }
    assert_eq!(role(&file, "outer_bound"), Role::Attribute);
}

#[test]
fn the_thin_graph_says_what_the_file_says() {
    let value = |name: &str, dims: &[Writer]| {
        let mut shape = Writer::new();
        dims.iter().for_each(|dim| {
            shape.message(1, dim);
        });
        let mut of_tensor = Writer::new();
        of_tensor.varint(1, F32).message(2, &shape);
        let mut kind = Writer::new();
        kind.message(1, &of_tensor);
        let mut out = Writer::new();
        out.bytes(1, name.as_bytes()).message(2, &kind);
        out
    };
    let dim = |fill: &dyn Fn(&mut Writer)| {
        let mut out = Writer::new();
        fill(&mut out);
        out
    };
    let dims = [
        dim(&|out| {
            out.bytes(2, b"batch");
        }),
        dim(&|out| {
            out.varint(1, 3);
        }),
        dim(&|_| {}),
        dim(&|out| {
            out.varint(1, -1_i64 as u64);
        }),
    ];
    let mut untyped = attribute("old", 0);
    untyped.varint(3, 9);
    let mut text = attribute("mode", 3);
    text.bytes(4, b"same");
    let mut reference = attribute("alpha", 1);
    reference.bytes(21, b"outer");
    let mut top = graph(&[node("Conv", "n", &["x", "", "b"], &["y"], &[untyped, text, reference])], &[]);
    top.message(11, &value("x", &dims)).message(12, &value("y", &[]));
    let mut nameless = Writer::new();
    nameless.bytes(1, b"no type");
    top.message(11, &nameless);
    let file = open(&model(&top)).unwrap();
    let onnx = file.onnx().unwrap();
    assert_eq!((onnx.ir_version, onnx.opset(), onnx.graph.name.as_str()), (8, Some(17), "g"));
    let input = &onnx.graph.inputs[0];
    assert_eq!(input.elem_type, Some(Dtype::Known(bitquake_bits::Format::F32)));
    let batch = Dim::Named("batch".into());
    assert_eq!(input.shape, Some(vec![batch, Dim::Fixed(3), Dim::Unknown, Dim::Unknown]));
    assert_eq!(onnx.graph.inputs[1].elem_type, None);
    assert_eq!(onnx.graph.outputs[0].shape, Some(vec![]));
    let node = &onnx.graph.nodes[0];
    assert_eq!((node.inputs.join(","), node.is_standard()), ("x,,b".to_owned(), true));
    assert_eq!(node.attribute("old"), Some(&AttributeValue::Int(9)));
    assert_eq!(node.attribute("mode"), Some(&AttributeValue::String("same".into())));
    assert_eq!(node.attribute("alpha"), Some(&AttributeValue::Other));
    assert_eq!(node.attribute("none"), None);
}

#[test]
fn a_marked_tensor_is_a_setting() {
    let marked = |name: &str, (key, value): (&str, &str)| {
        let mut entry = Writer::new();
        entry.bytes(1, key.as_bytes()).bytes(2, value.as_bytes());
        let mut tensor = floats(name, &[0.5]);
        tensor.message(16, &entry);
        tensor
    };
    let tensors = [
        marked("mean", SETTING_MARK),
        marked("other_value", (SETTING_MARK.0, "weight")),
        marked("other_key", ("author", SETTING_MARK.1)),
        floats("plain", &[0.5]),
    ];
    let names = ["mean", "other_value", "other_key", "plain"];
    let nodes: Vec<Writer> = names.iter().map(|name| node("Sub", name, &["x", name], &["y"], &[])).collect();
    let bytes = model(&graph(&nodes, &tensors));
    let file = open(&bytes).unwrap();
    let roles = names.map(|name| role(&file, name));
    assert_eq!(roles, [Role::Attribute, Role::Weight, Role::Weight, Role::Weight]);
    assert_eq!(saved(&file), bytes, "the mark stays");
}
