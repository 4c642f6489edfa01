//! Guards in models: what they let through in ONNX Runtime, and what they leave as it was.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use bitquake_engine::{DISABLED_OPTIMISERS, Runtime};
use bitquake_graph::Graph;
use bitquake_graph::build::{
    AttrValue, BuildDim, ElemType, GraphBuilder, ModelBuilder, TensorSpec, resnet20,
};
use bitquake_graph::guard::{
    ACTIVATION_FUNCTIONS, GuardAction, GuardError, RangeGuard, Scope, insert, unguarded_name,
};
use bitquake_tensors::{Role, TensorFile};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;
use proptest::prelude::*;
use support::{fashion_cnn, knot};

const ACTIONS: [GuardAction; 2] = [GuardAction::Clip, GuardAction::Zero];
const LEVELS: [GraphOptimizationLevel; 2] = [GraphOptimizationLevel::Disable, GraphOptimizationLevel::All];

fn guard(value: &str, low: f32, high: f32, action: GuardAction) -> RangeGuard {
    RangeGuard { value: value.into(), low, high, action }
}

fn open(bytes: Vec<u8>) -> TensorFile {
    TensorFile::from_onnx_bytes(bytes).unwrap()
}

/// The float outputs of a model with one input, by name.
fn outputs(
    model: &[u8],
    level: GraphOptimizationLevel,
    shape: &[i64],
    elements: &[f32],
) -> Vec<(String, Vec<f32>)> {
    let builder = Session::builder(Runtime::load().unwrap().environment()).unwrap();
    let builder = builder.with_intra_threads(1).unwrap().with_optimization_level(level).unwrap();
    let mut builder = builder.with_disabled_optimizers(DISABLED_OPTIMISERS).unwrap();
    let mut session = builder.commit_from_memory(model).unwrap();
    let name = session.inputs()[0].name().to_owned();
    // Kept until the end: an output may be the input's own memory.
    let feed = Tensor::from_array((shape.to_vec(), elements.to_vec())).unwrap();
    let found = session.run(vec![(name, &feed)]).unwrap();
    let floats = found
        .iter()
        .map(|(name, value)| (name.to_owned(), value.try_extract_tensor::<f32>().unwrap().1.to_vec()));
    floats.collect()
}

fn bits(outputs: &[(String, Vec<f32>)]) -> Vec<(String, Vec<u32>)> {
    outputs
        .iter()
        .map(|(name, elements)| (name.clone(), elements.iter().map(|element| element.to_bits()).collect()))
        .collect()
}

/// What a guard is to make of an element, in plain words.
fn reference(element: f32, guard: &RangeGuard) -> f32 {
    let RangeGuard { low, high, action, .. } = guard;
    if element.is_nan() {
        0.0
    } else if element >= *low && element <= *high {
        element
    } else {
        match action {
            GuardAction::Zero => 0.0,
            GuardAction::Clip if element < *low => *low,
            GuardAction::Clip => *high,
        }
    }
}

/// `x` through one operator that leaves it as it is, unless it is `Relu`.
fn one_node(op: &str, opset: u64) -> Vec<u8> {
    let mut model = ModelBuilder::new("one");
    model.opset(opset);
    let row = [BuildDim::Named("n"), BuildDim::Named("m")];
    model.graph().input("x", ElemType::F32, &row).node(op, &["x"], &["y"], &[]).output(
        "y",
        ElemType::F32,
        &row,
    );
    model.finish()
}

/// Everything that a float can be, and what lies around the bounds.
fn odd_elements(low: f32, high: f32) -> Vec<f32> {
    let mut all = vec![f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::INFINITY, f32::NEG_INFINITY];
    all.extend([0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, -1e-45, 0.5, -0.5]);
    for bound in [low, high] {
        all.extend([bound, bound.next_up(), bound.next_down(), 2.0 * bound]);
    }
    all
}

#[test]
fn every_element_becomes_what_the_action_says() {
    let ranges = [(-1.0, 2.0), (0.0, 6.0), (0.25, 0.75), (-3.0, -1.0), (0.0, 0.0), (1e-40, 2e-40)];
    for (action, opset) in
        ACTIONS.into_iter().flat_map(|action| [9, 10, 11, 12, 13, 17, 20].map(|opset| (action, opset)))
    {
        for (low, high) in ranges {
            let one = guard("y", low, high, action);
            let model = insert(&one_node("Identity", opset), std::slice::from_ref(&one)).unwrap();
            // More than a vector of the processor, and a rest.
            let elements = odd_elements(low, high).repeat(3);
            let wanted: Vec<f32> = elements.iter().map(|&element| reference(element, &one)).collect();
            for level in LEVELS {
                let found = outputs(&model, level, &[3, elements.len() as i64 / 3], &elements);
                for ((element, wanted), found) in elements.iter().zip(&wanted).zip(&found[0].1) {
                    assert_eq!(
                        found.to_bits(),
                        wanted.to_bits(),
                        "{element}: {found}, not {wanted}; opset {opset}, {one:?}"
                    );
                }
            }
        }
    }
}

/// ONNX Runtime fuses `Relu` and `Clip`, which must not hide a NaN from the guard.
#[test]
fn a_relu_before_the_guard_changes_nothing() {
    for action in ACTIONS {
        let one = guard("y", 0.0, 6.0, action);
        let model = insert(&one_node("Relu", 17), std::slice::from_ref(&one)).unwrap();
        let elements = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -3.0, 3.0, 6.0, 7.0, -0.0, f32::NAN];
        let zero_or_high = if action == GuardAction::Clip { 6.0 } else { 0.0 };
        let wanted = [0.0, zero_or_high, 0.0, 0.0, 3.0, 6.0, zero_or_high, 0.0, 0.0];
        for level in LEVELS {
            assert_eq!(outputs(&model, level, &[1, 9], &elements)[0].1, wanted, "{action:?}");
        }
    }
}

/// Noise that does not repeat.
fn noise(count: usize) -> Vec<f32> {
    (0..count).map(|place| (place as f32 * 12.9898).sin() * 3.0).collect()
}

/// Models with their inputs' shapes: small ones with everything odd, and two networks.
fn models() -> Vec<(Vec<u8>, Vec<i64>)> {
    vec![(knot(), vec![3, 2]), (fashion_cnn(), vec![2, 1, 28, 28]), (resnet20(5), vec![2, 3, 32, 32])]
}

/// The values of the main graph that are computed from the input and are float32, in `knot` and the networks.
fn values(bytes: &[u8]) -> Vec<String> {
    let file = open(bytes.to_vec());
    let graph = Graph::from_file(&file).unwrap();
    let floats =
        graph.nodes().iter().filter(|node| !["Greater", "Constant"].contains(&node.op_type.as_str()));
    floats.flat_map(|node| node.outputs.clone()).collect()
}

/// A guard with the widest bounds lets every number through, wherever it stands: on outputs of the model, values of several readers, values
/// that a subgraph reads.
#[test]
fn open_guards_leave_every_output_as_it_was() {
    for (model, shape) in models() {
        let elements = noise(shape.iter().product::<i64>() as usize);
        let golden = outputs(&model, GraphOptimizationLevel::Disable, &shape, &elements);
        for action in ACTIONS {
            let guards: Vec<RangeGuard> =
                values(&model).iter().map(|value| guard(value, f32::MIN, f32::MAX, action)).collect();
            assert!(guards.len() >= 7);
            let guarded = insert(&model, &guards).unwrap();
            let found = outputs(&guarded, GraphOptimizationLevel::Disable, &shape, &elements);
            for ((name, found), (_, wanted)) in bits(&found).iter().zip(&bits(&golden)) {
                assert_eq!(found, wanted, "{name}, {action:?}, {shape:?}");
            }
            assert_eq!(found.len(), golden.len());
            // Optimised, the runtime may round otherwise; the outputs keep their names and their order.
            let optimised = outputs(&guarded, GraphOptimizationLevel::All, &shape, &elements);
            for ((name, found), (wanted_name, wanted)) in optimised.iter().zip(&golden) {
                assert_eq!(name, wanted_name);
                assert!(
                    found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 1e-3 * (1.0 + b.abs())),
                    "{name}"
                );
            }
        }
    }
}

/// `pos` is an output of the model, an input of a node, and read by a branch of an `If`: all get the guarded value.
#[test]
fn every_reader_gets_what_the_guard_lets_through() {
    let elements = [1.0_f32, -2.0, 0.25, 3.0];
    let guarded = insert(&knot(), &[guard("pos", 1.0, 4.0, GuardAction::Zero)]).unwrap();
    let found = outputs(&guarded, GraphOptimizationLevel::All, &[2, 2], &elements);
    // By hand: w = [0.5, -3], k = 1.75, outer = [1.5, 0.125].
    let mut rows = Vec::new();
    for row in elements.chunks(2) {
        let a = [row[0] * 0.5, row[1] * -3.0];
        let pos = a.map(|a| a + 3.5).map(|pos| if (1.0..=4.0).contains(&pos) { pos } else { 0.0 });
        rows.push((a, pos));
    }
    let wanted: Vec<f32> = rows.iter().flat_map(|(_, pos)| *pos).collect();
    assert_eq!(found[0], ("pos".into(), wanted));
    assert_eq!(rows[0].1, [4.0, 0.0]);
    let top = rows.iter().flat_map(|(_, pos)| *pos).fold(f32::MIN, f32::max);
    let y: Vec<f32> = rows
        .iter()
        .flat_map(|(a, pos)| {
            let mid = if top > 1.75 { [a[0] + 1.5, a[1] + 0.125] } else { pos.map(|pos| pos - 3.5) };
            [0, 1].map(|at| (mid[at] * 0.25 + a[at]) * [0.5, -3.0][at])
        })
        .collect();
    assert_eq!(found[1], ("y".into(), y));
}

/// A chain of two functions, the second's guard after the first's.
#[test]
fn guards_stand_one_after_the_other() {
    let mut model = ModelBuilder::new("chain");
    let row = [BuildDim::Named("n"), BuildDim::Fixed(3)];
    let graph = model.graph();
    graph.input("x", ElemType::F32, &row).initializer(TensorSpec::f32("w", &[3], &[2.0, -1.0, 0.5]));
    graph.node("Relu", &["x"], &["a"], &[]).node("Mul", &["a", "w"], &["b"], &[]);
    graph.node("Relu", &["b"], &["c"], &[]).node("Add", &["c", "a"], &["d"], &[]);
    graph.output("d", ElemType::F32, &row);
    let guards = [guard("a", 0.0, 4.0, GuardAction::Clip), guard("c", 0.0, 5.0, GuardAction::Clip)];
    let guarded = insert(&model.finish(), &guards).unwrap();
    for level in LEVELS {
        let found = outputs(&guarded, level, &[1, 3], &[9.0, 9.0, f32::NAN]);
        // a = [4, 4, 0], b = [8, -4, 0], c = [5, 0, 0].
        assert_eq!(found[0].1, [9.0, 4.0, 0.0]);
    }
}

/// Two outputs of one node.
#[test]
fn several_values_of_one_node_are_guarded() {
    let mut model = ModelBuilder::new("split");
    let half = [BuildDim::Named("n"), BuildDim::Fixed(2)];
    let graph = model.graph();
    graph.input("x", ElemType::F32, &[BuildDim::Named("n"), BuildDim::Fixed(4)]);
    graph.node("Split", &["x"], &["a", "b"], &[("axis", AttrValue::Int(1))]);
    graph.output("a", ElemType::F32, &half).output("b", ElemType::F32, &half);
    let guards = [guard("b", 0.0, 1.0, GuardAction::Clip), guard("a", -1.0, 0.0, GuardAction::Zero)];
    let guarded = insert(&model.finish(), &guards).unwrap();
    let found = outputs(&guarded, GraphOptimizationLevel::All, &[1, 4], &[2.0, -0.5, 2.0, -0.5]);
    assert_eq!((&found[0].1[..], &found[1].1[..]), (&[0.0, -0.5][..], &[1.0, 0.0][..]));
}

/// No tensor changes, and none is added that globs reach: the fault space is the same.
#[test]
fn stored_tensors_stay_as_they_were() {
    for (model, _) in models() {
        for action in ACTIONS {
            let guards: Vec<RangeGuard> =
                values(&model).iter().map(|value| guard(value, -1.5, 2.5, action)).collect();
            let guarded = insert(&model, &guards).unwrap();
            let (before, after) = (open(model.clone()), open(guarded));
            let added = |name: &str| guards.iter().any(|one| name.starts_with(&format!("{}/", one.value)));
            let (new, kept): (Vec<_>, Vec<_>) =
                after.tensors().iter().partition(|tensor| added(&tensor.name));
            assert_eq!(new.len(), 2 * guards.len() + 1);
            assert!(new.iter().all(|tensor| tensor.role == Role::Attribute), "{new:?}");
            assert!(kept.into_iter().eq(before.tensors()));
            use bitquake_bits::WordStore;
            for tensor in before.tensors() {
                let words = |file: &TensorFile| file.words(&tensor.name).map(|words| words.bytes().to_vec());
                assert_eq!(words(&before), words(&after), "{}", tensor.name);
            }
        }
    }
}

/// Before opset 11 bounds are attributes, which are stored nowhere else.
#[test]
fn old_clips_have_no_tensors() {
    let guarded = insert(&one_node("Relu", 10), &[guard("y", 0.0, 1.0, GuardAction::Clip)]).unwrap();
    let file = open(guarded);
    assert_eq!(
        file.tensors().iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(),
        ["y/zero_shape"]
    );
}

#[test]
fn probabilities_stay_probabilities() {
    let bytes = one_node("Softmax", 17);
    let guarded = open(insert(&bytes, &[guard("y", 0.0, 1.0, GuardAction::Clip)]).unwrap());
    assert!(Graph::from_file(&guarded).unwrap().output_is_probabilities());
}

#[test]
fn no_guards_give_the_model_back() {
    assert_eq!(insert(&knot(), &[]).unwrap(), knot());
}

#[test]
fn what_cannot_be_guarded_is_told() {
    let clip = |value: &str| guard(value, 0.0, 1.0, GuardAction::Clip);
    let told = |model: &[u8], guards: &[RangeGuard]| insert(model, guards).unwrap_err().to_string();
    // Inputs, initializers and what is not there have no node.
    for value in ["x", "w", "mid", "none", ""] {
        assert_eq!(insert(&knot(), &[clip(value)]), Err(GuardError::NoValue { value: value.into() }));
    }
    let twice = Err(GuardError::Guarded { value: "y".into() });
    assert_eq!(insert(&knot(), &[clip("y"), clip("y")]), twice);
    assert_eq!(insert(&insert(&knot(), &[clip("y")]).unwrap(), &[clip("y")]), twice);
    // Another value of a guarded model can be guarded later.
    let again = insert(&insert(&knot(), &[clip("y")]).unwrap(), &[clip("sum")]).unwrap();
    assert_eq!(Graph::from_file(&open(again)).unwrap().op_counts()["Where"], 2);
    for (low, high) in [(1.0, 0.0), (f32::NAN, 1.0), (0.0, f32::NAN), (0.0, f32::INFINITY)] {
        let message = told(&knot(), &[guard("y", low, high, GuardAction::Clip)]);
        assert!(message.contains(&format!("[{low}, {high}], which is no finite range")), "{message}");
    }
    let message = told(&one_node("Relu", 8), &[clip("y")]);
    assert!(message.contains("version 8 of it") && message.contains("version 9 of"), "{message}");
    let mut model = ModelBuilder::new("taken");
    let row = [BuildDim::Named("n")];
    model.graph().input("x", ElemType::F32, &row).node("Relu", &["x"], &["y"], &[]);
    model.graph().node("Neg", &["y"], &["y/clipped"], &[]).output("y/clipped", ElemType::F32, &row);
    assert!(told(&model.finish(), &[clip("y")]).contains("needs the name `y/clipped`"));
    assert!(told(b"\xff\xff", &[clip("y")]).contains("damaged"));
}

#[test]
fn the_scope_is_what_operators_give_in_the_main_graph() {
    let names = |scope: &Scope| scope.values.iter().map(|one| one.value.clone()).collect::<Vec<_>>();
    let file = open(fashion_cnn());
    let graph = Graph::from_file(&file).unwrap();
    let mut scope = Scope::of(&graph, ACTIVATION_FUNCTIONS);
    let relus: Vec<String> = graph
        .nodes()
        .iter()
        .filter(|node| node.op_type == "Relu")
        .map(|node| node.outputs[0].clone())
        .collect();
    assert!(!relus.is_empty());
    assert_eq!(names(&scope), relus);
    scope.follow(&graph);
    let passing = graph
        .nodes()
        .iter()
        .filter(|node| ["MaxPool", "Flatten", "GlobalAveragePool"].contains(&node.op_type.as_str()));
    assert_eq!(scope.values.len(), relus.len() + passing.count());

    let file = open(knot());
    let graph = Graph::from_file(&file).unwrap();
    let scope = Scope::of(&graph, &["Add", "Sub"]);
    assert_eq!(names(&scope), ["k2", "pos", "sum"]);
    assert_eq!(scope.left_out.len(), 2);
    assert!(scope.left_out.iter().all(|one| one.value == "mid" && one.reason.contains("body of an If")));

    let guarded = open(insert(&knot(), &[guard("pos", 0.0, 1.0, GuardAction::Clip)]).unwrap());
    let scope = Scope::of(&Graph::from_file(&guarded).unwrap(), &["Add", "Clip"]);
    assert_eq!(names(&scope), ["k2", "sum"]);
    let one = &scope.left_out[0];
    assert_eq!((one.value.clone(), one.reason.contains("already, as `pos`")), (unguarded_name("pos"), true));
}

/// A concatenation follows when all of its inputs do; what follows goes on through what follows.
#[test]
fn passing_operators_follow() {
    let mut model = ModelBuilder::new("follow");
    let row = [BuildDim::Named("n"), BuildDim::Fixed(2)];
    let axis = || [("axis", AttrValue::Int(1))];
    let graph: &mut GraphBuilder = model.graph();
    graph.input("x", ElemType::F32, &row).node("Relu", &["x"], &["a"], &[]).node("Tanh", &["x"], &["b"], &[]);
    graph.node("Concat", &["a", "b"], &["ab"], &axis()).node("Concat", &["a", "x"], &["ax"], &axis());
    graph.node("Flatten", &["ab"], &["flat"], &[]).node("Neg", &["flat"], &["neg"], &[]);
    graph.node("Flatten", &["neg"], &["after"], &[]).output("after", ElemType::F32, &[]);
    let file = open(model.finish());
    let graph = Graph::from_file(&file).unwrap();
    let mut scope = Scope::of(&graph, ACTIVATION_FUNCTIONS);
    scope.follow(&graph);
    let found: Vec<(&str, Vec<&str>)> = scope
        .values
        .iter()
        .map(|one| (one.value.as_str(), one.follows.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(found, [("a", vec![]), ("b", vec![]), ("ab", vec!["a", "b"]), ("flat", vec!["ab"])]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_element_in_any_range(elements in prop::collection::vec(any::<u32>(), 1..40), a in any::<f32>(), b in any::<f32>(), zero in any::<bool>()) {
        prop_assume!(a.is_finite() && b.is_finite());
        let one = guard("y", a.min(b), a.max(b), ACTIONS[usize::from(zero)]);
        let model = insert(&one_node("Identity", 17), std::slice::from_ref(&one)).unwrap();
        let elements: Vec<f32> = elements.into_iter().map(f32::from_bits).collect();
        let found = outputs(&model, GraphOptimizationLevel::All, &[1, elements.len() as i64], &elements);
        for (&element, found) in elements.iter().zip(&found[0].1) {
            prop_assert_eq!(found.to_bits(), reference(element, &one).to_bits(), "{} in {:?}", element, one);
        }
    }
}
