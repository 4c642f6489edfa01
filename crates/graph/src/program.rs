//! From a plan to a program of the project's own kernels.
//!
//! Every network that is computed in [`bitquake_kernels::program`] gets its program here: for training, for attacks and for campaigns.

mod nodes;

use bitquake_kernels::Isa;
use bitquake_kernels::program::{Program, Shape, Value, Vector};

use crate::plan::{Plan, Step};

/// A plan as a program.
#[derive(Debug)]
pub struct Lowered {
    /// The program; its parameters are those of the plan.
    pub program: Program,
    /// What it gives.
    pub output: Value,
    /// The sizes of what it gives, without the batch, as the plan has them.
    pub sizes: Vec<usize>,
    /// Whether the plan's output is the softmax of what it gives.
    pub has_softmax: bool,
    /// Of each value of the plan the program's, if it has it.
    pub values: Vec<Option<Value>>,
    /// Values of the plan that are made of parameters alone.
    pub vectors: Vec<(usize, Vector)>,
    /// Of each parameter whether the program has its gradient.
    pub has_gradient: Vec<bool>,
    /// Batch normalizations.
    pub norms: Vec<BatchNorm>,
}

/// A batch normalization whose statistics are measured.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    /// Its value in the program.
    pub value: Value,
    /// The parameters that hold the running mean and variance.
    pub running: [usize; 2],
    /// The share of the running statistics that a step of training keeps.
    pub momentum: f32,
}

/// The operators that have kernels, beside `Softmax` at the end.
///
/// ```
/// assert!(bitquake_graph::program::operators().any(|name| name == "Conv"));
/// ```
pub fn operators() -> impl Iterator<Item = &'static str> {
    nodes::names()
}

/// Makes a program of a plan.
///
/// ```
/// use bitquake_graph::{architecture::Architecture, plan::Plan, program::lower};
/// use bitquake_tensors::TensorFile;
///
/// let model = Architecture::new("lenet5", [1, 28, 28], 10).build(1)?;
/// let (plan, parameters) = Plan::new(&TensorFile::from_onnx_bytes(model)?)?;
/// let lowered = lower(&plan)?;
/// assert_eq!((lowered.sizes, lowered.has_gradient.len()), (vec![10], parameters.len()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The first node that has no kernel, with its operator, and why.
pub fn lower(plan: &Plan) -> Result<Lowered, String> {
    let (program, input) = images(plan)?;
    let mut known: Vec<Option<Known>> = vec![None; plan.names.len()];
    for (index, &value) in plan.parameter_values.iter().enumerate() {
        known[value] = Some(Known::Parameter(index));
    }
    for (place, (value, _)) in plan.constants.iter().enumerate() {
        known[*value] = Some(Known::Numbers(place));
    }
    known[plan.input] = Some(Known::Image(input));
    let has_gradient = vec![true; plan.parameters.len()];
    let mut lowering = Lowering { plan, program, known, has_gradient, norms: Vec::new() };
    let has_softmax = plan.logits != plan.output;
    for step in &plan.steps {
        if has_softmax && step.outputs.first() == Some(&Some(plan.output)) {
            continue;
        }
        lowering
            .step(step)
            .map_err(|problem| format!("node `{}` ({}): {problem}", step.node, step.op_type))?;
    }
    lowering.finish(has_softmax)
}

/// A program for the images of the plan's input, without operations.
fn images(plan: &Plan) -> Result<(Program, Image), String> {
    let sizes: Option<Vec<usize>> = plan.dims[1..].iter().copied().collect();
    let sizes = sizes.ok_or("the input has open sizes")?;
    let shape = match sizes[..] {
        [features] => Shape::new(features, 1, 1),
        [channels, height, width] => Shape::new(channels, height, width),
        _ => return Err(format!("images of {} dimensions", sizes.len())),
    };
    let lengths = plan.parameters.iter().map(|parameter| parameter.elements()).collect();
    let program = Program::new(shape, lengths, Isa::best()).map_err(|error| error.to_string())?;
    let input = Image { value: program.input(), sizes };
    Ok((program, input))
}

/// What is known of a value of the plan.
#[derive(Clone, Debug)]
enum Known {
    /// It depends on the images.
    Image(Image),
    /// It is a parameter, by index.
    Parameter(usize),
    /// It is a parameter with a number added, of this shape.
    Vector(Vector, Vec<usize>),
    /// It is a list of whole numbers, by its place among the plan's constants.
    Numbers(usize),
}

/// A value of the program, and the sizes that the plan sees, without the batch: those of an image, of features, or of groups of channels.
#[derive(Clone, Debug)]
struct Image {
    value: Value,
    sizes: Vec<usize>,
}

struct Lowering<'p> {
    plan: &'p Plan,
    program: Program,
    known: Vec<Option<Known>>,
    has_gradient: Vec<bool>,
    norms: Vec<BatchNorm>,
}

impl Lowering<'_> {
    /// Adds a node to the program.
    fn step(&mut self, step: &Step) -> Result<(), String> {
        if step.outputs.iter().skip(1).any(Option::is_some) {
            return Err("outputs beside the first are used".to_owned());
        }
        let result = nodes::lower(self, step)?;
        if let Known::Image(image) = &result {
            /// Floats of a value of one image: far beyond what networks have, and memory for a batch of them can be had.
            const MOST: usize = 1 << 26;
            let elements = self.program.shape(image.value).elements();
            if elements > MOST {
                return Err(format!("a value has {elements} floats an image"));
            }
        }
        if let Some(&Some(value)) = step.outputs.first() {
            self.known[value] = Some(result);
        }
        Ok(())
    }

    fn input(&self, step: &Step, place: usize) -> Option<&Known> {
        let value = step.inputs.get(place).copied().flatten()?;
        self.known[value].as_ref()
    }

    fn has_input(step: &Step, place: usize) -> bool {
        step.inputs.get(place).copied().flatten().is_some()
    }

    /// An input that depends on the images.
    fn image(&self, step: &Step, place: usize) -> Result<Image, String> {
        match self.input(step, place) {
            Some(Known::Image(image)) => Ok(image.clone()),
            _ => Err(format!("input {place} does not depend on the images")),
        }
    }

    /// An input that is a parameter.
    fn parameter(&self, step: &Step, place: usize) -> Result<usize, String> {
        match self.input(step, place) {
            Some(&Known::Parameter(parameter)) => Ok(parameter),
            _ => Err(format!("input {place} is not stored")),
        }
    }

    /// An input that is a parameter, perhaps with a number added; with its shape.
    fn vector(&self, step: &Step, place: usize) -> Result<(Vector, Vec<usize>), String> {
        match self.input(step, place) {
            Some(&Known::Parameter(parameter)) => {
                Ok((Vector::new(parameter), self.shape(parameter).to_vec()))
            }
            Some(Known::Vector(vector, shape)) => Ok((*vector, shape.clone())),
            _ => Err(format!("input {place} is not stored")),
        }
    }

    /// An input that is a list of whole numbers.
    fn numbers(&self, step: &Step, place: usize) -> Result<&[i64], String> {
        match self.input(step, place) {
            Some(&Known::Numbers(constant)) => Ok(&self.plan.constants[constant].1.values),
            _ => Err(format!("input {place} is not stored")),
        }
    }

    fn shape(&self, parameter: usize) -> &[usize] {
        &self.plan.parameters[parameter].shape
    }

    /// Whether the plan sees an image, or features, as the program does.
    fn is_plainly(&self, image: &Image) -> bool {
        let Shape { channels, height, width } = self.program.shape(image.value);
        image.sizes == [channels, height, width] || (image.sizes == [channels] && height * width == 1)
    }

    fn finish(self, has_softmax: bool) -> Result<Lowered, String> {
        let Lowering { plan, program, known, has_gradient, norms } = self;
        let Some(Known::Image(end)) = &known[plan.logits] else {
            return Err("the output does not depend on the images".to_owned());
        };
        if has_softmax && end.sizes.len() != 1 {
            return Err("the softmax at the end is not one of classes".to_owned());
        }
        let vector = |(value, known): (usize, &Option<Known>)| match known {
            Some(Known::Vector(vector, _)) => Some((value, *vector)),
            _ => None,
        };
        let values = known.iter().map(|known| match known {
            Some(Known::Image(image)) => Some(image.value),
            _ => None,
        });
        Ok(Lowered {
            values: values.collect(),
            vectors: known.iter().enumerate().filter_map(vector).collect(),
            has_gradient,
            norms,
            sizes: end.sizes.clone(),
            has_softmax,
            output: end.value,
            program,
        })
    }
}
