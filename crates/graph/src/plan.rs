//! A graph made ready to be run: names resolved, order checked, stored tensors read.

mod attributes;
mod error;
mod ints;
mod names;
mod parameter;
mod stored;

use std::collections::{BTreeMap, HashMap};

use bitquake_bits::{Format, WordStore};
use bitquake_tensors::onnx::{AttributeValue, Dim, Node};
use bitquake_tensors::{Dtype, Role, TensorFile, TensorInfo};

pub use attributes::Attributes;
pub use error::PlanError;
pub use ints::Ints;
use names::Names;
pub use parameter::{Parameter, ParameterRole};
use stored::Source;
pub use stored::Stored;

use crate::Graph;

/// A graph, ready to run. Values are numbered; `names` tells what they are called.
#[derive(Debug)]
pub struct Plan {
    /// In an order in which they can run.
    pub steps: Vec<Step>,
    /// Of each value, its name.
    pub names: Vec<String>,
    /// The value that takes the images.
    pub input: usize,
    /// Its sizes, where the file says them.
    pub dims: Vec<Option<usize>>,
    /// The first output.
    pub output: usize,
    /// What cross-entropy is taken of: the first output, or what a softmax at the end is applied to.
    pub logits: usize,
    /// Float tensors, in file order.
    pub parameters: Vec<Parameter>,
    /// Of each parameter, its value's number.
    pub parameter_values: Vec<usize>,
    /// Stored whole numbers: value and content.
    pub constants: Vec<(usize, Ints)>,
    /// Of stored whole numbers, their type.
    pub formats: BTreeMap<usize, Format>,
    /// The version of the operator set.
    pub opset: i64,
}

/// A node, ready to run.
#[derive(Debug)]
pub struct Step {
    /// The node's name, or its first output's.
    pub node: String,
    /// Its operator, with the domain before it if that is not the standard one.
    pub op_type: String,
    /// Its inputs; none where one is left out.
    pub inputs: Vec<Option<usize>>,
    /// Its outputs; none where one is left out.
    pub outputs: Vec<Option<usize>>,
    /// Its attributes.
    pub attributes: Attributes,
    /// Values that nothing uses after this step.
    pub done: Vec<usize>,
}

impl Plan {
    /// Makes a plan, and the values of its parameters, row-major.
    ///
    /// # Errors
    /// [`PlanError`]: not one f32 input with a batch, no output, a value that nothing gives or that is given twice, a stored tensor of another
    /// type. Operators are not looked at.
    pub fn new(file: &TensorFile) -> Result<(Plan, Vec<Vec<f32>>), PlanError> {
        Plan::of(Graph::from_file(file)?, file.tensors(), file)
    }

    /// As [`new`](Self::new), of the graph of a file and what it stores, which may lie elsewhere by now.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(
        graph: Graph<'_>,
        tensors: &[TensorInfo],
        words: &impl WordStore,
    ) -> Result<(Plan, Vec<Vec<f32>>), PlanError> {
        let mut names = Names::default();
        let source = Source { tensors, words };
        let mut builder = Builder {
            source,
            graph,
            constants: Vec::new(),
            parameters: Vec::new(),
            formats: BTreeMap::new(),
        };
        let (input, dims) = builder.input(&mut names)?;
        builder.stored(&mut names)?;
        let mut steps = Vec::new();
        for node in graph.nodes() {
            if !(node.is_standard() && node.op_type == "Constant") {
                steps.push(builder.step(node, &mut names)?);
            }
        }
        let first = graph.outputs().first().ok_or(PlanError::NoOutput)?;
        let output = names.find(&first.name).ok_or_else(|| missing("graph output", &first.name))?;
        let opset = graph.opset().unwrap_or(1);
        let logits = logits(&steps, output, opset);
        free_after_last_use(&mut steps, names.count(), &[output, logits]);
        let Builder { constants, parameters, formats, .. } = builder;
        let (parameter_values, parameters): (Vec<usize>, Vec<(Parameter, Vec<f32>)>) =
            parameters.into_iter().map(|(value, parameter, values)| (value, (parameter, values))).unzip();
        let (parameters, values) = parameters.into_iter().unzip();
        let names = names.into_names();
        let plan = Plan {
            steps,
            names,
            input,
            dims,
            output,
            logits,
            parameters,
            parameter_values,
            constants,
            formats,
            opset,
        };
        Ok((plan, values))
    }

    /// The number of the value of a name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }
}

struct Builder<'f, W> {
    source: Source<'f, W>,
    graph: Graph<'f>,
    constants: Vec<(usize, Ints)>,
    parameters: Vec<(usize, Parameter, Vec<f32>)>,
    formats: BTreeMap<usize, Format>,
}

impl<W: WordStore> Builder<'_, W> {
    /// The input that takes the images, with its dimensions.
    fn input(&self, names: &mut Names) -> Result<(usize, Vec<Option<usize>>), PlanError> {
        let problem = |problem: String| PlanError::Input { problem };
        let inputs = self.graph.inputs();
        let [input] = inputs.as_slice() else {
            let found: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(problem(format!("the graph has {} inputs ({})", found.len(), found.join(", "))));
        };
        if input.elem_type != Some(Dtype::Known(Format::F32)) {
            let found = input.elem_type.as_ref().map_or("no tensor".to_owned(), ToString::to_string);
            return Err(problem(format!("input `{}` takes {found}", input.name)));
        }
        let dims = input.shape.as_ref().filter(|dims| dims.len() >= 2);
        let Some(dims) = dims else {
            return Err(problem(format!("input `{}` has no shape with a batch", input.name)));
        };
        let size = |dim: &Dim| if let Dim::Fixed(size) = dim { usize::try_from(*size).ok() } else { None };
        let dims = dims.iter().map(size).collect();
        Ok((names.define(&input.name, "graph input")?, dims))
    }

    /// The stored tensors of the main graph: initializers, and values of `Constant` nodes.
    fn stored(&mut self, names: &mut Names) -> Result<(), PlanError> {
        let main = self.graph.main();
        let mut order: Vec<(usize, &str, &str)> = Vec::new();
        let places: HashMap<&str, usize> =
            self.source.tensors.iter().enumerate().map(|(place, info)| (info.name.as_str(), place)).collect();
        for stored in main.initializers.iter().chain(&main.constants) {
            let place = places.get(stored.tensor.as_str()).copied().unwrap_or(usize::MAX);
            order.push((place, &stored.name, &stored.tensor));
        }
        order.sort_unstable();
        for (_, name, tensor) in order {
            if !self.is_used(name) {
                continue;
            }
            let value = names.define(name, "stored tensor")?;
            if let Some(format) = self.source.info(tensor).and_then(|info| info.dtype.format()) {
                self.formats.insert(value, format);
            }
            if let Some(ints) = self.numbers(name) {
                self.constants.push((value, ints));
                continue;
            }
            match self.source.read(tensor)? {
                Stored::Ints(ints) => self.constants.push((value, ints)),
                Stored::Floats(values, shape) => {
                    let role = self.role(name, tensor);
                    self.parameters.push((value, Parameter { name: tensor.to_owned(), shape, role }, values));
                }
            }
        }
        Ok(())
    }

    /// The whole numbers that a `Constant` node has as a number or a list, which the file does not count as a tensor.
    fn numbers(&self, output: &str) -> Option<Ints> {
        let mut constants =
            self.graph.nodes().iter().filter(|node| node.is_standard() && node.op_type == "Constant");
        let node = constants.find(|node| node.outputs.first().is_some_and(|name| name == output))?;
        match (node.attribute("value_int"), node.attribute("value_ints")) {
            (Some(AttributeValue::Int(value)), _) => Some(Ints { shape: Vec::new(), values: vec![*value] }),
            (_, Some(AttributeValue::Ints(values))) => Some(Ints::list(values.clone())),
            _ => None,
        }
    }

    /// Whether a node of the main graph, or the graph's output, takes the value.
    fn is_used(&self, name: &str) -> bool {
        let main = self.graph.main();
        main.nodes.iter().any(|node| node.inputs.iter().any(|input| input == name))
            || main.outputs.iter().any(|output| output.name == name)
    }

    fn role(&self, name: &str, tensor: &str) -> ParameterRole {
        let takers =
            || self.graph.nodes().iter().filter(|node| node.inputs.iter().any(|input| input == name));
        let scales = |node: &Node| {
            let is_quantizer = matches!(node.op_type.as_str(), "QuantizeLinear" | "DequantizeLinear");
            is_quantizer && node.inputs.iter().enumerate().all(|(place, input)| input != name || place == 1)
        };
        if takers().next().is_some() && takers().all(scales) {
            return ParameterRole::Setting;
        }
        match self.source.info(tensor).map(|info| info.role) {
            Some(Role::Statistic) => ParameterRole::Statistic,
            Some(Role::Attribute) => ParameterRole::Setting,
            _ => ParameterRole::Weight,
        }
    }

    fn step(&self, node: &Node, names: &mut Names) -> Result<Step, PlanError> {
        let named = if node.name.is_empty() { node.outputs.first() } else { Some(&node.name) };
        let named = named.cloned().unwrap_or_else(|| node.op_type.clone());
        let find = |input: &String| match input.as_str() {
            "" => Ok(None),
            input => names.find(input).map(Some).ok_or_else(|| missing(&named, input)),
        };
        let inputs = node.inputs.iter().map(find).collect::<Result<_, _>>()?;
        let attributes = Attributes::new(self.source, node)?;
        let define = |output: &String| {
            if output.is_empty() { Ok(None) } else { names.define(output, &named).map(Some) }
        };
        let outputs = node.outputs.iter().map(define).collect::<Result<_, _>>()?;
        let op_type = qualified(node);
        Ok(Step { node: named, op_type, inputs, outputs, attributes, done: Vec::new() })
    }
}

fn missing(node: &str, value: &str) -> PlanError {
    PlanError::MissingValue { node: node.to_owned(), value: value.to_owned() }
}

fn qualified(node: &Node) -> String {
    if node.is_standard() { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) }
}

/// What the last step is applied to, if that is a softmax over the last axis of a matrix.
fn logits(steps: &[Step], output: usize, opset: i64) -> usize {
    let last = steps.iter().find(|step| step.outputs.contains(&Some(output)));
    let Some(step) = last.filter(|step| step.op_type == "Softmax") else { return output };
    let default = if opset < 13 { 1 } else { -1 };
    let axis = step.attributes.int("axis", default);
    match (axis, step.inputs.first()) {
        (Ok(1 | -1), Some(Some(logits))) => *logits,
        _ => output,
    }
}

/// Tells each step which values it is the last to use.
fn free_after_last_use(steps: &mut [Step], values: usize, kept: &[usize]) {
    let mut is_used = vec![false; values];
    kept.iter().for_each(|&value| is_used[value] = true);
    for step in steps.iter_mut().rev() {
        for &value in step.inputs.iter().chain(&step.outputs).flatten() {
            if !std::mem::replace(&mut is_used[value], true) {
                step.done.push(value);
            }
        }
    }
}
