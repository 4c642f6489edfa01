//! The run of the host's network without faults.

use std::sync::Arc;

use bitquake_record::Counts;

use super::campaign::Hosted;
use super::error::HostedError;
use super::metrics::HostMetrics;
use super::outputs::{Kept, TrialOutputs};
use super::result::{Came, HostResult, METRICS_TOLD, OUTPUTS};
use crate::set_up::output_digest;
use crate::trial_record::golden_counts;

/// The golden run of a host: what every other run of it is compared with. Copies share what is kept.
#[derive(Clone)]
pub struct HostGolden {
    of: Of,
    pub(super) seconds: f64,
}

#[derive(Clone)]
enum Of {
    Outputs(Arc<Kept>),
    Metrics(Arc<HostMetrics>),
}

/// That a time is one.
pub(super) fn check_seconds(seconds: f64) -> Result<(), HostedError> {
    if seconds.is_finite() && seconds >= 0.0 { Ok(()) } else { Err(HostedError::Seconds { seconds }) }
}

impl Hosted {
    /// The golden run of a host that judges its network itself, by numbers with names; it took so many seconds. Every other run must
    /// give numbers of the same names.
    ///
    /// `images`, `correct`, `top5_correct`, `golden_mismatch` and `nonfinite` ([`KNOWN_COUNTS`](super::KNOWN_COUNTS)) are counts of
    /// images, `loss` is the mean cross-entropy in nats. `accuracy`, a share from 0 to 1, stands for `correct` where `images` is told,
    /// of which it must be a share to within 1e-6; else it is kept as the bare number that it is. Every other number is the host's
    /// own: it has columns `own_NAME` in the summary, and no part in anything else. NaN and infinities among those are counted, and
    /// in no mean.
    ///
    /// # Errors
    /// [`HostedError::Metric`] for a number that cannot be what its name says, [`HostedError::NoMetrics`], [`HostedError::Seconds`], and
    /// [`HostedError::OutcomeUnused`] where `[outcome]` asks for outputs.
    pub fn golden_metrics<N: Into<String>>(
        &self,
        metrics: impl IntoIterator<Item = (N, f64)>,
        seconds: f64,
    ) -> Result<HostGolden, HostedError> {
        check_seconds(seconds)?;
        if self.distance().is_some() {
            return Err(HostedError::OutcomeUnused);
        }
        Ok(HostGolden { of: Of::Metrics(Arc::new(HostMetrics::new(metrics)?)), seconds })
    }
}

impl HostGolden {
    pub(super) fn of_outputs(kept: Kept, seconds: f64) -> Self {
        Self { of: Of::Outputs(Arc::new(kept)), seconds }
    }

    /// Takes the outputs of a run with faults, batch by batch.
    ///
    /// # Errors
    /// [`HostedError::Kind`] where the golden run is of metrics.
    pub fn outputs(&self) -> Result<TrialOutputs, HostedError> {
        match &self.of {
            Of::Outputs(kept) => Ok(TrialOutputs::new(Arc::clone(kept))),
            Of::Metrics(_) => Err(HostedError::Kind { golden: METRICS_TOLD, found: OUTPUTS }),
        }
    }

    /// Judges the outputs of a run with faults, all at once: those of every image, image after image, `classes` numbers each.
    ///
    /// # Errors
    /// As [`TrialOutputs::push`] and [`TrialOutputs::finish`].
    pub fn judge(&self, outputs: &[f32], classes: usize) -> Result<HostResult, HostedError> {
        let mut judged = self.outputs()?;
        judged.push(outputs, classes)?;
        judged.finish()
    }

    /// A run with faults that gave no outputs, because the network refused or failed: each image counts as changed by every criterion,
    /// and as a detected unrecoverable error.
    ///
    /// # Errors
    /// [`HostedError::Kind`] where the golden run is of metrics: such a run has none, and cannot be recorded.
    pub fn no_outputs(&self) -> Result<HostResult, HostedError> {
        match &self.of {
            Of::Outputs(kept) => Ok(kept.lost()),
            Of::Metrics(_) => Err(HostedError::Kind { golden: METRICS_TOLD, found: OUTPUTS }),
        }
    }

    /// The metrics of a run with faults: see [`Hosted::golden_metrics`].
    ///
    /// # Errors
    /// As there, [`HostedError::MetricNames`] for other names, and [`HostedError::Kind`] where the golden run is of outputs.
    pub fn metrics<N: Into<String>>(
        &self,
        metrics: impl IntoIterator<Item = (N, f64)>,
    ) -> Result<HostResult, HostedError> {
        let Of::Metrics(golden) = &self.of else {
            return Err(HostedError::Kind { golden: OUTPUTS, found: METRICS_TOLD });
        };
        let told = HostMetrics::new(metrics)?;
        told.check_names(golden)?;
        Ok(HostResult(Came::Told(told)))
    }

    /// How it did.
    #[must_use]
    pub fn counts(&self) -> Counts {
        match &self.of {
            Of::Outputs(kept) => golden_counts(&kept.golden.clean(), kept.golden.width()),
            Of::Metrics(told) => told.golden_counts(),
        }
    }

    /// SHA-256 over everything that came out, bit for bit.
    #[must_use]
    pub fn digest(&self) -> String {
        match &self.of {
            Of::Outputs(kept) => output_digest(&kept.golden),
            Of::Metrics(told) => told.digest(),
        }
    }

    /// Whether images are judged by best classes and labels; none where the host judges them.
    pub(super) fn is_classifier(&self) -> Option<bool> {
        match &self.of {
            Of::Outputs(kept) => Some(kept.is_classifier()),
            Of::Metrics(_) => None,
        }
    }

    /// The metrics, if it is of metrics.
    pub(super) fn told(&self) -> Option<&HostMetrics> {
        match &self.of {
            Of::Outputs(_) => None,
            Of::Metrics(told) => Some(told),
        }
    }

    /// That a result is of the same kind.
    pub(super) fn check_kind(&self, result: &HostResult) -> Result<(), HostedError> {
        let golden = match self.of {
            Of::Outputs(_) => OUTPUTS,
            Of::Metrics(_) => METRICS_TOLD,
        };
        let found = result.kind();
        if golden == found { Ok(()) } else { Err(HostedError::Kind { golden, found }) }
    }
}
