//! How far rankings agree.

use std::collections::BTreeSet;

use bitquake_stats::kendall_tau_b;
use serde::Serialize;

use crate::error::AttackError;
use crate::rank::config::AgreementConfig;
use crate::rank::measured::Measured;
use crate::rank::pass::Scored;
use crate::rank::strata::order;
use crate::words::BitSite;

/// The name of measured damage beside those of rankings.
pub(crate) const MEASURED: &str = "measured";

/// What two rankings are compared on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AgreementOf {
    /// Single bits.
    Bits,
    /// Strata: the bits at one position of one tensor's words, by the mean of their scores.
    Strata,
}

/// How far two rankings agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// One ranking.
    pub first: &'static str,
    /// The other one, or `measured`.
    pub second: &'static str,
    /// What they are compared on.
    pub of: AgreementOf,
    /// How many things Kendall's tau is of: all, or those drawn.
    pub things: u64,
    /// Kendall's tau-b; none where one ranking has all things alike.
    pub tau: Option<f64>,
    /// How many of the best things of each are compared.
    pub top: u64,
    /// The share of them that both have.
    pub overlap: f64,
    /// The share that rankings without any connection have in common, on average.
    pub overlap_by_chance: f64,
}

/// Every pair of rankings, on bits and on strata, and each of them with what was measured. `bits` is the number of all bits.
///
/// # Errors
/// None in practice: scores are no NaN.
pub(crate) fn agreements(
    rankings: &[(&'static str, Scored)],
    measured: Option<&Measured>,
    config: AgreementConfig,
    bits: u64,
) -> Result<Vec<Agreement>, AttackError> {
    let orders: Vec<Vec<f64>> = rankings.iter().map(|(_, scored)| order(&scored.strata)).collect();
    let mut all = Vec::new();
    for (second, (name, scored)) in rankings.iter().enumerate() {
        for (first, (other_name, other)) in rankings[..second].iter().enumerate() {
            all.push(on_bits((*other_name, other), (*name, scored), bits)?);
            all.push(on_strata((*other_name, &orders[first]), (*name, &orders[second]), config)?);
        }
    }
    let Some(measured) = measured else { return Ok(all) };
    for ((name, scored), order) in rankings.iter().zip(&orders) {
        let pairs = scored.strata.iter().zip(order).filter_map(|(stratum, &order)| {
            measured.get(&(stratum.tensor, stratum.bit)).map(|&damage| (order, damage))
        });
        let (order, damage): (Vec<f64>, Vec<f64>) = pairs.unzip();
        all.push(on_strata((*name, &order), (MEASURED, &damage), config)?);
    }
    Ok(all)
}

fn on_bits(
    (first, a): (&'static str, &Scored),
    (second, b): (&'static str, &Scored),
    bits: u64,
) -> Result<Agreement, AttackError> {
    let sites = |scored: &Scored| scored.top.iter().map(|bit| bit.site).collect::<BTreeSet<BitSite>>();
    let top = a.top.len() as u64;
    Ok(Agreement {
        first,
        second,
        of: AgreementOf::Bits,
        things: a.sampled.len() as u64,
        tau: kendall_tau_b(&a.sampled, &b.sampled)?,
        top,
        overlap: share(sites(a).intersection(&sites(b)).count(), top),
        overlap_by_chance: share(top as usize, bits),
    })
}

fn on_strata(
    (first, a): (&'static str, &[f64]),
    (second, b): (&'static str, &[f64]),
    config: AgreementConfig,
) -> Result<Agreement, AttackError> {
    let top = config.strata.min(a.len().div_ceil(2) as u64);
    let best = |values: &[f64]| {
        let mut places: Vec<usize> = (0..values.len()).collect();
        places.sort_by(|&i, &j| values[j].total_cmp(&values[i]));
        places.into_iter().take(top as usize).collect::<BTreeSet<usize>>()
    };
    Ok(Agreement {
        first,
        second,
        of: AgreementOf::Strata,
        things: a.len() as u64,
        tau: kendall_tau_b(a, b)?,
        top,
        overlap: share(best(a).intersection(&best(b)).count(), top),
        overlap_by_chance: share(top as usize, a.len() as u64),
    })
}

fn share(part: usize, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
