//! An image of 8 bits a channel.

use crate::augment::Shape;

/// Levels from 0 to 255, channel by channel, then row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) shape: Shape,
    pub(crate) levels: Vec<u8>,
}

/// The level of a share of white, which is 0 to 1: `share * 255 + 0.5`, each operation rounded once in `f32`, then rounded
/// down. That is the nearest level, and faster than a call of `round`.
pub(crate) fn level(share: f32) -> u8 {
    (share * 255.0 + 0.5) as u8
}

impl Picture {
    /// From shares of white.
    pub(crate) fn new(image: &[f32], shape: Shape) -> Picture {
        Picture { shape, levels: image.iter().map(|&share| level(share)).collect() }
    }

    /// Back to shares: `level / 255`, rounded once.
    pub(crate) fn write(&self, image: &mut [f32]) {
        image.iter_mut().zip(&self.levels).for_each(|(share, &level)| *share = f32::from(level) / 255.0);
    }

    /// Pixels in one channel.
    pub(crate) fn pixels(&self) -> usize {
        self.shape.height * self.shape.width
    }

    /// The levels of each channel.
    pub(crate) fn planes(&self) -> impl Iterator<Item = &[u8]> {
        self.levels.chunks_exact(self.pixels())
    }

    /// The levels of each channel, to be changed.
    pub(crate) fn planes_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let pixels = self.pixels();
        self.levels.chunks_exact_mut(pixels)
    }

    /// The brightness of each pixel: `(19595 R + 38470 G + 7471 B + 32768) / 65536`, rounded down, the luma of ITU-R
    /// BT.601 to the nearest level. Grey images are their own.
    pub(crate) fn grey(&self) -> Vec<u8> {
        let planes: Vec<&[u8]> = self.planes().collect();
        let &[red, green, blue] = planes.as_slice() else { return self.levels.clone() };
        let luma = |((&r, &g), &b): ((&u8, &u8), &u8)| {
            ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 32_768) >> 16) as u8
        };
        red.iter().zip(green).zip(blue).map(luma).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_survives_the_way_through_floats() {
        for byte in 0..=255_u8 {
            assert_eq!(level(f32::from(byte) / 255.0), byte);
        }
    }

    #[test]
    fn the_luma_of_grey_is_grey() {
        for byte in 0..=255_u8 {
            let shape = Shape { channels: 3, height: 1, width: 1 };
            assert_eq!(Picture { shape, levels: vec![byte; 3] }.grey(), [byte]);
        }
    }
}
