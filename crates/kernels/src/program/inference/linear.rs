//! Fully connected layers of several images at once, each image's sums in the same order whatever the others are.

use crate::layout::blocked_len;
use crate::program::operation::Linear;
use crate::{AlignedBuffer, Convolution, Isa, LANES, Window};

/// The most images of a product: as many as fill the registers beside the weights of four blocks.
pub(in crate::program) const TOGETHER: usize = 6;

/// A fully connected layer as the 1x1 convolution of an image whose pixels are the images' features: a convolution adds the products of
/// each pixel channel by channel, so an output does not depend on how many pixels there are, as it does in products of matrices that are
/// blocked by size.
#[derive(Debug)]
pub(in crate::program) struct Together {
    /// Features, in and out.
    pub(in crate::program) ends: [usize; 2],
    pub(in crate::program) weight: usize,
    pub(in crate::program) bias: Option<usize>,
    is_transposed: bool,
    /// Of one image, of two, and so on: of the same packed weights.
    convolutions: Vec<Convolution>,
}

impl Together {
    pub(super) fn new(linear: &Linear, isa: Isa) -> Together {
        let convolution = |images| {
            let made = Convolution::new(linear.ends, 1, [1, images], Window::new([1, 1]), isa);
            made.expect("the sizes were checked when the layer was added")
        };
        Together {
            ends: linear.ends,
            weight: linear.weight,
            bias: linear.bias,
            is_transposed: linear.is_transposed,
            convolutions: (1..=TOGETHER).map(convolution).collect(),
        }
    }

    pub(super) fn pack(&self, weights: &[f32]) -> AlignedBuffer {
        let mut packed = AlignedBuffer::zeroed(self.convolutions[0].forward_weights_len());
        if self.is_transposed {
            self.convolutions[0].pack_forward(weights, &mut packed);
            return packed;
        }
        let [inputs, outputs] = self.ends;
        let by_output = (0..inputs * outputs).map(|place| weights[place % inputs * outputs + place / inputs]);
        self.convolutions[0].pack_forward(&by_output.collect::<Vec<f32>>(), &mut packed);
        packed
    }

    /// Floats that [`run`](Self::run) works in.
    pub(in crate::program) fn memory_len(&self) -> usize {
        let scratch = self.convolutions.iter().map(Convolution::scratch_len).max();
        self.ends.iter().map(|&end| blocked_len(end, TOGETHER)).sum::<usize>() + scratch.unwrap_or(0)
    }

    /// The outputs of at most [`TOGETHER`] images. `x` and `y` give the features of an image, in whole blocks.
    pub(in crate::program) fn run<'x, 'y>(
        &self,
        images: usize,
        (packed, bias): (&[f32], Option<&[f32]>),
        x: impl Fn(usize) -> &'x [f32],
        mut y: impl FnMut(usize) -> &'y mut [f32],
        memory: &mut [f32],
    ) {
        let [inputs, outputs] = self.ends.map(|end| blocked_len(end, images));
        let (from, memory) = memory.split_at_mut(inputs);
        let (to, scratch) = memory.split_at_mut(outputs);
        for image in 0..images {
            for (block, lanes) in x(image).as_chunks::<LANES>().0.iter().enumerate() {
                from[(block * images + image) * LANES..][..LANES].copy_from_slice(lanes);
            }
        }
        self.convolutions[images - 1].forward(packed, bias, from, to, scratch);
        for image in 0..images {
            for (block, lanes) in y(image).as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                lanes.copy_from_slice(&to[(block * images + image) * LANES..][..LANES]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_weights_are_the_same_for_any_number_of_images() {
        for isa in Isa::available() {
            for ends in [[3, 10], [64, 10], [64, 5], [400, 120], [33, 65], [5, 130]] {
                let linear = Linear { ends, weight: 0, is_transposed: true, bias: None };
                let together = Together::new(&linear, isa);
                let weights: Vec<f32> = (0..ends[0] * ends[1]).map(|place| place as f32 + 1.0).collect();
                let wanted = together.pack(&weights);
                for convolution in &together.convolutions {
                    let mut packed = vec![0.0; convolution.forward_weights_len()];
                    convolution.pack_forward(&weights, &mut packed);
                    assert_eq!(packed, *wanted, "{isa} {ends:?} {:?}", convolution.output());
                }
            }
        }
    }
}
