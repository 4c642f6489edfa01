//! Malformed graphs and wrong calls: an error that names the place, never a panic.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_grad::{Device, GradError, Mode, Network, Objective, Pass, PlanError};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, GraphBuilder, ModelBuilder, TensorSpec};
use bitquake_testing::{SplitMix64, mutated};
use support::cases::CASES;
use support::{fashion, normal};

const BATCH: BuildDim<'static> = BuildDim::Named("batch");

/// A graph from `x` `[batch, 2, 4, 4]` to `y`.
fn model(build: impl FnOnce(&mut GraphBuilder)) -> Vec<u8> {
    let mut model = ModelBuilder::new("bad");
    let four = BuildDim::Fixed(4);
    model.graph().input("x", ElemType::F32, &[BATCH, BuildDim::Fixed(2), four, four]);
    build(model.graph());
    model.graph().output("y", ElemType::F32, &[BATCH]);
    model.finish()
}

fn open(build: impl FnOnce(&mut GraphBuilder)) -> Result<Network, GradError> {
    Network::from_onnx(&model(build), Device::Cpu)
}

/// The message of running a graph that can be opened.
fn failure(build: impl FnOnce(&mut GraphBuilder)) -> String {
    let network = open(build).unwrap();
    network.forward(&normal(1, 3 * 32), 3, Mode::Evaluate).unwrap_err().to_string()
}

fn ints(values: &[i64]) -> AttrValue {
    AttrValue::Ints(values.to_vec())
}

#[test]
fn graphs_that_cannot_be_planned() {
    let cycle = open(|g| {
        g.named_node("first", "Add", &["x", "b"], &["a"], &[]).named_node(
            "second",
            "Relu",
            &["a"],
            &["b"],
            &[],
        );
        g.node("Relu", &["b"], &["y"], &[]);
    });
    assert!(
        matches!(cycle, Err(GradError::Plan(PlanError::MissingValue { node, value })) if (&*node, &*value) == ("first", "b"))
    );
    let lost = open(|g| {
        g.node("Relu", &["x"], &["z"], &[]);
    });
    assert!(
        matches!(lost, Err(GradError::Plan(PlanError::MissingValue { node, value })) if (&*node, &*value) == ("graph output", "y"))
    );
    let twice = open(|g| {
        g.named_node("one", "Relu", &["x"], &["y"], &[]).named_node("two", "Relu", &["x"], &["y"], &[]);
    });
    assert!(matches!(twice, Err(GradError::Plan(PlanError::TwiceDefined { node, .. })) if node == "two"));
    let unknown = open(|g| {
        g.named_node("odd", "NonMaxSuppression", &["x"], &["y"], &[]);
    });
    let message = unknown.unwrap_err().to_string();
    assert!(
        message.contains("`odd`") && message.contains("NonMaxSuppression") && message.contains("Conv, Gemm")
    );
    let half = open(|g| {
        g.initializer(TensorSpec::raw("w", ElemType::F16, &[1], &[0, 60])).node(
            "Add",
            &["x", "w"],
            &["y"],
            &[],
        );
    });
    assert!(
        matches!(half, Err(GradError::Plan(PlanError::UnsupportedDtype { tensor, dtype })) if (&*tensor, &*dtype) == ("w", "f16"))
    );
}

#[test]
fn graphs_without_one_input_of_images() {
    let mut two = ModelBuilder::new("two");
    for name in ["a", "b"] {
        two.graph().input(name, ElemType::F32, &[BATCH, BuildDim::Fixed(1)]);
    }
    two.graph().node("Add", &["a", "b"], &["y"], &[]).output("y", ElemType::F32, &[BATCH]);
    let message = Network::from_onnx(&two.finish(), Device::Cpu).unwrap_err().to_string();
    assert!(message.contains("2 inputs (a, b)"), "{message}");
    let mut whole = ModelBuilder::new("whole");
    whole.graph().input("a", ElemType::I64, &[BATCH, BuildDim::Fixed(1)]);
    whole.graph().node("Relu", &["a"], &["y"], &[]).output("y", ElemType::F32, &[BATCH]);
    assert!(matches!(
        Network::from_onnx(&whole.finish(), Device::Cpu),
        Err(GradError::Plan(PlanError::Input { .. }))
    ));
    let mut none = ModelBuilder::new("none");
    none.graph().input("a", ElemType::F32, &[BATCH, BuildDim::Fixed(1)]).node("Relu", &["a"], &["y"], &[]);
    assert!(matches!(
        Network::from_onnx(&none.finish(), Device::Cpu),
        Err(GradError::Plan(PlanError::NoOutput))
    ));
    assert!(matches!(Network::from_onnx(b"not a model", Device::Cpu), Err(GradError::File(_))));
}

#[test]
fn nodes_that_cannot_be_computed_are_named() {
    type Build = fn(&mut GraphBuilder);
    let cases: &[(&str, Build)] = &[
        ("do not broadcast", |g| {
            g.initializer(TensorSpec::f32("w", &[3], &[0.0; 3])).named_node(
                "bad",
                "Add",
                &["x", "w"],
                &["y"],
                &[],
            );
        }),
        ("no matrix product", |g| {
            g.initializer(TensorSpec::f32("w", &[3, 1], &[0.0; 3])).named_node(
                "bad",
                "MatMul",
                &["x", "w"],
                &["y"],
                &[],
            );
        }),
        ("in 1 groups", |g| {
            g.initializer(TensorSpec::f32("w", &[1, 3, 1, 1], &[0.0; 3]));
            g.named_node("bad", "Conv", &["x", "w"], &["y"], &[]);
        }),
        ("`group` must be at least 1", |g| {
            g.initializer(TensorSpec::f32("w", &[1, 2, 1, 1], &[0.0; 2]));
            g.named_node("bad", "Conv", &["x", "w"], &["y"], &[("group", AttrValue::Int(0))]);
        }),
        ("attribute `strides` has 0", |g| {
            g.initializer(TensorSpec::f32("w", &[1, 2, 1, 1], &[0.0; 2]));
            g.named_node("bad", "Conv", &["x", "w"], &["y"], &[("strides", ints(&[0, 1]))]);
        }),
        ("has 3 numbers, not 4", |g| {
            g.initializer(TensorSpec::f32("w", &[1, 2, 1, 1], &[0.0; 2]));
            g.named_node("bad", "Conv", &["x", "w"], &["y"], &[("pads", ints(&[0, 1, 1]))]);
        }),
        ("the kernel reaches over 5 of 4", |g| {
            g.named_node("bad", "MaxPool", &["x"], &["y"], &[("kernel_shape", ints(&[5, 1]))]);
        }),
        ("`kernel_shape` is missing", |g| {
            g.named_node("bad", "MaxPool", &["x"], &["y"], &[]);
        }),
        ("`axis` is a float, not a whole number", |g| {
            g.named_node("bad", "Softmax", &["x"], &["y"], &[("axis", AttrValue::Float(1.0))]);
        }),
        ("axis 7 is outside rank 4", |g| {
            g.named_node("bad", "Flatten", &["x"], &["y"], &[("axis", AttrValue::Int(7))]);
        }),
        ("cannot become", |g| {
            g.initializer(TensorSpec::i64("s", &[2], &[5, -1])).named_node(
                "bad",
                "Reshape",
                &["x", "s"],
                &["y"],
                &[],
            );
        }),
        ("cannot become", |g| {
            g.initializer(TensorSpec::i64("s", &[3], &[i64::MAX, i64::MAX, -1]));
            g.named_node("bad", "Reshape", &["x", "s"], &["y"], &[]);
        }),
        ("attribute `perm`", |g| {
            g.named_node("bad", "Transpose", &["x"], &["y"], &[("perm", ints(&[0, 1, 1, 2]))]);
        }),
        ("cannot be joined", |g| {
            g.initializer(TensorSpec::f32("w", &[3], &[0.0; 3]));
            g.named_node("bad", "Concat", &["x", "w"], &["y"], &[("axis", AttrValue::Int(1))]);
        }),
        ("index 9 is outside axis 1", |g| {
            g.initializer(TensorSpec::i64("i", &[1], &[9]));
            g.named_node("bad", "Gather", &["x", "i"], &["y"], &[("axis", AttrValue::Int(1))]);
        }),
        ("is empty", |g| {
            for (name, value) in [("s", 3), ("e", 1)] {
                g.initializer(TensorSpec::i64(name, &[1], &[value]));
            }
            g.named_node("bad", "Slice", &["x", "s", "e"], &["y"], &[]);
        }),
        ("for 2 channels", |g| {
            g.initializer(TensorSpec::f32("w", &[3], &[0.0; 3]));
            g.named_node("bad", "BatchNormalization", &["x", "w", "w", "w", "w"], &["y"], &[]);
        }),
        ("input 2 is missing", |g| {
            g.initializer(TensorSpec::f32("w", &[2], &[0.0; 2]));
            g.named_node("bad", "BatchNormalization", &["x", "w"], &["y"], &[]);
        }),
        ("has too many elements", |g| {
            g.initializer(TensorSpec::i64("s", &[2], &[1 << 40, 1 << 40]));
            g.named_node("bad", "ConstantOfShape", &["s"], &["y"], &[]);
        }),
        ("outputs up to 1 are supported", |g| {
            g.named_node("bad", "Dropout", &["x"], &["y", "mask"], &[]);
        }),
        ("holds floats", |g| {
            g.initializer(TensorSpec::f32("s", &[2], &[3.0, -1.0])).named_node(
                "bad",
                "Reshape",
                &["x", "s"],
                &["y"],
                &[],
            );
        }),
        ("a step of 0", |g| {
            for (name, value) in [("a", 0), ("b", 5), ("d", 0)] {
                g.initializer(TensorSpec::i64(name, &[], &[value]));
            }
            g.named_node("bad", "Range", &["a", "b", "d"], &["y"], &[]);
        }),
    ];
    for (wanted, build) in cases {
        let message = failure(build);
        assert!(message.contains("node `bad` (") && message.contains(wanted), "{message} has no `{wanted}`");
    }
}

#[test]
fn calls_that_do_not_fit() {
    let mut network = Network::from_onnx(&fashion(), Device::Cpu).unwrap();
    let images = vec![0.0; 2 * 784];
    assert!(matches!(network.forward(&images, 3, Mode::Evaluate), Err(GradError::Images { .. })));
    assert!(matches!(network.forward(&[], 0, Mode::Evaluate), Err(GradError::Images { .. })));
    assert!(matches!(network.forward(&images, usize::MAX, Mode::Evaluate), Err(GradError::Images { .. })));
    let labels = [1, 2];
    let right = Objective::CrossEntropy { labels: &labels, smoothing: 0.0 };
    let pass = Pass {
        images: &images,
        batch: 2,
        objective: right,
        mode: Mode::Train,
        parameters: &[0],
        values: &[],
    };
    let message = |pass: &Pass<'_>| network.gradients(pass).unwrap_err().to_string();
    for (objective, wanted) in [
        (Objective::CrossEntropy { labels: &[1], smoothing: 0.0 }, "1 labels for 2 images"),
        (
            Objective::CrossEntropy { labels: &[1, 10], smoothing: 0.0 },
            "image 1 has label 10, the network has 10 classes",
        ),
        (Objective::CrossEntropy { labels: &labels, smoothing: 1.5 }, "label smoothing 1.5"),
        (Objective::CrossEntropy { labels: &labels, smoothing: f32::NAN }, "label smoothing NaN"),
        (Objective::SoftTargets(&[0.5; 3]), "3 soft targets for an output of shape [2, 10]"),
        (Objective::Cotangent(&[0.5; 3]), "3 cotangents"),
    ] {
        let found = message(&Pass { objective, ..pass });
        assert!(found.contains(wanted), "{found}");
    }
    assert!(message(&Pass { parameters: &[99], ..pass }).contains("parameter 99"));
    assert!(message(&Pass { values: &["nothing"], ..pass }).contains("`nothing`"));
    assert!(message(&Pass { values: &["conv1.weight"], ..pass }).contains("`conv1.weight`"));
    assert!(network.hessian_product(&pass, &[]).is_err());
    assert!(matches!(
        network.hessian_product(&pass, &[vec![0.0]]),
        Err(GradError::ParameterLength { found: 1, .. })
    ));
    assert!(matches!(network.set_parameter(0, &[0.0]), Err(GradError::ParameterLength { found: 1, .. })));
    assert!(matches!(network.set_parameter(99, &[0.0]), Err(GradError::NoParameter { index: 99, .. })));
}

#[test]
fn devices_that_are_not_built_in_say_how_to_build_them() {
    for device in [Device::Cuda(0), Device::Wgpu(1)] {
        if let Err(error) = Network::from_onnx(&fashion(), device) {
            let message = error.to_string();
            assert!(message.contains(&device.to_string()) && message.contains("cpu"), "{message}");
        }
    }
}

/// Bytes changed at random in small models: an error or a result, never a panic of this crate, and never one of the backend that
/// gets out. (A backend's panic that the last net catches counts as an error; it means that a check is missing.)
#[test]
fn changed_bytes_do_no_harm() {
    let mut random = SplitMix64::new(1);
    let mut missed = Vec::new();
    for case in CASES {
        let bytes = case.model();
        let images = case.images();
        for _ in 0..30 {
            let bytes = mutated(&bytes, b"", &mut random);
            if let Ok(network) = Network::from_onnx(&bytes, Device::Cpu)
                && let Err(GradError::Backend { node, message }) =
                    network.forward(&images, case.shape[0], Mode::Evaluate)
            {
                missed.push(format!("{}: {node:?} {message}", case.name));
            }
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// A file says easily that its images are larger than any memory.
#[test]
fn an_input_that_no_memory_holds_is_refused() {
    let model = |size: u64| {
        let mut model = ModelBuilder::new("large");
        let dims = [BuildDim::Named("batch"), BuildDim::Fixed(size), BuildDim::Fixed(size)];
        model.graph().input("x", ElemType::F32, &dims);
        model.graph().initializer(TensorSpec::f32("w", &[1], &[0.5]));
        model.graph().node("Mul", &["x", "w"], &["y"], &[]);
        model.graph().output("y", ElemType::F32, &dims);
        Network::from_onnx(&model.finish(), Device::Cpu).expect("a network")
    };
    assert_eq!(model(3).outputs().expect("outputs"), 9);
    let said = model(1 << 31).outputs().expect_err("too large").to_string();
    assert!(said.contains("images of 2147483648 x 2147483648: more than 67108864 numbers"), "{said}");
}
