//! Cutting a model into a chain of smaller ones.
//!
//! The nodes of the main graph stand in a row. At a [`Boundary`] between two of them some values are alive: computed
//! before, needed after. The nodes between two boundaries are a model of their own, a [`Segment`], that takes values alive
//! at the first and gives values alive at the second; running the segments of a row one after the other, each with the values
//! that came before, computes what the whole model computes.
//!
//! Nodes, initializers, functions and the head of the file are copied as they stand, byte for byte, and never written anew:
//! what a segment computes is what the model's author wrote, unknown fields included.
//!
//! **Constant nodes** depend on no input of the model: `Constant`, operators on initializers alone, and whatever is computed
//! from these. They are copied into every segment that needs them, so that their values are alive at no boundary, and a
//! runtime can fold and fuse them as in the whole model. Nodes that draw random numbers are never constant: a copy would draw
//! others.

mod error;
mod flow;
mod functions;
pub(crate) mod places;
mod tensors;
pub(crate) mod write;

use std::collections::BTreeSet;
use std::ops::Range;

use bitquake_tensors::EngineImage;
use bitquake_tensors::onnx::{Dim, Node, OnnxGraph};

pub use error::CutError;

use crate::build::{BuildDim, value_info};
use crate::view::required_inputs;
use flow::{Flow, Source};
use functions::Functions;
use places::Places;
use tensors::{Owner, Tensors};
use write::{Piece, field, write_model};

/// The field of a `GraphProto` that holds an input.
const INPUT: u32 = 11;
/// The field of a `GraphProto` that holds an output.
const OUTPUT: u32 = 12;

/// A place between nodes of the main graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// How many nodes are before it, in file order: 0 is before all.
    pub after: usize,
    /// The values that are alive there, each once: inputs of the model first, then in the order in which nodes compute them.
    pub live: Vec<String>,
}

/// A node of the main graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node's name, often empty.
    pub name: String,
    /// The operator, never empty.
    pub op_type: String,
    /// The operator's domain; empty for the standard one.
    pub domain: String,
    /// Names of the input values by position; an empty name is an omitted input.
    pub inputs: Vec<String>,
    /// Names of further values that its subgraphs read from the main graph, in the order of reading, each once.
    pub outer: Vec<String>,
    /// Names of the output values by position; an empty name is an unused output.
    pub outputs: Vec<String>,
    /// Whether it depends on no input of the model and draws no random numbers.
    pub is_constant: bool,
}

/// What a segment must know of a value to take it as an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueKind {
    /// The type of the elements, by its number in ONNX: 1 is f32.
    pub elem_type: u64,
    /// The dimensions without the first, which is the batch.
    pub dims: Vec<u64>,
}

/// The nodes between two places, as a model of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// A whole ONNX file. Large weights keep their reference to a part of the [`EngineImage`].
    pub bytes: Vec<u8>,
    /// The values that it takes, in the order of [`Boundary::live`]: those alive at its first place that its nodes read.
    pub inputs: Vec<String>,
    /// The values that it gives, in the order of [`Boundary::live`]: those alive at its last place that its nodes compute.
    pub outputs: Vec<String>,
    /// The stored tensors among [`tensors`](Self::tensors) whose words lie in [`bytes`](Self::bytes): name, and the range of
    /// the packed little-endian words.
    pub inline: Vec<(String, Range<usize>)>,
    /// All stored tensors that it uses, by [`TensorInfo::name`](bitquake_tensors::TensorInfo::name), in file order: those of
    /// nodes and their subgraphs, initializers, and those of the functions that it calls.
    pub tensors: Vec<String>,
}

/// The main graph of a model, ready for cutting.
///
/// ```
/// use bitquake_graph::{build::resnet20, cut::{Cuts, ValueKind}};
/// use bitquake_tensors::TensorFile;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("resnet20.onnx");
/// std::fs::write(&path, resnet20(1))?;
/// let image = TensorFile::open(&path)?.into_engine_image()?;
/// let cuts = Cuts::new(&image)?;
///
/// let middle = cuts.nodes().iter().position(|node| node.op_type == "Add").ok_or("no such node")?;
/// // One value goes into the first addition's block and around it.
/// assert_eq!(cuts.boundary(middle).live, ["bn1.out.relu", "layer1.0.bn2.out"]);
///
/// let kinds = |_: &str| Some(ValueKind { elem_type: 1, dims: vec![16, 32, 32] });
/// let head = cuts.segment(0, middle, &kinds)?;
/// let tail = cuts.segment(middle, cuts.nodes().len(), &kinds)?;
/// assert_eq!((&head.inputs[..], &head.outputs), (&["images".to_owned()][..], &tail.inputs));
/// assert_eq!(tail.outputs, ["logits"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cuts<'m> {
    image: &'m EngineImage,
    places: Places,
    flow: Flow,
    functions: Functions,
    tensors: Tensors,
    nodes: Vec<NodeInfo>,
    /// What the model calls the batch dimension.
    batch: String,
}

impl<'m> Cuts<'m> {
    /// Reads the model in `image`.
    ///
    /// # Errors
    /// [`CutError`] if the model is malformed, if a node reads a value that no earlier node, input or initializer gives, or
    /// if two of these give values of one name.
    pub fn new(image: &'m EngineImage) -> Result<Self, CutError> {
        let layout = image.model_layout()?;
        let places = Places::of(image.main())?;
        let functions = Functions::of(&layout.model.functions);
        let flow = Flow::of(&layout.model.graph, &functions)?;
        let tensors = Tensors::of(&layout.tensors, &places, &functions);
        let batch = batch_name(&layout.model.graph);
        let steps = flow.steps.iter();
        let nodes = layout.model.graph.nodes.into_iter().zip(steps).map(|(node, step)| {
            let Node { name, op_type, domain, inputs, outputs, .. } = node;
            let (outer, is_constant) = (step.outer.clone(), step.is_constant);
            NodeInfo { name, op_type, domain, inputs, outer, outputs, is_constant }
        });
        let nodes = nodes.collect();
        Ok(Cuts { image, places, flow, functions, tensors, nodes, batch })
    }

    /// The nodes of the main graph, in file order.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// The place after the first `after` nodes; a larger count than there are nodes means all.
    ///
    /// What constant nodes and initializers give is alive nowhere, except after all nodes: there exactly the outputs of the
    /// model are, whatever gives them. An output of the model is alive from where it is computed to the end. Takes time
    /// proportional to the number of values.
    pub fn boundary(&self, after: usize) -> Boundary {
        let after = after.min(self.nodes.len());
        let live = (0..self.flow.values.len()).filter(|&value| self.flow.is_alive(value, after));
        Boundary { after, live: live.map(|value| self.flow.name(value)).collect() }
    }

    /// The values that nodes compute from the model's inputs, in order, each with its node.
    pub fn values(&self) -> Vec<(String, &NodeInfo)> {
        let computed = self.flow.values.iter().filter(|value| !value.is_constant);
        let from_node = computed.filter_map(|value| match value.source {
            Source::Node(node) => Some((value.name.clone(), &self.nodes[node])),
            _ => None,
        });
        from_node.collect()
    }

    /// The node that computes a value; `None` for inputs, initializers and values that the main graph does not have.
    pub fn producer(&self, value: &str) -> Option<usize> {
        match self.flow.values[self.flow.find(value)?].source {
            Source::Node(node) => Some(node),
            _ => None,
        }
    }

    /// The nodes through which a stored tensor reaches what is computed from the model's inputs, ascending: those that are
    /// not constant and hold it, read it, or read it through constant nodes. Of a tensor in a function they are the nodes
    /// that call it. If a constant output of the model comes from the tensor, the last node counts too, since the last
    /// segment gives that output. Empty for tensors that nothing reads and names that are none.
    ///
    /// `stored` is a [`TensorInfo::name`](bitquake_tensors::TensorInfo::name). Takes time proportional to what is read.
    pub fn consumers(&self, stored: &str) -> Vec<usize> {
        let (mut nodes, mut values) = (Vec::new(), Vec::new());
        match self.tensors.owner(stored) {
            Some(Owner::Node(node)) => nodes.push(node),
            Some(Owner::Function(function)) => nodes.extend(self.flow.callers(&self.functions, function)),
            Some(Owner::Initializer(index)) => values.extend(self.flow.initializer(index)),
            None => {}
        }
        self.flow.reached(nodes, values)
    }

    /// The whole model with these values as further outputs, after its own and in this order; those that are outputs
    /// already do not become so twice. The values get no type: ONNX Runtime infers it. Whether the model has such values is
    /// not checked.
    pub fn with_outputs(&self, values: &[&str]) -> Vec<u8> {
        let mut seen: BTreeSet<&str> = self.flow.outputs.iter().map(|&value| self.flow.text(value)).collect();
        let new = values.iter().filter(|value| seen.insert(value));
        let outputs = new.map(|value| Piece::New(output(value)));
        let graph = [Piece::Copy(self.places.graph.clone())].into_iter().chain(outputs).collect();
        write_model(self.image.main(), self.places.model.iter(), graph).bytes
    }

    /// The model of the nodes from place `from` to place `to`, with the constant nodes and initializers that they need.
    ///
    /// `kinds` gives the types of values that it takes. Inputs of the model keep the types that the file gives them, and
    /// are not asked for. Initializers are no inputs, even where the model lists them among its own, so that a runtime may
    /// take them as constants. A constant output of the model is given by the segment that ends after all nodes. Types of values within the graph
    /// (`value_info`) are left out, as is information about training.
    ///
    /// # Errors
    /// [`CutError::Places`] if `from` is not before `to` or `to` is after the end; [`CutError::Empty`] if the nodes compute
    /// nothing that is alive at `to`, because they are constant or nothing needs them; [`CutError::NoKind`] if `kinds`
    /// does not know a value that the segment takes.
    pub fn segment(
        &self,
        from: usize,
        to: usize,
        kinds: &dyn Fn(&str) -> Option<ValueKind>,
    ) -> Result<Segment, CutError> {
        let total = self.nodes.len();
        if from >= to || to > total {
            return Err(CutError::Places { from, to, nodes: total });
        }
        let part = self.flow.part(from, to);
        if part.outputs.is_empty() {
            return Err(CutError::Empty { from, to });
        }
        let functions =
            self.functions.reached(part.nodes.iter().flat_map(|&node| &self.flow.steps[node].calls));
        let mut graph: Vec<Piece> = self.places.name.iter().cloned().map(Piece::Copy).collect();
        graph.extend(part.nodes.iter().map(|&node| Piece::Copy(self.places.nodes[node].clone())));
        graph.extend(
            part.initializers.iter().map(|&index| Piece::Copy(self.places.initializers[index].clone())),
        );
        for &value in &part.inputs {
            graph.push(self.input(value, kinds)?);
        }
        graph.extend(part.outputs.iter().map(|&value| Piece::New(output(self.flow.text(value)))));
        let kept = self.places.model.iter().filter(|(number, _)| *number != places::TRAINING);
        let written = write_model(self.image.main(), kept, graph);

        let owners = part.nodes.iter().map(|&node| Owner::Node(node));
        let owners = owners.chain(part.initializers.iter().map(|&index| Owner::Initializer(index)));
        let used = self.tensors.of_owners(owners.chain(functions.into_iter().map(Owner::Function)));
        let inline = used.iter().filter_map(|name| {
            let words = self.image.locate(name).filter(|place| place.part == 0)?;
            Some((name.clone(), written.moved(&words.range)?))
        });
        let inline = inline.collect();
        let names = |values: &[usize]| values.iter().map(|&value| self.flow.name(value)).collect();
        let (inputs, outputs) = (names(&part.inputs), names(&part.outputs));
        Ok(Segment { bytes: written.bytes, inputs, outputs, inline, tensors: used })
    }

    /// The field that declares an input of a segment.
    fn input(&self, value: usize, kinds: &dyn Fn(&str) -> Option<ValueKind>) -> Result<Piece, CutError> {
        if let Source::Input(index) = self.flow.values[value].source {
            return Ok(Piece::Copy(self.places.inputs[index].clone()));
        }
        let name = self.flow.text(value);
        let kind = kinds(name).ok_or_else(|| CutError::NoKind { value: name.to_owned() })?;
        let sizes = kind.dims.iter().map(|&size| BuildDim::Fixed(size));
        let dims: Vec<BuildDim<'_>> = [BuildDim::Named(&self.batch)].into_iter().chain(sizes).collect();
        let message = value_info(name, kind.elem_type, &dims);
        Ok(Piece::New(field(INPUT, &message.into_bytes())))
    }
}

/// The field that declares an output without a type.
fn output(value: &str) -> Vec<u8> {
    field(OUTPUT, &field(1, value.as_bytes()))
}

/// What the model calls the first dimension of its inputs, so that a runtime sees that others are as large.
fn batch_name(graph: &OnnxGraph) -> String {
    let named =
        required_inputs(graph).into_iter().find_map(|input| match input.shape.as_deref()?.first()? {
            Dim::Named(name) if !name.is_empty() => Some(name.clone()),
            _ => None,
        });
    named.unwrap_or_else(|| "batch".to_owned())
}
