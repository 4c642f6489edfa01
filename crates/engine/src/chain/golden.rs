//! What the golden run leaves for trials.

use std::sync::Arc;

use bitquake_data::Dataset;

use crate::chain::plan::ChainPlan;
use crate::chain::walk::Walk;
use crate::outcome::Golden;

/// The golden run: outputs of all images, and the values at those boundaries for which there is room.
#[derive(Clone, Debug)]
pub struct GoldenRun {
    /// Outputs and predictions.
    pub golden: Golden,
    /// Of each value of the plan, the rows of all images, where they are kept.
    pub(crate) values: Vec<Option<Vec<f32>>>,
    /// Whether each boundary is kept, that is all values alive there. Boundary 0 is the data set.
    pub(crate) kept: Vec<bool>,
    /// The links through which faults in values can be followed, if there are any.
    pub(crate) walk: Option<Arc<Walk>>,
}

impl GoldenRun {
    /// Nothing but the data set is kept yet.
    pub(crate) fn empty(plan: &ChainPlan) -> Self {
        let mut kept = vec![false; plan.boundaries.len()];
        kept[0] = true;
        let golden = Golden { outputs: Vec::new(), predictions: Vec::new() };
        Self { golden, values: vec![None; plan.values.len()], kept, walk: None }
    }

    /// Whether the rows of a value are kept; those of the input are the data set.
    pub(crate) fn keeps(&self, value: usize) -> bool {
        value == 0 || self.values[value].is_some()
    }

    /// The golden row of a value for an image, if it is kept.
    pub(crate) fn row<'g>(
        &'g self,
        value: usize,
        image: usize,
        plan: &ChainPlan,
        data: &'g Dataset,
    ) -> Option<&'g [f32]> {
        if value == 0 {
            return Some(data.images(image..image + 1));
        }
        let elements = plan.values[value].elements();
        self.values[value].as_ref()?.get(image * elements..(image + 1) * elements)
    }

    /// The last boundary, up to and including `boundary`, from which rows can be taken up.
    pub(crate) fn start_for(&self, boundary: usize) -> usize {
        (0..=boundary).rev().find(|&place| self.kept[place]).unwrap_or(0)
    }

    /// Through how many links faults in values are followed element by element, instead of running the links.
    #[must_use]
    pub fn walked(&self) -> usize {
        self.walk.as_ref().map_or(0, |walk| walk.links())
    }

    /// Bytes of values kept, outputs included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let values: usize = self.values.iter().flatten().map(Vec::len).sum();
        4 * (values + self.golden.outputs.len())
    }

    /// How many of the inner boundaries are kept, and how many there are.
    #[must_use]
    pub fn kept(&self) -> (usize, usize) {
        let inner = &self.kept[1..self.kept.len() - 1];
        (inner.iter().filter(|kept| **kept).count(), inner.len())
    }
}

/// The boundaries to keep in `budget` bytes: all, or every second, every fourth ... inner one.
pub(crate) fn boundaries_to_keep(plan: &ChainPlan, images: usize, budget: usize) -> Vec<bool> {
    let last = plan.boundaries.len() - 1;
    let mut step = 1;
    loop {
        let keep: Vec<bool> =
            (0..=last).map(|place| place == 0 || (place < last && place % step == 0)).collect();
        if step > last || bytes(plan, &keep, images) <= budget {
            return keep;
        }
        step *= 2;
    }
}

/// What the values alive at these boundaries take, each once, without the data set.
fn bytes(plan: &ChainPlan, keep: &[bool], images: usize) -> usize {
    let elements: usize = plan.values_at(keep).into_iter().map(|value| plan.values[value].elements()).sum();
    elements.saturating_mul(4).saturating_mul(images)
}
