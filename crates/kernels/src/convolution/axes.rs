//! What a convolution, and its gradient to the image, read on one axis.
//!
//! With a stride of `s`, a place of the kernel reads every `s`-th pixel of an axis. The scratch copy therefore holds the padded axis in
//! *phases*: all pixels with the same remainder modulo `s` side by side, phase after phase. A place of the kernel is then one position in the
//! scratch, at which the first output reads, and the next output reads the next pixel, whatever the stride.
//!
//! The gradient to the image reads the padded gradient of the result, one pixel after the other. There the pixels that are *written* fall
//! into remainders modulo `s`, each of which meets other places of the kernel.

use super::runs::Tap;
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
    pub(super) fn place(&self, index: usize, image: usize) -> Option<usize> {
        let place = self.first + (index * self.step) as isize;
        usize::try_from(place).ok().filter(|&place| place < image)
    }

    /// The pixels before the image, those in it, and where the first of those stands.
    pub(super) fn span(&self, image: usize) -> (usize, usize, usize) {
        let before = self.first.min(0).unsigned_abs().div_ceil(self.step).min(self.len);
        let start = self.first + (before * self.step) as isize;
        let inside = usize::try_from(start).ok().and_then(|start| image.checked_sub(start));
        let inside = inside.map_or(0, |pixels| pixels.div_ceil(self.step)).min(self.len - before);
        (before, inside, start.unsigned_abs())
    }
}

/// The phases of an axis that a convolution reads, and where each place of the kernel reads.
pub(super) fn forward_axis(axis: &Axis) -> (Vec<Phase>, Vec<Tap>) {
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
    let tap = |(place, &(remainder, steps)): (usize, &(usize, usize))| {
        let start = starts[remainders.partition_point(|&other| other < remainder)];
        Tap { place, position: start + steps }
    };
    let taps = offsets.iter().enumerate().map(tap).collect();
    (phases, taps)
}

/// Pixels of an axis of the image that have the same remainder modulo the stride, counted from the pads.
pub(super) struct Remainder {
    /// The first pixel.
    pub(super) start: usize,
    pub(super) count: usize,
    pub(super) taps: Vec<Tap>,
}

/// The gradient of the result as the gradient to the image reads it on one axis, and the remainders that some place of the kernel meets.
pub(super) fn data_axis(axis: &Axis) -> (Phase, Vec<Remainder>) {
    let offsets: Vec<usize> = (0..axis.kernel).map(|place| place * axis.dilation).collect();
    let mut remainders: Vec<usize> = offsets.iter().map(|offset| offset % axis.stride).collect();
    remainders.sort_unstable();
    remainders.dedup();
    let start = |remainder: usize| (remainder + axis.stride - axis.begin % axis.stride) % axis.stride;
    remainders.retain(|&remainder| start(remainder) < axis.image);
    // Where the first pixel of a remainder reads for a place: negative before the first result.
    let reads = |remainder: usize, offset: usize| {
        ((start(remainder) + axis.begin) / axis.stride) as isize - (offset / axis.stride) as isize
    };
    let count = |remainder: usize| (axis.image - start(remainder)).div_ceil(axis.stride);
    let met = |remainder: usize| {
        let places = offsets.iter().enumerate().filter(move |(_, offset)| *offset % axis.stride == remainder);
        places.map(move |(place, &offset)| (place, reads(remainder, offset)))
    };
    let all = || remainders.iter().flat_map(|&remainder| met(remainder).map(move |(_, at)| (remainder, at)));
    let first = all().map(|(_, at)| at).min().unwrap_or(0);
    let end = all().map(|(remainder, at)| at + count(remainder) as isize).max().unwrap_or(0);
    let of = |&remainder: &usize| Remainder {
        start: start(remainder),
        count: count(remainder),
        taps: met(remainder).map(|(place, at)| Tap { place, position: (at - first) as usize }).collect(),
    };
    (Phase { first, step: 1, len: (end - first) as usize }, remainders.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convolution::padded::Padded;
    use crate::pixels::Image;

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
            let (phases, taps) = forward_axis(&of);
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
                let whole = Image { floats: &pixels, pixels: of.image, pixel: 1 };
                let filled = padded.fill(&whole, 0..1, &mut scratch);
                for Tap { place, position } in &taps {
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
