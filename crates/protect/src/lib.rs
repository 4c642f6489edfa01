//! What to protect of a memory, within a budget of extra bits.
//!
//! [`Damage`] says what a flip of each bit position of each tensor does: a ranking or a campaign of single upsets told it. An [`Offer`] is a
//! protection with what it leaves of bit errors at a rate. [`choose`] takes, tensor by tensor, one protection of neighbouring bits, so that
//! the expected damage that is left is as small as the budget allows; the [`Plan`] gives the rules that a memory applies.
//!
//! All of this is arithmetic on what is expected; what a plan is worth, campaigns tell.

mod choose;
mod config;
mod damage;
mod error;
mod offer;
mod option;
mod plan;

pub use choose::choose;
pub use config::PlanConfig;
pub use damage::{Damage, TensorDamage};
pub use error::ProtectionError;
pub use offer::Offer;
pub use plan::{MemoryTensor, Plan, PlannedRule};
