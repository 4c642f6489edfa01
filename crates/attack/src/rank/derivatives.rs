//! What rankings need to know of a loss beyond its gradient, computed one product at a time: between two, the work can be stopped.

use bitquake_sample::PartKey;

use crate::error::AttackError;
use crate::rank::config::{CurvatureConfig, EigenConfig};
use crate::rank::eigen::EigenSearch;
use crate::rank::fisher::DrawSums;
use crate::rank::hutchinson::VectorSums;
use crate::rank::landscape::Landscape;
use crate::rank::work::RankEvent;

/// What is known so far; none of what no ranking needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Derivatives {
    pub(crate) hessian: Option<VectorSums>,
    pub(crate) gauss_newton: Option<DrawSums>,
    pub(crate) eigen: EigenSearch,
}

/// What the rankings need.
pub(crate) struct Needs<'a> {
    /// The trace and the diagonal of the Hessian.
    pub(crate) hessian: Option<&'a CurvatureConfig>,
    /// The diagonal of the Gauss-Newton matrix.
    pub(crate) gauss_newton: Option<&'a CurvatureConfig>,
    /// Eigenpairs of the Hessian.
    pub(crate) eigen: Option<&'a EigenConfig>,
    /// What all that is random is drawn with.
    pub(crate) key: PartKey,
}

impl Derivatives {
    pub(crate) fn new(needs: &Needs<'_>, sizes: &[usize]) -> Self {
        Self {
            hessian: needs.hessian.map(|_| VectorSums::new(sizes)),
            gauss_newton: needs.gauss_newton.map(|_| DrawSums::new(sizes)),
            eigen: EigenSearch::default(),
        }
    }

    /// Products and draws so far.
    pub(crate) fn products(&self) -> u32 {
        let vectors = self.hessian.as_ref().map_or(0, VectorSums::vectors);
        vectors + self.gauss_newton.as_ref().map_or(0, |sums| sums.draws) + self.eigen.iterations()
    }

    /// Computes the next product or draw; tells whether there was one missing.
    pub(crate) fn advance(
        &mut self,
        needs: &Needs<'_>,
        landscape: &mut impl Landscape,
        observer: &mut impl FnMut(RankEvent),
    ) -> Result<bool, AttackError> {
        if let Some((&CurvatureConfig { vectors: most, tolerance, .. }, sums)) =
            needs.hessian.zip(self.hessian.as_mut())
            && !sums.is_done(most, tolerance)
        {
            sums.add_vector(landscape, &needs.key.part("hutchinson"))?;
            observer(RankEvent::Vector { number: sums.vectors(), most, trace: sums.trace() });
            return Ok(true);
        }
        if let Some((&CurvatureConfig { draws: of, .. }, sums)) =
            needs.gauss_newton.zip(self.gauss_newton.as_mut())
            && sums.draws < of
        {
            sums.add_draw(landscape, &needs.key.part("gauss-newton"))?;
            observer(RankEvent::Draw { number: sums.draws, of });
            return Ok(true);
        }
        if let Some(config) = needs.eigen
            && self.eigen.has_next(&landscape.sizes(), config.count, &needs.key.part("eigen"))
        {
            self.iterate(config, landscape, observer)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn iterate(
        &mut self,
        config: &EigenConfig,
        landscape: &mut impl Landscape,
        observer: &mut impl FnMut(RankEvent),
    ) -> Result<(), AttackError> {
        let number = self.eigen.pairs.len() as u32 + 1;
        let ended = self.eigen.iterate(landscape, config.iterations, config.tolerance)?;
        let ended = ended.map(|pair| (pair.value, pair.converged));
        if let Some((value, converged)) = ended {
            observer(RankEvent::Eigenpair { number, value, converged });
        } else if let Some(pair) = &self.eigen.running {
            let (iteration, most) = (pair.iterations, config.iterations);
            observer(RankEvent::Iteration { number, iteration, most, value: pair.value });
        }
        Ok(())
    }
}
