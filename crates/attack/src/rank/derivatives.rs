//! What rankings need to know of a loss beyond its gradient, computed one product at a time: between two, the work can be stopped.

use bitquake_sample::PartKey;

use crate::error::AttackError;
use crate::rank::config::{CurvatureConfig, EigenConfig};
use crate::rank::eigen::EigenSearch;
use crate::rank::fisher::DrawSums;
use crate::rank::hutchinson::VectorSums;
use crate::rank::landscape::Landscape;
use crate::rank::work::RankEvent;

/// What is known so far; what no ranking needs stays empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Derivatives {
    pub(crate) hessian: VectorSums,
    pub(crate) gauss_newton: DrawSums,
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
    pub(crate) fn new(sizes: &[usize]) -> Self {
        Self {
            hessian: VectorSums::new(sizes),
            gauss_newton: DrawSums::new(sizes),
            eigen: EigenSearch::default(),
        }
    }

    /// Products and draws so far.
    pub(crate) fn products(&self) -> u32 {
        self.hessian.vectors() + self.gauss_newton.draws + self.eigen.iterations()
    }

    /// Computes the next product or draw; tells whether there was one missing.
    pub(crate) fn advance(
        &mut self,
        needs: &Needs<'_>,
        landscape: &mut impl Landscape,
        observer: &mut impl FnMut(RankEvent),
    ) -> Result<bool, AttackError> {
        if let Some(&CurvatureConfig { vectors: most, tolerance, .. }) = needs.hessian
            && !self.hessian.is_done(most, tolerance)
        {
            self.hessian.add_vector(landscape, &needs.key.part("hutchinson"))?;
            observer(RankEvent::Vector { number: self.hessian.vectors(), most, trace: self.hessian.trace() });
            return Ok(true);
        }
        if let Some(&CurvatureConfig { draws, .. }) = needs.gauss_newton
            && self.gauss_newton.draws < draws
        {
            self.gauss_newton.add_draw(landscape, &needs.key.part("gauss-newton"))?;
            observer(RankEvent::Draw { number: self.gauss_newton.draws, of: draws });
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
