//! In which order ONNX Runtime adds the products of a convolution or a matrix product.
//!
//! Found by comparing outputs of version 1.31 bit by bit (`tests/direct.rs`), on x86-64 with AVX-512. With AVX2 alone the same
//! is taken to hold for blocks of 8 channels. Elsewhere, in other versions, and where a group has one filter only (the engine
//! then multiplies a vector by a matrix), the order may be another: results then agree to rounding.
//!
//! On x86-64 most convolutions of images run on channels in blocks as wide as a vector register, and read no padding; the
//! others write the windows out as a matrix, zeros of the padding included, and multiply it. It matters where a weight is
//! infinite or NaN: times a zero of the padding it gives a NaN.

use super::conv::Shape;
use super::sums::even_blocks;

/// Inner products longer than this are added in blocks of this size: matrix products with packed weights.
const PACKED_BLOCK: usize = 256;
/// The same for windows written out as a matrix, where the block grows when there are few outputs.
const WINDOW_BLOCK: usize = 128;
/// The engine's block of outputs, and how far it shrinks in favour of the other.
const OUTPUT_BLOCK: usize = 128;
const LEAST_OUTPUT_BLOCK: usize = 16;
/// Channels that a pointwise convolution adds at once.
const POINTWISE_BLOCK: usize = 128;
/// Channels come in multiples of this, or the blocked way is not taken.
const CHANNEL_MULTIPLE: usize = 4;

/// The order of one channel's products: indices into its weights (input channel, row, column), and where blocks end.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) weights: Vec<usize>,
    pub(crate) ends: Vec<usize>,
    /// Whether weights are multiplied by the zeros of the padding.
    pub(crate) multiplies_padding: bool,
}

impl Order {
    /// The order in which a convolution adds.
    pub(super) fn of_conv(shape: &Shape) -> Order {
        let (channels, window) = (shape.channels_in, shape.window());
        let count = channels * window;
        match channel_block(shape) {
            None => Order {
                weights: (0..count).collect(),
                ends: even_blocks(count, window_block(count, shape.outputs())),
                multiplies_padding: true,
            },
            Some(block) => Order {
                weights: blocked(channels, window, block),
                ends: (1..=channels.div_ceil(block)).map(|end| channels.min(end * block) * window).collect(),
                multiplies_padding: false,
            },
        }
    }
}

/// The ends of the blocks of a product with `inner` terms for each output.
pub(super) fn product_blocks(inner: usize) -> Vec<usize> {
    even_blocks(inner, PACKED_BLOCK)
}

/// Block by block of channels: the places of the window, and for each the channels of the block.
fn blocked(channels: usize, window: usize, block: usize) -> Vec<usize> {
    let starts = (0..channels).step_by(block);
    let places = starts.flat_map(|start| (0..window).map(move |place| (start, place)));
    let each = |(start, place): (usize, usize)| {
        (start..channels.min(start + block)).map(move |channel| channel * window + place)
    };
    places.flat_map(each).collect()
}

/// The block doubles while the outputs do not fill theirs.
fn window_block(inner: usize, outputs: usize) -> usize {
    let (mut of_inner, mut of_outputs) = (WINDOW_BLOCK, OUTPUT_BLOCK);
    if outputs >= inner {
        while of_inner / 2 >= inner {
            of_inner /= 2;
        }
    } else {
        while of_outputs > LEAST_OUTPUT_BLOCK && of_outputs / 2 >= outputs {
            of_inner *= 2;
            of_outputs /= 2;
        }
    }
    of_inner
}

/// How many channels of the input are added together when channels are blocked; `None` if they are not.
fn channel_block(shape: &Shape) -> Option<usize> {
    let lanes = lanes().filter(|_| shape.is_image)?;
    if shape.groups == 1 && shape.channels_in < lanes {
        return Some(1);
    }
    if shape.groups == 1 {
        let pointwise = shape.window() == 1 && !shape.is_padded();
        let block = if pointwise { POINTWISE_BLOCK } else { lanes };
        return shape.channels_in.is_multiple_of(CHANNEL_MULTIPLE).then_some(block);
    }
    if !shape.channels_out.is_multiple_of(CHANNEL_MULTIPLE) {
        return None;
    }
    let is_depthwise = shape.channels_in == 1 && shape.channels_out == shape.groups;
    let whole = |channels: usize| channels.is_multiple_of(lanes);
    let fits = whole(shape.channels_in) && whole(shape.channels_out / shape.groups);
    (is_depthwise || fits).then_some(lanes)
}

/// Floats in the engine's blocks of channels.
#[cfg(target_arch = "x86_64")]
fn lanes() -> Option<usize> {
    Some(if is_x86_feature_detected!("avx512f") { 16 } else { 8 })
}

#[cfg(not(target_arch = "x86_64"))]
fn lanes() -> Option<usize> {
    None
}
