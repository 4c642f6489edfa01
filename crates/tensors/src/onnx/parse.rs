//! The walk through a model: the thin graph, and every tensor with its name and place.

use std::ops::Range;
use std::path::Path;

use super::names::Names;
use super::tensor::{Data, TensorRecord, read_tensor};
use super::value_info::read_value_info;
use super::{
    MAX_GRAPH_DEPTH, Node, OnnxFunction, OnnxGraph, OnnxModel, StoredTensor, ValueInfo, is_standard,
};
use crate::edits::Nesting;
use crate::info::Place;
use crate::wire::{Delimited, Field, Fields, WireError};
use crate::{Dtype, TensorsError};

/// The longest path of a subgraph or function that is accepted, in bytes.
const LONGEST_PREFIX: usize = 1 << 14;

/// What can be wrong with the model as a message, before the path of the file is added.
#[derive(Debug)]
pub(crate) enum Problem {
    Wire(WireError),
    Malformed { at: usize, what: String },
    NoGraph,
    TooDeep,
}

impl Problem {
    pub(super) fn malformed(at: usize, what: impl Into<String>) -> Problem {
        Problem::Malformed { at, what: what.into() }
    }

    pub(crate) fn in_file(self, path: &Path) -> TensorsError {
        let path = path.to_owned();
        match self {
            Problem::Wire(source) => TensorsError::Wire { path, source },
            Problem::Malformed { at, what } => TensorsError::Malformed { path, at, what },
            Problem::NoGraph => TensorsError::NoGraph { path },
            Problem::TooDeep => TensorsError::TooDeep { path, limit: MAX_GRAPH_DEPTH },
        }
    }
}

impl From<WireError> for Problem {
    fn from(error: WireError) -> Problem {
        Problem::Wire(error)
    }
}

/// A tensor found on the walk.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its name in the file, unique.
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    pub(crate) data: Data,
    /// The message that holds the data, in [`Parsed::nesting`].
    pub(crate) message: usize,
    /// A setting whatever takes it: by its place, as the indices of a sparse tensor, or because it says so
    /// ([`SETTING_MARK`](super::SETTING_MARK)).
    pub(crate) is_setting: bool,
}

/// A model and its tensors, in file order.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) model: OnnxModel,
    pub(crate) tensors: Vec<Found>,
    pub(crate) nesting: Nesting,
}

/// Reads the `ModelProto` that `bytes` are.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, Problem> {
    let mut walk = Walk {
        bytes,
        names: Names::new(bytes.len()),
        tensors: Vec::new(),
        nesting: Nesting::new(),
        depth: 0,
    };
    let model = walk.model()?;
    Ok(Parsed { model, tensors: walk.tensors, nesting: walk.nesting })
}

/// The state of the walk. Every method takes the message it reads as an id of [`Nesting`].
pub(super) struct Walk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) names: Names,
    pub(super) tensors: Vec<Found>,
    pub(super) nesting: Nesting,
    depth: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn fields(&self, message: usize) -> Fields<'a> {
        Fields::new(self.bytes, self.nesting.body(message, self.bytes.len()))
    }

    fn model(&mut self) -> Result<OnnxModel, Problem> {
        let (mut ir_version, mut opsets, mut graph, mut functions) = (0, Vec::new(), None, Vec::new());
        for field in self.fields(Nesting::ROOT) {
            let field = field?;
            match field.number {
                1 => ir_version = field.varint()? as i64,
                7 => once(&mut graph, &field)?,
                8 => opsets.push(self.opset(field.message()?.body)?),
                25 => functions.push(field.message()?),
                _ => {}
            }
        }
        let graph = self.nesting.enter(graph.ok_or(Problem::NoGraph)?, Nesting::ROOT);
        let graph = self.graph(graph, "")?;
        let functions = functions.into_iter().map(|place| self.function(place)).collect::<Result<_, _>>()?;
        Ok(OnnxModel { ir_version, opsets, graph, functions })
    }

    fn opset(&self, body: Range<usize>) -> Result<(String, i64), Problem> {
        let (mut domain, mut version) = ("", 0);
        for field in Fields::new(self.bytes, body) {
            let field = field?;
            match field.number {
                1 => domain = field.text(self.bytes)?,
                2 => version = field.varint()? as i64,
                _ => {}
            }
        }
        Ok((domain.to_owned(), version))
    }

    fn function(&mut self, place: Delimited) -> Result<OnnxFunction, Problem> {
        let message = self.nesting.enter(place, Nesting::ROOT);
        let (mut domain, mut body, mut nodes) = (String::new(), OnnxGraph::default(), Vec::new());
        for field in self.fields(message) {
            let field = field?;
            match field.number {
                1 => body.name = field.text(self.bytes)?.to_owned(),
                4 => body.inputs.push(untyped(field.text(self.bytes)?)),
                5 => body.outputs.push(untyped(field.text(self.bytes)?)),
                7 => nodes.push(field.message()?),
                10 => domain = field.text(self.bytes)?.to_owned(),
                _ => {}
            }
        }
        let prefix = format!("{}/", body.name);
        self.check_prefix(message, &prefix)?;
        for place in nodes {
            self.node(place, message, &prefix, &mut body)?;
        }
        Ok(OnnxFunction { domain, body })
    }

    /// Reads a `GraphProto`; `prefix` starts the names of its tensors.
    pub(super) fn graph(&mut self, message: usize, prefix: &str) -> Result<OnnxGraph, Problem> {
        if self.depth == MAX_GRAPH_DEPTH {
            return Err(Problem::TooDeep);
        }
        self.check_prefix(message, prefix)?;
        self.depth += 1;
        let mut graph = OnnxGraph::default();
        for field in self.fields(message) {
            self.graph_field(&field?, message, prefix, &mut graph)?;
        }
        self.depth -= 1;
        Ok(graph)
    }

    /// A prefix is copied for every node and tensor of the graph, so a very long one would cost too much time.
    fn check_prefix(&self, message: usize, prefix: &str) -> Result<(), Problem> {
        if prefix.len() <= LONGEST_PREFIX {
            return Ok(());
        }
        let at = self.nesting.body(message, self.bytes.len()).start;
        let what = format!("the path of a graph takes {} bytes, more than {LONGEST_PREFIX}", prefix.len());
        Err(Problem::Malformed { at, what })
    }

    fn graph_field(
        &mut self,
        field: &Field,
        message: usize,
        prefix: &str,
        graph: &mut OnnxGraph,
    ) -> Result<(), Problem> {
        match field.number {
            1 => self.node(field.message()?, message, prefix, graph)?,
            2 => graph.name = field.text(self.bytes)?.to_owned(),
            5 => {
                let stored =
                    self.tensor(field.message()?, message, Place::Initializer, Naming::Own { prefix })?;
                graph.initializers.push(stored);
            }
            11 => graph.inputs.push(read_value_info(self.bytes, field.message()?.body)?),
            12 => graph.outputs.push(read_value_info(self.bytes, field.message()?.body)?),
            15 => graph.initializers.push(self.sparse(
                field.message()?,
                message,
                Place::Sparse,
                Naming::Own { prefix },
            )?),
            _ => {}
        }
        Ok(())
    }

    fn node(
        &mut self,
        place: Delimited,
        parent: usize,
        prefix: &str,
        graph: &mut OnnxGraph,
    ) -> Result<(), Problem> {
        let at = place.body.start;
        let message = self.nesting.enter(place, parent);
        let (mut node, attributes) = self.node_head(message)?;
        if node.op_type.is_empty() {
            return Err(Problem::malformed(at, "a node has no op_type"));
        }
        let owner = Owner::new(&node, prefix, message);
        for place in attributes {
            let attribute = self.attribute(place, &owner, &mut graph.constants)?;
            node.attributes.push(attribute);
        }
        graph.nodes.push(node);
        Ok(())
    }

    /// The node without its attributes, and where those stand.
    fn node_head(&self, message: usize) -> Result<(Node, Vec<Delimited>), Problem> {
        let mut attributes = Vec::new();
        let [mut name, mut op_type, mut domain] = [""; 3];
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for field in self.fields(message) {
            let field = field?;
            match field.number {
                1 => inputs.push(field.text(self.bytes)?.to_owned()),
                2 => outputs.push(field.text(self.bytes)?.to_owned()),
                3 => name = field.text(self.bytes)?,
                4 => op_type = field.text(self.bytes)?,
                5 => attributes.push(field.message()?),
                7 => domain = field.text(self.bytes)?,
                _ => {}
            }
        }
        let [name, op_type, domain] = [name, op_type, domain].map(str::to_owned);
        Ok((Node { name, op_type, domain, inputs, outputs, attributes: Vec::new() }, attributes))
    }

    /// Reads a `TensorProto` and lists it.
    pub(super) fn tensor(
        &mut self,
        place: Delimited,
        parent: usize,
        kind: Place,
        naming: Naming<'_>,
    ) -> Result<StoredTensor, Problem> {
        let record = read_tensor(self.bytes, place.body.clone())?;
        let (local, name) = naming.apply(&record.name);
        self.list(record, place, parent, kind, local, &name)
    }

    fn list(
        &mut self,
        record: TensorRecord,
        place: Delimited,
        parent: usize,
        kind: Place,
        local: String,
        name: &str,
    ) -> Result<StoredTensor, Problem> {
        let name = self.names.unique(name, place.body.start)?;
        let TensorRecord { dtype, shape, data, is_setting, .. } = record;
        let message = self.nesting.enter(place, parent);
        self.tensors.push(Found { name: name.clone(), place: kind, dtype, shape, data, message, is_setting });
        Ok(StoredTensor { name: local, tensor: name })
    }

    /// Reads a `SparseTensorProto` and lists its values and its indices; the result stands for the values.
    pub(super) fn sparse(
        &mut self,
        place: Delimited,
        parent: usize,
        kind: Place,
        naming: Naming<'_>,
    ) -> Result<StoredTensor, Problem> {
        let at = place.body.start;
        let message = self.nesting.enter(place, parent);
        let (mut values, mut indices) = (None, None);
        for field in self.fields(message) {
            let field = field?;
            match field.number {
                1 => once(&mut values, &field)?,
                2 => once(&mut indices, &field)?,
                _ => {}
            }
        }
        let values = values.ok_or_else(|| Problem::malformed(at, "a sparse tensor has no values"))?;
        let stored = self.tensor(values, message, kind, naming)?;
        if let Some(indices) = indices {
            let path = format!("{}/indices", stored.tensor);
            self.tensor(indices, message, kind, Naming::Given { local: "", path: &path })?;
            self.tensors.iter_mut().rev().take(1).for_each(|found| found.is_setting = true);
        }
        Ok(stored)
    }
}

/// How a tensor gets its names.
pub(super) enum Naming<'n> {
    /// From its own message, after the prefix of its graph.
    Own { prefix: &'n str },
    /// From outside: the name within the graph, and the one in the file.
    Given { local: &'n str, path: &'n str },
}

impl Naming<'_> {
    /// The name within the graph and the wished name in the file.
    fn apply(&self, own: &str) -> (String, String) {
        match self {
            Naming::Own { prefix } if own.is_empty() => (String::new(), format!("{prefix}unnamed")),
            Naming::Own { prefix } => (own.to_owned(), format!("{prefix}{own}")),
            Naming::Given { local, path } => ((*local).to_owned(), (*path).to_owned()),
        }
    }
}

/// The node whose attributes are read.
pub(super) struct Owner {
    /// The node's message.
    pub(super) message: usize,
    /// Starts the names of what its attributes hold: graph prefix and node name.
    pub(super) path: String,
    /// For a `Constant`: the name of its output within the graph, and in the file.
    pub(super) constant: Option<(String, String)>,
}

impl Owner {
    fn new(node: &Node, prefix: &str, message: usize) -> Owner {
        let output = node.outputs.first().map_or("", String::as_str);
        let label = [&node.name, output, &node.op_type].into_iter().find(|name| !name.is_empty());
        let is_constant = node.op_type == "Constant" && is_standard(&node.domain);
        Owner {
            message,
            path: format!("{prefix}{}", label.unwrap_or("node")),
            constant: is_constant.then(|| (output.to_owned(), format!("{prefix}{output}"))),
        }
    }
}

/// Stores the place of a message that may appear once; protobuf would merge two, which no writer does.
pub(super) fn once(slot: &mut Option<Delimited>, field: &Field) -> Result<(), Problem> {
    if slot.replace(field.message()?).is_some() {
        let what = format!("field {} appears twice in one message", field.number);
        return Err(Problem::malformed(field.span.start, what));
    }
    Ok(())
}

fn untyped(name: &str) -> ValueInfo {
    ValueInfo { name: name.to_owned(), elem_type: None, shape: None }
}
