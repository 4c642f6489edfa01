//! The worst bit errors within a budget (SPEC 2.9).

use bitquake_fault::FaultSpace;
use bitquake_sample::PartKey;
use bitquake_storage::HammingSearch;

use super::config::AttackConfig;
use super::error::MethodError;
use super::perturb::levels_under;
use super::weights::{Levels, Stored, Weights};

/// The loss of the batch at some levels, and its gradient with respect to them, one vector a tensor.
pub type LossAndGradient = (f64, Vec<Vec<f32>>);

/// Asks the network for them; an error ends the search.
pub type GradientOf<'a> =
    dyn FnMut(&Levels) -> Result<LossAndGradient, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// The levels of the largest loss that [`HammingSearch`] finds.
pub(crate) fn attack(
    config: AttackConfig,
    space: &FaultSpace,
    stored: &Stored,
    weights: &Weights,
    key: &PartKey,
    gradient: &mut GradientOf<'_>,
) -> Result<Levels, MethodError> {
    check_targets(space, stored)?;
    let AttackConfig { budget, steps, step_size, momentum, restarts } = config;
    let search = HammingSearch { budget, steps, step_size, momentum, restarts };
    let places: Vec<usize> =
        space.tensors().iter().filter_map(|tensor| weights.position(&tensor.name)).collect();
    let found = search.worst(stored.memory(), space, key, &mut |pattern| {
        let levels = levels_under(stored, weights, pattern)?;
        let (loss, mut gradients) = gradient(&levels).map_err(MethodError::Gradient)?;
        check_lengths(&places, weights, &gradients)?;
        let slopes = places.iter().map(|&place| std::mem::take(&mut gradients[place])).collect();
        Ok::<_, MethodError>((loss, slopes))
    })?;
    let worst = found.ok_or(MethodError::Call("an attack without restarts"))?;
    levels_under(stored, weights, &worst)
}

/// That every tensor that may be hit is held as codes.
pub(crate) fn check_targets(space: &FaultSpace, stored: &Stored) -> Result<(), MethodError> {
    let missing = space.tensors().iter().find(|tensor| stored.memory.coded(&tensor.name).is_none());
    missing.map_or(Ok(()), |tensor| Err(MethodError::NotCoded { tensor: tensor.name.clone() }))
}

fn check_lengths(places: &[usize], weights: &Weights, gradients: &[Vec<f32>]) -> Result<(), MethodError> {
    for &index in places {
        let wanted = weights.tensors[index].values.len();
        let got = gradients.get(index).map_or(0, Vec::len);
        if got != wanted {
            return Err(MethodError::Length { what: "gradient of tensor", index, got, wanted });
        }
    }
    Ok(())
}
