//! Which node gives each value and which read it.

use std::collections::{BTreeSet, HashMap, HashSet};

use bitquake_tensors::onnx::{Node, OnnxGraph};

use super::CutError;
use super::functions::{Calls, Functions};

/// What gives a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// An input of the graph, by its place in the list of inputs.
    Input(usize),
    /// An initializer, by its place in the list.
    Initializer(usize),
    /// A node, by its place in the list.
    Node(usize),
}

/// A value of the main graph.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) source: Source,
    /// Whether it depends on no input of the model.
    pub(super) is_constant: bool,
    /// The last place where something after it needs the value; for an output of the model, the end.
    last: Option<usize>,
    /// The nodes that read it, ascending.
    readers: Vec<usize>,
}

impl Value {
    /// The first place where it is known.
    fn first(&self) -> usize {
        match self.source {
            Source::Node(node) => node + 1,
            _ => 0,
        }
    }
}

/// A node among values.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) is_constant: bool,
    /// The functions that it calls.
    pub(super) calls: Vec<usize>,
    /// What its subgraphs read beyond its inputs, each once.
    pub(super) outer: Vec<String>,
    /// All values that it reads, each once.
    reads: Vec<usize>,
    writes: Vec<usize>,
}

/// Values and nodes of the main graph.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Inputs of the model without initializer, initializers, and what nodes give, in this order.
    pub(super) values: Vec<Value>,
    pub(super) steps: Vec<Step>,
    /// The outputs of the model, in file order; a value may be several.
    pub(super) outputs: Vec<usize>,
    by_name: HashMap<String, usize>,
    /// Of each initializer, its value; `None` if it has no name.
    initializers: Vec<Option<usize>>,
}

/// What makes up a segment; all lists ascend.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) nodes: BTreeSet<usize>,
    pub(super) initializers: BTreeSet<usize>,
    pub(super) inputs: Vec<usize>,
    pub(super) outputs: Vec<usize>,
}

impl Flow {
    pub(super) fn of(graph: &OnnxGraph, functions: &Functions) -> Result<Flow, CutError> {
        let mut flow = Flow::default();
        flow.enter_stored(graph)?;
        let later: HashSet<&str> =
            graph.nodes.iter().flat_map(|node| &node.outputs).map(String::as_str).collect();
        for node in &graph.nodes {
            flow.enter_node(node, functions, &later)?;
        }
        let end = graph.nodes.len();
        for output in &graph.outputs {
            let unknown = || CutError::UnknownOutput { value: output.name.clone() };
            let value = flow.find(&output.name).ok_or_else(unknown)?;
            flow.values[value].last = Some(end);
            flow.outputs.push(value);
        }
        Ok(flow)
    }

    /// Inputs and initializers. An input that has an initializer is a constant: no caller gives it.
    fn enter_stored(&mut self, graph: &OnnxGraph) -> Result<(), CutError> {
        let stored: HashSet<&str> = graph.initializers.iter().map(|stored| stored.name.as_str()).collect();
        for (index, input) in graph.inputs.iter().enumerate() {
            if !stored.contains(input.name.as_str()) {
                self.enter(&input.name, Source::Input(index), false)?;
            }
        }
        for (index, stored) in graph.initializers.iter().enumerate() {
            let value = self.enter(&stored.name, Source::Initializer(index), true)?;
            self.initializers.push(value);
        }
        Ok(())
    }

    /// Adds a value; one without a name is none.
    fn enter(&mut self, name: &str, source: Source, is_constant: bool) -> Result<Option<usize>, CutError> {
        if name.is_empty() {
            return Ok(None);
        }
        let index = self.values.len();
        if self.by_name.insert(name.to_owned(), index).is_some() {
            return Err(CutError::Duplicate { value: name.to_owned() });
        }
        let (name, last, readers) = (name.to_owned(), None, Vec::new());
        self.values.push(Value { name, source, is_constant, last, readers });
        Ok(Some(index))
    }

    fn enter_node(
        &mut self,
        node: &Node,
        functions: &Functions,
        later: &HashSet<&str>,
    ) -> Result<(), CutError> {
        let index = self.steps.len();
        let outer = outer_reads(node);
        let mut reads = Vec::new();
        for name in node.inputs.iter().map(String::as_str).chain(outer.iter().copied()) {
            if !name.is_empty() {
                reads.push(self.find(name).ok_or_else(|| unknown(node, name, later))?);
            }
        }
        reads.sort_unstable();
        reads.dedup();
        let Calls { groups: calls, is_random } = functions.calls(node);
        let is_constant = !is_random && reads.iter().all(|&value| self.values[value].is_constant);
        for &value in &reads {
            self.values[value].readers.push(index);
            self.values[value].last = Some(index);
        }
        let mut writes = Vec::new();
        for output in &node.outputs {
            writes.extend(self.enter(output, Source::Node(index), is_constant)?);
        }
        let outer = outer.into_iter().map(str::to_owned).collect();
        self.steps.push(Step { is_constant, calls, outer, reads, writes });
        Ok(())
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(super) fn text(&self, value: usize) -> &str {
        &self.values[value].name
    }

    pub(super) fn name(&self, value: usize) -> String {
        self.values[value].name.clone()
    }

    /// The value of an initializer.
    pub(super) fn initializer(&self, index: usize) -> Option<usize> {
        self.initializers.get(index).copied().flatten()
    }

    /// Whether a value is known at a place and needed after it; constants only at the end.
    pub(super) fn is_alive(&self, value: usize, after: usize) -> bool {
        let value = &self.values[value];
        let is_carried = !value.is_constant || after == self.steps.len();
        is_carried && value.first() <= after && value.last.is_some_and(|last| last >= after)
    }

    /// The nodes that call a group of functions, directly or not.
    pub(super) fn callers(&self, functions: &Functions, group: usize) -> Vec<usize> {
        let groups = functions.reaching(group);
        let calls = |step: &Step| step.calls.iter().any(|group| groups.contains(group));
        (0..self.steps.len()).filter(|&node| calls(&self.steps[node])).collect()
    }

    /// From nodes and values on through constant nodes, the nodes that are not constant, ascending; the last node of all for
    /// a constant output of the model.
    pub(super) fn reached(&self, nodes: Vec<usize>, values: Vec<usize>) -> Vec<usize> {
        let end = self.steps.len();
        let (mut open, mut seen, mut reached) = (nodes, BTreeSet::new(), BTreeSet::new());
        let mut values = values;
        loop {
            for value in values.drain(..) {
                let value = &self.values[value];
                open.extend(&value.readers);
                reached.extend(end.checked_sub(1).filter(|_| value.last == Some(end)));
            }
            let Some(node) = open.pop() else { break };
            if !self.steps[node].is_constant {
                reached.insert(node);
            } else if seen.insert(node) {
                values.extend(&self.steps[node].writes);
            }
        }
        reached.into_iter().collect()
    }

    /// The nodes from one place to another, and what they need and give.
    pub(super) fn part(&self, from: usize, to: usize) -> Part {
        let core = (from..to).filter(|&node| !self.steps[node].is_constant);
        let mut nodes: BTreeSet<usize> = core.collect();
        let computed = nodes.iter().flat_map(|&node| &self.steps[node].writes).copied();
        let mut outputs: BTreeSet<usize> = computed.filter(|&value| self.is_alive(value, to)).collect();
        if to == self.steps.len() {
            outputs.extend(self.outputs.iter().filter(|&&value| self.values[value].is_constant));
        }
        let read = nodes.iter().flat_map(|&node| &self.steps[node].reads).chain(&outputs);
        let mut open: Vec<usize> = read.copied().collect();
        let (mut inputs, mut initializers) = (BTreeSet::new(), BTreeSet::new());
        while let Some(value) = open.pop() {
            match self.values[value].source {
                Source::Node(node) if self.values[value].is_constant => {
                    if nodes.insert(node) {
                        open.extend(&self.steps[node].reads);
                    }
                }
                Source::Initializer(index) => {
                    initializers.insert(index);
                }
                Source::Node(node) if node >= from => {}
                _ => {
                    inputs.insert(value);
                }
            }
        }
        let [inputs, outputs] = [inputs, outputs].map(|values| values.into_iter().collect());
        Part { nodes, initializers, inputs, outputs }
    }
}

fn unknown(node: &Node, value: &str, later: &HashSet<&str>) -> CutError {
    let output = node.outputs.first().map_or("", String::as_str);
    let label = [&node.name, output, &node.op_type].into_iter().find(|name| !name.is_empty());
    let (node, value) = (label.unwrap_or_default().to_owned(), value.to_owned());
    if later.contains(value.as_str()) {
        CutError::NotSorted { node, value }
    } else {
        CutError::UnknownValue { node, value }
    }
}

/// What the subgraphs of a node read from around them and its inputs do not name, in order, each once.
fn outer_reads(node: &Node) -> Vec<&str> {
    let mut found = Vec::new();
    node.attributes
        .iter()
        .flat_map(|attribute| attribute.value.graphs())
        .for_each(|sub| free_names(sub, &mut found));
    let mut seen: HashSet<&str> = node.inputs.iter().map(String::as_str).collect();
    found.retain(|name| seen.insert(name));
    found
}

/// Adds the names that a graph reads and does not define, in order.
fn free_names<'g>(graph: &'g OnnxGraph, found: &mut Vec<&'g str>) {
    let mut reads: Vec<&str> = Vec::new();
    for node in &graph.nodes {
        reads.extend(node.inputs.iter().map(String::as_str));
        node.attributes
            .iter()
            .flat_map(|attribute| attribute.value.graphs())
            .for_each(|sub| free_names(sub, &mut reads));
    }
    reads.extend(graph.outputs.iter().map(|output| output.name.as_str()));
    let inputs = graph.inputs.iter().map(|input| &input.name);
    let stored = graph.initializers.iter().map(|stored| &stored.name);
    let given = graph.nodes.iter().flat_map(|node| &node.outputs);
    let defined: HashSet<&str> = inputs.chain(stored).chain(given).map(String::as_str).collect();
    found.extend(reads.into_iter().filter(|name| !name.is_empty() && !defined.contains(name)));
}
