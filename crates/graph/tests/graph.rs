//! Building models, and looking at them.

use bitquake_bits::{Format, WordStore};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, GraphBuilder, ModelBuilder, TensorSpec};
use bitquake_graph::resnet::resnet20;
use bitquake_graph::{Graph, GraphError};
use bitquake_tensors::onnx::Dim;
use bitquake_tensors::{Dtype, Role, TensorFile};

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn open(bytes: &[u8]) -> TensorFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, bytes).unwrap();
    std::fs::write(folder.path().join("w.bin"), [7; 8]).unwrap();
    TensorFile::open(&path).unwrap()
}

#[test]
fn resnet20_has_the_parameters_of_the_specification() {
    let file = open(&resnet20(1));
    let running = |name: &str| name.contains("running_");
    let trainable: u64 = file.tensors().iter().filter(|t| !running(&t.name)).map(|t| t.elements()).sum();
    assert_eq!(trainable, 272_474);
    // Those of convolutions and the linear layer alone, without biases and normalization.
    let matrices = file.tensors().iter().filter(|t| t.shape.len() > 1).map(|t| t.elements()).sum::<u64>();
    assert_eq!(matrices, 270_896);
    let role = |name: &str| if running(name) { Role::Statistic } else { Role::Weight };
    assert!(file.tensors().iter().all(|t| t.role == role(&t.name) && t.dtype == Dtype::Known(Format::F32)));
}

#[test]
fn resnet20_is_a_function_of_its_seed() {
    assert_eq!(resnet20(1), resnet20(1));
    assert_ne!(resnet20(1), resnet20(2));
}

#[test]
fn the_view_of_resnet20() {
    let file = open(&resnet20(1));
    let graph = Graph::from_file(&file).unwrap();
    let [images] = graph.inputs()[..] else { panic!("one input") };
    let dims = [Dim::Named("batch".into()), Dim::Fixed(3), Dim::Fixed(32), Dim::Fixed(32)];
    assert_eq!((images.name.as_str(), images.shape.as_deref()), ("images", Some(&dims[..])));
    assert_eq!(graph.outputs()[0].elem_type, Some(Dtype::Known(Format::F32)));
    assert_eq!(graph.opset(), Some(17));
    let counts: Vec<(String, usize)> = graph.op_counts().into_iter().collect();
    let expected = [
        ("Add", 9),
        ("BatchNormalization", 21),
        ("Conv", 21),
        ("Flatten", 1),
        ("Gemm", 1),
        ("GlobalAveragePool", 1),
        ("Relu", 19),
    ];
    assert_eq!(counts, expected.map(|(op, count)| (op.to_owned(), count)));
    assert_eq!(graph.nodes().len(), 73);
    assert_eq!(graph.batch_norm_looks_folded(), None);
}

#[test]
fn every_storage_form_reads_back() {
    let mut model = ModelBuilder::new("forms");
    let mut branch = GraphBuilder::new("branch");
    branch.constant("k", TensorSpec::float_data("", &[1], &[3.0]));
    model
        .graph()
        .initializer(TensorSpec::f32("raw", &[2], &[1.0, 2.0]))
        .initializer(TensorSpec::float_data("typed", &[1], &[0.5]))
        .initializer(TensorSpec::int32_data("varints", ElemType::I8, &[3], &[-1, 0, 127]))
        .initializer(TensorSpec::external("outside", ElemType::U16, &[2], "w.bin", 4, 4))
        .initializer(TensorSpec::i64("shape", &[1], &[-1]))
        .named_node("if", "If", &["c"], &["y"], &[("then_branch", AttrValue::Graph(branch))])
        .node("Constant", &[], &["list"], &[("value_floats", AttrValue::Floats(vec![1.0, 2.0]))])
        .node(
            "Scale",
            &["y"],
            &["z"],
            &[("by", AttrValue::Float(2.0)), ("how", AttrValue::Text("x".into()))],
        );
    let file = open(&model.finish());
    let words = |name| file.words(name).map(|words| words.bytes().to_vec());
    assert_eq!(words("typed"), Some(0.5_f32.to_le_bytes().to_vec()));
    assert_eq!(words("varints"), Some(vec![0xff, 0, 0x7f]));
    assert_eq!(words("outside"), Some(vec![7; 4]));
    assert_eq!(words("if/then_branch/k"), Some(3.0_f32.to_le_bytes().to_vec()));
    assert_eq!(words("list").map(|bytes| bytes.len()), Some(8));
    assert_eq!(words("raw").map(|bytes| bytes.len()), Some(8));
    assert_eq!(file.words("shape").map(|words| words.format()), Some(Format::I64));
    let graph = Graph::from_file(&file).unwrap();
    assert_eq!(graph.op_counts()["Constant"], 2); // one of them in the subgraph
}

#[test]
fn inputs_with_an_initializer_are_not_asked_for() {
    let mut model = ModelBuilder::new("old");
    model.graph().input("x", ElemType::F32, &[]).input("w", ElemType::F32, &[BuildDim::Fixed(1)]);
    model.graph().initializer(TensorSpec::f32("w", &[1], &[1.0]));
    let file = open(&model.finish());
    let graph = Graph::from_file(&file).unwrap();
    let names: Vec<_> = graph.inputs().iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["x"]);
}

#[test]
fn folded_batch_norm_is_suspected() {
    let build = |convs: &[&[&str]], extra: Option<&str>| {
        let mut model = ModelBuilder::new("convs");
        for (index, inputs) in convs.iter().enumerate() {
            model.graph().node("Conv", inputs, &[&format!("y{index}")], &[]);
        }
        extra.into_iter().for_each(|op| {
            model.graph().node(op, &["y0"], &["n"], &[]);
        });
        let file = open(&model.finish());
        Graph::from_file(&file).unwrap().batch_norm_looks_folded().map(|evidence| evidence.to_string())
    };
    let (biased, plain): (&[&str], &[&str]) = (&["x", "w", "b"], &["x", "w"]);
    assert!(build(&[biased, biased], Some("Relu")).unwrap().contains("all 2 Conv nodes have a bias"));
    for (convs, extra) in [
        (&[biased][..], None),
        (&[biased, plain], None),
        (&[biased, &["x", "w", ""]], None),
        (&[biased, biased], Some("BatchNormalization")),
        (&[biased, biased], Some("LayerNormalization")),
        (&[], None),
    ] {
        assert_eq!(build(convs, extra), None, "{convs:?} {extra:?}");
    }
}

#[test]
fn softmax_at_the_end_is_seen() {
    let build = |nodes: &[(&str, &str, &str)]| {
        let mut model = ModelBuilder::new("end");
        for (op, input, output) in nodes {
            model.graph().node(op, &[input], &[output], &[]);
        }
        model.graph().output("y", ElemType::F32, &[]).output("second", ElemType::F32, &[]);
        let file = open(&model.finish());
        Graph::from_file(&file).unwrap().output_is_probabilities()
    };
    assert!(build(&[("Softmax", "x", "y")]));
    assert!(build(&[("Softmax", "x", "a"), ("Identity", "a", "y")]));
    assert!(!build(&[("LogSoftmax", "x", "y")]));
    assert!(!build(&[("Softmax", "x", "a"), ("Log", "a", "y")]));
    assert!(!build(&[("Softmax", "x", "second"), ("Relu", "x", "y")]));
    assert!(!build(&[("Identity", "y", "y")])); // a cycle ends
    assert!(!build(&[]));
}

#[test]
fn safetensors_has_no_graph() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    std::fs::write(&path, [&2_u64.to_le_bytes()[..], b"{}"].concat()).unwrap();
    let file = TensorFile::open(&path).unwrap();
    let error = Graph::from_file(&file).unwrap_err();
    assert!(matches!(error, GraphError::NoGraph { .. }));
    assert!(error.to_string().contains("is a safetensors file, which has no graph"), "{error}");
}
