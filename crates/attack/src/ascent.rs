//! All flips of a budget at once: projected gradient ascent over codes (SPEC 2.9).

use bitquake_fault::{FaultPattern, FaultSpace};
use bitquake_sample::PartKey;
use bitquake_storage::{HammingSearch, Memory};
use serde::{Deserialize, Serialize};

use crate::error::AttackError;
use crate::search::{Chosen, Effort, Step, changes};
use crate::subject::SubjectVictim;
use crate::victim::Victim;
use crate::words::{AttackedWords, BitSite};

/// `[attack.ascent]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AscentConfig {
    /// Gradient steps; 10 by default.
    pub steps: u32,
    /// The longest move of a weight in one step, as a share of the half width of its tensor's range; 1 by default.
    pub step_size: f32,
    /// The share of the last move that the next one keeps; 0.9 by default.
    pub momentum: f32,
    /// Ascents from random flips, of which the worst counts; 1 by default.
    pub restarts: u32,
}

impl Default for AscentConfig {
    fn default() -> Self {
        Self { steps: 10, step_size: 1.0, momentum: 0.9, restarts: 1 }
    }
}

impl AscentConfig {
    pub(crate) fn check(self) -> Result<(), String> {
        let Self { steps, step_size, momentum, restarts } = self;
        if steps == 0 || restarts == 0 {
            return Err(format!("steps {steps} and restarts {restarts} must be at least 1"));
        }
        if !(step_size.is_finite() && step_size > 0.0) {
            return Err(format!("step_size {step_size} is not a number above 0"));
        }
        if (0.0..=1.0).contains(&momentum) {
            Ok(())
        } else {
            Err(format!("momentum {momentum} is not a share from 0 to 1"))
        }
    }
}

/// What an ascent searches in: the memory, the bits of it that may be flipped, and how many of them.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) space: &'a FaultSpace,
    pub(crate) budget: u64,
}

/// The flips of the largest loss that the ascent finds, within the budget and at most one a word. They need not raise the loss alone.
///
/// # Errors
/// [`AttackError::Storage`] where a tensor is not held as codes; what the network says.
pub(crate) fn ascend(
    config: AscentConfig,
    ground: Ground<'_>,
    words: &AttackedWords,
    victim: &mut SubjectVictim<'_>,
    key: &PartKey,
) -> Result<Step, AttackError> {
    let loss_before = victim.losses(&[Vec::new()])?.pop().unwrap_or(f64::NAN);
    if !loss_before.is_finite() {
        return Ok(Step::NotFinite { loss: loss_before });
    }
    let AscentConfig { steps, step_size, momentum, restarts } = config;
    let search = HammingSearch { budget: ground.budget, steps, step_size, momentum, restarts };
    let mut effort = Effort::default();
    let found = search.worst(ground.memory, ground.space, key, &mut |pattern| {
        let slopes = victim.slopes_under(&changes(words, &sites(words, pattern)))?;
        effort.probes += 1;
        effort.nonfinite += u64::from(!slopes.loss.is_finite());
        Ok::<_, AttackError>((slopes.loss, slopes.gradients))
    })?;
    let sites = found.map(|pattern| sites(words, &pattern)).unwrap_or_default();
    let loss = victim.losses(&[changes(words, &sites)])?.pop();
    let is_worse = loss.is_some_and(|loss| loss > loss_before);
    if sites.is_empty() || !is_worse {
        return Ok(Step::NoIncrease(effort));
    }
    Ok(Step::Flips(Chosen { sites, loss_before, loss, effort }))
}

/// The bits of a pattern over the attacked words.
fn sites(words: &AttackedWords, pattern: &FaultPattern) -> Vec<BitSite> {
    let of_tensor = |(place, tensor): (usize, &crate::words::AttackedTensor)| {
        let flips = pattern.tensors().iter().find(|flips| flips.tensor == tensor.name());
        let width = u64::from(tensor.format().width());
        let site = |&address: &u64| BitSite {
            tensor: place,
            element: address / width,
            bit: (address % width) as u32,
        };
        flips.map(|flips| flips.addresses.iter().map(site).collect::<Vec<_>>()).unwrap_or_default()
    };
    words.tensors().iter().enumerate().flat_map(of_tensor).collect()
}
