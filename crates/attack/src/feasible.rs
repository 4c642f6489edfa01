//! Which bits can be flipped at all: the cells of a map, the weak cells of a DRAM.

use bitquake_bits::WordStore;
use bitquake_fault::{FaultPattern, FaultSpace};
use bitquake_sample::PartKey;

use crate::config::AttackFile;
use crate::error::AttackError;

/// The flips that an attacker can choose from in a trial: what a draw of `[attack.feasible]` changes of the stored words. `None` if
/// every bit can be flipped.
///
/// # Errors
/// [`AttackError::Draw`] if nothing can be drawn, [`AttackError::Setting`] if the draw changes nothing.
pub(crate) fn feasible_flips(
    config: &AttackFile,
    trial: u64,
    key: &PartKey,
    space: &FaultSpace,
    stored: &impl WordStore,
) -> Result<Option<FaultPattern>, AttackError> {
    let Some(fault) = &config.attack.feasible else { return Ok(None) };
    let wrong = |reason| AttackError::setting("[attack.feasible]", reason);
    let faults = fault.only_model().map_err(wrong)?.sampler(space)?.draw(&key.part("feasible"))?;
    let flips = faults.resolve(stored)?.pattern;
    if flips.flips() == 0 {
        return Err(wrong(format!("no bit can be flipped in trial {trial}: its draw changes none")));
    }
    Ok(Some(flips))
}
