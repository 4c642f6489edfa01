//! Memory of steps gone by, for the steps to come.

use bitquake_storage::FlipScratch;

use super::weights::{Levels, Stored};

/// Memory that steps use again and again: fresh memory for codes and levels costs more than quantizing and
/// injecting do.
///
/// A step takes what it needs out of the room, and what it has done with can be kept there; what is not kept is made anew. No result
/// depends on what a room holds. Keep one a training.
///
/// ```
/// use bitquake_train::method::{Method, MethodConfig, Room, WeightTensor, Weights};
/// # let config: MethodConfig = toml::from_str("quantization = { family = 'asymmetric', bits = 8 }\nbit_errors = { rate = 0.01 }")?;
/// # let weights = Weights { tensors: vec![WeightTensor { name: "w".into(), shape: vec![100], values: vec![0.5; 100] }] };
/// let (mut method, mut room) = (Method::new(&config, &weights, 1)?, Room::default());
/// for step in 0..3 {
///     let stored = method.store_in(&weights, &mut room)?;
///     let levels = method.perturbed_in(&stored, &weights, step, 0, &mut room)?;
///     // a pass with the levels, the optimiser's step ...
///     room.keep_levels(levels);
///     room.keep_stored(stored);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Room {
    stored: Stored,
    levels: Levels,
    pub(super) scratch: FlipScratch,
}

impl Room {
    /// Keeps the memory of what was stored.
    pub fn keep_stored(&mut self, stored: Stored) {
        self.stored = stored;
    }

    /// Keeps the memory of a perturbed pass's levels.
    pub fn keep_levels(&mut self, levels: Levels) {
        self.levels = levels;
    }

    pub(super) fn take_stored(&mut self) -> Stored {
        std::mem::take(&mut self.stored)
    }

    pub(super) fn take_levels(&mut self) -> Levels {
        std::mem::take(&mut self.levels)
    }
}
