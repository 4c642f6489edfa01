//! Images whose pixels are written where they are needed.

use crate::layout::LANES;

/// A blocked image that is computed when it is read: [`Convolution::forward_of`](crate::Convolution::forward_of) has its pixels written
/// straight between the pads, so that what comes before a convolution (a normalization, a ReLU) needs no pass over memory of its own.
///
/// ```
/// use bitquake_kernels::Pixels;
///
/// /// The positive part of a blocked image, in rows of one length.
/// struct Positive<'a>(&'a [f32], usize);
///
/// impl Pixels for Positive<'_> {
///     fn write(&self, block: usize, first: usize, step: usize, to: &mut [f32]) {
///         let block = &self.0[block * self.1 * 16..][..self.1 * 16];
///         let pixels = block[first * 16..].chunks(step * 16);
///         for (to, from) in to.chunks_exact_mut(16).zip(pixels) {
///             to.iter_mut().zip(from).for_each(|(to, &from)| *to = if from < 0.0 { 0.0 } else { from });
///         }
///     }
/// }
/// ```
pub trait Pixels {
    /// Writes pixels of a block: `first` (counted in rows from the top left), and every `step`-th of the same row after it, as many as fit into
    /// `to`, which has 16 floats for each. All of `to` must be written, but for lanes beyond the channels.
    ///
    /// Of the plain image of a first convolution: `block` is a channel, and `to` has one float for each pixel.
    fn write(&self, block: usize, first: usize, step: usize, to: &mut [f32]);

    /// The whole image, if it lies in memory: a convolution that needs no pads then reads it there.
    fn as_image(&self) -> Option<&[f32]> {
        None
    }
}

/// An image in memory.
pub(crate) struct Image<'a> {
    /// Blocks, or planes, one after the other.
    pub(crate) floats: &'a [f32],
    /// Pixels of a block.
    pub(crate) pixels: usize,
    /// Floats of a pixel: the lanes of a block, or one.
    pub(crate) pixel: usize,
}

impl Pixels for Image<'_> {
    fn write(&self, block: usize, first: usize, step: usize, to: &mut [f32]) {
        let from = &self.floats[(block * self.pixels + first) * self.pixel..];
        if step == 1 {
            to.copy_from_slice(&from[..to.len()]);
        } else if self.pixel == LANES {
            for (to, from) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(from.chunks(step * LANES)) {
                to.copy_from_slice(&from[..LANES]);
            }
        } else {
            to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from);
        }
    }

    fn as_image(&self) -> Option<&[f32]> {
        Some(self.floats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_writes_its_pixels() {
        let floats: Vec<f32> = (0..2 * 6 * 16).map(|index| index as f32).collect();
        for (pixel, pixels) in [(LANES, 6), (1, 6 * LANES)] {
            let image = Image { floats: &floats, pixels, pixel };
            for (block, first, step, count) in
                [(0, 0, 1, 6), (1, 2, 1, 3), (1, 1, 2, 3), (0, 2, 3, 2), (1, 5, 4, 1)]
            {
                let mut found = vec![f32::NAN; count * pixel];
                image.write(block, first, step, &mut found);
                let at =
                    |index: usize| (block * pixels + first + index / pixel * step) * pixel + index % pixel;
                let expected: Vec<f32> = (0..found.len()).map(|index| floats[at(index)]).collect();
                assert_eq!(found, expected);
            }
        }
    }
}
