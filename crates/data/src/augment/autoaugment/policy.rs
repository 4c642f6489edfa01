//! Which operations, how likely and how strong.

use crate::augment::Policy;
use crate::augment::autoaugment::operation::Operation::{self, *};

/// One operation of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chance {
    pub(crate) operation: Operation,
    /// The probability, in tenths.
    pub(crate) tenths: u8,
    /// The magnitude, 0 to 9; without meaning for invert, autocontrast and equalize.
    pub(crate) index: u8,
}

const fn of(operation: Operation, tenths: u8, index: u8) -> Chance {
    Chance { operation, tenths, index }
}

/// The pairs of a policy, each as likely as any other.
pub(crate) fn pairs(policy: Policy) -> &'static [[Chance; 2]] {
    match policy {
        Policy::Cifar10 => &CIFAR10,
    }
}

/// SPEC 2.4.
const CIFAR10: [[Chance; 2]; 25] = [
    [of(Invert, 1, 7), of(Contrast, 2, 6)],
    [of(Rotate, 7, 2), of(TranslateX, 3, 9)],
    [of(Sharpness, 8, 1), of(Sharpness, 9, 3)],
    [of(ShearY, 5, 8), of(TranslateY, 7, 9)],
    [of(AutoContrast, 5, 8), of(Equalize, 9, 2)],
    [of(ShearY, 2, 7), of(Posterize, 3, 7)],
    [of(Colour, 4, 3), of(Brightness, 6, 7)],
    [of(Sharpness, 3, 9), of(Brightness, 7, 9)],
    [of(Equalize, 6, 5), of(Equalize, 5, 1)],
    [of(Contrast, 6, 7), of(Sharpness, 6, 5)],
    [of(Colour, 7, 7), of(TranslateX, 5, 8)],
    [of(Equalize, 3, 7), of(AutoContrast, 4, 8)],
    [of(TranslateY, 4, 3), of(Sharpness, 2, 6)],
    [of(Brightness, 9, 6), of(Colour, 2, 8)],
    [of(Solarize, 5, 2), of(Invert, 0, 3)],
    [of(Equalize, 2, 0), of(AutoContrast, 6, 0)],
    [of(Equalize, 2, 8), of(Equalize, 6, 4)],
    [of(Colour, 9, 9), of(Equalize, 6, 6)],
    [of(AutoContrast, 8, 4), of(Solarize, 2, 8)],
    [of(Brightness, 1, 3), of(Colour, 7, 0)],
    [of(Solarize, 4, 5), of(AutoContrast, 9, 3)],
    [of(TranslateY, 9, 9), of(TranslateY, 7, 9)],
    [of(AutoContrast, 9, 2), of(Solarize, 8, 3)],
    [of(Equalize, 8, 8), of(Invert, 1, 3)],
    [of(TranslateY, 7, 9), of(AutoContrast, 9, 1)],
];
