//! Scores of bits: the larger, the more the bit matters.

use crate::levels::Levels;
use crate::rank::vector::Vector;
use crate::words::{AttackedTensor, AttackedWords};

/// How bits are scored.
#[derive(Clone, Copy, Debug)]
pub enum BitScores<'a> {
    /// By the expected change of the loss when the bit is flipped: `g d + h d^2 / 2`, where d is the change of the decoded level. A flip from or to a
    /// level that is no finite number scores infinity.
    Change {
        /// The gradient g.
        slopes: &'a Vector,
        /// The diagonal h of second derivatives; none to first order.
        curvature: Option<&'a Vector>,
    },
    /// The most significant bits of all weights first, in the order of the weights, then the next bits (SPEC F20). The score falls with the
    /// bit's place: `2^-p (2 - r / n)` for bit p from the most significant one of weight number r of n in the order.
    MsbFirst {
        /// The place of each weight in the order, from 0.
        places: &'a [Vec<u64>],
    },
    /// The score of the weight times 2 to the number of the bit (SPEC F21).
    Power {
        /// The scores of weights.
        scores: &'a Vector,
    },
}

impl<'a> BitScores<'a> {
    /// The scores of one tensor's bits.
    pub(crate) fn of_tensor(&self, place: usize, words: &'a AttackedWords) -> TensorScores<'a> {
        let tensor = &words.tensors()[place];
        let rule = match *self {
            Self::Change { slopes, curvature } => Rule::Change {
                slopes: &slopes[place],
                curvature: curvature.map(|curvature| curvature[place].as_slice()),
                levels: Levels::new(tensor),
            },
            Self::MsbFirst { places } => {
                let weights: usize = places.iter().map(Vec::len).sum();
                Rule::MsbFirst { places: &places[place], step: 1.0 / weights as f64 }
            }
            Self::Power { scores } => Rule::Power { scores: &scores[place] },
        };
        TensorScores { tensor, rule }
    }
}

/// The scores of one tensor's bits.
pub(crate) struct TensorScores<'a> {
    tensor: &'a AttackedTensor,
    rule: Rule<'a>,
}

enum Rule<'a> {
    Change { slopes: &'a [f64], curvature: Option<&'a [f64]>, levels: Levels<'a> },
    MsbFirst { places: &'a [u64], step: f64 },
    Power { scores: &'a [f64] },
}

impl TensorScores<'_> {
    /// The scores of all bits of a word, the least significant first.
    pub(crate) fn word(&self, element: u64, scores: &mut [f64]) {
        let at = element as usize;
        match &self.rule {
            Rule::Change { slopes, curvature, levels } => {
                let slope = slopes[at];
                let half = curvature.map_or(0.0, |curvature| 0.5 * curvature[at]);
                let (unit, word) = (self.tensor.unit(element), self.tensor.word(element));
                let before = levels.level(unit, word);
                for (bit, score) in scores.iter_mut().enumerate() {
                    let after = levels.level(unit, word ^ 1 << bit);
                    let change = f64::from(after) - f64::from(before);
                    *score = if change.is_finite() {
                        change * (slope + half * change) + 0.0
                    } else {
                        f64::INFINITY
                    };
                }
            }
            Rule::MsbFirst { places, step } => {
                let of_weight = 2.0 - places[at] as f64 * step;
                let from_top = scores.iter_mut().rev();
                from_top.fold(of_weight, |value, score| {
                    *score = value;
                    value / 2.0
                });
            }
            Rule::Power { scores: of_weights } => {
                scores.iter_mut().fold(of_weights[at], |value, score| {
                    *score = value + 0.0;
                    value * 2.0
                });
            }
        }
    }
}
