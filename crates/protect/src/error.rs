//! What can go wrong.

use std::path::PathBuf;

use bitquake_fault::protect::ProtectError;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtectionError {
    /// `[protect]` does not make sense.
    #[error("[protect] {reason}")]
    Config {
        /// What is wrong with it.
        reason: String,
    },
    /// A protection on offer that is none.
    #[error("[protect] offer {place}: {source}")]
    Offer {
        /// Which, from 1.
        place: usize,
        /// What is wrong with it.
        source: ProtectError,
    },
    /// The file that tells the damage is bad.
    #[error("{}: {reason}", path.display())]
    Damage {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A memory has another number of check bits than its plan counts: a fault of this program.
    #[error("{name}: the plan counts {planned} check bits, the memory has {found}")]
    OtherCost {
        /// The memory.
        name: String,
        /// What the plan counts.
        planned: u64,
        /// What the memory has.
        found: u64,
    },
    /// A folder holds the results of another memory.
    #[error("{}: holds results of another `{name}`: {difference}; choose another output folder", dir.display())]
    OtherResults {
        /// The folder.
        dir: PathBuf,
        /// The memory.
        name: String,
        /// In what they differ.
        difference: String,
    },
    /// Nothing is known of a tensor's bits.
    #[error("{source_of_damage} tells nothing of bit {bit} of tensor `{tensor}`: {hint}")]
    Unknown {
        /// Where damage is known from.
        source_of_damage: String,
        /// The tensor.
        tensor: String,
        /// The bit, 0 being the least significant.
        bit: u32,
        /// What may help.
        hint: &'static str,
    },
}
