//! A program compiled for one kind of call.

use super::fuse::Norm;
use super::instruction::{Instruction, Item, Slope, Task};
use super::operation::{Linear, Shape};
use super::pool::Pool;
use crate::{Convolution, LANES};

/// What a program computes in one kind of call, and where.
#[derive(Debug)]
pub(super) struct Plan {
    /// Of each item the floats of an image, and where they are.
    pub(super) items: Vec<Placed>,
    /// Of each region that is kept for the batch, the floats of an image.
    pub(super) regions: Vec<usize>,
    /// The floats that a thread needs for the items of a stage, without those that convolutions need.
    pub(super) scratch: usize,
    /// The floats that convolutions need to work with.
    pub(super) convolution_scratch: usize,
    /// Stages of the forward pass, then of the backward pass.
    pub(super) stages: Vec<Stage>,
    /// The stages of the forward pass.
    pub(super) forward: usize,
    pub(super) tables: Vec<Table>,
    pub(super) layers: Vec<PlannedLayer>,
    pub(super) linears: Vec<Linear>,
    pub(super) pools: Vec<Pool>,
    pub(super) slopes: Vec<Slope>,
    pub(super) output: Shape,
    /// The shapes of values whose gradients are asked for.
    pub(super) taps: Vec<Shape>,
    /// Of each parameter whether its gradient is asked for.
    pub(super) wanted: Vec<bool>,
}

/// Where the items of a plan are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<'p> {
    /// Of each item the floats of an image, and where they are.
    pub(super) items: &'p [Placed],
    /// The floats that a thread needs for the items of a stage.
    pub(super) scratch: usize,
}

/// A list of floats for each image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) floats: usize,
    pub(super) place: Place,
}

/// Where an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The caller's images.
    Images,
    /// The outputs that the caller gets.
    Output,
    /// Their tangents.
    OutputTangent,
    /// The gradient of the outputs, which the caller gives.
    Seed,
    /// Its tangent.
    SeedTangent,
    /// The gradient of a value that the caller gets.
    Tap(usize),
    /// A region that is kept for the batch.
    Region(usize),
    /// The one region of a plan whose items are packed, after so many floats of each image.
    Packed(usize),
    /// The memory of the thread, from this float on.
    Scratch(usize),
}

/// What is done image by image, and then for the batch.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) instructions: Vec<Instruction>,
    pub(super) tasks: Vec<Task>,
    /// About how many floats the instructions go through for one image.
    pub(super) cost: usize,
}

/// The numbers of a norm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) norm: Norm,
    /// The shape of the value that is normalized.
    pub(super) shape: Shape,
    /// Whether the statistics are those of the batch.
    pub(super) of_batch: bool,
    /// Whether the numbers are the tangents of the norm's.
    pub(super) is_tangent: bool,
}

/// A convolution as this plan uses it.
#[derive(Clone, Debug)]
pub(super) struct PlannedLayer {
    pub(super) convolution: Convolution,
    pub(super) weight: usize,
    pub(super) bias: Option<usize>,
    pub(super) has_data_gradient: bool,
    pub(super) has_weight_gradient: bool,
}

impl Plan {
    /// The floats that are kept of an image for later stages and the backward pass.
    pub(super) fn kept_floats(&self) -> usize {
        self.regions.iter().map(|floats| floats.next_multiple_of(LANES)).sum()
    }

    /// Where the items are.
    pub(super) fn layout(&self) -> Layout<'_> {
        Layout { items: &self.items, scratch: self.scratch }
    }

    /// The parts that a batch falls into: a function of shapes alone. Each part has its own sums of weight gradients.
    pub(super) fn parts(&self, batch: usize) -> usize {
        /// Enough for many threads.
        const MOST: usize = 32;
        /// So that sums do not cost more than the gradients that they hold.
        const MOST_WITH_SUMS: usize = 16;
        const LEAST: usize = 4;
        /// 128 MiB.
        const FLOATS: usize = 1 << 25;
        let layers = self.layers.iter().filter(|layer| layer.has_weight_gradient);
        let floats: usize = layers.map(|layer| layer.convolution.weight_gradient_len()).sum();
        let most = FLOATS.checked_div(floats).map_or(MOST, |most| most.clamp(LEAST, MOST_WITH_SUMS));
        most.min(batch)
    }

    /// About what the stages' instructions cost for one image.
    pub(super) fn estimate_costs(&mut self) {
        let costs: Vec<usize> = self.stages.iter().map(|stage| self.cost(stage)).collect();
        self.stages.iter_mut().zip(costs).for_each(|(stage, cost)| stage.cost = cost);
    }

    /// About what all stages cost for one image.
    pub(super) fn total_cost(&self) -> usize {
        self.stages.iter().map(|stage| stage.cost).sum()
    }

    fn cost(&self, stage: &Stage) -> usize {
        let one = |instruction: &Instruction| {
            let mut floats = 0;
            instruction.items(|item: Item, _| floats += self.items[item].floats);
            match instruction {
                Instruction::Convolution { layer, .. }
                | Instruction::Correlation { layer, .. }
                | Instruction::DataGradient { layer, .. }
                | Instruction::WeightGradient { layer, .. } => {
                    // Weights times places, as vectors.
                    let convolution = &self.layers[*layer].convolution;
                    let places: usize = convolution.output().iter().product();
                    floats + convolution.weights_len() * places / 8
                }
                _ => floats,
            }
        };
        stage.instructions.iter().map(one).sum()
    }
}
