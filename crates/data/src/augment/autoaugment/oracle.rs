//! Every operation against Pillow, whose results `tools/fixtures/augment_oracles.py` wrote down: equal, without a
//! tolerance.

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::augment::Shape;
use crate::augment::autoaugment::operation::Operation;
use crate::augment::autoaugment::picture::Picture;

#[derive(Deserialize)]
struct Fixture {
    images: BTreeMap<String, Before>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Before {
    shape: [usize; 3],
    levels: String,
}

#[derive(Deserialize)]
struct Case {
    image: String,
    operation: String,
    index: u8,
    is_negative: bool,
    levels: String,
}

/// What the script fills with, too.
const FILL: [u8; 3] = [125, 123, 113];

const NAMES: [(&str, Operation); 13] = [
    ("shear-y", Operation::ShearY),
    ("translate-x", Operation::TranslateX),
    ("translate-y", Operation::TranslateY),
    ("rotate", Operation::Rotate),
    ("colour", Operation::Colour),
    ("contrast", Operation::Contrast),
    ("sharpness", Operation::Sharpness),
    ("brightness", Operation::Brightness),
    ("posterize", Operation::Posterize),
    ("solarize", Operation::Solarize),
    ("invert", Operation::Invert),
    ("autocontrast", Operation::AutoContrast),
    ("equalize", Operation::Equalize),
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

impl Before {
    fn picture(&self) -> Picture {
        let [channels, height, width] = self.shape;
        Picture { shape: Shape { channels, height, width }, levels: bytes(&self.levels) }
    }
}

#[test]
fn every_operation_is_pillows_to_the_level() {
    let text = include_str!("../../../tests/fixtures/augment_oracles.json");
    let fixture: Fixture = serde_json::from_str(text).unwrap();
    let mut tried = Vec::new();
    for case in &fixture.cases {
        let &(name, operation) = NAMES.iter().find(|(name, _)| *name == case.operation).unwrap();
        let mut picture = fixture.images[&case.image].picture();
        operation.change(case.index, case.is_negative).apply(&mut picture, &FILL);
        let wanted = bytes(&case.levels);
        let wrong = picture.levels.iter().zip(&wanted).filter(|(level, wanted)| level != wanted).count();
        let Case { image, index, is_negative, .. } = case;
        assert_eq!(wrong, 0, "levels of {} differ: {name} {index} {is_negative} on {image}", wanted.len());
        tried.push(name);
    }
    assert!(NAMES.iter().all(|(name, _)| tried.contains(name)), "an operation is not in the file");
}
