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
    let mut sums = DrawSums::new(&landscape.sizes());
    while sums.draws < draws {
        sums.add_draw(landscape, key)?;
    }
    Ok(sums.into_diagonal())
}

/// What the draws so far add up to: all that the next ones need.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DrawSums {
    pub(crate) diagonal: Vector,
    pub(crate) draws: u32,
}

impl DrawSums {
    pub(crate) fn new(sizes: &[usize]) -> Self {
        Self { diagonal: zeros(sizes), draws: 0 }
    }

    pub(crate) fn add_draw(
        &mut self,
        landscape: &mut impl Landscape,
        key: &PartKey,
    ) -> Result<(), AttackError> {
        let squares = landscape.gauss_newton_draw(&key.numbered("draw", self.draws.into()))?;
        if !is_finite(&squares) {
            return Err(AttackError::Curvature { what: "a gradient for drawn labels" });
        }
        add_scaled(&mut self.diagonal, 1.0, &squares);
        self.draws += 1;
        Ok(())
    }

    pub(crate) fn into_diagonal(self) -> Vector {
        let Self { mut diagonal, draws } = self;
        scale(&mut diagonal, 1.0 / f64::from(draws.max(1)));
        diagonal
    }
}
