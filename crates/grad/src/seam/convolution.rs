//! Convolutions: three tensors, each of which is computed from the two others.
//!
//! A convolution is a sum over `output * data * weight` with fixed places. So the output is a function of data and weight, the
//! gradient of the data one of (gradient of the) output and weight, the gradient of the weight one of output and data; and
//! the derivatives of each of these three functions are the two others. One recorded step serves all of them, at any depth.

use bitquake_graph::window::Window;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, binary};
use burn_backend::ops::{ConvOptions, ConvTransposeOptions};
use burn_backend::tensor::FloatTensor;
use burn_backend::{Backend, Slice};

use super::Kernels;
use crate::float::Float;

/// The three tensors of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// `[images, channels out, height out, width out]`.
    Output,
    /// `[images, channels in, height, width]`.
    Data,
    /// `[channels out, channels in / groups, kernel height, kernel width]`.
    Weight,
}

/// The wanted part out of the two others, with burn's operations.
pub(super) fn plain<B: Backend>(
    wanted: Part,
    first: FloatTensor<B>,
    second: FloatTensor<B>,
    window: &Window,
) -> FloatTensor<B> {
    match wanted {
        Part::Output => output::<B>(first, second, window),
        Part::Data => data::<B>(first, second, window),
        Part::Weight => weight::<B>(first, second, window),
    }
}

fn output<B: Backend>(data: FloatTensor<B>, weight: FloatTensor<B>, window: &Window) -> FloatTensor<B> {
    let Window { stride, dilation, padding, groups, .. } = window.clone();
    let options = ConvOptions::new_with_padding(stride, padding, dilation, groups);
    B::conv2d(data, weight, None, options)
}

/// By a transposed convolution onto the padded image, of which the padding is cut off.
fn data<B: Backend>(output: FloatTensor<B>, weight: FloatTensor<B>, window: &Window) -> FloatTensor<B> {
    let Window { stride, dilation, padding, groups, .. } = window.clone();
    let is_even = padding.iter().all(|(begin, end)| begin == end);
    let cut = if is_even { padding.map(|(begin, _)| begin) } else { [0, 0] };
    // What the strides leave over at the end.
    let rest = [0, 1].map(|axis| {
        let reached =
            (window.output[axis] - 1) * stride[axis] + dilation[axis] * (window.kernel[axis] - 1) + 1;
        let padded = window.image[axis] + padding[axis].0 + padding[axis].1;
        padded - reached
    });
    let options = ConvTransposeOptions::new(stride, cut, rest, dilation, groups);
    let image = B::conv_transpose2d(output, weight, None, options);
    if is_even {
        return image;
    }
    let [rows, columns] =
        [0, 1].map(|axis| Slice::from(padding[axis].0..padding[axis].0 + window.image[axis]));
    let shape = Float::<B>::new(image.clone()).shape();
    B::float_slice(image, &[Slice::from(0..shape[0]), Slice::from(0..shape[1]), rows, columns])
}

/// For each place in the kernel, the images shifted by it against the output: a product of matrices, summed over images.
fn weight<B: Backend>(output: FloatTensor<B>, data: FloatTensor<B>, window: &Window) -> FloatTensor<B> {
    let groups = window.groups;
    let (output, data) = (Float::<B>::new(output), Float::<B>::new(data));
    let (images, channels_out) = (output.shape()[0], output.shape()[1] / groups);
    let channels_in = data.shape()[1] / groups;
    let steps = window.output[0] * window.output[1];
    let padded = pad_images(data, window);
    // [groups, channels out, images * steps]
    let output = output.reshape(&[images, groups, channels_out, steps]).permute(&[1, 2, 0, 3]);
    let output = output.reshape(&[groups, channels_out, images * steps]);
    let mut columns = Vec::new();
    for row in 0..window.kernel[0] {
        for column in 0..window.kernel[1] {
            let shifted = shifted(padded.clone(), [row, column], window);
            let shifted = shifted.reshape(&[images, groups, channels_in, steps]).permute(&[1, 0, 3, 2]);
            let shifted = shifted.reshape(&[groups, images * steps, channels_in]);
            let product = B::float_matmul(output.primitive().clone(), shifted.into_primitive());
            columns.push(
                Float::<B>::new(product).reshape(&[groups, channels_out, channels_in, 1]).into_primitive(),
            );
        }
    }
    let shape = [groups * channels_out, channels_in, window.kernel[0], window.kernel[1]];
    Float::<B>::new(B::float_cat(columns, 3)).reshape(&shape).into_primitive()
}

/// The images with zeros around them.
fn pad_images<B: Backend>(data: Float<B>, window: &Window) -> Float<B> {
    let [rows, columns] = window.padding;
    if [rows, columns] == [(0, 0); 2] {
        return data;
    }
    let padding = [(0, 0), (0, 0), rows, columns];
    data.map(|data| B::float_pad(data, &padding, burn_backend::ops::PadMode::Constant(0.0)))
}

/// What the place `at` of the kernel meets, for each place of the output.
fn shifted<B: Backend>(padded: Float<B>, at: [usize; 2], window: &Window) -> Float<B> {
    let shape = padded.shape();
    let [rows, columns] = [0, 1].map(|axis| {
        let start = at[axis] * window.dilation[axis];
        let end = start + (window.output[axis] - 1) * window.stride[axis] + 1;
        Slice::new(start as isize, Some(end as isize), window.stride[axis] as isize)
    });
    padded.slice(&[Slice::from(0..shape[0]), Slice::from(0..shape[1]), rows, columns])
}

/// The step of a tape that computes one part from the two others.
#[derive(Debug)]
struct Convolution;

/// What the backward pass needs: which part was computed, and the operands where the other one's gradient is wanted.
type State<B> = (Part, Option<FloatTensor<B>>, Option<FloatTensor<B>>, Window);

impl<B: Kernels> Backward<B, 2> for Convolution {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (computed, first, second, window) = ops.state;
        let [one, other] = operands(computed);
        let solve = |wanted: Part, gradient: FloatTensor<B>, known: (Part, Option<FloatTensor<B>>)| {
            // Kept whenever this parent has a gradient.
            let Some(tensor) = known.1 else { return gradient };
            let (a, b) = if computed < known.0 { (gradient, tensor) } else { (tensor, gradient) };
            B::convolution(wanted, a, b, &window)
        };
        binary::<B, _, _>(
            ops.parents,
            ops.node,
            grads,
            |gradient| solve(one, gradient, (other, second)),
            |gradient| solve(other, gradient, (one, first)),
        );
    }
}

/// The parts that `wanted` is computed from, in the order of [`Part`].
fn operands(wanted: Part) -> [Part; 2] {
    match wanted {
        Part::Output => [Part::Data, Part::Weight],
        Part::Data => [Part::Output, Part::Weight],
        Part::Weight => [Part::Output, Part::Data],
    }
}

/// The wanted part, on a tape.
pub(super) fn recorded<B: Kernels, C: CheckpointStrategy>(
    wanted: Part,
    first: FloatTensor<Autodiff<B, C>>,
    second: FloatTensor<Autodiff<B, C>>,
    window: &Window,
) -> FloatTensor<Autodiff<B, C>> {
    let (first_is_tracked, second_is_tracked) = (first.is_tracked(), second.is_tracked());
    let (first, first_node) = first.into_parts();
    let (second, second_node) = second.into_parts();
    match Convolution.prepare::<C>([first_node, second_node]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let kept_first = second_is_tracked.then(|| first.clone());
            let kept_second = first_is_tracked.then(|| second.clone());
            let result = B::convolution(wanted, first, second, window);
            prepared.finish((wanted, kept_first, kept_second, window.clone()), result)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(B::convolution(wanted, first, second, window)),
    }
}
