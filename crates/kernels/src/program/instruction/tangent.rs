//! Tangents that need a step of their own. Those of linear steps are the same steps on tangents.

use super::{Item, Source};
use crate::program::fuse::Limit;

/// What a tangent is of.
#[derive(Clone, Debug)]
pub(in crate::program) enum TangentOf {
    /// Of a map with a norm, or of a gradient through one with fixed statistics.
    Map {
        pixels: usize,
        norm: Source,
        /// The table of the tangents of the norm's numbers.
        tangent: usize,
        /// The tangent of what the norm is applied to; if it measures statistics, of the standardized value.
        moved: Option<Item>,
        /// What the norm is applied to, if its numbers move.
        x: Option<Item>,
        /// Whether `x` is a gradient, to which the norm adds nothing.
        is_gradient: bool,
        other: Option<Item>,
        gate: Option<Item>,
        limit: Limit,
        y: Item,
    },
    /// Of what a norm with measured statistics has standardized. `means` are those of the tangent, `moved`, and of it times the standardized
    /// value.
    Standard { pixels: usize, norm: Source, means: Item, moved: Item, x: Item, y: Item },
    /// Of what [`GroupSlopes`](super::Instruction::GroupSlopes) gives.
    GroupSlopes {
        table: usize,
        tangent: usize,
        totals: Item,
        moved: Item,
        /// Sums of the gradient times the tangent of the standardized value.
        crossed: Option<Item>,
        slopes: Item,
    },
    /// Of what [`Normal`](super::Instruction::Normal) gives.
    Normal {
        pixels: usize,
        norm: Source,
        tangent: usize,
        /// What `Normal` takes and gives.
        slopes: Item,
        dz: Item,
        x: Item,
        dx: Item,
        /// The tangents of the slopes and of `dz`.
        moved: [Item; 2],
        /// The tangent of the standardized value and the means that it was made with, if it moves.
        standard: Option<[Item; 2]>,
        y: Item,
    },
    /// Of a pool of maxima: what stands where they stood.
    Pool { pool: usize, winners: Item, x: Item, y: Item },
}

impl TangentOf {
    /// Calls `visit` with each item, and whether it is written.
    pub(super) fn items(&self, mut visit: impl FnMut(Item, bool)) {
        let mut read = |items: &[Option<Item>]| items.iter().flatten().for_each(|&item| visit(item, false));
        let written = match *self {
            TangentOf::Map { norm, moved, x, other, gate, y, .. } => {
                read(&[norm.statistics, moved, x, other, gate]);
                y
            }
            TangentOf::Standard { norm, means, moved, x, y, .. } => {
                read(&[norm.statistics, Some(means), Some(moved), Some(x)]);
                y
            }
            TangentOf::GroupSlopes { totals, moved, crossed, slopes, .. } => {
                read(&[Some(totals), Some(moved), crossed]);
                slopes
            }
            TangentOf::Normal { norm, slopes, dz, x, dx, moved, standard, y, .. } => {
                read(&[norm.statistics]);
                read(&[slopes, dz, x, dx].map(Some));
                read(&moved.map(Some));
                read(&standard.map_or([None; 2], |items| items.map(Some)));
                y
            }
            TangentOf::Pool { winners, x, y, .. } => {
                read(&[Some(winners), Some(x)]);
                y
            }
        };
        visit(written, true);
    }
}
