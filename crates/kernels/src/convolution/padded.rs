//! An image between its pads, sorted so that every place of a kernel reads neighbouring pixels (see [`axes`](super::axes)).

use std::ops::Range;

use super::axes::Phase;
use crate::pixels::Pixels;

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

    /// Floats of scratch for so many blocks (or planes).
    pub(super) fn scratch_len(&self, blocks: usize) -> usize {
        blocks * self.block_len()
    }

    /// Some blocks (or planes) of an image in the scratch, or where they are, if they need no copy.
    pub(super) fn fill<'a>(
        &self,
        image: &'a impl Pixels,
        blocks: Range<usize>,
        scratch: &'a mut [f32],
    ) -> &'a [f32] {
        if let Some(image) = image.as_image().filter(|_| self.is_image()) {
            return &image[blocks.start * self.block_len()..blocks.end * self.block_len()];
        }
        let scratch = &mut scratch[..blocks.len() * self.block_len()];
        for (block, scratch) in blocks.zip(scratch.chunks_exact_mut(self.block_len())) {
            self.fill_block(image, block, scratch);
        }
        scratch
    }

    fn fill_block(&self, image: &impl Pixels, block: usize, scratch: &mut [f32]) {
        let mut rows = scratch.chunks_exact_mut(self.size[1] * self.pixel);
        for phase in &self.phases[0] {
            for (index, row) in rows.by_ref().take(phase.len).enumerate() {
                match phase.place(index, self.image[0]) {
                    Some(place) => self.fill_row(image, block, place * self.image[1], row),
                    None => row.fill(0.0),
                }
            }
        }
    }

    /// `first`: the first pixel of the row.
    fn fill_row(&self, image: &impl Pixels, block: usize, first: usize, mut row: &mut [f32]) {
        for phase in &self.phases[1] {
            let (here, rest) = row.split_at_mut(phase.len * self.pixel);
            row = rest;
            let (before, inside, start) = phase.span(self.image[1]);
            let (zeros, here) = here.split_at_mut(before * self.pixel);
            zeros.fill(0.0);
            let (pixels, zeros) = here.split_at_mut(inside * self.pixel);
            zeros.fill(0.0);
            if inside > 0 {
                image.write(block, first + start, phase.step, pixels);
            }
        }
    }
}
