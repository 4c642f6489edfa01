//! Where the values of one row differ from the golden ones, and what they are there.

use crate::chain::walk::region::Region;

/// The part of a value that may differ from the golden one.
#[derive(Debug, Default)]
pub(super) struct Delta {
    pub(super) region: Region,
    /// The whole value, channels last; only the places of the region mean something.
    pub(super) values: Vec<f32>,
    /// Whether the rim of the region may be golden.
    pub(super) is_loose: bool,
}

/// Of each value of a walk, where it differs. Memory goes from values that are forgotten to the next ones, so that little of it is
/// used, and that is in the caches.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    of: Vec<Delta>,
    spare: Vec<Vec<f32>>,
}

impl Deltas {
    /// All values are golden.
    pub(super) fn clear(&mut self, values: usize) {
        self.of.resize_with(values, Delta::default);
        (0..values).for_each(|value| self.forget(value));
    }

    pub(super) fn is_golden(&self) -> bool {
        self.of.iter().all(|delta| delta.region.is_empty())
    }

    pub(super) fn of(&self, value: usize) -> &Delta {
        &self.of[value]
    }

    pub(super) fn of_mut(&mut self, value: usize) -> &mut Delta {
        &mut self.of[value]
    }

    /// A value is golden, or no longer needed.
    pub(super) fn forget(&mut self, value: usize) {
        let delta = &mut self.of[value];
        delta.region = Region::default();
        if !delta.values.is_empty() {
            self.spare.push(std::mem::take(&mut delta.values));
        }
    }

    /// Gives a value a region, and the memory to fill it.
    pub(super) fn fresh(&mut self, value: usize, region: Region, elements: usize) -> &mut [f32] {
        let delta = &mut self.of[value];
        delta.region = region;
        if delta.values.is_empty() {
            delta.values = self.spare.pop().unwrap_or_default();
        }
        delta.values.resize(elements.max(delta.values.len()), 0.0);
        &mut delta.values
    }
}
