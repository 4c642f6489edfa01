//! One node being computed: what an operator sees.

use bitquake_bits::Format;
use burn_backend::Backend;

use crate::Mode;
use crate::float::Float;
use bitquake_graph::plan::Ints;
use bitquake_graph::plan::{Attributes, Plan, Step};

/// A value of the graph.
#[derive(Clone, Debug)]
pub(crate) enum Value<B: Backend> {
    /// Floats on the device, with their gradient. Codes of quantized values are floats too.
    Float(Float<B>),
    /// Whole numbers and truth values on the host, without a gradient.
    Ints(Ints),
}

impl<B: Backend> Value<B> {
    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Value::Float(float) => float.shape(),
            Value::Ints(ints) => ints.shape.clone(),
        }
    }
}

/// What a batch normalization measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured<B: Backend> {
    /// The values that hold the running mean and variance.
    pub(crate) running: [usize; 2],
    pub(crate) momentum: f32,
    pub(crate) mean: Float<B>,
    /// Unbiased.
    pub(crate) variance: Float<B>,
}

/// A node, its inputs, and what else an operator may look at. Problems are texts; the interpreter adds the node.
pub(crate) struct Call<'a, B: Backend> {
    pub(crate) plan: &'a Plan,
    pub(crate) step: &'a Step,
    pub(crate) inputs: Vec<Option<Value<B>>>,
    pub(crate) device: &'a B::Device,
    pub(crate) mode: Mode,
    pub(crate) measured: &'a mut Vec<Measured<B>>,
}

impl<B: Backend> Call<'_, B> {
    pub(crate) fn attributes(&self) -> &Attributes {
        &self.step.attributes
    }

    pub(crate) fn opset(&self) -> i64 {
        self.plan.opset
    }

    pub(crate) fn has(&self, place: usize) -> bool {
        matches!(self.inputs.get(place), Some(Some(_)))
    }

    pub(crate) fn value(&self, place: usize) -> Result<Value<B>, String> {
        self.inputs.get(place).cloned().flatten().ok_or_else(|| format!("input {place} is missing"))
    }

    /// A float input.
    pub(crate) fn float(&self, place: usize) -> Result<Float<B>, String> {
        match self.value(place)? {
            Value::Float(float) => Ok(float),
            Value::Ints(_) => Err(format!("input {place} holds whole numbers; floats are supported")),
        }
    }

    /// A float input that may be left out.
    pub(crate) fn optional_float(&self, place: usize) -> Result<Option<Float<B>>, String> {
        if self.has(place) { self.float(place).map(Some) } else { Ok(None) }
    }

    /// A float input, or whole numbers taken as floats.
    pub(crate) fn as_float(&self, place: usize) -> Result<Float<B>, String> {
        Ok(match self.value(place)? {
            Value::Float(float) => float,
            Value::Ints(ints) => {
                let values = ints.values.iter().map(|&value| value as f32).collect();
                Float::from_host(values, &ints.shape, self.device)
            }
        })
    }

    /// An input of whole numbers.
    pub(crate) fn ints(&self, place: usize) -> Result<Ints, String> {
        match self.value(place)? {
            Value::Ints(ints) => Ok(ints),
            Value::Float(_) => Err(format!("input {place} holds floats; whole numbers are wanted")),
        }
    }

    /// A list that older operator sets have as an attribute and newer ones as an input.
    pub(crate) fn list(&self, place: usize, attribute: &str) -> Result<Option<Vec<i64>>, String> {
        if self.has(place) {
            return self.ints(place).map(|ints| Some(ints.values));
        }
        Ok(self.attributes().ints(attribute)?.map(<[i64]>::to_vec))
    }

    /// A single number on the host, as a float.
    pub(crate) fn number(&self, place: usize) -> Result<f32, String> {
        let one = |count: usize| {
            if count == 1 { Ok(()) } else { Err(format!("input {place} has {count} elements, not 1")) }
        };
        match self.value(place)? {
            Value::Ints(ints) => one(ints.values.len()).map(|()| ints.values[0] as f32),
            Value::Float(float) => {
                one(float.elements())?;
                Ok(float.detach().to_host()?[0])
            }
        }
    }

    /// A single stored number that gets no gradient; `None` for anything else.
    pub(crate) fn constant(&self, place: usize) -> Result<Option<f32>, String> {
        let is_stored = |value: usize| self.plan.parameter_values.contains(&value);
        match self.value(place)? {
            Value::Ints(ints) if ints.values.len() == 1 => Ok(Some(ints.values[0] as f32)),
            Value::Float(float)
                if float.elements() == 1
                    && self.step.inputs[place].is_some_and(is_stored)
                    && !B::float_is_require_grad(float.primitive()) =>
            {
                Ok(float.to_host()?.first().copied())
            }
            _ => Ok(None),
        }
    }

    /// The type of a stored input of whole numbers.
    pub(crate) fn format(&self, place: usize) -> Option<Format> {
        let value = self.step.inputs.get(place).copied().flatten()?;
        self.plan.formats.get(&value).copied()
    }
}

/// One float result.
pub(crate) fn one<B: Backend>(float: Float<B>) -> Result<Vec<Value<B>>, String> {
    Ok(vec![Value::Float(float)])
}

/// One result of whole numbers.
pub(crate) fn one_ints<B: Backend>(ints: Ints) -> Result<Vec<Value<B>>, String> {
    Ok(vec![Value::Ints(ints)])
}
