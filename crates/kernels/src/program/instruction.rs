//! What is done for one image, and what is done for a batch.

mod tangent;

pub(super) use tangent::TangentOf;

use super::fuse::Limit;

/// A place in memory: a list of floats for each image. Numbered by the compiler.
pub(super) type Item = usize;

/// A step for one image.
#[derive(Clone, Debug)]
pub(super) enum Instruction {
    /// From plain to blocked.
    Block {
        channels: usize,
        plain: Item,
        blocked: Item,
    },
    /// From blocked to plain.
    Unblock {
        channels: usize,
        blocked: Item,
        plain: Item,
    },
    /// The first floats of an item, as features.
    Copy {
        from: Item,
        to: Item,
    },
    Convolution {
        layer: usize,
        x: Item,
        y: Item,
    },
    /// A convolution without its bias; with `is_added` on top of what `y` holds.
    Correlation {
        layer: usize,
        x: Item,
        y: Item,
        is_added: bool,
    },
    /// A convolution of `limit(norm(x) + other)`, which is computed where it is read. In forward passes alone.
    Mapped {
        layer: usize,
        pixels: usize,
        x: Item,
        norm: Option<Source>,
        other: Option<Item>,
        limit: Limit,
        y: Item,
    },
    /// With `is_added` on top of what `dx` holds.
    DataGradient {
        layer: usize,
        dy: Item,
        dx: Item,
        is_added: bool,
    },
    WeightGradient {
        layer: usize,
        x: Item,
        dy: Item,
    },
    /// `y = limit(norm(x) + other)`.
    Map {
        is_plain: bool,
        pixels: usize,
        x: Item,
        norm: Option<Source>,
        other: Option<Item>,
        limit: Limit,
        y: Item,
    },
    /// The gradient through a norm with fixed statistics.
    Scale {
        pixels: usize,
        table: usize,
        dz: Item,
        dx: Item,
    },
    /// The gradient through a sum and a limit, and its sums over pixels.
    Back {
        pixels: usize,
        dy: Item,
        more: Option<Item>,
        gate: Option<Item>,
        limit: Limit,
        /// The standardized value is that of this item under this norm.
        standard: Option<(Item, Source)>,
        dz: Option<Item>,
        totals: Option<Item>,
    },
    Moments {
        pixels: usize,
        x: Item,
        moments: Item,
    },
    GroupStatistics {
        table: usize,
        moments: Item,
        statistics: Item,
    },
    GroupSlopes {
        table: usize,
        totals: Item,
        slopes: Item,
    },
    /// The means of sums of an image over groups.
    GroupMeans {
        table: usize,
        totals: Item,
        means: Item,
    },
    /// The gradient through a norm with measured statistics.
    Normal {
        pixels: usize,
        norm: Source,
        slopes: Option<Item>,
        dz: Item,
        x: Item,
        dx: Item,
    },
    /// A pool; of maxima, also the steps of its windows that the gradient goes to.
    Pool {
        pool: usize,
        is_positive: bool,
        x: Item,
        y: Item,
        winners: Option<Item>,
    },
    PoolGradient {
        pool: usize,
        winners: Option<Item>,
        dy: Item,
        dx: Item,
        /// Sums over pixels.
        totals: Option<Item>,
    },
    /// A tangent of something else than a sum of products.
    Tangent(TangentOf),
    /// Looks for values that are not finite.
    Check {
        is_plain: bool,
        channels: usize,
        x: Item,
        value: usize,
    },
}

/// Where the numbers of a norm are: a table, and for statistics of single images an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    pub(super) table: usize,
    pub(super) statistics: Option<Item>,
}

impl Instruction {
    /// Calls `visit` with each item, and whether it is written.
    pub(super) fn items(&self, mut visit: impl FnMut(Item, bool)) {
        if let Instruction::Tangent(of) = self {
            return of.items(visit);
        }
        let mut read = |items: &[Option<Item>]| items.iter().flatten().for_each(|&item| visit(item, false));
        let statistics = |norm: &Source| norm.statistics;
        let written = match self {
            Instruction::Block { plain: from, blocked: to, .. }
            | Instruction::Unblock { blocked: from, plain: to, .. }
            | Instruction::Copy { from, to }
            | Instruction::Convolution { x: from, y: to, .. }
            | Instruction::Correlation { x: from, y: to, .. }
            | Instruction::DataGradient { dy: from, dx: to, .. }
            | Instruction::Scale { dz: from, dx: to, .. }
            | Instruction::Moments { x: from, moments: to, .. }
            | Instruction::GroupStatistics { moments: from, statistics: to, .. }
            | Instruction::GroupMeans { totals: from, means: to, .. }
            | Instruction::GroupSlopes { totals: from, slopes: to, .. } => {
                read(&[Some(*from)]);
                [Some(*to), None]
            }
            Instruction::WeightGradient { x, dy, .. } => {
                read(&[Some(*x), Some(*dy)]);
                [None, None]
            }
            Instruction::Map { x, norm, other, y, .. } | Instruction::Mapped { x, norm, other, y, .. } => {
                read(&[Some(*x), norm.as_ref().and_then(statistics), *other]);
                [Some(*y), None]
            }
            Instruction::Back { dy, more, gate, standard, dz, totals, .. } => {
                let (x, statistics) = standard.map_or((None, None), |(x, norm)| (Some(x), norm.statistics));
                read(&[Some(*dy), *more, *gate, x, statistics]);
                [*dz, *totals]
            }
            Instruction::Normal { norm, slopes, dz, x, dx, .. } => {
                read(&[norm.statistics, *slopes, Some(*dz), Some(*x)]);
                [Some(*dx), None]
            }
            Instruction::Pool { x, y, winners, .. } => {
                read(&[Some(*x)]);
                [Some(*y), *winners]
            }
            Instruction::PoolGradient { winners, dy, dx, totals, .. } => {
                read(&[*winners, Some(*dy)]);
                [Some(*dx), *totals]
            }
            Instruction::Check { x, .. } => {
                read(&[Some(*x)]);
                [None, None]
            }
            Instruction::Tangent(_) => [None, None], // told above
        };
        written.iter().flatten().for_each(|&item| visit(item, true));
    }
}

/// A step for the whole batch, between stages.
#[derive(Clone, Debug)]
pub(super) enum Task {
    /// Statistics of the batch from the moments of images.
    Statistics {
        table: usize,
        moments: Item,
    },
    /// What the gradient through a batch norm takes off, from sums of images.
    Slopes {
        table: usize,
        totals: Item,
    },
    Linear {
        layer: usize,
        x: Item,
        y: Item,
    },
    /// A fully connected layer without its bias; with `is_added` on top of what `y` holds.
    LinearProduct {
        layer: usize,
        x: Item,
        y: Item,
        is_added: bool,
    },
    /// With `is_added` on top of what `dx` holds.
    LinearData {
        layer: usize,
        dy: Item,
        dx: Item,
        is_added: bool,
    },
}

impl Task {
    /// Its items.
    pub(super) fn items(&self) -> [Option<Item>; 2] {
        match *self {
            Task::Statistics { moments: item, .. } | Task::Slopes { totals: item, .. } => [Some(item), None],
            Task::Linear { x: from, y: to, .. }
            | Task::LinearProduct { x: from, y: to, .. }
            | Task::LinearData { dy: from, dx: to, .. } => [Some(from), Some(to)],
        }
    }
}

/// Where the gradient of a parameter comes from, after the last stage.
#[derive(Clone, Debug)]
pub(super) enum Slope {
    /// The weights of a convolution.
    Convolution {
        layer: usize,
    },
    /// The bias of a convolution: the sums of `totals`.
    Bias {
        parameter: usize,
        channels: usize,
        totals: Item,
    },
    /// The parameters of a norm, from the sums of `totals`.
    Norm {
        table: usize,
        totals: Item,
    },
    /// The tangents of what [`Norm`](Slope::Norm) gives.
    NormTangent {
        table: usize,
        tangent: usize,
        totals: Item,
        moved: Item,
        /// Sums of the gradient times the tangent of what is standardized.
        crossed: Option<Item>,
    },
    Linear {
        layer: usize,
        x: Item,
        dy: Item,
    },
    /// The bias of a fully connected layer.
    LinearBias {
        layer: usize,
        dy: Item,
    },
}

impl Slope {
    /// Its items.
    pub(super) fn items(&self) -> [Option<Item>; 3] {
        match *self {
            Slope::Convolution { .. } => [None; 3],
            Slope::Bias { totals, .. } | Slope::Norm { totals, .. } => [Some(totals), None, None],
            Slope::NormTangent { totals, moved, crossed, .. } => [Some(totals), Some(moved), crossed],
            Slope::Linear { x, dy, .. } => [Some(x), Some(dy), None],
            Slope::LinearBias { dy, .. } => [Some(dy), None, None],
        }
    }
}
