//! Spatial patterns as data.

use super::effect::WordEffect;

/// A dimension of a tensor, as offsets `[c, y, x]` name it. With two dimensions, `c` and `y` are the same one; a vector has
/// no `y`, and its only dimension is both `c` and `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Across channels: the first dimension.
    C,
    /// Along a column: the last dimension but one.
    Y,
    /// Along a row: the last dimension.
    X,
}

/// Which words of which tensors fail together, as measured: read from JSON by [`from_json`](Self::from_json).
///
/// Each event has one class, chosen by weight; its parts, placed at the anchor, are hit together.
#[derive(Clone, Debug, PartialEq)]
pub struct SpatialPattern {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) classes: Vec<PatternClass>,
    /// Cumulative weights, the last of them 1.
    pub(super) cumulative: Vec<f64>,
}

/// One kind of event.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternClass {
    /// Its name, for people.
    pub name: String,
    /// How often it occurs, relative to the other classes.
    pub weight: f64,
    /// What is hit: the union of these.
    pub parts: Vec<PatternPart>,
    /// What happens to a word, chosen for each word by weight; nothing where the model's own effect holds.
    pub values: Vec<PatternValue>,
    /// Cumulative weights of `values`, the last of them 1.
    pub(super) cumulative: Vec<f64>,
}

/// Words around the anchor.
#[derive(Clone, Debug, PartialEq)]
pub enum PatternPart {
    /// The words at these steps `[c, y, x]` from the anchor; those outside the tensor are left out. Steps are taken one axis
    /// after the other, in this order.
    Offsets(Vec<[i64; 3]>),
    /// The product of spans, each along an axis of its own: two spans along y and x are a rectangle.
    Spans(Vec<Span>),
}

/// Words along one axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The axis.
    pub axis: Axis,
    /// How many of them.
    pub extent: Extent,
    /// Which.
    pub choice: Choice,
}

/// How many words a span has.
#[derive(Clone, Debug, PartialEq)]
pub enum Extent {
    /// All along the axis.
    All,
    /// One of these numbers, chosen by weight for each event; no more than there are along the axis.
    Counts {
        /// Numbers, each at least 1.
        counts: Vec<u64>,
        /// Cumulative weights, the last of them 1.
        cumulative: Vec<f64>,
    },
}

/// Which words along an axis a span has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The anchor and every so many-th after it, cut where the tensor ends.
    Step(u64),
    /// The anchor and others at random, all sets equally likely.
    Random,
}

/// What happens to a word, and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternValue {
    /// How often, relative to the others of the class.
    pub weight: f64,
    /// What.
    pub effect: WordEffect,
}

impl SpatialPattern {
    /// The pattern's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the numbers come from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The kinds of events; at least one.
    #[must_use]
    pub fn classes(&self) -> &[PatternClass] {
        &self.classes
    }

    /// The effects of all classes, class after class.
    pub(super) fn effects(&self) -> impl Iterator<Item = &WordEffect> {
        self.classes.iter().flat_map(|class| class.values.iter().map(|value| &value.effect))
    }
}

/// Cumulative weights, divided by their sum; `None` unless all are finite, none is negative and some are positive.
pub(super) fn cumulative(weights: impl Iterator<Item = f64>) -> Option<Vec<f64>> {
    let mut sum = 0.0;
    let mut sums = Vec::new();
    for weight in weights {
        if !(0.0..f64::INFINITY).contains(&weight) {
            return None;
        }
        sum += weight;
        sums.push(sum);
    }
    (sum > 0.0 && sum.is_finite()).then(|| sums.into_iter().map(|part| part / sum).collect())
}
