//! The faults of one trial, in what is stored and in what the network computes with.

use bitquake_bits::WordStore;
use bitquake_engine::EngineError;
use bitquake_fault::{FaultPattern, Faults};
use bitquake_record::ProtectionRecord;
use bitquake_storage::Memory;

use crate::error::CampaignError;
use crate::tally::Tally;

/// The faults of one trial.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Bits that change in the memory, check bits among them.
    pub stored: FaultPattern,
    /// Bits that change in the floats that the network computes with: what makes the faulty model.
    pub seen: FaultPattern,
    /// Faults that are present and change nothing.
    pub dormant: u64,
    /// What the protections of the memory did, if it has any.
    pub protection: Option<ProtectionRecord>,
}

impl Trial {
    /// What faults come to in a memory. `native` is what the network computes with, without faults.
    pub(crate) fn of(
        faults: &Faults,
        memory: &Memory,
        native: &impl WordStore,
    ) -> Result<Self, CampaignError> {
        let resolved = faults.resolve(&memory.view(native)).map_err(EngineError::from)?;
        let (stored, dormant) = (resolved.pattern, resolved.dormant);
        if !memory.is_protected() {
            let seen = memory.translate(&stored, native)?;
            return Ok(Self { stored, seen, dormant, protection: None });
        }
        let left = memory.protect(&stored, native)?;
        let seen = memory.translate(&left.pattern, native)?;
        let protection = Some(ProtectionRecord {
            corrected: left.total.corrected,
            detected: left.total.detected,
            miscorrected: left.total.miscorrected,
            silent: left.total.silent,
            guarded: left.total.guarded,
            residual: left.pattern.flips(),
        });
        Ok(Self { stored, seen, dormant, protection })
    }

    /// What its record tells of its flips.
    pub(crate) fn tally(&self, memory: &Memory, native: &impl WordStore) -> Result<Tally, CampaignError> {
        let stored = self.stored.explain(&memory.view(native)).map_err(EngineError::from)?;
        let seen = self.seen.explain(native).map_err(EngineError::from)?.total;
        let mut tally = Tally::default();
        tally.add(&stored, &seen, self.dormant);
        Ok(tally)
    }
}
