//! Operations that move an image away from, or towards, a degraded version of itself.

use crate::augment::autoaugment::picture::Picture;

/// What is exaggerated or reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enhancement {
    /// Against the grey image.
    Colour,
    /// Against one grey: the mean brightness, to the nearest level, halves up.
    Contrast,
    /// Against the smoothed image.
    Sharpness,
    /// Against black.
    Brightness,
}

/// Replaces every level `x` by `d + factor * (x - d)`, with `d` the degraded image's: in `f32`, the product and the
/// sum rounded once each, then rounded down and saturated at 0 and 255.
pub(crate) fn enhance(picture: &mut Picture, what: Enhancement, factor: f32) {
    match what {
        Enhancement::Brightness => picture.planes_mut().for_each(|plane| {
            plane.iter_mut().for_each(|level| *level = blended(0, *level, factor));
        }),
        Enhancement::Contrast => {
            let mean = rounded_mean(&picture.grey());
            let levels = picture.levels.iter_mut();
            levels.for_each(|level| *level = blended(mean, *level, factor));
        }
        Enhancement::Colour => {
            let grey = picture.grey();
            picture.planes_mut().for_each(|plane| blend(plane, &grey, factor));
        }
        Enhancement::Sharpness => {
            let width = picture.shape.width;
            picture.planes_mut().for_each(|plane| {
                let smooth = smoothed(plane, width);
                blend(plane, &smooth, factor);
            });
        }
    }
}

fn blend(plane: &mut [u8], degraded: &[u8], factor: f32) {
    plane.iter_mut().zip(degraded).for_each(|(level, &degraded)| *level = blended(degraded, *level, factor));
}

fn blended(degraded: u8, level: u8, factor: f32) -> u8 {
    let difference = i16::from(level) - i16::from(degraded);
    // The conversion rounds towards 0 and saturates.
    (f32::from(degraded) + factor * f32::from(difference)) as u8
}

fn rounded_mean(levels: &[u8]) -> u8 {
    let (sum, count) = (levels.iter().map(|&level| u64::from(level)).sum::<u64>(), levels.len() as u64);
    ((2 * sum + count) / (2 * count)) as u8
}

/// The mean of the 3 x 3 pixels around each, the one in the middle counted five times, to the nearest level (never a
/// tie, since the weights sum to 13). The outermost pixels stay as they are.
fn smoothed(plane: &[u8], width: usize) -> Vec<u8> {
    let mut smooth = plane.to_vec();
    let height = plane.len() / width;
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let at = y * width + x;
            let row =
                |start: usize| plane[start..start + 3].iter().map(|&level| u32::from(level)).sum::<u32>();
            let around = row(at - width - 1) + row(at - 1) + row(at + width - 1);
            let sum = around + 4 * u32::from(plane[at]);
            smooth[at] = ((2 * sum + 13) / 26) as u8;
        }
    }
    smooth
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::Shape;

    #[test]
    fn the_factor_1_changes_nothing() {
        let shape = Shape { channels: 3, height: 4, width: 5 };
        let picture = Picture { shape, levels: (0..60).map(|i| (i * 37 % 256) as u8).collect() };
        for what in
            [Enhancement::Colour, Enhancement::Contrast, Enhancement::Sharpness, Enhancement::Brightness]
        {
            let mut changed = picture.clone();
            enhance(&mut changed, what, 1.0);
            assert_eq!(changed, picture, "{what:?}");
        }
    }

    #[test]
    fn levels_round_down_and_saturate() {
        let cases = [
            ("dark", (0, 100, 0.19), 19),
            ("down", (0, 99, 0.5), 49),
            ("white", (10, 250, 1.9), 255),
            ("black", (200, 20, 1.9), 0),
            ("the degraded image", (77, 20, 0.0), 77),
        ];
        bitquake_testing::assert_cases(cases, |(degraded, level, factor)| blended(degraded, level, factor));
    }

    #[test]
    fn small_images_have_no_inside() {
        assert_eq!(smoothed(&[1, 200, 3, 4], 2), [1, 200, 3, 4]);
        assert_eq!(smoothed(&[9; 7], 7), [9; 7]);
        assert_eq!(smoothed(&[0, 0, 0, 0, 26, 0, 0, 0, 13], 3), [0, 0, 0, 0, 11, 0, 0, 0, 13]);
    }
}
