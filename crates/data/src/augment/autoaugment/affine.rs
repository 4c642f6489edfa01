//! Operations that move pixels along straight lines.

use crate::augment::Shape;
use crate::augment::autoaugment::picture::Picture;

/// One pixel, in the units of a [`Map`].
const ONE: f64 = 65_536.0;

/// Where the pixels of the new image come from, in units of 1/65536 pixel: the centre of the pixel in column x and
/// row y lies at `start + x * column + y * row` of the old image, and the pixel that has this point is copied,
/// nothing is interpolated.
///
/// Coefficients are rounded to whole units, halves up. So the last digits of the platform's sine decide nothing, and
/// sums are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    start: [i64; 2],
    column: [i64; 2],
    row: [i64; 2],
}

impl Map {
    /// From the place of the corner (0, 0), and the steps that one pixel to the right and one pixel down take.
    fn new(corner: [f64; 2], column: [f64; 2], row: [f64; 2]) -> Map {
        let rounded = |value: f64| (value * ONE + 0.5).floor() as i64;
        let centre = [0, 1].map(|axis| corner[axis] + column[axis] * 0.5 + row[axis] * 0.5);
        Map { start: centre.map(rounded), column: column.map(rounded), row: row.map(rounded) }
    }

    /// Column x is taken from `tangent * x` further down; the left edge stays.
    pub(crate) fn shear_y(tangent: f64) -> Map {
        Map::new([0.0, 0.0], [1.0, tangent], [0.0, 1.0])
    }

    /// Pixels are taken from so much further right and down.
    pub(crate) fn translation(right: f64, down: f64) -> Map {
        Map::new([right, down], [1.0, 0.0], [0.0, 1.0])
    }

    /// The image turns counterclockwise about its centre.
    pub(crate) fn rotation(degrees: f64, shape: Shape) -> Map {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (x, y) = (shape.width as f64 / 2.0, shape.height as f64 / 2.0);
        let corner = [x - cos * x + sin * y, y - sin * x - cos * y];
        Map::new(corner, [cos, sin], [-sin, cos])
    }

    /// Replaces the image; pixels that come from outside are `fill`, which has a level for each channel.
    pub(crate) fn apply(self, picture: &mut Picture, fill: &[u8]) {
        let Shape { height, width, .. } = picture.shape;
        let before = picture.levels.clone();
        let sources = before.chunks_exact(height * width);
        for ((plane, source), &fill) in picture.planes_mut().zip(sources).zip(fill) {
            for (y, row) in plane.chunks_exact_mut(width).enumerate() {
                for (x, level) in row.iter_mut().enumerate() {
                    *level = self.source(x, y, width, height).map_or(fill, |at| source[at]);
                }
            }
        }
    }

    /// The position of the pixel that is copied to (x, y), if there is one.
    fn source(self, x: usize, y: usize, width: usize, height: usize) -> Option<usize> {
        let [from_x, from_y] = [0, 1].map(|axis| {
            // The shift rounds down, for points left of the image and above it too.
            (self.start[axis] + x as i64 * self.column[axis] + y as i64 * self.row[axis]) >> 16
        });
        let (from_x, from_y) = (usize::try_from(from_x).ok()?, usize::try_from(from_y).ok()?);
        (from_x < width && from_y < height).then_some(from_y * width + from_x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { channels: 1, height: 3, width: 3 };

    fn after(map: Map) -> Vec<u8> {
        let mut picture = Picture { shape: SHAPE, levels: (1..10).collect() };
        map.apply(&mut picture, &[0]);
        picture.levels
    }

    #[test]
    fn small_images_by_hand() {
        assert_eq!(after(Map::translation(0.0, 0.0)), (1..10).collect::<Vec<_>>());
        assert_eq!(after(Map::translation(1.0, 0.0)), [2, 3, 0, 5, 6, 0, 8, 9, 0]);
        assert_eq!(after(Map::translation(0.0, -1.0)), [0, 0, 0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(after(Map::translation(0.4, 0.0)), (1..10).collect::<Vec<_>>());
        assert_eq!(after(Map::shear_y(-0.3)), [1, 2, 0, 4, 5, 3, 7, 8, 6]);
        assert_eq!(after(Map::rotation(90.0, SHAPE)), [3, 6, 9, 2, 5, 8, 1, 4, 7], "counterclockwise");
        assert_eq!(after(Map::rotation(180.0, SHAPE)), (1..10).rev().collect::<Vec<_>>());
    }

    /// On every platform, whatever the last digit of its sine.
    #[test]
    fn the_coefficients_of_rotations_are_pinned() {
        let shape = Shape { channels: 3, height: 32, width: 32 };
        let columns = [1, 2, 9].map(|index| Map::rotation(30.0 * f64::from(index) / 9.0, shape).column);
        assert_eq!(columns, [[65_425, 3811], [65_093, 7608], [56_756, 32_768]]);
    }
}
