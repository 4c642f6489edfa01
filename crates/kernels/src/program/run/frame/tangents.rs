//! Instructions that compute tangents.

use super::{Frame, mask};
use crate::program::fuse::Norm;
use crate::program::instruction::TangentOf;
use crate::program::map::{Affine, Normal};
use crate::program::patched::Patched;
use crate::program::run::{Runner, Shared};
use crate::program::tables::Numbers;
use crate::program::tangent::{GroupSums, NormalTangent, StandardMotion, Tangent};

/// Computes a tangent for one image.
pub(super) fn execute(
    runner: &Runner<'_>,
    of: &TangentOf,
    frame: &mut Frame<'_>,
    numbers: Patched<'_, Numbers>,
) {
    let Shared { plan, isa, parameters, .. } = runner.shared;
    match *of {
        TangentOf::Map { pixels, norm, tangent, moved, x, is_gradient, other, gate, limit, y } => {
            let reads = [norm.statistics, moved, x, other, gate];
            let (([statistics, of_moved, of_x, of_other, value], [y]), _) = frame.operands(reads, [Some(y)]);
            let of_norm = match is_gradient {
                true => numbers[tangent].slope(),
                false => numbers[tangent].affine(statistics),
            };
            Tangent {
                pixels,
                moved: moved.map(|_| (of_moved, numbers[norm.table].slope())),
                x: x.map(|_| (of_x, of_norm)),
                other: other.map(|_| of_other),
                mask: mask(limit, value, parameters),
                y,
            }
            .compute(isa);
        }
        TangentOf::Standard { pixels, norm, means, moved, x, y } => {
            let reads = [norm.statistics, Some(means), Some(moved), Some(x)];
            let (([statistics, means, moved, x], [y]), _) = frame.operands(reads, [Some(y)]);
            let numbers = &numbers[norm.table];
            let Affine { centre, inverse, .. } = numbers.affine(statistics);
            let (mean, along) = means.split_at(means.len() / 2);
            let scale = numbers.ones();
            Normal { pixels, dz: moved, x, centre, inverse, scale, mean, along, dx: y }.compute(isa);
        }
        TangentOf::GroupSlopes { table, tangent, totals, moved, crossed, slopes } => {
            let (([totals, moved, crossed], [slopes]), _) =
                frame.operands([Some(totals), Some(moved), crossed], [Some(slopes)]);
            let planned = &plan.tables[table];
            let Norm::Group { groups, .. } = planned.norm else { return };
            let scale = [table, tangent].map(|table| numbers[table].scale());
            GroupSums { totals, moved, crossed, scale }.slopes(
                planned.shape.channels,
                groups,
                planned.shape.pixels(),
                slopes,
            );
        }
        TangentOf::Normal { pixels, norm, tangent, slopes, dz, x, dx, moved, standard, y } => {
            let [of_standard, means] = standard.map_or([None; 2], |items| items.map(Some));
            let [of_slopes, of_dz] = moved.map(Some);
            let [slopes, dz, x, dx] = [slopes, dz, x, dx].map(Some);
            let reads = [norm.statistics, slopes, dz, x, dx, of_slopes, of_dz, of_standard, means];
            let (([statistics, slopes, dz, x, dx, of_slopes, of_dz, of_standard, means], [y]), _) =
                frame.operands(reads, [Some(y)]);
            let Affine { centre, inverse, .. } = numbers[norm.table].affine(statistics);
            let (mean, along) = of_slopes.split_at(of_slopes.len() / 2);
            let motion = StandardMotion {
                tangent: of_standard,
                square: &means[means.len() / 2..],
                along: &slopes[slopes.len() / 2..],
                dx,
            };
            NormalTangent {
                pixels,
                dz: [dz, of_dz],
                x,
                centre,
                inverse,
                scale: [norm.table, tangent].map(|table| numbers[table].scale()),
                mean,
                along,
                standard: standard.map(|_| motion),
                y,
            }
            .compute(isa);
        }
        TangentOf::Pool { pool, winners, x, y } => {
            let (([winners, x], [y]), _) = frame.operands([Some(winners), Some(x)], [Some(y)]);
            plan.pools[pool].chosen(isa, winners, x, y);
        }
    }
}
