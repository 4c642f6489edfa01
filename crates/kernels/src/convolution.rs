//! Convolutions of one image: forward, and the gradients to the image and to the weights.

use crate::isa::Isa;
use crate::layout::{LANES, blocked_len, blocks};
use crate::window::{Axis, ShapeError, Window, product};

/// A convolution of one image, of a checked shape, on one thread.
///
/// Images are blocked (see [`layout`](crate::layout)); weights are `[output][input / groups][vertical][horizontal]` and are packed once
/// for as many images as use them. What lies in padded places counts as zero and is multiplied with the weights as IEEE 754 has it.
#[derive(Clone, Debug)]
pub struct Convolution {
    channels: [usize; 2],
    groups: usize,
    axes: [Axis; 2],
    /// The input is plain, and has no gradient.
    is_first: bool,
}

impl Convolution {
    /// A convolution of blocked images with `channels` (input, output) in `groups`, of `image` pixels (vertical, horizontal).
    ///
    /// # Errors
    ///
    /// Sizes of zero, channels that the groups do not divide, a kernel larger than the padded image, sizes that overflow, an instruction
    /// set that the processor lacks.
    pub fn new(
        channels: [usize; 2],
        groups: usize,
        image: [usize; 2],
        window: Window,
        isa: Isa,
    ) -> Result<Convolution, ShapeError> {
        if !isa.is_available() {
            return Err(ShapeError::Isa { isa });
        }
        if channels.contains(&0) {
            return Err(ShapeError::NoChannels { channels });
        }
        if groups == 0 || channels.iter().any(|count| count % groups != 0) {
            return Err(ShapeError::Groups { channels, groups });
        }
        let axes = window.axes(image)?;
        product(&[channels[0].next_multiple_of(LANES), image[0], image[1]])?;
        product(&[channels[1].next_multiple_of(LANES), axes[0].output, axes[1].output])?;
        product(&[channels[1], channels[0] / groups, window.kernel[0], window.kernel[1]])?;
        Ok(Convolution { channels, groups, axes, is_first: false })
    }

    /// A network's first convolution: its images are plain, `[channels][vertical][horizontal]`, so that one to three channels do not fill
    /// sixteen lanes. It has no gradient to the image.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn new_first(
        channels: [usize; 2],
        image: [usize; 2],
        window: Window,
        isa: Isa,
    ) -> Result<Convolution, ShapeError> {
        Ok(Convolution { is_first: true, ..Self::new(channels, 1, image, window, isa)? })
    }

    /// Outputs, vertical and horizontal.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.output)
    }

    /// Floats of an image: blocked, or plain if this is the first convolution.
    #[must_use]
    pub fn input_len(&self) -> usize {
        let pixels = self.axes[0].image * self.axes[1].image;
        if self.is_first { self.channels[0] * pixels } else { blocked_len(self.channels[0], pixels) }
    }

    /// Floats of a blocked result.
    #[must_use]
    pub fn output_len(&self) -> usize {
        blocked_len(self.channels[1], self.axes[0].output * self.axes[1].output)
    }

    /// Floats that each call needs to work with. What they hold before and after means nothing.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        0
    }

    /// Floats of weights.
    #[must_use]
    pub fn weights_len(&self) -> usize {
        self.channels[1] * self.channels[0] / self.groups * self.axes[0].kernel * self.axes[1].kernel
    }

    /// Floats of weights packed for [`forward`](Self::forward).
    #[must_use]
    pub fn forward_weights_len(&self) -> usize {
        self.weights_len()
    }

    /// Floats of weights packed for [`data_gradient`](Self::data_gradient).
    #[must_use]
    pub fn data_weights_len(&self) -> usize {
        self.weights_len()
    }

    /// Floats of a sum of weight gradients.
    #[must_use]
    pub fn weight_gradient_len(&self) -> usize {
        self.weights_len()
    }

    /// Packs weights for [`forward`](Self::forward).
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says.
    pub fn pack_forward(&self, weights: &[f32], packed: &mut [f32]) {
        packed.copy_from_slice(weights);
    }

    /// Packs weights for [`data_gradient`](Self::data_gradient).
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says, or when this is a first convolution.
    pub fn pack_data(&self, weights: &[f32], packed: &mut [f32]) {
        assert!(!self.is_first, "a first convolution has no gradient to the image");
        packed.copy_from_slice(weights);
    }

    /// `y = conv(x) + bias`; the bias has one value for each output channel.
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says; scratch may be longer.
    pub fn forward(
        &self,
        packed: &[f32],
        bias: Option<&[f32]>,
        x: &[f32],
        y: &mut [f32],
        _scratch: &mut [f32],
    ) {
        self.check(x, y);
        for (block, pixels) in y.chunks_exact_mut(y.len() / blocks(self.channels[1])).enumerate() {
            for pixel in pixels.chunks_exact_mut(LANES) {
                pixel.fill(0.0);
                for (lane, value) in pixel.iter_mut().enumerate().take(self.channels[1] - block * LANES) {
                    *value = bias.map_or(0.0, |bias| bias[block * LANES + lane]);
                }
            }
        }
        self.each(|weight, input, output| {
            y[output] += packed[weight] * input.map_or(0.0, |input| x[input]);
        });
    }

    /// The gradient to the image, `dx`, of what has the gradient `dy` to its result.
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says, or when this is a first convolution; scratch may be longer.
    pub fn data_gradient(&self, packed: &[f32], dy: &[f32], dx: &mut [f32], _scratch: &mut [f32]) {
        assert!(!self.is_first, "a first convolution has no gradient to the image");
        self.check(dx, dy);
        dx.fill(0.0);
        self.each(|weight, input, output| {
            if let Some(input) = input {
                dx[input] += packed[weight] * dy[output];
            }
        });
    }

    /// Adds the gradient of this image to the weights to a packed sum, which starts as zeros.
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says; scratch may be longer.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32], packed_sum: &mut [f32], _scratch: &mut [f32]) {
        self.check(x, dy);
        self.each(|weight, input, output| {
            packed_sum[weight] += input.map_or(0.0, |input| x[input]) * dy[output];
        });
    }

    /// Writes a packed sum of weight gradients as weights lie; what they held is overwritten.
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says.
    pub fn unpack_weight_gradient(&self, packed_sum: &[f32], weights: &mut [f32]) {
        weights.copy_from_slice(packed_sum);
    }

    fn check(&self, x: &[f32], y: &[f32]) {
        assert!(
            x.len() == self.input_len() && y.len() == self.output_len(),
            "{} and {} floats are not an image of {} and a result of {}",
            x.len(),
            y.len(),
            self.input_len(),
            self.output_len()
        );
    }

    /// Calls `of(weight, input, output)` with the index of each; no input where it is padded.
    fn each(&self, mut of: impl FnMut(usize, Option<usize>, usize)) {
        let [rows, columns] = self.axes;
        let [from, to] = self.channels.map(|channels| channels / self.groups);
        for output in 0..self.channels[1] {
            for index in 0..from * rows.kernel * columns.kernel {
                let (ky, kx) = (index / columns.kernel % rows.kernel, index % columns.kernel);
                let input = output / to * from + index / columns.kernel / rows.kernel;
                let weight = output * from * rows.kernel * columns.kernel + index;
                for pixel in 0..rows.output * columns.output {
                    let (y, x) = (pixel / columns.output, pixel % columns.output);
                    let place = at(&rows, y, ky).zip(at(&columns, x, kx));
                    let place = place.map(|(y, x)| self.input_index(input, y * columns.image + x));
                    let result =
                        (output / LANES * rows.output * columns.output + pixel) * LANES + output % LANES;
                    of(weight, place, result);
                }
            }
        }
    }

    fn input_index(&self, channel: usize, pixel: usize) -> usize {
        let pixels = self.axes[0].image * self.axes[1].image;
        if self.is_first {
            channel * pixels + pixel
        } else {
            (channel / LANES * pixels + pixel) * LANES + channel % LANES
        }
    }
}

fn at(axis: &Axis, output: usize, place: usize) -> Option<usize> {
    (output * axis.stride + place * axis.dilation).checked_sub(axis.begin).filter(|&at| at < axis.image)
}
