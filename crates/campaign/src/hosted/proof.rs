//! Proof, before the first trial, that faults reach the host's network and that nothing else changes what comes out.

use bitquake_engine::SelfCheckError;

use super::error::HostedError;
use super::golden::HostGolden;
use super::result::{Came, HostResult};

/// A proof in the making. Engines copy weights, fold them and ignore edits, and some networks never give the same twice; a campaign on
/// such a set-up would record noise or nothing, so it must not begin.
///
/// [`empty`](Self::empty) takes a run without faults, made like a trial, and [`probe`](Self::probe) runs with the flips of
/// [`Hosted::probes`](super::Hosted::probes) one after the other, until one shows. A host that changes its words in place restores them in
/// between; that it does so is best shown by making the run without faults after a probe.
pub struct Proof {
    golden: HostGolden,
    is_reproduced: bool,
    /// Probes without an effect.
    silent: usize,
    shown_by: Option<String>,
}

/// A set-up that has been proved.
#[derive(Clone)]
pub struct Proved {
    pub(super) golden: HostGolden,
    tensor: String,
}

impl Proof {
    /// Nothing is proved yet of the set-up that gave this golden run.
    #[must_use]
    pub fn new(golden: &HostGolden) -> Self {
        Self { golden: golden.clone(), is_reproduced: false, silent: 0, shown_by: None }
    }

    /// Takes a run without faults, which must give what the golden run gave, bit for bit.
    ///
    /// # Errors
    /// [`SelfCheckError::NotReproducible`] with the first output that differs, [`HostedError::NotReproducible`] with the first metric;
    /// [`HostedError::Kind`].
    pub fn empty(&mut self, result: &HostResult) -> Result<(), HostedError> {
        self.golden.check_kind(result)?;
        match &result.0 {
            Came::Judged { difference: Some(difference), .. } => return Err(difference.clone().into()),
            Came::Judged { outcome, .. } if outcome.due > 0 => {
                let reason = "a run without faults gave no outputs".into();
                return Err(SelfCheckError::Probe { reason }.into());
            }
            Came::Judged { .. } => {}
            Came::Told(told) => {
                if let Some((name, golden, found)) =
                    self.golden.told().and_then(|golden| told.difference(golden))
                {
                    return Err(HostedError::NotReproducible { name, golden, found });
                }
            }
        }
        self.is_reproduced = true;
        Ok(())
    }

    /// Takes a run with the flips of the probe of a tensor; returns whether it shows them, so that no more probes are needed. Rows that
    /// are no longer the golden ones show them, and so do images without outputs and metrics that have changed.
    ///
    /// # Errors
    /// [`HostedError::Kind`].
    pub fn probe(&mut self, tensor: &str, result: &HostResult) -> Result<bool, HostedError> {
        self.golden.check_kind(result)?;
        let is_shown = match &result.0 {
            Came::Judged { outcome, .. } => outcome.masked < outcome.images,
            Came::Told(told) => self.golden.told().and_then(|golden| told.difference(golden)).is_some(),
        };
        match is_shown {
            true => self.refused(tensor),
            false => self.silent += 1,
        }
        Ok(is_shown)
    }

    /// The host's network failed under the flips of the probe of a tensor: it has seen them.
    pub fn refused(&mut self, tensor: &str) {
        self.shown_by.get_or_insert_with(|| tensor.to_owned());
    }

    /// The set-up, if it is proved.
    ///
    /// # Errors
    /// [`SelfCheckError::NoEffect`] when no probe showed; [`HostedError::NotProven`] for what was not tried at all.
    pub fn finish(self) -> Result<Proved, HostedError> {
        if !self.is_reproduced {
            return Err(HostedError::NotProven {
                missing: "no run without faults was made beside the golden run",
            });
        }
        match (self.shown_by, self.silent) {
            (Some(tensor), _) => Ok(Proved { golden: self.golden, tensor }),
            (None, 0) => Err(HostedError::NotProven { missing: "no probe was tried" }),
            (None, tensors) => Err(SelfCheckError::NoEffect { tensors }.into()),
        }
    }
}

impl Proved {
    /// The tensor whose flips showed.
    #[must_use]
    pub fn tensor(&self) -> &str {
        &self.tensor
    }
}
