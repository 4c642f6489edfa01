//! What one run of the host's network came to.

use bitquake_engine::{Outcome, SelfCheckError};

use super::metrics::HostMetrics;

/// What one run of the host's network came to, to be recorded ([`HostedRun::record`](super::HostedRun::record)) or to be used in a
/// [`Proof`](super::Proof). A [`HostGolden`](super::HostGolden) makes it.
#[derive(Clone, Debug)]
pub struct HostResult(pub(super) Came);

/// The two kinds.
#[derive(Clone, Debug)]
pub(super) enum Came {
    /// Outputs that were judged here, and where they first differ from the golden ones.
    Judged { outcome: Box<Outcome>, difference: Option<SelfCheckError> },
    /// Numbers that the host judged by itself.
    Told(HostMetrics),
}

impl HostResult {
    /// What it is of, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self.0 {
            Came::Judged { .. } => OUTPUTS,
            Came::Told(_) => METRICS_TOLD,
        }
    }
}

/// Outputs, for people.
pub(super) const OUTPUTS: &str = "outputs that are judged here";
/// Metrics, for people.
pub(super) const METRICS_TOLD: &str = "metrics that the host tells";
