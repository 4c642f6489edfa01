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
    /// The values that have memory: all others are golden.
    held: Vec<usize>,
    spare: Vec<Vec<f32>>,
}

impl Deltas {
    /// All values are golden.
    pub(super) fn clear(&mut self, values: usize) {
        self.retain(|_| false);
        self.of.resize_with(values, Delta::default);
    }

    pub(super) fn is_golden(&self) -> bool {
        self.held.iter().all(|&value| self.of[value].region.is_empty())
    }

    pub(super) fn of(&self, value: usize) -> &Delta {
        &self.of[value]
    }

    pub(super) fn of_mut(&mut self, value: usize) -> &mut Delta {
        &mut self.of[value]
    }

    /// The other values are golden, or no longer needed.
    pub(super) fn retain(&mut self, stays: impl Fn(usize) -> bool) {
        let Self { of, held, spare } = self;
        held.retain(|&value| {
            let stays = stays(value);
            if !stays {
                of[value].region = Region::default();
                spare.push(std::mem::take(&mut of[value].values));
            }
            stays
        });
    }

    /// Gives a value a region, and the memory to fill it.
    pub(super) fn fresh(&mut self, value: usize, region: Region, elements: usize) -> &mut [f32] {
        let delta = &mut self.of[value];
        delta.region = region;
        if delta.values.is_empty() {
            self.held.push(value);
            delta.values = self.spare.pop().unwrap_or_default();
        }
        delta.values.resize(elements.max(delta.values.len()), 0.0);
        &mut delta.values
    }
}
