//! Whole networks, forward and backward, on batches of images.
//!
//! A [`Program`] is a list of operations on values, each of one shape for every image; parameters are lists of floats that the caller
//! keeps. An [`Executor`] runs it: outputs, gradients, statistics, products with the Hessian.
//!
//! How it runs:
//!
//! - Operations fall into *stages*. In a stage everything is done for one image before the next, while it lies in the cache nearest to the
//!   core, and images are shared out over rayon's threads. A stage ends where something needs all images: the statistics of a batch
//!   normalization, a fully connected layer.
//! - What is needed in one stage alone lives in memory of the thread; what later stages or the backward pass need is kept for the batch.
//!   Normalizations, and the activations after them, are not kept but computed anew, from what the normalization's own gradient needs
//!   anyway.
//! - Where that is too much for the memory there is, the forward pass is cut into segments, of which only the ends are kept; the backward pass
//!   computes a segment again when it enters it (`compile/again.rs`), to the same bits.
//! - Sums over images (statistics, gradients of parameters) are taken in parts that depend on shapes alone, and added in order: the same
//!   bits on any number of threads.
//! - What the gradients that are asked for do not need is not computed.
//! - For products with the Hessian, each step is followed by the tangent of what it gave, along a direction of the parameters (`compile/tangents.rs`).
//! - Memory is kept from call to call.

mod compile;
mod executor;
mod fuse;
mod inference;
mod instruction;
mod linear;
mod map;
mod memory;
mod moments;
mod operation;
mod order;
mod patched;
mod placement;
mod plan;
mod pool;
mod ripple;
mod run;
mod spread;
mod tables;
mod tangent;
mod vectorise;

pub use executor::{Edit, Executor, Gradients, NoProducts, Products, Request, Statistics};
pub use inference::Inference;
pub use operation::{Arithmetic, Bound, Shape, Value, Vector};

use crate::window::product;
use crate::{Convolution, Isa, ShapeError, Window};
use operation::{Layer, Linear, Operation};
use pool::{Pool, Rule};

/// A network: operations on values, in the order in which they are added.
///
/// ```
/// use bitquake_kernels::program::{Program, Shape, Vector};
/// use bitquake_kernels::{Isa, Window};
///
/// // Parameters by index: the weights of a convolution, of a linear layer, and its bias.
/// let mut program = Program::new(Shape::new(1, 8, 8), vec![4 * 9, 10 * 4, 10], Isa::best())?;
/// let images = program.input();
/// let maps = program.convolution(images, 4, 1, Window::new([3, 3]), 0, None)?;
/// let maps = program.relu(maps);
/// let features = program.global_average(maps)?;
/// let logits = program.linear(features, 10, 1, true, Some(2))?;
/// assert_eq!(program.shape(logits), Shape::new(10, 1, 1));
/// # Ok::<(), bitquake_kernels::program::ProgramError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    isa: Isa,
    /// Of each parameter the number of floats.
    parameters: Vec<usize>,
    /// Of each value its shape; the input is value 0, and operation `i` gives value `i + 1`.
    shapes: Vec<Shape>,
    operations: Vec<Operation>,
    layers: Vec<Layer>,
    linears: Vec<Linear>,
    pools: Vec<Pool>,
}

/// Why an operation cannot be added.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The shape of a window, or of an image.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// There is no such parameter.
    #[error("parameter {parameter} is used; there are {count}")]
    NoParameter {
        /// Its index.
        parameter: usize,
        /// How many there are.
        count: usize,
    },
    /// A parameter has another number of floats.
    #[error("parameter {parameter} has {found} floats, not {expected}")]
    ParameterLength {
        /// Its index.
        parameter: usize,
        /// The floats that the operation needs.
        expected: usize,
        /// The floats that it has.
        found: usize,
    },
    /// A list of channels has a length that does not divide the channels.
    #[error("parameter {parameter} has {found} floats for {channels} channels")]
    Vector {
        /// Its index.
        parameter: usize,
        /// Its floats.
        found: usize,
        /// The channels.
        channels: usize,
    },
    /// The channels cannot be divided into the groups.
    #[error("{channels} channels do not divide into {groups} groups")]
    Groups {
        /// The channels.
        channels: usize,
        /// The groups.
        groups: usize,
    },
    /// Values that are added have different shapes.
    #[error("values of shapes {left} and {right} are added")]
    Sum {
        /// The first.
        left: Shape,
        /// The second.
        right: Shape,
    },
    /// A fully connected layer on images.
    #[error("a linear layer takes features, not a value of shape {shape}")]
    NotFeatures {
        /// The value's shape.
        shape: Shape,
    },
    /// A list of divisors for another number of windows.
    #[error("{found} divisors for {expected} windows")]
    Divisors {
        /// The windows of an image.
        expected: usize,
        /// The divisors.
        found: usize,
    },
}

impl Program {
    /// A program without operations: images of a shape, and parameters of these numbers of floats.
    ///
    /// # Errors
    /// A shape with a size of 0, or of more floats than memory can hold.
    pub fn new(input: Shape, parameters: Vec<usize>, isa: Isa) -> Result<Program, ProgramError> {
        if !isa.is_available() {
            return Err(ShapeError::Isa { isa }.into());
        }
        let mut program = Program {
            isa,
            parameters,
            shapes: Vec::new(),
            operations: Vec::new(),
            layers: Vec::new(),
            linears: Vec::new(),
            pools: Vec::new(),
        };
        program.check_shape(input)?;
        program.shapes.push(input);
        Ok(program)
    }

    /// The value that holds the images.
    #[must_use]
    pub fn input(&self) -> Value {
        Value(0)
    }

    /// The shape of a value.
    ///
    /// # Panics
    /// When the value is another program's.
    #[must_use]
    pub fn shape(&self, value: Value) -> Shape {
        self.shapes[value.0]
    }

    /// A convolution to `channels` channels in `groups`. Parameters: weights `[channels][input / groups][rows][columns]`, and a bias for each
    /// channel.
    ///
    /// # Errors
    /// Shapes that do not fit, parameters of other lengths.
    pub fn convolution(
        &mut self,
        x: Value,
        channels: usize,
        groups: usize,
        window: Window,
        weight: usize,
        bias: Option<usize>,
    ) -> Result<Value, ProgramError> {
        let from = self.shape(x);
        let (ends, image) = ([from.channels, channels], [from.height, from.width]);
        let convolution = Convolution::new(ends, groups, image, window, self.isa)?;
        self.check_length(weight, convolution.weights_len())?;
        bias.map_or(Ok(()), |bias| self.check_length(bias, channels))?;
        let [height, width] = convolution.output();
        let layer = self.layers.len();
        self.layers.push(Layer { convolution, ends, groups, image, window, weight, bias });
        self.add(Operation::Convolution { x: x.0, layer }, Shape::new(channels, height, width))
    }

    /// A fully connected layer. Parameters: weights, `[outputs][inputs]` if `is_transposed` and `[inputs][outputs]` if not, and a bias for
    /// each output.
    ///
    /// # Errors
    /// A value that is not of height and width 1, parameters of other lengths.
    pub fn linear(
        &mut self,
        x: Value,
        outputs: usize,
        weight: usize,
        is_transposed: bool,
        bias: Option<usize>,
    ) -> Result<Value, ProgramError> {
        let shape = self.shape(x);
        if shape.pixels() != 1 {
            return Err(ProgramError::NotFeatures { shape });
        }
        self.check_length(weight, product(&[outputs, shape.channels])?)?;
        bias.map_or(Ok(()), |bias| self.check_length(bias, outputs))?;
        let layer = self.linears.len();
        self.linears.push(Linear { ends: [shape.channels, outputs], weight, is_transposed, bias });
        self.add(Operation::Linear { x: x.0, layer }, Shape::new(outputs, 1, 1))
    }

    /// Batch normalization: `(x - mean) / sqrt(variance + epsilon) * scale + shift` for each channel, with the running statistics of the
    /// parameters or those of the batch, as [`Request::statistics`] says.
    ///
    /// # Errors
    /// Parameters of other lengths.
    pub fn batch_norm(
        &mut self,
        x: Value,
        affine: [Vector; 2],
        running: [usize; 2],
        epsilon: f32,
    ) -> Result<Value, ProgramError> {
        let shape = self.shape(x);
        affine.iter().try_for_each(|vector| self.check_vector(vector, shape.channels))?;
        running.iter().try_for_each(|&running| self.check_length(running, shape.channels))?;
        let [scale, shift] = affine;
        self.add(Operation::BatchNorm { x: x.0, scale, shift, running, epsilon }, shape)
    }

    /// Group normalization: each group of channels of an image is standardized over channels and pixels, then scaled and shifted.
    ///
    /// # Errors
    /// Channels that the groups do not divide, parameters whose lengths do not divide the channels.
    pub fn group_norm(
        &mut self,
        x: Value,
        groups: usize,
        affine: [Vector; 2],
        epsilon: f32,
    ) -> Result<Value, ProgramError> {
        let shape = self.shape(x);
        let channels = shape.channels;
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(ProgramError::Groups { channels, groups });
        }
        affine.iter().try_for_each(|vector| self.check_vector(vector, channels))?;
        let [scale, shift] = affine;
        self.add(Operation::GroupNorm { x: x.0, groups, scale, shift, epsilon }, shape)
    }

    /// Arithmetic with one number for each channel. A division multiplies with the number's inverse.
    ///
    /// # Errors
    /// A parameter whose length does not divide the channels.
    pub fn channelwise(
        &mut self,
        x: Value,
        arithmetic: Arithmetic,
        by: Vector,
    ) -> Result<Value, ProgramError> {
        let shape = self.shape(x);
        self.check_vector(&by, shape.channels)?;
        self.add(Operation::Channelwise { x: x.0, arithmetic, by }, shape)
    }

    /// 0 for values below 0. NaN stays NaN.
    pub fn relu(&mut self, x: Value) -> Value {
        self.push(Operation::Relu { x: x.0 }, self.shape(x))
    }

    /// Values limited from below and above. NaN stays NaN. The bounds have no gradient.
    ///
    /// # Errors
    /// A bound that is a parameter of more than one float.
    pub fn clip(&mut self, x: Value, bounds: [Bound; 2]) -> Result<Value, ProgramError> {
        for bound in bounds {
            if let Bound::Parameter(parameter) = bound {
                self.check_length(parameter, 1)?;
            }
        }
        self.add(Operation::Clip { x: x.0, bounds }, self.shape(x))
    }

    /// The sum of two values of one shape.
    ///
    /// # Errors
    /// Values of different shapes.
    pub fn sum(&mut self, left: Value, right: Value) -> Result<Value, ProgramError> {
        let [a, b] = [left, right].map(|value| self.shape(value));
        if a != b {
            return Err(ProgramError::Sum { left: a, right: b });
        }
        self.add(Operation::Sum { left: left.0, right: right.0 }, a)
    }

    /// The largest value of each window; NaN where there is one. Padding counts as minus infinity.
    ///
    /// # Errors
    /// A window that does not fit.
    pub fn max_pool(&mut self, x: Value, window: Window) -> Result<Value, ProgramError> {
        self.pool(x, window, Rule::Max)
    }

    /// The sum of each window over a divisor, one for each window of an image, row-major.
    ///
    /// # Errors
    /// A window that does not fit, another number of divisors.
    pub fn average_pool(
        &mut self,
        x: Value,
        window: Window,
        divisors: Vec<f32>,
    ) -> Result<Value, ProgramError> {
        let shape = self.shape(x);
        let [rows, columns] = window.output([shape.height, shape.width])?;
        let (expected, found) = (rows * columns, divisors.len());
        if expected != found {
            return Err(ProgramError::Divisors { expected, found });
        }
        self.pool(x, window, Rule::Average(divisors))
    }

    /// The mean of each channel.
    ///
    /// # Errors
    /// An image of more pixels than a window can have.
    pub fn global_average(&mut self, x: Value) -> Result<Value, ProgramError> {
        let shape = self.shape(x);
        let all = Window::new([shape.height, shape.width]);
        self.pool(x, all, Rule::Average(vec![shape.pixels() as f32]))
    }

    /// The largest value of each channel; NaN where there is one.
    ///
    /// # Errors
    /// An image of more pixels than a window can have.
    pub fn global_max(&mut self, x: Value) -> Result<Value, ProgramError> {
        let shape = self.shape(x);
        self.pool(x, Window::new([shape.height, shape.width]), Rule::Max)
    }

    /// All values of an image in a row, channel by channel.
    pub fn flatten(&mut self, x: Value) -> Value {
        let features = Shape::new(self.shape(x).elements(), 1, 1);
        self.push(Operation::Flatten { x: x.0 }, features)
    }

    /// The value itself, as a value of its own: one whose gradient can be asked for apart.
    pub fn same(&mut self, x: Value) -> Value {
        self.push(Operation::Same { x: x.0 }, self.shape(x))
    }

    fn pool(&mut self, x: Value, window: Window, rule: Rule) -> Result<Value, ProgramError> {
        let shape = self.shape(x);
        let image = [shape.height, shape.width];
        let output = window.output(image)?;
        let pool = self.pools.len();
        self.pools.push(Pool::new(image, output, window, rule));
        self.add(Operation::Pool { x: x.0, pool }, Shape::new(shape.channels, output[0], output[1]))
    }

    /// Adds an operation whose result may be too large.
    fn add(&mut self, operation: Operation, shape: Shape) -> Result<Value, ProgramError> {
        self.check_shape(shape)?;
        Ok(self.push(operation, shape))
    }

    fn push(&mut self, operation: Operation, shape: Shape) -> Value {
        self.operations.push(operation);
        self.shapes.push(shape);
        Value(self.shapes.len() - 1)
    }

    fn check_shape(&self, shape: Shape) -> Result<(), ProgramError> {
        let Shape { channels, height, width } = shape;
        if channels == 0 {
            return Err(ShapeError::NoChannels { channels: [channels, channels] }.into());
        }
        for (axis, size) in [height, width].into_iter().enumerate() {
            if size == 0 {
                return Err(ShapeError::Zero { what: "image", axis }.into());
            }
        }
        // Blocks are padded.
        let padded = channels.checked_next_multiple_of(crate::LANES).unwrap_or(usize::MAX);
        product(&[padded, height, width])?;
        Ok(())
    }

    fn check_parameter(&self, parameter: usize) -> Result<usize, ProgramError> {
        let count = self.parameters.len();
        self.parameters.get(parameter).copied().ok_or(ProgramError::NoParameter { parameter, count })
    }

    fn check_length(&self, parameter: usize, expected: usize) -> Result<(), ProgramError> {
        let found = self.check_parameter(parameter)?;
        if found == expected {
            Ok(())
        } else {
            Err(ProgramError::ParameterLength { parameter, expected, found })
        }
    }

    fn check_vector(&self, vector: &Vector, channels: usize) -> Result<(), ProgramError> {
        let Vector { parameter, plus } = *vector;
        let found = self.check_parameter(parameter)?;
        if found == 0 || !channels.is_multiple_of(found) {
            return Err(ProgramError::Vector { parameter, found, channels });
        }
        plus.map_or(Ok(()), |plus| self.check_length(plus, 1))
    }
}
