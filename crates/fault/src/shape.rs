//! Words that fail together because of where they lie.

mod effect;
mod event;
mod grid;
mod pattern;
mod pattern_file;

use std::sync::Arc;

use bitquake_sample::PartKey;

pub use effect::{BitsHit, BitsHitError, WORD_EFFECTS, WordEffect};
pub use pattern::{Axis, Choice, Extent, PatternClass, PatternPart, PatternValue, Span, SpatialPattern};
pub use pattern_file::SpatialPatternError;

use crate::draw_error::DrawError;
use crate::model::Elements;
use crate::model::plan::{Part, Plan};
use crate::space::{FaultSpace, SpaceTensor};
use effect::TensorEffect;
use grid::Grid;

/// Which words an event hits, around the element that it strikes: its *anchor*.
///
/// Shapes go by the dimensions of the tensor ([`FaultSpace::with_dims`]), those of one image for an activation. The first
/// dimension is that of the channels (output channels of a weight); a *row* runs along the last dimension, a *column* along the
/// last but one. So with `[T, D]`, T tokens of D features, a row is a token and a column a feature of all tokens. A vector is
/// one row.
///
/// | shape | `[C, H, W]` | `[C, D, H, W]` | `[T, D]` | `[N]` |
/// |---|---|---|---|---|
/// | neuron | the element | the element | the element | the element |
/// | channel | `c, *, *` | `c, *, *, *` | `t, *` | the element |
/// | row | `c, h, *` | `c, d, h, *` | `t, *` | all |
/// | column | `c, *, w` | `c, d, *, w` | `*, d` | the element |
/// | block | `c, h.., w..` | `c, d, h.., w..` | `t.., d..` | a run |
/// | bullet wake | `*, h, w` | `*, d, h, w` | `*, d` | all |
///
/// Rows and bullet wakes are classes of errors that faults in GPUs leave in the output of convolutions; a *bullet wake* has the
/// same place in several channels. (C. Bolchini, L. Cassano, A. Miele, A. Toschi, "Fast and Accurate Error Simulation for CNNs
/// Against Soft Errors", IEEE Trans. Computers 72(4), 2023, section on error models; arXiv 2206.02051. Their further class, the
/// shattered glass, is a union of bullet wakes and a row: write it as a [`SpatialPattern`].)
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// The anchor alone.
    Neuron,
    /// All elements of the anchor's channel.
    Channel,
    /// The anchor's row.
    Row,
    /// The anchor's column.
    Column,
    /// A rectangle with the anchor as its first corner, cut where the tensor ends.
    Block {
        /// Its extent along a column, at least 1.
        rows: u64,
        /// Its extent along a row, at least 1.
        columns: u64,
    },
    /// The anchor's place in this many channels, from the anchor's on, cut where the channels end; in all channels if `None`.
    BulletWake {
        /// How many, at least 1.
        channels: Option<u64>,
    },
    /// Each event has one of the classes of a pattern.
    Pattern(Arc<SpatialPattern>),
}

/// Events that hit several words at once, by their place in the tensor.
///
/// An event strikes an element of the space, every element with the same probability, and hits the words of the shape around it.
/// Different events have different anchors; where events hit the same words, these are hit once, as bursts are, so that patterns
/// are nested in the rate and in the count. What happens to a word hangs on the key and on the word alone (with a pattern, on the
/// event).
///
/// ```
/// use bitquake_bits::{BitSelection, Format};
/// use bitquake_fault::{Candidate, Elements, FaultModel, FaultSpace, Shape, ShapeFaults, WordEffect};
/// use bitquake_sample::StreamKey;
/// let conv = Candidate { name: "conv1", format: Format::F32, elements: 16 * 8 * 8, by_name_only: false };
/// let space = FaultSpace::gather([(conv, BitSelection::All)])?.with_dims(|_| Some(vec![16, 8, 8]))?;
/// let model = FaultModel::Shape(ShapeFaults {
///     shape: Shape::Channel,
///     at: Elements::Count(1),
///     effect: WordEffect::default(), // one bit of each word flips
/// });
/// let faults = model.draw(&space, &StreamKey { seed: 1, point: 0, trial: 0 })?;
/// assert_eq!(faults.faults(), 64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeFaults {
    /// Which words an event hits.
    pub shape: Shape,
    /// The anchors: a probability for each element, an exact number, or elements by name.
    pub at: Elements,
    /// What happens to the words; classes of a pattern that have values of their own do not ask for it.
    pub effect: WordEffect,
}

impl ShapeFaults {
    pub(crate) fn plan<'a>(&'a self, space: &'a FaultSpace) -> Result<Plan<'a>, DrawError> {
        self.check()?;
        let effects: Vec<&WordEffect> = match &self.shape {
            Shape::Pattern(pattern) => std::iter::once(&self.effect).chain(pattern.effects()).collect(),
            _ => vec![&self.effect],
        };
        let prepared = |tensor| prepare(&effects, tensor);
        let tensors: Arc<[Prepared]> = space.tensors().iter().map(prepared).collect::<Result<_, _>>()?;
        self.at.plan(space, Some("shape"), move |key, place, anchors, part| {
            let tensor = &space.tensors()[place];
            self.hit(
                &Hit { tensor, place, prepared: &tensors[place], key: key.part("shape") },
                anchors,
                part,
            );
        })
    }

    fn check(&self) -> Result<(), DrawError> {
        match self.shape {
            Shape::Block { rows: 0, .. } | Shape::Block { columns: 0, .. } => {
                Err(DrawError::EmptyShape { shape: "block" })
            }
            Shape::BulletWake { channels: Some(0) } => Err(DrawError::EmptyShape { shape: "bullet-wake" }),
            _ => Ok(()),
        }
    }

    fn hit(&self, hit: &Hit<'_>, anchors: Vec<u64>, part: &mut Part<'_>) {
        match &self.shape {
            Shape::Pattern(pattern) => event::hit(pattern, hit, &anchors, part),
            shape => hit.apply(0, shape.elements(&hit.prepared.grid, anchors), part),
        }
    }
}

/// A tensor, and what each effect is in its words; the first is the model's own.
struct Prepared {
    grid: Grid,
    effects: Vec<TensorEffect>,
}

fn prepare(effects: &[&WordEffect], tensor: &SpaceTensor) -> Result<Prepared, DrawError> {
    let effects = effects.iter().map(|effect| effect.in_tensor(tensor)).collect::<Result<_, _>>()?;
    Ok(Prepared { grid: Grid::new(&tensor.dims), effects })
}

/// The tensor that events hit in one draw.
struct Hit<'h> {
    tensor: &'h SpaceTensor,
    /// Its place in the space.
    place: usize,
    prepared: &'h Prepared,
    key: PartKey,
}

impl Hit<'_> {
    /// Does one of the effects to elements, in any order and perhaps some twice.
    fn apply(&self, effect: usize, mut elements: Vec<u64>, part: &mut Part<'_>) {
        if !elements.is_sorted_by(|a, b| a < b) {
            elements.sort_unstable();
            elements.dedup();
        }
        self.prepared.effects[effect].hit(self.tensor, self.place, &elements, &self.key, part);
    }
}

impl Shape {
    /// The name in `[fault] shape`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Neuron => "neuron",
            Self::Channel => "channel",
            Self::Row => "row",
            Self::Column => "column",
            Self::Block { .. } => "block",
            Self::BulletWake { .. } => "bullet-wake",
            Self::Pattern(_) => "pattern",
        }
    }

    /// The elements around anchors, in any order, perhaps some twice.
    fn elements(&self, grid: &Grid, mut anchors: Vec<u64>) -> Vec<u64> {
        // Anchors that mean the same words are one, so that high rates do not list a channel for each of its elements.
        let whole = |axis, mut anchors: Vec<u64>| {
            anchors.iter_mut().for_each(|anchor| *anchor = grid.first(axis, *anchor));
            anchors.sort_unstable();
            anchors.dedup();
            anchors.into_iter().flat_map(|anchor| grid.line(axis, anchor)).collect()
        };
        match self {
            Self::Neuron | Self::Pattern(_) => anchors,
            Self::Channel => {
                let size = grid.channel_size();
                anchors.iter_mut().for_each(|anchor| *anchor -= *anchor % size);
                anchors.dedup();
                anchors.into_iter().flat_map(|start| start..start + size).collect()
            }
            Self::Row => whole(Axis::X, anchors),
            Self::Column if grid.extent(Axis::Y) > 1 => whole(Axis::Y, anchors),
            Self::Column => anchors,
            Self::BulletWake { channels: None } => whole(Axis::C, anchors),
            Self::BulletWake { channels: Some(channels) } => {
                anchors.into_iter().flat_map(|anchor| grid.run(Axis::C, anchor, *channels)).collect()
            }
            Self::Block { rows, columns } => {
                let rows = anchors.into_iter().flat_map(|anchor| grid.run(Axis::Y, anchor, *rows));
                rows.flat_map(|anchor| grid.run(Axis::X, anchor, *columns)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(shape: &Shape, dims: &[u64], anchors: &[u64]) -> Vec<u64> {
        let mut elements = shape.elements(&Grid::new(dims), anchors.to_vec());
        elements.sort_unstable();
        elements.dedup();
        elements
    }

    #[test]
    fn every_shape_on_small_dims() {
        let wake = |channels| Shape::BulletWake { channels };
        let block = |rows, columns| Shape::Block { rows, columns };
        let chw: &[u64] = &[2, 3, 4];
        let rows: [(Shape, &[u64], u64, &[u64]); 30] = [
            (Shape::Neuron, chw, 17, &[17]),
            (Shape::Channel, chw, 17, &[12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]),
            (Shape::Row, chw, 17, &[16, 17, 18, 19]),
            (Shape::Column, chw, 17, &[13, 17, 21]),
            (wake(None), chw, 17, &[5, 17]),
            (wake(Some(2)), chw, 5, &[5, 17]),
            (wake(Some(2)), chw, 17, &[17]),
            (block(2, 2), chw, 5, &[5, 6, 9, 10]),
            (block(2, 3), chw, 10, &[10, 11]),
            (block(9, 9), chw, 0, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
            (Shape::Neuron, &[6], 4, &[4]),
            (Shape::Channel, &[6], 4, &[4]),
            (Shape::Row, &[6], 4, &[0, 1, 2, 3, 4, 5]),
            (Shape::Column, &[6], 4, &[4]),
            (wake(None), &[3], 1, &[0, 1, 2]),
            (block(2, 2), &[6], 4, &[4, 5]),
            (block(2, 2), &[6], 5, &[5]),
            // Three tokens of four features.
            (Shape::Channel, &[3, 4], 6, &[4, 5, 6, 7]),
            (Shape::Row, &[3, 4], 6, &[4, 5, 6, 7]),
            (Shape::Column, &[3, 4], 6, &[2, 6, 10]),
            (wake(None), &[3, 4], 6, &[2, 6, 10]),
            (block(2, 2), &[3, 4], 6, &[6, 7, 10, 11]),
            // [C, D, H, W].
            (Shape::Channel, &[2, 2, 2, 2], 13, &[8, 9, 10, 11, 12, 13, 14, 15]),
            (Shape::Row, &[2, 2, 2, 2], 13, &[12, 13]),
            (Shape::Column, &[2, 2, 2, 2], 13, &[13, 15]),
            (wake(None), &[2, 2, 2, 2], 13, &[5, 13]),
            (block(2, 2), &[2, 2, 2, 2], 12, &[12, 13, 14, 15]),
            (Shape::Channel, &[], 0, &[0]),
            (Shape::Row, &[], 0, &[0]),
            (wake(None), &[], 0, &[0]),
        ];
        for (shape, dims, anchor, want) in rows {
            assert_eq!(hit(&shape, dims, &[anchor]), want, "{} at {anchor} of {dims:?}", shape.name());
        }
    }

    #[test]
    fn many_anchors_are_the_union_of_each() {
        let shapes = [
            Shape::Neuron,
            Shape::Channel,
            Shape::Row,
            Shape::Column,
            Shape::Block { rows: 2, columns: 2 },
            Shape::BulletWake { channels: None },
            Shape::BulletWake { channels: Some(2) },
        ];
        for dims in [&[3, 3, 4][..], &[9, 4], &[36], &[3, 2, 2, 3]] {
            let anchors: Vec<u64> = (0..36).filter(|element| element % 5 < 2).collect();
            for shape in &shapes {
                let mut each: Vec<u64> =
                    anchors.iter().flat_map(|&anchor| hit(shape, dims, &[anchor])).collect();
                each.sort_unstable();
                each.dedup();
                assert_eq!(hit(shape, dims, &anchors), each, "{} of {dims:?}", shape.name());
            }
        }
    }
}
