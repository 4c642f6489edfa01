//! The diagonal of the Gauss-Newton matrix from gradients alone.

use bitquake_sample::PartKey;

use crate::error::AttackError;
use crate::rank::landscape::Landscape;
use crate::rank::vector::{Vector, add_scaled, is_finite, scale, zeros};

/// The diagonal of the Gauss-Newton matrix of the mean cross-entropy, which is the Fisher information of the network's own predictions, as the mean
/// of several draws ([`Landscape::gauss_newton_draw`]). No entry is negative.
///
/// # Errors
/// What the network says; [`AttackError::Curvature`] for a gradient that is not finite.
pub fn gauss_newton_diagonal(
    landscape: &mut impl Landscape,
    draws: u32,
    key: &PartKey,
) -> Result<Vector, AttackError> {
    let mut diagonal = zeros(&landscape.sizes());
    for draw in 0..draws {
        let squares = landscape.gauss_newton_draw(&key.numbered("draw", draw.into()))?;
        if !is_finite(&squares) {
            return Err(AttackError::Curvature { what: "a gradient for drawn labels" });
        }
        add_scaled(&mut diagonal, 1.0, &squares);
    }
    scale(&mut diagonal, 1.0 / f64::from(draws.max(1)));
    Ok(diagonal)
}
