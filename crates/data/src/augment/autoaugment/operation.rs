//! The operations, and what a magnitude means to each.

use crate::augment::autoaugment::affine::Map;
use crate::augment::autoaugment::blend::{self, Enhancement};
use crate::augment::autoaugment::picture::Picture;
use crate::augment::autoaugment::tone;

/// What can be done to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Colour,
    Contrast,
    Sharpness,
    Brightness,
    Posterize,
    Solarize,
    Invert,
    AutoContrast,
    Equalize,
}

/// The level of the corners that a rotation leaves empty, in every channel (SPEC 2.4).
const ROTATION_FILL: [u8; 3] = [128; 3];

/// An operation of a certain strength.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// Columns are shifted in proportion to their distance from the left edge.
    ShearY {
        tangent: f64,
    },
    /// By a share of the width.
    TranslateX {
        share: f64,
    },
    /// By a share of the height.
    TranslateY {
        share: f64,
    },
    /// Counterclockwise about the centre.
    Rotate {
        degrees: f64,
    },
    /// 1 changes nothing, 0 removes, above 1 exaggerates.
    Enhance {
        what: Enhancement,
        factor: f32,
    },
    /// The highest so many bits are kept.
    Posterize {
        bits: u32,
    },
    /// Levels of at least `ninths / 9` are inverted.
    Solarize {
        ninths: u32,
    },
    Invert,
    AutoContrast,
    Equalize,
}

impl Operation {
    /// Whether half of the time the magnitude is taken the other way.
    pub(crate) fn has_sign(self) -> bool {
        use Operation::{Brightness, Colour, Contrast, Sharpness, ShearY, TranslateX, TranslateY};
        matches!(self, ShearY | TranslateX | TranslateY | Colour | Contrast | Sharpness | Brightness)
    }

    /// Magnitudes run linearly over `index` = 0 to 9 (SPEC 2.4): shear 0 to 0.3, translation 0 to 150/331, rotation 0
    /// to 30 degrees, factors 1 to 1.9 or 0.1, posterize 8 to 4 bits (to the nearest), solarize from 256 to 0.
    pub(crate) fn change(self, index: u8, is_negative: bool) -> Change {
        let sign = if is_negative { -1.0 } else { 1.0 };
        let part = f64::from(index) / 9.0;
        let enhance = |what| {
            let tenths = if is_negative { 10 - index } else { 10 + index };
            Change::Enhance { what, factor: f32::from(tenths) / 10.0 }
        };
        match self {
            Operation::ShearY => Change::ShearY { tangent: sign * 0.3 * part },
            Operation::TranslateX => Change::TranslateX { share: sign * 150.0 / 331.0 * part },
            Operation::TranslateY => Change::TranslateY { share: sign * 150.0 / 331.0 * part },
            Operation::Rotate => Change::Rotate { degrees: 30.0 * part },
            Operation::Colour => enhance(Enhancement::Colour),
            Operation::Contrast => enhance(Enhancement::Contrast),
            Operation::Sharpness => enhance(Enhancement::Sharpness),
            Operation::Brightness => enhance(Enhancement::Brightness),
            // 8 - 4 index / 9, to the nearest: never a tie, since 9 is odd.
            Operation::Posterize => Change::Posterize { bits: (2 * (72 - 4 * u32::from(index)) + 9) / 18 },
            Operation::Solarize => Change::Solarize { ninths: 256 * (9 - u32::from(index)) },
            Operation::Invert => Change::Invert,
            Operation::AutoContrast => Change::AutoContrast,
            Operation::Equalize => Change::Equalize,
        }
    }
}

impl Change {
    /// `fill` has one level for each channel.
    pub(crate) fn apply(self, picture: &mut Picture, fill: &[u8]) {
        let shape = picture.shape;
        match self {
            Change::ShearY { tangent } => Map::shear_y(tangent).apply(picture, fill),
            Change::TranslateX { share } => {
                Map::translation(share * shape.width as f64, 0.0).apply(picture, fill);
            }
            Change::TranslateY { share } => {
                Map::translation(0.0, share * shape.height as f64).apply(picture, fill);
            }
            Change::Rotate { degrees } => Map::rotation(degrees, shape).apply(picture, &ROTATION_FILL),
            Change::Enhance { what, factor } => blend::enhance(picture, what, factor),
            Change::Posterize { bits } => tone::map(picture, |level| level & (0xff00_u16 >> bits) as u8),
            Change::Solarize { ninths } => {
                tone::map(picture, |level| if 9 * u32::from(level) < ninths { level } else { 255 - level });
            }
            Change::Invert => tone::map(picture, |level| 255 - level),
            Change::AutoContrast => tone::map_by_histogram(picture, tone::autocontrast),
            Change::Equalize => tone::map_by_histogram(picture, tone::equalize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_run_from_end_to_end() {
        let bits = |index| match Operation::Posterize.change(index, false) {
            Change::Posterize { bits } => bits,
            other => panic!("{other:?}"),
        };
        assert_eq!((0..10).map(bits).collect::<Vec<_>>(), [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]);
        let ends =
            |operation: Operation, is_negative| [0, 9].map(|index| operation.change(index, is_negative));
        let factors =
            |low, high| [low, high].map(|factor| Change::Enhance { what: Enhancement::Colour, factor });
        assert_eq!(ends(Operation::Colour, false), factors(1.0, 1.9));
        assert_eq!(ends(Operation::Colour, true), factors(1.0, 0.1));
        let cases = [
            (Operation::ShearY, true, Change::ShearY { tangent: -0.3 }),
            (Operation::TranslateX, false, Change::TranslateX { share: 150.0 / 331.0 }),
            (Operation::TranslateY, true, Change::TranslateY { share: -150.0 / 331.0 }),
            (Operation::Rotate, false, Change::Rotate { degrees: 30.0 }),
            (Operation::Solarize, false, Change::Solarize { ninths: 0 }),
        ];
        for (operation, is_negative, end) in cases {
            assert_eq!(ends(operation, is_negative)[1], end);
        }
        assert_eq!(ends(Operation::Solarize, false)[0], Change::Solarize { ninths: 9 * 256 });
    }
}
