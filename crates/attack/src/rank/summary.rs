//! What rankings came to.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::rank::agreement::Agreement;
use crate::rank::eigen::Eigenpair;
use crate::rank::hutchinson::Hutchinson;
use crate::rank::pass::Scored;
use crate::rank::strata::Stratum;
use crate::words::AttackedWords;

/// What rankings came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankSummary {
    /// Version of the file; 1.
    pub schema: u32,
    /// SHA-256 over everything that decides the rankings.
    pub id: String,
    /// What it is over, by key.
    pub identity: BTreeMap<String, String>,
    /// Images that losses and gradients are of.
    pub images: u64,
    /// The mean cross-entropy of the network on them.
    pub loss: f64,
    /// Bits that were ranked.
    pub bits: u64,
    /// The trace of the Hessian, if a ranking needs it.
    pub trace: Option<TraceSummary>,
    /// Eigenpairs of the Hessian, if a ranking needs them.
    pub eigenpairs: Vec<EigenSummary>,
    /// The rankings, in their order.
    pub rankings: Vec<RankingSummary>,
    /// How far they agree.
    pub agreement: Vec<Agreement>,
}

/// The trace of the Hessian.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceSummary {
    /// The estimate.
    pub trace: f64,
    /// Its standard error; none with one vector.
    pub standard_error: Option<f64>,
    /// The trace of each tensor's block, in the order of the tensors.
    pub by_tensor: Vec<f64>,
    /// Random vectors that were drawn.
    pub vectors: u32,
    /// Whether the estimate came to rest before the vectors were used up.
    pub converged: bool,
}

impl TraceSummary {
    pub(crate) fn of(found: &Hutchinson) -> Self {
        let Hutchinson { trace, standard_error, vectors, converged, .. } = *found;
        Self { trace, standard_error, by_tensor: found.by_tensor.clone(), vectors, converged }
    }
}

/// An eigenpair without its vector.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EigenSummary {
    /// The eigenvalue.
    pub value: f64,
    /// Iterations that it took.
    pub iterations: u32,
    /// Whether it came to rest before the iterations were used up.
    pub converged: bool,
    /// The length of `H v - value v`.
    pub residual: f64,
}

impl EigenSummary {
    pub(crate) fn of(pair: &Eigenpair) -> Self {
        let Eigenpair { value, iterations, converged, residual, .. } = *pair;
        Self { value, iterations, converged, residual }
    }
}

/// One ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankingSummary {
    /// Its name.
    pub ranking: &'static str,
    /// Bits in the list of those that matter most.
    pub top: u64,
    /// The tensors, in their order.
    pub layers: Vec<LayerRow>,
}

/// One tensor in one ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRow {
    /// The tensor.
    pub tensor: String,
    /// Its bits.
    pub bits: u64,
    /// Flips that lead to a level that is no finite number: their score is infinite.
    pub nonfinite: u64,
    /// The mean of the finite scores; none without any.
    pub mean: Option<f64>,
    /// The largest of the finite scores; none without any.
    pub max: Option<f64>,
    /// How many of its bits are among those that matter most.
    pub in_top: u64,
    /// Their share of them.
    pub top_share: f64,
    /// The mean score of replacing an element by 0, over the elements that are finite numbers; none in rankings that do not look at levels.
    pub zeroed: Option<f64>,
}

impl RankingSummary {
    /// `zeroed` is the mean score of replacing an element by 0, by tensor, where the ranking tells.
    pub(crate) fn of(
        ranking: &'static str,
        scored: &Scored,
        zeroed: Option<&[Option<f64>]>,
        words: &AttackedWords,
    ) -> Self {
        let layer = |(place, tensor): (usize, &crate::words::AttackedTensor)| {
            let mut all = Stratum::new(place, 0);
            scored.strata.iter().filter(|stratum| stratum.tensor == place).for_each(|part| all.merge(part));
            let in_top = scored.top.iter().filter(|bit| bit.site.tensor == place).count() as u64;
            LayerRow {
                tensor: tensor.name().to_owned(),
                bits: all.bits,
                nonfinite: all.nonfinite,
                mean: all.mean(),
                max: all.largest(),
                in_top,
                top_share: in_top as f64 / scored.top.len().max(1) as f64,
                zeroed: zeroed.and_then(|zeroed| zeroed[place]),
            }
        };
        let layers = words.tensors().iter().enumerate().map(layer).collect();
        Self { ranking, top: scored.top.len() as u64, layers }
    }
}
