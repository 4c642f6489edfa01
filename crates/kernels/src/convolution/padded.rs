//! An image between its pads, sorted so that every place of a kernel reads neighbouring pixels.
//!
//! With a stride of `s`, a place of the kernel reads every `s`-th pixel of an axis. The scratch copy therefore holds the padded axis in
//! *phases*: all pixels with the same remainder modulo `s` side by side, phase after phase. A place of the kernel is then one position in the
//! scratch, at which the first output reads, and the next output reads the next pixel, whatever the stride.

use crate::layout::LANES;
use crate::window::Axis;

/// Pixels of an axis of the scratch that stand at equal distances in the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    /// Where the first stands in the image; negative within the pads.
    pub(super) first: isize,
    /// Pixels of the image from one to the next.
    pub(super) step: usize,
    /// How many there are.
    pub(super) len: usize,
}

impl Phase {
    /// Where pixel `index` of the phase stands in an image of `image` pixels, if not in its pads.
    fn place(&self, index: usize, image: usize) -> Option<usize> {
        let place = self.first + (index * self.step) as isize;
        usize::try_from(place).ok().filter(|&place| place < image)
    }

    /// The pixels before the image, those in it, and where the first of those stands.
    fn span(&self, image: usize) -> (usize, usize, usize) {
        let before = self.first.min(0).unsigned_abs().div_ceil(self.step).min(self.len);
        let start = self.first + (before * self.step) as isize;
        let inside = usize::try_from(start).ok().and_then(|start| image.checked_sub(start));
        let inside = inside.map_or(0, |pixels| pixels.div_ceil(self.step)).min(self.len - before);
        (before, inside, start.unsigned_abs())
    }
}

/// The scratch copy of an image.
#[derive(Clone, Debug)]
pub(super) struct Padded {
    /// Of each axis.
    phases: [Vec<Phase>; 2],
    image: [usize; 2],
    /// Floats of a pixel: the lanes of a block, or one.
    pixel: usize,
    size: [usize; 2],
}

impl Padded {
    pub(super) fn new(phases: [Vec<Phase>; 2], axes: [usize; 2], pixel: usize) -> Self {
        let size = [0, 1].map(|axis| phases[axis].iter().map(|phase| phase.len).sum());
        Self { phases, image: axes, pixel, size }
    }

    /// Rows and columns of the scratch.
    pub(super) fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Floats of a block (or plane) of the scratch.
    pub(super) fn block_len(&self) -> usize {
        self.size[0] * self.size[1] * self.pixel
    }

    /// Whether the scratch would hold the image as it is.
    pub(super) fn is_image(&self) -> bool {
        let is_whole = |axis: usize| {
            let phases = &self.phases[axis];
            matches!(phases[..], [Phase { first: 0, step: 1, len }] if len == self.image[axis])
        };
        is_whole(0) && is_whole(1)
    }

    /// Floats of scratch for an image of so many blocks (or planes).
    pub(super) fn scratch_len(&self, blocks: usize) -> usize {
        if self.is_image() { 0 } else { blocks * self.block_len() }
    }

    /// The blocks (or planes) of `image` in the scratch, or the image itself where it needs no copy.
    pub(super) fn fill<'a>(&self, image: &'a [f32], scratch: &'a mut [f32]) -> &'a [f32] {
        if self.is_image() {
            return image;
        }
        let block = self.image[0] * self.image[1] * self.pixel;
        let len = image.len() / block * self.block_len();
        let scratch = &mut scratch[..len];
        for (image, scratch) in image.chunks_exact(block).zip(scratch.chunks_exact_mut(self.block_len())) {
            self.fill_block(image, scratch);
        }
        scratch
    }

    fn fill_block(&self, image: &[f32], scratch: &mut [f32]) {
        let mut rows = scratch.chunks_exact_mut(self.size[1] * self.pixel);
        for phase in &self.phases[0] {
            for (index, row) in rows.by_ref().take(phase.len).enumerate() {
                match phase.place(index, self.image[0]) {
                    Some(place) => self.fill_row(&image[place * self.image[1] * self.pixel..], row),
                    None => row.fill(0.0),
                }
            }
        }
    }

    /// `image` starts at the row.
    fn fill_row(&self, image: &[f32], mut row: &mut [f32]) {
        for phase in &self.phases[1] {
            let (here, rest) = row.split_at_mut(phase.len * self.pixel);
            row = rest;
            let (before, inside, start) = phase.span(self.image[1]);
            let (zeros, here) = here.split_at_mut(before * self.pixel);
            zeros.fill(0.0);
            let (pixels, zeros) = here.split_at_mut(inside * self.pixel);
            zeros.fill(0.0);
            if inside > 0 {
                self.copy(&image[start * self.pixel..], phase.step, pixels);
            }
        }
    }

    /// Copies every `step`-th pixel.
    fn copy(&self, image: &[f32], step: usize, pixels: &mut [f32]) {
        if step == 1 {
            pixels.copy_from_slice(&image[..pixels.len()]);
        } else if self.pixel == LANES {
            for (pixel, from) in pixels.as_chunks_mut::<LANES>().0.iter_mut().zip(image.chunks(step * LANES))
            {
                pixel.copy_from_slice(&from[..LANES]);
            }
        } else {
            for (pixel, from) in pixels.iter_mut().zip(image.iter().step_by(step)) {
                *pixel = *from;
            }
        }
    }
}

/// The phases of an axis that a convolution reads, and the position of each place of the kernel, by place.
pub(super) fn forward_axis(axis: &Axis) -> (Vec<Phase>, Vec<usize>) {
    let offsets = (0..axis.kernel).map(|place| place * axis.dilation);
    let offsets: Vec<(usize, usize)> =
        offsets.map(|offset| (offset % axis.stride, offset / axis.stride)).collect();
    let mut remainders: Vec<usize> = offsets.iter().map(|&(remainder, _)| remainder).collect();
    remainders.sort_unstable();
    remainders.dedup();
    let (mut phases, mut starts, mut start) = (Vec::new(), Vec::new(), 0);
    for &remainder in &remainders {
        let of_phase = offsets.iter().filter(|(of, _)| *of == remainder);
        let farthest = of_phase.map(|(_, steps)| *steps).max().unwrap_or(0);
        let first = remainder as isize - axis.begin as isize;
        let phase = Phase { first, step: axis.stride, len: axis.output + farthest };
        starts.push(start);
        start += phase.len;
        phases.push(phase);
    }
    let position = |&(remainder, steps): &(usize, usize)| {
        starts[remainders.partition_point(|&other| other < remainder)] + steps
    };
    let positions = offsets.iter().map(position).collect();
    (phases, positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(image: usize, kernel: usize, stride: usize, dilation: usize, begin: usize, end: usize) -> Axis {
        let output = (image + begin + end - (kernel - 1) * dilation - 1) / stride + 1;
        Axis { image, kernel, stride, dilation, begin, output }
    }

    #[test]
    fn every_place_reads_what_the_window_says() {
        let axes = [
            axis(8, 3, 1, 1, 1, 1),
            axis(9, 3, 2, 1, 1, 0),
            axis(9, 1, 2, 1, 0, 0),
            axis(5, 4, 3, 2, 3, 2),
            axis(2, 2, 5, 7, 9, 8),
            axis(1, 1, 1, 1, 4, 5),
            axis(4, 2, 2, 2, 0, 0),
        ];
        for of in axes {
            let (phases, positions) = forward_axis(&of);
            let other = Phase { first: 0, step: 1, len: 1 };
            for is_row in [false, true] {
                let (phases, image) = if is_row {
                    ([phases.clone(), vec![other]], [of.image, 1])
                } else {
                    ([vec![other], phases.clone()], [1, of.image])
                };
                let padded = Padded::new(phases, image, 1);
                let pixels: Vec<f32> = (1..=of.image).map(|value| value as f32).collect();
                let mut scratch = vec![f32::NAN; padded.scratch_len(1)];
                let filled = padded.fill(&pixels, &mut scratch);
                for (place, position) in positions.iter().enumerate() {
                    for output in 0..of.output {
                        let at = (output * of.stride + place * of.dilation).checked_sub(of.begin);
                        let expected = at.and_then(|at| pixels.get(at)).copied().unwrap_or(0.0);
                        assert_eq!(filled[position + output], expected, "{of:?} {place} {output}");
                    }
                }
            }
        }
    }
}
