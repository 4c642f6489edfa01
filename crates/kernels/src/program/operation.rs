//! What a program is made of.

use std::fmt;

use crate::layout::blocked_len;
use crate::{Convolution, Window};

/// The sizes of a value, for one image. Features have height and width 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Channels, or features.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// A shape.
    #[must_use]
    pub const fn new(channels: usize, height: usize, width: usize) -> Shape {
        Shape { channels, height, width }
    }

    /// Rows times columns.
    #[must_use]
    pub const fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// The floats of a value of one image.
    #[must_use]
    pub const fn elements(&self) -> usize {
        self.channels * self.pixels()
    }

    /// The floats of the value when it is blocked.
    pub(super) fn blocked(&self) -> usize {
        blocked_len(self.channels, self.pixels())
    }

    /// The channels with those that fill up the last block.
    pub(super) fn padded(&self) -> usize {
        blocked_len(self.channels, 1)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// A value of a program: the images, or the result of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub(super) usize);

impl Value {
    /// Its number: 0 for the images, then in the order in which operations are added.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0
    }
}

/// One number for each channel: a parameter whose floats stand for as many channels each as its length tells (one float for all of them,
/// one for each of some groups, one for each), and a parameter of one float that is added to each, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vector {
    /// The parameter.
    pub parameter: usize,
    /// The parameter that is added.
    pub plus: Option<usize>,
}

impl Vector {
    /// A parameter alone.
    #[must_use]
    pub const fn new(parameter: usize) -> Vector {
        Vector { parameter, plus: None }
    }

    /// Whether a gradient of the parameter, or of what is added, is among those.
    pub(super) fn is_among(&self, wanted: &[bool]) -> bool {
        wanted[self.parameter] || self.plus.is_some_and(|plus| wanted[plus])
    }
}

/// What is done with a value and one number for each channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// `x + number`
    Add,
    /// `x - number`
    Subtract,
    /// `x * number`
    Multiply,
    /// `x / number`
    Divide,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The float of a parameter.
    Parameter(usize),
    /// A number.
    Number(f32),
}

/// An operation; `x`, `left` and `right` are numbers of values.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Convolution { x: usize, layer: usize },
    Linear { x: usize, layer: usize },
    BatchNorm { x: usize, scale: Vector, shift: Vector, running: [usize; 2], epsilon: f32 },
    GroupNorm { x: usize, groups: usize, scale: Vector, shift: Vector, epsilon: f32 },
    Channelwise { x: usize, arithmetic: Arithmetic, by: Vector },
    Relu { x: usize },
    Clip { x: usize, bounds: [Bound; 2] },
    Sum { left: usize, right: usize },
    Pool { x: usize, pool: usize },
    Flatten { x: usize },
    Same { x: usize },
}

impl Operation {
    /// The values that it takes.
    pub(super) fn inputs(&self) -> impl Iterator<Item = usize> {
        let (first, second) = match *self {
            Operation::Sum { left, right } => (left, Some(right)),
            Operation::Convolution { x, .. }
            | Operation::Linear { x, .. }
            | Operation::BatchNorm { x, .. }
            | Operation::GroupNorm { x, .. }
            | Operation::Channelwise { x, .. }
            | Operation::Relu { x }
            | Operation::Clip { x, .. }
            | Operation::Pool { x, .. }
            | Operation::Flatten { x }
            | Operation::Same { x } => (x, None),
        };
        std::iter::once(first).chain(second)
    }
}

/// A convolution and its parameters.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) convolution: Convolution,
    /// Channels, in and out.
    pub(super) ends: [usize; 2],
    pub(super) groups: usize,
    pub(super) image: [usize; 2],
    pub(super) window: Window,
    pub(super) weight: usize,
    pub(super) bias: Option<usize>,
}

/// A fully connected layer and its parameters.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    /// Features, in and out.
    pub(super) ends: [usize; 2],
    pub(super) weight: usize,
    /// Whether the weights of an output lie side by side.
    pub(super) is_transposed: bool,
    pub(super) bias: Option<usize>,
}
