//! Cutting models: what is alive where, and what segments are made of.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use bitquake_bits::WordStore;
use bitquake_graph::Graph;
use bitquake_graph::build::{AttrValue, ElemType, GraphBuilder, ModelBuilder, TensorSpec, resnet20};
use bitquake_graph::cut::{CutError, Cuts, Segment, ValueKind};
use bitquake_tensors::onnx::{AttributeValue, OnnxGraph};
use bitquake_tensors::wire::{Fields, Writer};
use bitquake_tensors::{EngineImage, TensorFile};
use proptest::prelude::*;
use support::{chain, fashion_cnn, image, knot, open, some_kind};

/// Runs a graph on hashes: what a node gives is the hash of what it is and of what it reads.
fn evaluate(file: &TensorFile, feeds: &HashMap<String, u64>) -> BTreeMap<String, u64> {
    let graph = &file.onnx().unwrap().graph;
    let words = |tensor: &str| file.words(tensor).map(|words| words.bytes().to_vec());
    let mut known = HashMap::new();
    for input in Graph::from_file(file).unwrap().inputs() {
        known.insert(input.name.clone(), feeds[&input.name]);
    }
    for stored in &graph.initializers {
        known.insert(stored.name.clone(), hash(&words(&stored.tensor)));
    }
    for node in &graph.nodes {
        let mut state = DefaultHasher::new();
        (&node.name, &node.op_type, &node.inputs).hash(&mut state);
        node.inputs.iter().filter(|name| !name.is_empty()).for_each(|name| known[name].hash(&mut state));
        for attribute in &node.attributes {
            match &attribute.value {
                AttributeValue::Tensor(tensor) => words(tensor).hash(&mut state),
                AttributeValue::Graph(sub) => {
                    format!("{sub:?}").hash(&mut state);
                    outer(sub).iter().for_each(|name| known[name].hash(&mut state));
                    sub.constants.iter().for_each(|stored| words(&stored.tensor).hash(&mut state));
                }
                value => format!("{value:?}").hash(&mut state),
            }
        }
        for (position, output) in node.outputs.iter().enumerate() {
            known.insert(output.clone(), hash(&(state.finish(), position)));
        }
    }
    graph.outputs.iter().map(|output| (output.name.clone(), known[&output.name])).collect()
}

fn hash(value: &impl Hash) -> u64 {
    let mut state = DefaultHasher::new();
    value.hash(&mut state);
    state.finish()
}

/// What a subgraph without further subgraphs reads from outside.
fn outer(sub: &OnnxGraph) -> BTreeSet<String> {
    let own: BTreeSet<&String> = sub.nodes.iter().flat_map(|node| &node.outputs).collect();
    let reads = sub.nodes.iter().flat_map(|node| &node.inputs);
    reads.filter(|name| !own.contains(name)).cloned().collect()
}

/// Checks a segment against the model it is of: a sound model, with the words of the image where it says.
fn check(image: &EngineImage, segment: &Segment) -> TensorFile {
    let file = open(&segment.bytes, Some(image));
    let graph = Graph::from_file(&file).unwrap();
    let names = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names(graph.inputs().iter().map(|input| input.name.as_str()).collect()), segment.inputs);
    assert_eq!(graph.main().inputs.len(), segment.inputs.len());
    assert_eq!(names(graph.outputs().iter().map(|output| output.name.as_str()).collect()), segment.outputs);
    let stored: Vec<String> = file.tensors().iter().map(|tensor| tensor.name.clone()).collect();
    assert_eq!(stored, segment.tensors);
    for (name, range) in &segment.inline {
        assert_eq!(image.words(name).unwrap().bytes(), &segment.bytes[range.clone()], "{name}");
    }
    let is_inline = |name: &&String| image.locate(name).is_some_and(|place| place.part == 0);
    let inline: Vec<&String> = segment.tensors.iter().filter(is_inline).collect();
    assert_eq!(inline, segment.inline.iter().map(|(name, _)| name).collect::<Vec<_>>());
    // It can be cut itself: every value is given before it is read.
    let again = file.clone().into_engine_image_lending(usize::MAX).unwrap();
    Cuts::new(&again).unwrap();
    file
}

/// Cuts at these places, checks every segment, and compares the chain with the whole.
fn check_chain(image: &EngineImage, places: &[usize]) {
    let cuts = Cuts::new(image).unwrap();
    let whole = open(image.main(), Some(image));
    let inputs = Graph::from_file(&whole).unwrap().inputs();
    let feeds: HashMap<String, u64> =
        inputs.iter().enumerate().map(|(index, input)| (input.name.clone(), hash(&index))).collect();
    let mut known = feeds.clone();
    for segment in chain(&cuts, places, &some_kind) {
        for input in &segment.inputs {
            assert!(known.contains_key(input), "{input} is not there");
        }
        known.extend(evaluate(&check(image, &segment), &known));
    }
    for (output, value) in evaluate(&whole, &feeds) {
        assert_eq!(known.get(&output), Some(&value), "{output}");
    }
}

fn pairs(nodes: usize) -> impl Iterator<Item = [usize; 3]> {
    (1..nodes).map(move |place| [0, place, nodes])
}

#[test]
fn the_chain_of_two_is_the_whole_at_every_place() {
    for (bytes, nodes) in [(knot(), 11), (fashion_cnn(), 17), (resnet20(3), 73)] {
        for lent in [1, 256, usize::MAX] {
            let image = image(&bytes, lent);
            check_chain(&image, &(0..=nodes).collect::<Vec<_>>());
            // Of the long model one threshold, and not every place: the chain above has them all.
            let step = [1, 4][usize::from(nodes > 20)];
            if nodes < 20 || lent == 256 {
                pairs(nodes).step_by(step).for_each(|places| check_chain(&image, &places));
            }
        }
    }
}

#[test]
fn what_is_alive_in_the_knot() {
    let image = image(&knot(), usize::MAX);
    let cuts = Cuts::new(&image).unwrap();
    let constant: Vec<usize> = (0..11).filter(|&node| cuts.nodes()[node].is_constant).collect();
    assert_eq!(constant, [0, 1, 10]);
    let expected: [(usize, &[&str]); 9] = [
        (0, &["x"]),
        (2, &["x"]),
        (3, &["x", "a"]),
        (4, &["x", "a", "pos"]),
        (6, &["x", "a", "pos", "cond"]),
        (7, &["x", "a", "pos", "picked"]),
        (9, &["x", "pos", "sum"]),
        (10, &["x", "pos", "y"]),
        (11, &["x", "outer", "pos", "y", "fixed"]),
    ];
    for (after, live) in expected {
        assert_eq!(cuts.boundary(after).live, live, "after {after}");
    }
    assert_eq!(cuts.boundary(99).after, 11);
    assert_eq!(cuts.nodes()[6].outer, ["a", "outer", "pos", "k2"]);
    let values: Vec<String> = cuts.values().into_iter().map(|(value, _)| value).collect();
    assert_eq!(values, ["a", "pos", "top", "cond", "picked", "unused", "sum", "y"]);
    assert_eq!(
        ["x", "w", "k", "picked", "none"].map(|name| cuts.producer(name)),
        [None, None, Some(0), Some(6), None]
    );
}

#[test]
fn who_reads_a_stored_tensor() {
    let image = image(&knot(), usize::MAX);
    let cuts = Cuts::new(&image).unwrap();
    let expected: [(&str, &[usize]); 6] = [
        ("w", &[2, 9]),
        ("outer", &[6, 10]), // an output too, which the last segment gives
        ("k", &[3, 5, 6, 10]),
        ("unread", &[]),
        ("pick/then_branch/own", &[6]),
        ("none", &[]),
    ];
    for (tensor, nodes) in expected {
        assert_eq!(cuts.consumers(tensor), nodes, "{tensor}");
    }
}

#[test]
fn a_segment_has_what_it_needs_and_no_more() {
    let image = image(&knot(), usize::MAX);
    let cuts = Cuts::new(&image).unwrap();
    let branch = cuts.segment(6, 7, &some_kind).unwrap();
    assert_eq!((branch.inputs.join(" "), branch.outputs.join(" ")), ("a pos cond".into(), "picked".into()));
    // The constant k goes through the node `double`, and the tensors of the branches come along. Nodes are first in the file.
    assert_eq!(branch.tensors, ["k", "pick/then_branch/own", "pick/else_branch/own", "outer"]);
    let ops = |segment: &Segment| -> Vec<String> {
        let file = open(&segment.bytes, None);
        Graph::from_file(&file).unwrap().nodes().iter().map(|node| node.op_type.clone()).collect()
    };
    assert_eq!(ops(&branch), ["Constant", "Add", "If"]);
    let last = cuts.segment(9, 11, &some_kind).unwrap();
    assert_eq!(ops(&last), ["Constant", "Add", "Mul", "Identity"]);
    assert_eq!((last.inputs.join(" "), last.outputs.join(" ")), ("sum".into(), "outer y fixed".into()));
}

#[test]
fn inputs_have_the_type_given_and_the_batch_of_the_model() {
    let image = image(&knot(), usize::MAX);
    let cuts = Cuts::new(&image).unwrap();
    let kinds = |value: &str| (value == "a").then(|| ValueKind { elem_type: 10, dims: vec![2, 7] });
    let file = open(&cuts.segment(3, 4, &kinds).unwrap().bytes, None);
    let inputs = format!("{:?}", file.onnx().unwrap().graph.inputs);
    assert_eq!(
        inputs,
        "[ValueInfo { name: \"a\", elem_type: Some(Known(f16)), shape: Some([Named(\"n\"), Fixed(2), Fixed(7)]) }]"
    );
    // The model's own input stays as it is declared.
    let first = open(&cuts.segment(0, 3, &|_| None).unwrap().bytes, None);
    assert_eq!(first.onnx().unwrap().graph.inputs[0], open(&knot(), None).onnx().unwrap().graph.inputs[0]);
}

#[test]
fn more_outputs_change_nothing_else() {
    let bytes = knot();
    let image = image(&bytes, 1);
    let cuts = Cuts::new(&image).unwrap();
    let more = open(&cuts.with_outputs(&["a", "y", "picked", "a"]), Some(&image));
    let (old, new) = (&open(image.main(), Some(&image)), &more);
    let names: Vec<&str> =
        new.onnx().unwrap().graph.outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["pos", "y", "x", "fixed", "outer", "a", "picked"]);
    let [old_graph, new_graph] = [old, new].map(|file| &file.onnx().unwrap().graph);
    assert_eq!((&old_graph.nodes, &old_graph.inputs), (&new_graph.nodes, &new_graph.inputs));
    assert_eq!(old.tensors(), new.tensors());
    assert_eq!(cuts.with_outputs(&[]), image.main());
}

#[test]
fn random_numbers_are_drawn_once() {
    let mut model = ModelBuilder::new("random");
    let graph = model.graph();
    graph.input("x", ElemType::F32, &[]);
    graph.node("RandomNormal", &[], &["r"], &[("shape", AttrValue::Ints(vec![2]))]);
    graph.node("Add", &["x", "r"], &["a"], &[]).node("Add", &["a", "r"], &["y"], &[]);
    graph.output("y", ElemType::F32, &[]);
    let image = image(&model.finish(), usize::MAX);
    let cuts = Cuts::new(&image).unwrap();
    assert_eq!(cuts.boundary(2).live, ["r", "a"]);
    check_chain(&image, &[0, 1, 2, 3]);
}

/// A model whose function `outer` calls `inner`, which holds a tensor and, if asked for, draws a random number.
fn with_functions(is_random: bool) -> Vec<u8> {
    let function = |name: &str, node: &Writer| {
        let mut function = Writer::new();
        function.bytes(1, name.as_bytes()).bytes(5, b"o").message(7, node).bytes(10, b"mine");
        function
    };
    let node = |op: &str, domain: &str, outputs: &str| {
        let mut node = Writer::new();
        node.bytes(2, outputs.as_bytes()).bytes(4, op.as_bytes()).bytes(7, domain.as_bytes());
        node
    };
    let mut value = Writer::new();
    value.varint(1, 1).varint(2, 1).bytes(9, &[1, 2, 3, 4]);
    let mut attribute = Writer::new();
    attribute.bytes(1, b"value").message(5, &value).varint(20, 4);
    let mut constant = node(if is_random { "RandomNormal" } else { "Constant" }, "", "o");
    constant.message(5, &attribute);
    let mut model = ModelBuilder::new("calls");
    let graph = model.graph();
    graph.input("x", ElemType::F32, &[]).node("Relu", &["x"], &["a"], &[]);
    graph.output("y", ElemType::F32, &[]);
    let bytes = model.finish();
    // The call itself, in a domain, is written by hand: one more node at the end of the graph.
    let mut call = node("outer", "mine", "c");
    call.bytes(1, b"");
    let mut sum = Writer::new();
    sum.bytes(1, b"a").bytes(1, b"c").bytes(2, b"y").bytes(4, b"Add");
    let mut out = Vec::new();
    for field in Fields::new(&bytes, 0..bytes.len()) {
        let field = field.unwrap();
        if field.number == 7 {
            let mut graph = Writer::new();
            graph.message(1, &call).message(1, &sum);
            let body = [&bytes[field.message().unwrap().body], &graph.into_bytes()[..]].concat();
            let mut field = Writer::new();
            field.bytes(7, &body);
            out.extend(field.into_bytes());
        } else {
            out.extend_from_slice(&bytes[field.span]);
        }
    }
    let mut functions = Writer::new();
    functions.message(25, &function("outer", &node("inner", "mine", "o")));
    functions.message(25, &function("inner", &constant));
    out.extend(functions.into_bytes());
    out
}

#[test]
fn functions_come_along_with_what_calls_them() {
    let image = image(&with_functions(false), usize::MAX);
    let cuts = Cuts::new(&image).unwrap();
    assert!(cuts.nodes()[1].is_constant);
    assert_eq!(cuts.consumers("inner/o"), [2]);
    let last = cuts.segment(1, 3, &some_kind).unwrap();
    assert_eq!((last.tensors.join(" "), last.inputs.join(" ")), ("inner/o".into(), "a".into()));
    let (name, range) = &last.inline[0];
    assert_eq!((name.as_str(), &last.bytes[range.clone()]), ("inner/o", &[1, 2, 3, 4][..]));
    let first = cuts.segment(0, 1, &some_kind).unwrap();
    assert_eq!((first.tensors.len(), open(&first.bytes, None).onnx().unwrap().functions.len()), (0, 2));
}

#[test]
fn a_function_that_draws_is_called_once() {
    let image = image(&with_functions(true), usize::MAX);
    let cuts = Cuts::new(&image).unwrap();
    assert!(!cuts.nodes()[1].is_constant);
    assert_eq!(cuts.boundary(2).live, ["a", "c"]);
    assert_eq!(cuts.consumers("inner/o/value"), [1]);
}

/// A sparse initializer, written before the nodes, comes along with its indices.
#[test]
fn sparse_initializers_are_copied_whole() {
    let tensor = |name: &str, elem_type: u64, words: &[u8]| {
        let mut tensor = Writer::new();
        tensor.varint(1, 1).varint(2, elem_type).bytes(8, name.as_bytes()).bytes(9, words);
        tensor
    };
    let mut sparse = Writer::new();
    sparse.message(1, &tensor("w", 1, &[1, 2, 3, 4])).message(2, &tensor("", 7, &[1, 0, 0, 0, 0, 0, 0, 0]));
    sparse.varint(3, 5);
    let node = |inputs: [&str; 2], output: &str| {
        let mut node = Writer::new();
        node.bytes(1, inputs[0].as_bytes()).bytes(1, inputs[1].as_bytes());
        node.bytes(2, output.as_bytes()).bytes(4, b"Add");
        node
    };
    let named = |name: &str| {
        let mut value = Writer::new();
        value.bytes(1, name.as_bytes());
        value
    };
    let mut graph = Writer::new();
    graph.message(15, &sparse).message(11, &named("x")).message(12, &named("y"));
    graph.message(1, &node(["x", "x"], "a")).message(1, &node(["a", "w"], "y"));
    let mut model = Writer::new();
    model.message(7, &graph).varint(1, 8);
    let image = image(&model.into_bytes(), usize::MAX);
    let cuts = Cuts::new(&image).unwrap();
    let [first, last] = [(0, 1), (1, 2)].map(|(from, to)| cuts.segment(from, to, &some_kind).unwrap());
    for segment in [&first, &last] {
        check(&image, segment);
    }
    assert_eq!((first.tensors.len(), last.tensors.join(" ")), (0, "w w/indices".into()));
    assert_eq!(last.inline.len(), 2);
    assert_eq!(["w", "w/indices"].map(|name| cuts.consumers(name)), [[1], [1]]);
}

#[test]
fn errors_name_what_is_wrong() {
    type Build = fn(&mut GraphBuilder);
    let cases: [(Build, &str); 7] = [
        (
            |graph| _ = graph.named_node("n", "Add", &["x", "gone"], &["y"], &[]),
            "node n reads the value gone, which no node, input or initializer gives",
        ),
        (
            |graph| _ = graph.node("Add", &["x", "b"], &["a"], &[]).node("Add", &["a", "a"], &["b"], &[]),
            "node a reads the value b before a node gives it: the graph has a cycle or is not sorted",
        ),
        (
            |graph| _ = graph.named_node("self", "Relu", &["y"], &["y"], &[]),
            "node self reads the value y before a node gives it: the graph has a cycle or is not sorted",
        ),
        (
            |graph| _ = graph.node("Relu", &["x"], &["y"], &[]).node("Neg", &["x"], &["y"], &[]),
            "the value y is given twice",
        ),
        (|graph| _ = graph.node("Relu", &["x"], &["x"], &[]), "the value x is given twice"),
        (
            |graph| {
                let mut sub = GraphBuilder::new("sub");
                sub.node("Neg", &["nowhere"], &["o"], &[]).output("o", ElemType::F32, &[]);
                graph.node("If", &["x"], &["y"], &[("then_branch", AttrValue::Graph(sub))]);
            },
            "node y reads the value nowhere, which no node, input or initializer gives",
        ),
        (
            |graph| _ = graph.output("z", ElemType::F32, &[]),
            "the output z of the model is given by no node, input or initializer",
        ),
    ];
    for (build, message) in cases {
        let mut model = ModelBuilder::new("bad");
        model.graph().input("x", ElemType::F32, &[]);
        build(model.graph());
        let image = image(&model.finish(), usize::MAX);
        assert_eq!(Cuts::new(&image).unwrap_err().to_string(), message);
    }
}

#[test]
fn bad_stretches_are_refused() {
    let image = image(&knot(), usize::MAX);
    let cuts = Cuts::new(&image).unwrap();
    for (from, to) in [(3, 3), (4, 2), (0, 12), (12, 13), (usize::MAX, 0)] {
        assert!(matches!(cuts.segment(from, to, &some_kind), Err(CutError::Places { nodes: 11, .. })));
    }
    // Constant nodes alone, and a node that nothing needs.
    for (from, to) in [(0, 2), (7, 8)] {
        assert!(matches!(cuts.segment(from, to, &some_kind), Err(CutError::Empty { .. })));
    }
    let error = cuts.segment(3, 4, &|_| None).unwrap_err().to_string();
    assert_eq!(error, "the type of the value a, which is needed to cut there, is not known");
}

/// A random graph: numbers that choose what each node reads from what is there.
#[derive(Clone, Debug)]
struct Plan {
    inputs: usize,
    stored: usize,
    nodes: Vec<(Vec<u16>, Vec<u16>, usize, bool)>,
    outputs: Vec<u16>,
}

/// A node of a plan in names.
struct Planned {
    reads: Vec<String>,
    outer: Vec<String>,
    writes: Vec<String>,
    is_random: bool,
}

impl Plan {
    fn names(&self) -> (Vec<Planned>, Vec<String>) {
        let mut there: Vec<String> = (0..self.inputs).map(|index| format!("x{index}")).collect();
        there.extend((0..self.stored).map(|index| format!("w{index}")));
        let pick = |choices: &[u16], there: &[String]| -> Vec<String> {
            if there.is_empty() {
                return Vec::new();
            }
            choices.iter().map(|&choice| there[usize::from(choice) % there.len()].clone()).collect()
        };
        let mut nodes = Vec::new();
        for (index, (reads, outer, writes, is_random)) in self.nodes.iter().enumerate() {
            let (reads, outer) = (pick(reads, &there), pick(outer, &there));
            let writes: Vec<String> = (0..*writes).map(|output| format!("v{index}.{output}")).collect();
            there.extend(writes.iter().cloned());
            nodes.push(Planned { reads, outer, writes, is_random: *is_random });
        }
        (nodes, pick(&self.outputs, &there))
    }

    fn model(&self) -> Vec<u8> {
        let (nodes, outputs) = self.names();
        let mut model = ModelBuilder::new("plan");
        let graph = model.graph();
        for index in 0..self.inputs {
            graph.input(&format!("x{index}"), ElemType::F32, &[]);
        }
        for index in 0..self.stored {
            let values = vec![index as f32; 1 + 7 * (index % 2)];
            graph.initializer(TensorSpec::f32(&format!("w{index}"), &[values.len() as u64], &values));
        }
        for (index, node) in nodes.iter().enumerate() {
            let [reads, outer, writes] = [&node.reads, &node.outer, &node.writes]
                .map(|names| names.iter().map(String::as_str).collect());
            let (reads, outer, writes): (Vec<&str>, Vec<&str>, Vec<&str>) = (reads, outer, writes);
            if reads.is_empty() && outer.is_empty() && writes.len() == 1 && !node.is_random {
                graph.constant(writes[0], TensorSpec::f32("", &[1], &[index as f32]));
                continue;
            }
            let mut sub = GraphBuilder::new("sub");
            sub.constant("own", TensorSpec::f32("", &[1], &[index as f32]));
            sub.node("Sum", &outer, &["o"], &[]);
            let attributes = if outer.is_empty() { vec![] } else { vec![("body", AttrValue::Graph(sub))] };
            let op = if node.is_random { "RandomUniformLike" } else { "Max" };
            graph.named_node(&format!("n{index}"), op, &reads, &writes, &attributes);
        }
        outputs.iter().for_each(|output| _ = graph.output(output, ElemType::F32, &[]));
        model.finish()
    }

    /// The values that depend on inputs or random numbers, found by going over all nodes until nothing changes.
    fn varying(&self) -> BTreeSet<String> {
        let (nodes, _) = self.names();
        let mut varying: BTreeSet<String> = (0..self.inputs).map(|index| format!("x{index}")).collect();
        loop {
            let before = varying.len();
            for node in &nodes {
                if node.is_random || node.reads.iter().chain(&node.outer).any(|name| varying.contains(name)) {
                    varying.extend(node.writes.iter().cloned());
                }
            }
            if varying.len() == before {
                return varying;
            }
        }
    }

    /// By definition: what was there before the place, varies, and is read after it or an output.
    fn alive(&self, after: usize) -> BTreeSet<String> {
        let ((nodes, outputs), varying) = (self.names(), self.varying());
        if after == nodes.len() {
            return outputs.into_iter().collect();
        }
        let mut before: BTreeSet<String> = (0..self.inputs).map(|index| format!("x{index}")).collect();
        before.extend(nodes[..after].iter().flat_map(|node| node.writes.iter().cloned()));
        let mut needed: BTreeSet<String> = outputs.into_iter().collect();
        needed.extend(nodes[after..].iter().flat_map(|node| node.reads.iter().chain(&node.outer).cloned()));
        before.retain(|value| needed.contains(value) && varying.contains(value));
        before
    }

    /// By definition: the nodes that are not constant and whose reads, traced back through constant nodes, end at `stored`.
    fn readers(&self, stored: &str) -> Vec<usize> {
        let ((nodes, outputs), varying) = (self.names(), self.varying());
        let mut tainted = BTreeSet::from([stored.to_owned()]);
        let is_tainted = |node: &Planned, tainted: &BTreeSet<String>| {
            node.reads.iter().chain(&node.outer).any(|name| tainted.contains(name))
        };
        let is_constant = |node: &Planned| {
            let mut reads = node.reads.iter().chain(&node.outer);
            !node.is_random && !reads.any(|name| varying.contains(name))
        };
        for node in &nodes {
            if is_constant(node) && is_tainted(node, &tainted) {
                tainted.extend(node.writes.iter().cloned());
            }
        }
        let reads = |&index: &usize| !is_constant(&nodes[index]) && is_tainted(&nodes[index], &tainted);
        let mut readers: BTreeSet<usize> = (0..nodes.len()).filter(reads).collect();
        if outputs.iter().any(|output| tainted.contains(output)) {
            readers.extend(nodes.len().checked_sub(1));
        }
        readers.into_iter().collect()
    }
}

fn plans() -> impl Strategy<Value = Plan> {
    let choices = || proptest::collection::vec(any::<u16>(), 0..3);
    let node = (
        choices(),
        prop_oneof![4 => Just(Vec::new()), 1 => choices()],
        1..3_usize,
        prop::bool::weighted(0.05),
    );
    let nodes = proptest::collection::vec(node, 1..12);
    (0..3_usize, 0..4_usize, nodes, proptest::collection::vec(any::<u16>(), 1..4))
        .prop_map(|(inputs, stored, nodes, outputs)| Plan { inputs, stored, nodes, outputs })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn liveness_and_readers_are_as_defined(plan in plans()) {
        let image = image(&plan.model(), 16);
        let cuts = Cuts::new(&image).unwrap();
        for after in 0..=plan.nodes.len() {
            let live = cuts.boundary(after).live;
            let set: BTreeSet<String> = live.iter().cloned().collect();
            prop_assert_eq!(live.len(), set.len());
            prop_assert_eq!(set, plan.alive(after), "after {}", after);
        }
        for index in 0..plan.stored {
            let name = format!("w{index}");
            prop_assert_eq!(cuts.consumers(&name), plan.readers(&name), "{}", name);
        }
    }

    #[test]
    fn random_chains_are_the_whole(plan in plans(), mask in any::<u16>()) {
        let nodes = plan.nodes.len();
        let is_cut = |&place: &usize| place == 0 || place == nodes || mask >> (place % 16) & 1 == 1;
        let places: Vec<usize> = (0..=nodes).filter(is_cut).collect();
        check_chain(&image(&plan.model(), 16), &places);
    }
}

/// Mutated files: most are refused, some open, and those never panic. The generator is a fixed linear congruence.
#[test]
fn mutated_bytes_never_panic() {
    let (models, mut state) = ([knot(), with_functions(false)], 7_u64);
    let mut next = |below: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize % below
    };
    let folder = tempfile::tempdir().unwrap();
    let (mut opened, mut cut) = (0, 0);
    for round in 0..3000 {
        let mut bytes = models[next(2)].clone();
        for _ in 0..=next(2) {
            let at = next(bytes.len());
            bytes[at] = if next(2) == 0 { bytes[at] ^ 1 << next(8) } else { bytes[next(bytes.len())] };
        }
        // Each a new file: some file systems wait for the disk when an old one is written over.
        let path = folder.path().join(round.to_string());
        std::fs::write(&path, &bytes).unwrap();
        let Ok(file) = TensorFile::open(&path) else { continue };
        let Ok(image) = file.into_engine_image_lending(8) else { continue };
        opened += 1;
        let Ok(cuts) = Cuts::new(&image) else { continue };
        cut += 1;
        let nodes = cuts.nodes().len();
        for place in 0..=nodes {
            cuts.boundary(place);
            let _ = cuts.segment(place, nodes, &some_kind);
            let _ = cuts.segment(0, place, &some_kind);
        }
        image.words_index().keys().for_each(|name| _ = cuts.consumers(name));
        cuts.with_outputs(&["a", ""]);
    }
    assert!(opened > 300 && cut > 100 && cut < opened, "{opened} opened, {cut} cut");
}

/// Ten thousand nodes in a row, each with its own weight: time grows with the size, not with its square.
#[test]
fn long_models_are_cut_in_little_time() {
    const NODES: usize = 10_000;
    let mut model = ModelBuilder::new("long");
    let graph = model.graph();
    graph.input("v0", ElemType::F32, &[]).constant("k", TensorSpec::f32("", &[1], &[1.0]));
    for index in 0..NODES {
        let (weight, from, to) = (format!("w{index}"), format!("v{index}"), format!("v{}", index + 1));
        graph.initializer(TensorSpec::f32(&weight, &[1], &[1.0]));
        graph.node("Sum", &[&from, &weight, "k"], &[&to], &[]);
    }
    graph.output(&format!("v{NODES}"), ElemType::F32, &[]);
    let image = image(&model.finish(), usize::MAX);
    let start = std::time::Instant::now();
    let cuts = Cuts::new(&image).unwrap();
    for place in (1..=NODES).step_by(100) {
        assert_eq!(cuts.boundary(place).live.len(), 1);
        assert_eq!(
            cuts.segment(place, place + 100.min(NODES + 1 - place), &some_kind).unwrap().outputs.len(),
            1
        );
    }
    assert_eq!(cuts.consumers("w17"), [18]);
    assert_eq!(cuts.consumers("k").len(), NODES);
    assert!(start.elapsed().as_secs() < 5);
}
