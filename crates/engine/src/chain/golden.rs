//! What the golden run leaves for trials.

use std::borrow::Cow;
use std::sync::Arc;

use bitquake_data::Dataset;

use crate::chain::layout::{ImageDims, is_same, same_bits, to_channels_first, to_channels_last};
use crate::chain::plan::{ChainPlan, Value};
use crate::chain::walk::Walk;
use crate::outcome::Golden;

/// The golden run: outputs of all images, and the values at those boundaries for which there is room.
#[derive(Clone, Debug)]
pub struct GoldenRun {
    /// Outputs and predictions.
    pub golden: Golden,
    /// Of each value of the plan, the rows of all images, where they are kept.
    pub(crate) values: Vec<Option<Kept>>,
    /// Whether each boundary is kept, that is all values alive there. Boundary 0 is the data set.
    pub(crate) kept: Vec<bool>,
    /// The links through which faults in values can be followed, if there are any.
    pub(crate) walk: Option<Arc<Walk>>,
}

/// The golden rows of a value, image after image.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    rows: Vec<f32>,
    /// The dimensions of an image, if it lies with its channels last; as the engine has it otherwise.
    channels_last: Option<ImageDims>,
}

impl Kept {
    /// Rows as the engine gave them.
    pub(crate) fn new(rows: Vec<f32>) -> Self {
        Self { rows, channels_last: None }
    }

    fn row(&self, image: usize, elements: usize) -> Option<&[f32]> {
        self.rows.get(image * elements..(image + 1) * elements)
    }

    fn lay_channels_last(&mut self, dims: ImageDims) {
        let elements = dims.iter().product();
        if self.channels_last.replace(dims).is_some() || elements == 0 {
            return;
        }
        let mut first = vec![0.0; elements];
        for row in self.rows.chunks_exact_mut(elements) {
            first.copy_from_slice(row);
            to_channels_last(&first, dims, row);
        }
    }
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

    /// The golden row of a value for an image as the engine has it, if it is kept.
    pub(crate) fn row<'g>(
        &'g self,
        value: usize,
        image: usize,
        plan: &ChainPlan,
        data: &'g Dataset,
    ) -> Option<Cow<'g, [f32]>> {
        if value == 0 {
            return Some(Cow::Borrowed(data.images(image..image + 1)));
        }
        let kept = self.values[value].as_ref()?;
        let row = kept.row(image, plan.values[value].elements())?;
        Some(match kept.channels_last {
            None => Cow::Borrowed(row),
            Some(dims) => {
                let mut first = vec![0.0; row.len()];
                to_channels_first(row, dims, &mut first);
                Cow::Owned(first)
            }
        })
    }

    /// Whether `found`, as the engine has it, is the golden row of a value bit for bit; not if that is not kept.
    pub(crate) fn is_row(
        &self,
        found: &[f32],
        value: usize,
        image: usize,
        plan: &ChainPlan,
        data: &Dataset,
    ) -> bool {
        if value == 0 {
            return same_bits(found, data.images(image..image + 1));
        }
        let Some(kept) = &self.values[value] else { return false };
        let row = kept.row(image, plan.values[value].elements());
        row.is_some_and(|row| match kept.channels_last {
            None => same_bits(found, row),
            Some(dims) => is_same(found, row, dims),
        })
    }

    /// The golden row of a value that lies with its channels last.
    pub(crate) fn channels_last(&self, value: usize, image: usize) -> Option<&[f32]> {
        let kept = self.values[value].as_ref()?;
        kept.row(image, kept.channels_last?.iter().product())
    }

    /// Lays the rows of a value out with their channels last, if they are kept.
    pub(crate) fn lay_channels_last(&mut self, value: usize, dims: ImageDims) {
        if let Some(kept) = &mut self.values[value] {
            kept.lay_channels_last(dims);
        }
    }

    /// The same for the first images alone.
    pub(crate) fn first_images(&self, images: usize, plan: &ChainPlan) -> Self {
        let first = |(kept, value): (&Option<Kept>, &Value)| {
            let kept = kept.as_ref()?;
            let end = kept.rows.len().min(images * value.elements());
            Some(Kept { rows: kept.rows[..end].to_vec(), ..*kept })
        };
        Self {
            golden: Golden { outputs: Vec::new(), predictions: Vec::new() },
            values: self.values.iter().zip(&plan.values).map(first).collect(),
            kept: self.kept.clone(),
            walk: None,
        }
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
        let values: usize = self.values.iter().flatten().map(|kept| kept.rows.len()).sum();
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
