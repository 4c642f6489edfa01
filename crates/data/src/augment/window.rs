//! Steps that move or cover pixels and compute nothing: exact for any values.

use bitquake_sample::Words;

use crate::augment::Shape;

/// Replaces the image by a window of it surrounded by `padding` pixels of `fill`, uniform among all places.
pub(crate) fn crop(
    image: &mut [f32],
    shape: Shape,
    padding: usize,
    fill: &[f32],
    words: &mut Words,
    scratch: &mut Vec<f32>,
) {
    let mut place = || words.below(2 * padding as u64 + 1) as usize;
    let (top, left) = (place(), place());
    window(image, shape, (top, left), padding, fill, scratch);
}

/// The window whose corner is at (`top`, `left`) of the padded image.
fn window(
    image: &mut [f32],
    shape: Shape,
    (top, left): (usize, usize),
    padding: usize,
    fill: &[f32],
    scratch: &mut Vec<f32>,
) {
    let Shape { height, width, .. } = shape;
    scratch.clear();
    scratch.extend_from_slice(image);
    // In a row, the first so many pixels come from left of the image, and the last so many from right of it.
    let before = padding.saturating_sub(left);
    let kept = width - padding.abs_diff(left);
    let from = left.saturating_sub(padding);
    let planes = image.chunks_exact_mut(height * width).zip(scratch.chunks_exact(height * width));
    for ((plane, source), &fill) in planes.zip(fill) {
        for (y, row) in plane.chunks_exact_mut(width).enumerate() {
            row.fill(fill);
            let Some(y) = (y + top).checked_sub(padding).filter(|&y| y < height) else { continue };
            let start = y * width + from;
            row[before..before + kept].copy_from_slice(&source[start..start + kept]);
        }
    }
}

/// Exchanges left and right.
pub(crate) fn mirror(image: &mut [f32], width: usize) {
    image.chunks_exact_mut(width).for_each(<[f32]>::reverse);
}

/// Covers a square whose centre is uniform among the pixels.
pub(crate) fn cutout(image: &mut [f32], shape: Shape, side: usize, fill: &[f32], words: &mut Words) {
    let row = words.below(shape.height as u64) as usize;
    let column = words.below(shape.width as u64) as usize;
    cover(image, shape, (row, column), side, fill);
}

/// Covers the square with its centre at (`row`, `column`), as far as it lies in the image.
fn cover(image: &mut [f32], shape: Shape, (row, column): (usize, usize), side: usize, fill: &[f32]) {
    let clipped = |centre: usize, end: usize| {
        let start = centre as isize - (side / 2) as isize;
        start.max(0) as usize..((start + side as isize) as usize).min(end)
    };
    let (rows, columns) = (clipped(row, shape.height), clipped(column, shape.width));
    for (plane, &fill) in image.chunks_exact_mut(shape.height * shape.width).zip(fill) {
        let lines = plane.chunks_exact_mut(shape.width).skip(rows.start).take(rows.len());
        lines.for_each(|line| line[columns.clone()].fill(fill));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An image of two channels whose values are all different, and none of them a fill.
    fn numbered(height: usize, width: usize) -> (Vec<f32>, Shape) {
        let shape = Shape { channels: 2, height, width };
        ((0..shape.len() as u16).map(f32::from).collect(), shape)
    }

    const FILL: [f32; 2] = [-1.0, -2.0];

    #[test]
    fn windows_of_a_small_image() {
        let cases = [
            ((0, 0), [-1.0, -1.0, -1.0, -1.0, 0.0, 1.0]),
            ((1, 1), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            ((2, 2), [4.0, 5.0, -1.0, -1.0, -1.0, -1.0]),
            ((1, 2), [1.0, 2.0, -1.0, 4.0, 5.0, -1.0]),
        ];
        bitquake_testing::assert_cases(
            cases.map(|(corner, plane)| (format!("{corner:?}"), corner, plane)),
            |corner| {
                let (mut image, shape) = numbered(2, 3);
                window(&mut image, shape, corner, 1, &FILL, &mut Vec::new());
                <[f32; 6]>::try_from(&image[..6]).unwrap()
            },
        );
    }

    #[test]
    fn squares_on_a_small_image() {
        let covered = |centre, side| {
            let (mut image, shape) = numbered(4, 4);
            cover(&mut image, shape, centre, side, &FILL);
            let plane = image[16..].iter();
            plane.enumerate().filter(|(_, value)| **value == -2.0).map(|(i, _)| i).collect::<Vec<_>>()
        };
        assert_eq!(covered((2, 2), 2), [5, 6, 9, 10]);
        assert_eq!(covered((0, 0), 2), [0]);
        assert_eq!(covered((3, 3), 3), [10, 11, 14, 15]);
        assert_eq!(covered((1, 2), 1), [6]);
        assert_eq!(covered((0, 3), 4), [1, 2, 3, 5, 6, 7]);
    }

    proptest! {
        #[test]
        fn every_pixel_of_a_window_is_as_the_padded_image_says(
            height in 1_usize..7, width in 1_usize..7, padding in 1_usize..7, top in 0_usize..13, left in 0_usize..13,
        ) {
            let padding = padding.min(height).min(width);
            let (top, left) = (top.min(2 * padding), left.min(2 * padding));
            let (before, shape) = numbered(height, width);
            let mut image = before.clone();
            window(&mut image, shape, (top, left), padding, &FILL, &mut vec![9.0; 3]);
            for (i, &value) in image.iter().enumerate() {
                let (channel, y, x) = (i / (height * width), i / width % height, i % width);
                let (y, x) = ((y + top).wrapping_sub(padding), (x + left).wrapping_sub(padding));
                let is_inside = y < height && x < width;
                let expected =
                    if is_inside { before[channel * height * width + y * width + x] } else { FILL[channel] };
                prop_assert_eq!(value, expected);
            }
        }

        #[test]
        fn every_pixel_of_a_square_and_no_other_is_covered(
            height in 1_usize..9, width in 1_usize..9, side in 1_usize..9, row in 0_usize..9, column in 0_usize..9,
        ) {
            let (row, column) = (row % height, column % width);
            let (before, shape) = numbered(height, width);
            let mut image = before.clone();
            cover(&mut image, shape, (row, column), side, &FILL);
            for (i, &value) in image.iter().enumerate() {
                let (channel, y, x) = (i / (height * width), i / width % height, i % width);
                let is_near = |place: usize, centre: usize| (0..side).any(|k| place + side / 2 == centre + k);
                let is_covered = is_near(y, row) && is_near(x, column);
                prop_assert_eq!(value, if is_covered { FILL[channel] } else { before[i] });
            }
        }

        #[test]
        fn twice_mirrored_is_unchanged(height in 1_usize..7, width in 1_usize..7) {
            let (before, _) = numbered(height, width);
            let mut image = before.clone();
            mirror(&mut image, width);
            for (i, &value) in image.iter().enumerate() {
                prop_assert_eq!(value, before[i / width * width + width - 1 - i % width]);
            }
            mirror(&mut image, width);
            prop_assert_eq!(image, before);
        }
    }
}
