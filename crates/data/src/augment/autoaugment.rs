//! AutoAugment: one of a learnt list of pairs of operations, on 8-bit images (Cubuk et al., CVPR 2019; SPEC 2.4).
//!
//! Every operation is exact: whole numbers, or floats whose every rounding is stated. They agree with Pillow's to the
//! last level; `tools/fixtures/augment_oracles.py` made the images that a test compares.

mod affine;
mod blend;
mod operation;
#[cfg(test)]
mod oracle;
mod picture;
mod policy;
mod tone;

use bitquake_sample::{Rate, Words};

use crate::augment::{AugmentError, Policy, Shape};
use crate::dataset::Dataset;
use operation::Change;
use picture::Picture;
use policy::Chance;

/// A policy for images of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pairs: &'static [[Chance; 2]],
    /// One level for each channel.
    fill: Vec<u8>,
}

impl Ready {
    /// Checks that the images have 8-bit colours.
    pub(crate) fn new(
        policy: Policy,
        fill: &[f32],
        shape: Shape,
        data: &Dataset,
    ) -> Result<Ready, AugmentError> {
        if !matches!(shape.channels, 1 | 3) {
            return Err(AugmentError::PolicyChannels { channels: shape.channels });
        }
        let is_share = |value: &f32| (0.0..=1.0).contains(value);
        if let Some(&value) = fill.iter().find(|value| !is_share(value)) {
            return Err(AugmentError::PolicyFill { value });
        }
        let values = data.images(0..data.len());
        match values.iter().position(|value| !is_share(value)) {
            Some(at) => Err(AugmentError::PolicyRange { row: at / data.image_len(), value: values[at] }),
            None => {
                let fill = fill.iter().map(|&value| picture::level(value)).collect();
                Ok(Ready { pairs: policy::pairs(policy), fill })
            }
        }
    }

    /// Rounds the image to 8 bits, whatever is done to it, and makes the changes of one pair.
    pub(crate) fn apply(&self, image: &mut [f32], shape: Shape, words: &mut Words) {
        let mut picture = Picture::new(image, shape);
        for change in self.draw(words).into_iter().flatten() {
            change.apply(&mut picture, &self.fill);
        }
        picture.write(image);
    }

    /// One pair, each of its operations with its own probability and, where it has one, a random sign.
    fn draw(&self, words: &mut Words) -> [Option<Change>; 2] {
        let pair = self.pairs[words.below(self.pairs.len() as u64) as usize];
        pair.map(|chance| {
            let is_done = words.chance(Rate::clamped(f64::from(chance.tenths) / 10.0));
            is_done.then(|| {
                let is_negative = chance.operation.has_sign() && words.below(2) == 1;
                chance.operation.change(chance.index, is_negative)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use bitquake_sample::StreamKey;
    use bitquake_testing::assert_binomial;

    use super::*;
    use operation::Operation;

    /// Tests at a false-alarm probability of 1e-9 each, of which there are six.
    #[test]
    fn pairs_and_signs_are_drawn_as_the_policy_says() {
        let ready = Ready { pairs: policy::pairs(Policy::Cifar10), fill: vec![0; 3] };
        let draws: Vec<[Option<Change>; 2]> = (0..40_000)
            .map(|trial| {
                ready.draw(&mut StreamKey { seed: 3, point: 0, trial }.part("test").whole().words(0))
            })
            .collect();
        let count = |first: Option<Change>| draws.iter().filter(|draw| draw[0] == first).count() as u64;
        let change = |operation: Operation, index, is_negative| Some(operation.change(index, is_negative));
        let all = draws.len() as u64;
        // Each is the first of one pair alone.
        assert_binomial(count(change(Operation::Rotate, 2, false)), all, 0.7 / 25.0, 1e-9);
        assert_binomial(count(change(Operation::ShearY, 8, true)), all, 0.5 / 25.0 / 2.0, 1e-9);
        assert_binomial(count(change(Operation::ShearY, 8, false)), all, 0.5 / 25.0 / 2.0, 1e-9);
        assert_binomial(count(change(Operation::Brightness, 6, true)), all, 0.9 / 25.0 / 2.0, 1e-9);
        // Equalize is first in five pairs, with 0.6, 0.3, 0.2, 0.2 and 0.8.
        assert_binomial(count(Some(Change::Equalize)), all, 2.1 / 25.0, 1e-9);
        let both = draws.iter().filter(|draw| **draw == [Some(Change::Equalize); 2]).count() as u64;
        assert_binomial(both, all, (0.6 * 0.5 + 0.2 * 0.6) / 25.0, 1e-9);
    }
}
