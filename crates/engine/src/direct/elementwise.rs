//! Operators that join each element with one of a stored, broadcast operand.

use super::touched::Ranges;
use super::{DirectError, Inputs, Stored, StoredValues, Touched};

/// `Add`, `Sub`, `Mul`, `Div` or `PRelu`.
#[derive(Clone, Debug)]
pub(super) struct Elementwise {
    pub(super) stored: Stored,
    /// The operation, with the activation first.
    apply: fn(f32, f32) -> f32,
    /// The dimensions of the output; neighbours in which the operands behave alike are one.
    dims: Vec<Dim>,
}

#[derive(Clone, Copy, Debug)]
struct Dim {
    size: usize,
    /// Elements from one to the next: 0 where the operand is broadcast.
    stored_step: usize,
    input_step: usize,
    output_step: usize,
}

impl Elementwise {
    pub(super) fn new(op: &str, inputs: &Inputs) -> Option<Elementwise> {
        let stored_first = inputs.activation == 1;
        let apply: fn(f32, f32) -> f32 = match (op, stored_first) {
            ("Add", _) => |x, stored| x + stored,
            ("Mul", _) => |x, stored| x * stored,
            ("Sub", false) => |x, stored| x - stored,
            ("Sub", true) => |x, stored| stored - x,
            ("Div", false) => |x, stored| x / stored,
            ("Div", true) => |x, stored| stored / x,
            // An infinite slope has no say at 0.
            ("PRelu", false) => |x, slope| if x < 0.0 { slope * x } else { x },
            _ => return None,
        };
        if inputs.operands.len() != 2 {
            return None;
        }
        let (stored, stored_dims) = inputs.stored_at(1 - inputs.activation)?;
        let input_dims = inputs.activation_at(inputs.activation)?;
        let dims = dims(input_dims, stored_dims)?;
        let grows = dims.iter().any(|dim| dim.input_step == 0);
        (op != "PRelu" || !grows).then_some(Elementwise { stored, apply, dims })
    }

    pub(super) fn output_len(&self) -> usize {
        self.dims.iter().map(|dim| dim.size).product()
    }

    pub(super) fn ranges(&self, touched: &Touched, ranges: &mut Ranges) {
        for (element, _) in touched.iter() {
            self.runs(element, &self.dims, 0, 0, &mut |output, _, dim| match dim {
                Some(dim) if dim.output_step == 1 => ranges.push(output..output + dim.size),
                Some(dim) => (0..dim.size)
                    .map(|at| output + at * dim.output_step)
                    .for_each(|at| ranges.push(at..at + 1)),
                None => ranges.push(output..output + 1),
            });
        }
    }

    pub(super) fn recompute(
        &self,
        touched: &Touched,
        input: &[f32],
        stored: &StoredValues<'_>,
        out: &mut [f32],
    ) -> Result<(), DirectError> {
        let values = self.stored.values(stored)?;
        for (element, _) in touched.iter() {
            let value = values[element];
            self.runs(element, &self.dims, 0, 0, &mut |output, from, dim| match dim {
                Some(dim) if dim.output_step == 1 && dim.input_step == 1 => {
                    let pairs = out[output..output + dim.size].iter_mut().zip(&input[from..from + dim.size]);
                    pairs.for_each(|(out, &x)| *out = (self.apply)(x, value));
                }
                Some(dim) => {
                    for at in 0..dim.size {
                        out[output + at * dim.output_step] =
                            (self.apply)(input[from + at * dim.input_step], value);
                    }
                }
                None => out[output] = (self.apply)(input[from], value),
            });
        }
        Ok(())
    }

    /// Calls `each` for all outputs that read an element of the stored operand: the output, its input, and the dimension
    /// along which there are more of both; `None` if it is one output.
    fn runs(
        &self,
        element: usize,
        dims: &[Dim],
        output: usize,
        input: usize,
        each: &mut impl FnMut(usize, usize, Option<Dim>),
    ) {
        let Some((&dim, inner)) = dims.split_first() else { return each(output, input, None) };
        if let Some(place) = element.checked_div(dim.stored_step) {
            let at = place % dim.size;
            return self.runs(
                element,
                inner,
                output + at * dim.output_step,
                input + at * dim.input_step,
                each,
            );
        }
        // The innermost dimension that the operand is broadcast along is given away as a whole.
        if inner.iter().all(|dim| dim.stored_step > 0) {
            let skip = |step: fn(&Dim) -> usize| -> usize {
                inner.iter().map(|dim| element / dim.stored_step % dim.size * step(dim)).sum()
            };
            return each(output + skip(|dim| dim.output_step), input + skip(|dim| dim.input_step), Some(dim));
        }
        for at in 0..dim.size {
            self.runs(element, inner, output + at * dim.output_step, input + at * dim.input_step, each);
        }
    }
}

/// The dimensions of the output for one image; `None` if they do not fit, or if the stored operand has a batch.
fn dims(input: &[usize], stored: &[usize]) -> Option<Vec<Dim>> {
    let stored = match stored.split_first() {
        Some((&batch, rest)) if stored.len() == input.len() + 1 => {
            if batch != 1 {
                return None;
            }
            rest
        }
        _ => stored,
    };
    if stored.len() > input.len() {
        return None;
    }
    let stored = [vec![1; input.len() - stored.len()], stored.to_vec()].concat();
    let (mut stored_step, mut input_step, mut output_step) = (1, 1, 1);
    let mut dims: Vec<Dim> = Vec::new();
    for (&input, &stored) in input.iter().zip(&stored).rev() {
        if input != stored && input != 1 && stored != 1 {
            return None;
        }
        let size = input.max(stored);
        if size == 1 {
            continue;
        }
        let step = |own: usize, step: usize| if own == 1 { 0 } else { step };
        let dim = Dim {
            size,
            stored_step: step(stored, stored_step),
            input_step: step(input, input_step),
            output_step,
        };
        match dims.last_mut().filter(|last| alike(last, &dim)) {
            Some(last) => last.size *= size,
            None => dims.push(dim),
        }
        stored_step *= stored;
        input_step *= input;
        output_step *= size;
    }
    dims.reverse();
    Some(dims)
}

/// Whether the same operands are broadcast along both.
fn alike(a: &Dim, b: &Dim) -> bool {
    (a.stored_step == 0) == (b.stored_step == 0) && (a.input_step == 0) == (b.input_step == 0)
}
