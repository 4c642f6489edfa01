//! What single channels of an image add to the result of a convolution.

use super::vectorise::{Lanes, Sweep, Wide, lanes_mut, vectorised};
use crate::window::Axis;
use crate::{Convolution, Isa, LANES};

/// Pixels that are computed together.
const TOGETHER: usize = 8;

/// A plane between its pads, as the places of a kernel meet it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    axes: [Axis; 2],
}

impl Field {
    pub(super) fn of(convolution: &Convolution) -> Field {
        Field { axes: convolution.axes() }
    }

    /// Rows and columns of the padded plane: as far as places read.
    fn size(&self) -> [usize; 2] {
        self.axes.map(|axis| (axis.output - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1)
    }

    /// Places of the kernel.
    pub(super) fn places(&self) -> usize {
        self.axes[0].kernel * self.axes[1].kernel
    }

    /// Where the first pixel of the result reads for a place.
    fn offset(&self, place: usize) -> usize {
        let [row, column] = [place / self.axes[1].kernel, place % self.axes[1].kernel];
        row * self.axes[0].dilation * self.size()[1] + column * self.axes[1].dilation
    }

    /// Writes a plane between its pads.
    pub(super) fn pad(&self, plane: &[f32], padded: &mut Vec<f32>) {
        let [height, width] = self.size();
        let [rows, columns] = self.axes;
        padded.clear();
        padded.resize(height * width, 0.0);
        let there = columns.image.min(width.saturating_sub(columns.begin));
        let lines = padded.chunks_exact_mut(width).skip(rows.begin);
        for (line, from) in lines.zip(plane.chunks_exact(columns.image)) {
            line[columns.begin.min(width)..][..there].copy_from_slice(&from[..there]);
        }
    }

    /// Of each row of the result what its first pixel of the padded plane reads for the first place.
    fn rows(&self) -> impl Iterator<Item = usize> + use<> {
        let pitch = self.axes[0].stride * self.size()[1];
        (0..self.axes[0].output).map(move |row| row * pitch)
    }

    /// Adds a padded plane, as a place meets it, times a factor, to a channel of a blocked result.
    pub(super) fn add_place(&self, place: usize, factor: f32, padded: &[f32], channel: usize, y: &mut [f32]) {
        let [rows, columns] = self.axes;
        let of_block = rows.output * columns.output * LANES;
        let lane = y[channel / LANES * of_block..][..of_block].iter_mut().skip(channel % LANES);
        let reads = self.rows().flat_map(|row| {
            padded[row + self.offset(place)..].iter().step_by(columns.stride).take(columns.output)
        });
        lane.step_by(LANES).zip(reads).for_each(|(y, x)| *y += factor * x);
    }
}

/// The weights for one channel of the image.
#[derive(Debug)]
pub(super) struct Spread {
    field: Field,
    /// Of each block of the result, of each place, those of its channels.
    weights: Vec<Lanes>,
}

impl Spread {
    /// Those of a dense convolution, whose weights lie `[output][input][vertical][horizontal]`.
    pub(super) fn new(convolution: &Convolution, weights: &[f32], channel: usize) -> Spread {
        let field = Field::of(convolution);
        let ([read, written], places) = (convolution.channels(), field.places());
        let mut packed = vec![[0.0; LANES]; written.div_ceil(LANES) * places];
        for (output, weights) in weights.chunks_exact(read * places).enumerate() {
            let of_channel = &weights[channel * places..][..places];
            let vectors = packed[output / LANES * places..].iter_mut();
            vectors.zip(of_channel).for_each(|(vector, &weight)| vector[output % LANES] = weight);
        }
        Spread { field, weights: packed }
    }

    /// How a plane of the channel is padded.
    pub(super) fn field(&self) -> &Field {
        &self.field
    }

    /// Adds what a padded plane of the channel gives to a blocked result.
    pub(super) fn add(&self, isa: Isa, padded: &[f32], y: &mut [f32]) {
        let offsets: Vec<usize> = (0..self.field.places()).map(|place| self.field.offset(place)).collect();
        vectorised(isa, Adding { spread: self, offsets: &offsets, padded, y });
    }
}

struct Adding<'a> {
    spread: &'a Spread,
    offsets: &'a [usize],
    padded: &'a [f32],
    y: &'a mut [f32],
}

impl Sweep for Adding<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        let Adding { spread: Spread { field, weights }, offsets, padded, y } = self;
        let [rows, columns] = field.axes;
        let y = lanes_mut(y);
        let together = TOGETHER * columns.stride;
        let blocks = y.len() / (rows.output * columns.output);
        let places = (0..blocks).flat_map(|block| field.rows().map(move |from| (block, from)));
        for (line, (block, from)) in places.enumerate() {
            let weights = &weights[block * offsets.len()..][..offsets.len()];
            let y = &mut y[line * columns.output..][..columns.output];
            let (groups, rest) = y.as_chunks_mut::<TOGETHER>();
            let done = groups.len() * together;
            for (group, pixels) in groups.iter_mut().enumerate() {
                let first = from + group * together;
                // Loops, as functions of arrays are not always inlined.
                let mut sums = [W::splat(0.0); TOGETHER];
                for (sum, pixel) in sums.iter_mut().zip(&*pixels) {
                    *sum = W::load(pixel);
                }
                for (weights, offset) in weights.iter().zip(offsets) {
                    let values = strided::<TOGETHER>(&padded[first + offset..], columns.stride);
                    let weights = W::load(weights);
                    for (sum, value) in sums.iter_mut().zip(values) {
                        *sum = sum.add(W::splat(value).mul(weights));
                    }
                }
                for (pixel, sum) in pixels.iter_mut().zip(sums) {
                    sum.store(pixel);
                }
            }
            for (index, pixel) in rest.iter_mut().enumerate() {
                let first = from + done + index * columns.stride;
                let mut sum = W::load(pixel);
                for (weights, offset) in weights.iter().zip(offsets) {
                    sum = sum.add(W::splat(padded[first + offset]).mul(W::load(weights)));
                }
                sum.store(pixel);
            }
        }
    }
}

/// The first float, and those that follow so many floats from each other.
#[inline(always)]
fn strided<const N: usize>(floats: &[f32], stride: usize) -> [f32; N] {
    if let Some(neighbours) = floats.first_chunk::<N>().filter(|_| stride == 1) {
        return *neighbours;
    }
    let mut found = [0.0; N];
    for (index, value) in found.iter_mut().enumerate() {
        *value = floats[index * stride];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AlignedBuffer, Window, layout};
    use bitquake_testing::SplitMix64;
    use proptest::prelude::*;

    fn whole(random: &mut SplitMix64, count: usize) -> Vec<f32> {
        (0..count).map(|_| (random.next_u64() % 17) as f32 - 8.0).collect()
    }

    fn blocked(plain: &[f32], channels: usize) -> Vec<f32> {
        let mut blocked = vec![0.0; layout::blocked_len(channels, plain.len() / channels)];
        layout::block(plain, channels, &mut blocked);
        blocked
    }

    fn forward(convolution: &Convolution, weights: &[f32], x: &[f32]) -> Vec<f32> {
        let mut packed = AlignedBuffer::zeroed(convolution.forward_weights_len());
        convolution.pack_forward(weights, &mut packed);
        let mut scratch = AlignedBuffer::zeroed(convolution.scratch_len());
        let mut y = vec![0.0; convolution.output_len()];
        convolution.forward(&packed, None, &blocked(x, convolution.channels()[0]), &mut y, &mut scratch);
        y
    }

    fn plain(convolution: &Convolution, blocked: &[f32]) -> Vec<f32> {
        let [rows, columns] = convolution.output();
        let channels = convolution.channels()[1];
        let mut plain = vec![0.0; channels * rows * columns];
        layout::unblock(blocked, channels, &mut plain);
        plain.iter().map(|value| value.round()).collect()
    }

    proptest! {
        /// Of whole numbers sums are whole, so what is added has to be the difference of two convolutions; tiles round.
        #[test]
        fn what_is_added_is_the_difference_of_two_results(
            seed in any::<u32>(),
            channels in [1_usize..40, 1..40],
            image in [1_usize..20, 1..20],
            kernel in [1_usize..4, 1..4],
            stride in [1_usize..4, 1..4],
            dilation in [1_usize..3, 1..3],
            pads in [[0_usize..3, 0..3], [0..3, 0..3]],
        ) {
            let window = Window { stride, dilation, pads, ..Window::new(kernel) };
            let mut random = SplitMix64::new(seed.into());
            for isa in Isa::available() {
                let Ok(convolution) = Convolution::new(channels, 1, image, window, isa) else { return Ok(()) };
                let mut weights = whole(&mut random, convolution.weights_len());
                let pixels = image[0] * image[1];
                let mut x = whole(&mut random, channels[0] * pixels);
                let channel = random.next_u64() as usize % channels[0];
                let mut found = forward(&convolution, &weights, &x);

                // Another channel of the image.
                let change = whole(&mut random, pixels);
                let of_channel = x[channel * pixels..].iter_mut();
                of_channel.zip(&change).for_each(|(x, change)| *x += change);
                let spread = Spread::new(&convolution, &weights, channel);
                let mut padded = vec![f32::NAN; 3];
                spread.field().pad(&change, &mut padded);
                spread.add(isa, &padded, &mut found);
                let wanted = forward(&convolution, &weights, &x);
                prop_assert_eq!(plain(&convolution, &found), plain(&convolution, &wanted), "{}", isa);

                // Another weight.
                let (output, place) = (random.next_u64() as usize % channels[1], kernel[0] * kernel[1] - 1);
                let field = Field::of(&convolution);
                field.pad(&x[channel * pixels..][..pixels], &mut padded);
                field.add_place(place, 3.0, &padded, output, &mut found);
                weights[(output * channels[0] + channel) * field.places() + place] += 3.0;
                let wanted = forward(&convolution, &weights, &x);
                prop_assert_eq!(plain(&convolution, &found), plain(&convolution, &wanted), "{}", isa);
            }
        }
    }
}
