//! Convolutions of one image: forward, and the gradients to the image and to the weights.

mod axes;
mod channels;
mod correlation;
mod padded;
mod pass;
mod runs;
mod summed;
mod sums;
mod tile;
mod weight_gradient;
mod winograd;

use channels::{gather, scatter};
use correlation::Correlation;
use pass::Start;
use tile::Source;
use weight_gradient::WeightGradient;
pub(crate) use winograd::{TAME_IMAGE, TAME_WEIGHTS};

use crate::isa::Isa;
use crate::layout::{LANES, blocked_len};
use crate::pixels::{Image, Pixels};
use crate::window::{Axis, ShapeError, Window, product, sum};

/// A convolution of one image, of a checked shape, on one thread.
///
/// Images are blocked (see [`layout`](crate::layout)); weights are `[output][input / groups][vertical][horizontal]` and are packed once
/// for as many images as use them. What lies in padded places counts as zero and is multiplied with the weights as IEEE 754 has it, in the
/// gradients too: an infinite weight makes the border of a result NaN.
///
/// A result is a sum of `n` products in a fixed order, so it is within `(n + 2) * f32::EPSILON` times the sum of the products' absolute
/// values of the exact result, and the same bits every time with the same [`Isa`].
///
/// Kernels of 3x3 places with a stride of 1, of enough channels and pixels, are computed in tiles of 2x2 or 4x4 pixels with less than half,
/// or a quarter, of the multiplications (Winograd's algorithm), forward and to the image; which of them depends on shapes alone. With `C`
/// channels, such a result is within `(C + 32) * f32::EPSILON` times the sum over the channels of 64 (in tiles of 4x4: 564) times the largest
/// weight times the largest of the pixels that the tile reads: so a weight that meets a zero can leave a rounding error of what it would give
/// with the zero's neighbours. Typically, tiles of 4x4 leave twice the rounding error of a plain sum. Where a weight of the layer is beyond 2^10
/// or not finite, or a number of the image beyond 2^20 or not finite, or their squares sum up to as much, the result is the sum in its order.
///
/// ```
/// use bitquake_kernels::{AlignedBuffer, Convolution, Isa, Window, layout};
///
/// // One channel, a mean over three neighbours in a row.
/// let convolution = Convolution::new([1, 1], 1, [1, 4], Window::new([1, 3]), Isa::best())?;
/// let mut packed = AlignedBuffer::zeroed(convolution.forward_weights_len());
/// convolution.pack_forward(&[1.0 / 3.0; 3], &mut packed);
///
/// let mut x = AlignedBuffer::zeroed(convolution.input_len());
/// layout::block(&[3.0, 6.0, 9.0, 3.0], 1, &mut x);
/// let mut y = AlignedBuffer::zeroed(convolution.output_len());
/// let mut scratch = AlignedBuffer::zeroed(convolution.scratch_len());
/// convolution.forward(&packed, None, &x, &mut y, &mut scratch);
///
/// let mut plain = [0.0; 2];
/// layout::unblock(&y, 1, &mut plain);
/// assert_eq!(plain, [6.0, 6.0]);
/// # Ok::<(), bitquake_kernels::ShapeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Convolution {
    /// Input and output.
    channels: [usize; 2],
    /// Parts of the channels that are convolutions of their own; a depthwise convolution is one part.
    parts: usize,
    axes: [Axis; 2],
    source: Source,
    forward: Correlation,
    /// None of a first convolution.
    data: Option<Correlation>,
    weights: WeightGradient,
}

impl Convolution {
    /// A convolution of blocked images with `channels` (input, output) in `groups`, of `image` pixels (vertical, horizontal).
    ///
    /// Fast are the dense and the depthwise convolution, and groups of multiples of 16 channels; with other groups, the channels of each
    /// group are copied to and fro.
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
        let is_depthwise = groups > 1 && channels == [groups; 2];
        let source = if is_depthwise { Source::Lanewise } else { Source::Blocked };
        Self::of(channels, groups, image, window, source, isa)
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
        Self::of(channels, 1, image, window, Source::Plain, isa)
    }

    fn of(
        channels: [usize; 2],
        groups: usize,
        image: [usize; 2],
        window: Window,
        source: Source,
        isa: Isa,
    ) -> Result<Convolution, ShapeError> {
        let axes = check(channels, groups, image, &window, isa)?;
        let parts = if source == Source::Lanewise { 1 } else { groups };
        let [read, written] = match source {
            Source::Lanewise => [1, groups],
            Source::Blocked | Source::Plain | Source::Summed => channels.map(|channels| channels / groups),
        };
        let back = if source == Source::Lanewise { [read, written] } else { [written, read] };
        Ok(Convolution {
            channels,
            parts,
            axes,
            source,
            forward: Correlation::forward(axes, [read, written], source, isa),
            data: (source != Source::Plain).then(|| Correlation::data(axes, back, source, isa)),
            weights: WeightGradient::new(axes, [read, written], source, isa),
        })
    }

    /// Outputs, vertical and horizontal.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        self.axes.map(|axis| axis.output)
    }

    /// Whether every channel of the image is read for every channel of the result.
    pub(crate) fn is_dense(&self) -> bool {
        self.parts == 1 && self.source != Source::Lanewise
    }

    /// Whether images are plain.
    pub(crate) fn is_first(&self) -> bool {
        self.source == Source::Plain
    }

    /// Channels of the image and of the result.
    pub(crate) fn channels(&self) -> [usize; 2] {
        self.channels
    }

    /// Pixels of the image.
    pub(crate) fn image_pixels(&self) -> usize {
        self.pixels()[0]
    }

    pub(crate) fn axes(&self) -> [Axis; 2] {
        self.axes
    }

    /// Floats of an image: blocked, or plain if this is a first convolution.
    #[must_use]
    pub fn input_len(&self) -> usize {
        let [channels, _] = self.channels;
        let pixels = self.pixels()[0];
        if self.source == Source::Plain { channels * pixels } else { blocked_len(channels, pixels) }
    }

    /// Floats of a blocked result.
    #[must_use]
    pub fn output_len(&self) -> usize {
        blocked_len(self.channels[1], self.pixels()[1])
    }

    /// Floats that each call needs to work with. What they hold before and after means nothing.
    #[must_use]
    pub fn scratch_len(&self) -> usize {
        let data = self.data.as_ref().map_or(0, Correlation::scratch_len);
        let own = self.forward.scratch_len().max(data).max(self.weights.scratch_len());
        if self.parts == 1 {
            return own;
        }
        own + self.staged_len().iter().sum::<usize>() + self.input_len()
    }

    /// Floats of weights.
    #[must_use]
    pub fn weights_len(&self) -> usize {
        self.channels[1] * self.weight_read() * self.places()
    }

    /// Floats of weights packed for [`forward`](Self::forward).
    #[must_use]
    pub fn forward_weights_len(&self) -> usize {
        self.parts * self.forward.packed_len()
    }

    /// Floats of packed weights that an image meets.
    pub(crate) fn met_weights_len(&self) -> usize {
        self.parts * self.forward.met_len()
    }

    /// Floats of weights packed for [`data_gradient`](Self::data_gradient); zero of a first convolution.
    #[must_use]
    pub fn data_weights_len(&self) -> usize {
        self.parts * self.data.as_ref().map_or(0, Correlation::packed_len)
    }

    /// Floats of a sum of weight gradients.
    #[must_use]
    pub fn weight_gradient_len(&self) -> usize {
        self.parts * self.weights.packed_len()
    }

    /// Packs weights for [`forward`](Self::forward).
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says.
    pub fn pack_forward(&self, weights: &[f32], packed: &mut [f32]) {
        self.pack_forward_once(weights, packed);
        self.derive_forward(packed);
    }

    /// Packs each weight once. What is derived from them stays as it was.
    pub(crate) fn pack_forward_once(&self, weights: &[f32], packed: &mut [f32]) {
        check_len("weights", weights.len(), self.weights_len());
        check_len("packed weights", packed.len(), self.forward_weights_len());
        let index = self.weight_index();
        let each = weights.len() / self.parts;
        let packed = packed.chunks_exact_mut(self.forward.packed_len());
        for (weights, packed) in weights.chunks_exact(each).zip(packed) {
            self.forward.pack_once(|written, read, place| weights[index(written, read, place)], packed);
        }
    }

    /// Makes what is derived from weights that [lie packed](Self::pack_forward_once).
    fn derive_forward(&self, packed: &mut [f32]) {
        packed.chunks_exact_mut(self.forward.packed_len()).for_each(|packed| self.forward.derive(packed));
    }

    /// [Packs](Self::pack_forward) again what is derived from weights that were changed where they [lie packed](Self::pack_forward_once):
    /// those of some elements.
    pub(crate) fn repack_forward(&self, elements: &[usize], packed: &mut [f32]) {
        let places = self.places();
        let each = self.weights_len() / self.parts;
        let read = self.weight_read();
        // The weights of sixteen channels of the result are derived together, so twice the same is not worth the while.
        if elements.len() >= self.weights_len() / LANES / places {
            return self.derive_forward(packed);
        }
        for (part, packed) in packed.chunks_exact_mut(self.forward.packed_len()).enumerate() {
            let here = elements.iter().filter(|element| **element / each == part);
            let mut kernels = here.map(|element| element % each / places).peekable();
            if kernels.peek().is_some() {
                let kernels = kernels.map(|kernel| (kernel % read, kernel / read / LANES));
                self.forward.derive_kernels(kernels, packed);
            }
        }
    }

    /// Packs weights for [`data_gradient`](Self::data_gradient).
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says, or when this is a first convolution.
    pub fn pack_data(&self, weights: &[f32], packed: &mut [f32]) {
        let data = self.data();
        check_len("weights", weights.len(), self.weights_len());
        check_len("packed weights", packed.len(), self.data_weights_len());
        let index = self.weight_index();
        let each = weights.len() / self.parts;
        if packed.is_empty() {
            return; // no pixel of the image reaches the result
        }
        for (weights, packed) in weights.chunks_exact(each).zip(packed.chunks_exact_mut(data.packed_len())) {
            match self.source {
                Source::Lanewise => data.pack(|channel, _, place| weights[index(channel, 0, place)], packed),
                _ => data.pack(|written, read, place| weights[index(read, written, place)], packed),
            }
        }
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
        scratch: &mut [f32],
    ) {
        check_len("an image", x.len(), self.input_len());
        self.forward_of(packed, bias, &self.image(x), y, scratch);
    }

    /// [`forward`](Self::forward), of an image that is computed when it is read: once for each pixel that some place of the kernel reads.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward); whether [`Pixels::as_image`] has the right length is checked where it is read.
    pub fn forward_of(
        &self,
        packed: &[f32],
        bias: Option<&[f32]>,
        x: &impl Pixels,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        if let Some(bias) = bias {
            check_len("a bias", bias.len(), self.channels[1]);
        }
        self.forward_from(packed, bias.map_or(Start::Zero, Start::Channels), x, y, scratch);
    }

    /// `y += conv(x)`: the products are added one by one to what `y` held.
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_added(&self, packed: &[f32], x: &[f32], y: &mut [f32], scratch: &mut [f32]) {
        check_len("an image", x.len(), self.input_len());
        self.forward_from(packed, Start::Target, &self.image(x), y, scratch);
    }

    fn forward_from(
        &self,
        packed: &[f32],
        start: Start<'_>,
        x: &impl Pixels,
        y: &mut [f32],
        scratch: &mut [f32],
    ) {
        check_len("packed weights", packed.len(), self.forward_weights_len());
        check_len("a result", y.len(), self.output_len());
        self.check_scratch(scratch);
        if self.parts == 1 {
            return self.forward.run(packed, start, x, y, scratch);
        }
        let [read, written] = self.part_channels();
        let [pixels_x, pixels_y] = self.pixels();
        let (x, scratch) = self.written(x, self.channels[0], self.axes.map(|axis| axis.image), scratch);
        for (part, packed) in packed.chunks_exact(self.forward.packed_len()).enumerate() {
            let start = match start {
                Start::Channels(bias) => Start::Channels(&bias[part * written..][..written]),
                Start::Zero | Start::Target => start,
            };
            let (staged_x, staged_y, scratch) = self.staged(scratch);
            let x = gather(x, part * read, read, pixels_x, staged_x);
            scatter(y, part * written, written, pixels_y, staged_y, start == Start::Target, |y| {
                self.forward.run(packed, start, &blocked(x, pixels_x), y, scratch);
            });
        }
    }

    /// The gradient to the image, `dx`, of what has the gradient `dy` to its result.
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says, or when this is a first convolution; scratch may be longer.
    pub fn data_gradient(&self, packed: &[f32], dy: &[f32], dx: &mut [f32], scratch: &mut [f32]) {
        self.data_gradient_from(packed, Start::Zero, dy, dx, scratch);
    }

    /// Adds the [gradient to the image](Self::data_gradient) to what `dx` held.
    ///
    /// # Panics
    ///
    /// As [`data_gradient`](Self::data_gradient).
    pub fn data_gradient_added(&self, packed: &[f32], dy: &[f32], dx: &mut [f32], scratch: &mut [f32]) {
        self.data_gradient_from(packed, Start::Target, dy, dx, scratch);
    }

    fn data_gradient_from(
        &self,
        packed: &[f32],
        start: Start<'_>,
        dy: &[f32],
        dx: &mut [f32],
        scratch: &mut [f32],
    ) {
        let data = self.data();
        check_len("a result", dy.len(), self.output_len());
        check_len("packed weights", packed.len(), self.data_weights_len());
        check_len("an image", dx.len(), self.input_len());
        self.check_scratch(scratch);
        let [pixels_x, pixels_y] = self.pixels();
        if self.parts == 1 {
            return data.run(packed, start, &blocked(dy, pixels_y), dx, scratch);
        }
        let [read, written] = self.part_channels();
        for part in 0..self.parts {
            let packed = &packed[part * data.packed_len()..][..data.packed_len()];
            let (staged_x, staged_y, scratch) = self.staged(scratch);
            let dy = gather(dy, part * written, written, pixels_y, staged_y);
            scatter(dx, part * read, read, pixels_x, staged_x, start == Start::Target, |dx| {
                data.run(packed, start, &blocked(dy, pixels_y), dx, scratch);
            });
        }
    }

    /// Adds the gradient of this image to the weights to a packed sum, which starts as zeros.
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says; scratch may be longer.
    pub fn weight_gradient(&self, x: &[f32], dy: &[f32], packed_sum: &mut [f32], scratch: &mut [f32]) {
        check_len("an image", x.len(), self.input_len());
        check_len("a packed sum", packed_sum.len(), self.weight_gradient_len());
        check_len("a result", dy.len(), self.output_len());
        self.check_scratch(scratch);
        if self.parts == 1 {
            return self.weights.add(&self.image(x), dy, packed_sum, scratch);
        }
        let [read, written] = self.part_channels();
        let [pixels_x, pixels_y] = self.pixels();
        for (part, packed) in packed_sum.chunks_exact_mut(self.weights.packed_len()).enumerate() {
            let (staged_x, staged_y, scratch) = self.staged(scratch);
            let x = gather(x, part * read, read, pixels_x, staged_x);
            let dy = gather(dy, part * written, written, pixels_y, staged_y);
            self.weights.add(&blocked(x, pixels_x), dy, packed, scratch);
        }
    }

    /// Writes a packed sum of weight gradients as weights lie; what they held is overwritten.
    ///
    /// # Panics
    ///
    /// When a slice has not the length that the shape says.
    pub fn unpack_weight_gradient(&self, packed_sum: &[f32], weights: &mut [f32]) {
        check_len("a packed sum", packed_sum.len(), self.weight_gradient_len());
        check_len("weights", weights.len(), self.weights_len());
        let index = self.weight_index();
        let each = weights.len() / self.parts;
        let packed = packed_sum.chunks_exact(self.weights.packed_len());
        for (packed, weights) in packed.zip(weights.chunks_exact_mut(each)) {
            self.weights.unpack(packed, |written, read, place, value| {
                weights[index(written, read, place)] = value;
            });
        }
    }

    /// Pixels of the image and of the result.
    fn pixels(&self) -> [usize; 2] {
        let [rows, columns] = self.axes;
        [rows.image * columns.image, rows.output * columns.output]
    }

    /// Places of the kernel.
    fn places(&self) -> usize {
        self.axes[0].kernel * self.axes[1].kernel
    }

    /// Channels that a part reads and writes.
    fn part_channels(&self) -> [usize; 2] {
        self.channels.map(|channels| channels / self.parts)
    }

    fn data(&self) -> &Correlation {
        self.data.as_ref().expect("a first convolution has no gradient to the image")
    }

    /// Channels of the image that the weights of a channel of the result are for.
    fn weight_read(&self) -> usize {
        if self.source == Source::Lanewise { 1 } else { self.channels[0] / self.parts }
    }

    /// Where a weight lies among those of its part: of a channel of the result, a channel of the image, and a place of the kernel.
    fn weight_index(&self) -> impl Fn(usize, usize, [usize; 2]) -> usize + use<> {
        let read = self.weight_read();
        let [rows, columns] = self.axes.map(|axis| axis.kernel);
        move |written, from, [row, column]| ((written * read + from) * rows + row) * columns + column
    }

    /// Floats that the copied channels of a part take, of the image and of the result; none where a part has whole blocks.
    fn staged_len(&self) -> [usize; 2] {
        let (channels, pixels) = (self.part_channels(), self.pixels());
        [0, 1].map(|side| {
            let is_whole = self.parts == 1 || channels[side].is_multiple_of(LANES);
            if is_whole { 0 } else { blocked_len(channels[side], pixels[side]) }
        })
    }

    /// The scratch for the copied channels of image and result, and the rest.
    fn staged<'a>(&self, scratch: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32], &'a mut [f32]) {
        let [x, y] = self.staged_len();
        let (x, rest) = scratch.split_at_mut(x);
        let (y, rest) = rest.split_at_mut(y);
        (x, y, rest)
    }

    /// The whole blocked image, written to the scratch if it is not in memory, and the rest of the scratch.
    fn written<'a>(
        &self,
        image: &'a impl Pixels,
        channels: usize,
        [rows, columns]: [usize; 2],
        scratch: &'a mut [f32],
    ) -> (&'a [f32], &'a mut [f32]) {
        let len = blocked_len(channels, rows * columns);
        if let Some(image) = image.as_image() {
            check_len("an image", image.len(), len);
            return (image, scratch);
        }
        let (written, rest) = scratch.split_at_mut(len);
        for (row, to) in written.chunks_exact_mut(columns * LANES).enumerate() {
            image.write(row / rows, row % rows * columns, 1, to);
        }
        (written, rest)
    }

    fn image<'a>(&self, floats: &'a [f32]) -> Image<'a> {
        Image { floats, pixels: self.pixels()[0], pixel: self.source.pixel() }
    }

    fn check_scratch(&self, scratch: &[f32]) {
        let (len, needed) = (scratch.len(), self.scratch_len());
        assert!(len >= needed, "scratch has {len} floats, not {needed}");
    }
}

fn blocked(floats: &[f32], pixels: usize) -> Image<'_> {
    Image { floats, pixels, pixel: LANES }
}

fn check_len(what: &str, len: usize, expected: usize) {
    assert!(len == expected, "{what} has {len} floats, not {expected}");
}

/// The axes of a shape of which nothing overflows.
fn check(
    channels: [usize; 2],
    groups: usize,
    image: [usize; 2],
    window: &Window,
    isa: Isa,
) -> Result<[Axis; 2], ShapeError> {
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
    // No buffer is larger than one that has, on each axis, all that some pass reads or writes, for all channels.
    let reach = |axis: &Axis| {
        sum(&[axis.image, product(&[axis.output, axis.kernel])?, (axis.kernel - 1) * axis.dilation])
    };
    let [read, written] = [sum(&[channels[0], 2 * LANES])?, sum(&[channels[1], 2 * LANES])?];
    product(&[reach(&axes[0])?, reach(&axes[1])?, read])?;
    product(&[reach(&axes[0])?, reach(&axes[1])?, written])?;
    let places = product(&[window.kernel[0], window.kernel[1]])?;
    product(&[read, written, sum(&[places, winograd::FLOATS_OF_KERNEL])?])?;
    product(&[sum(&[read, written])?, winograd::FLOATS_OF_CHANNEL])?;
    Ok(axes)
}
