//! Campaigns whose network a host runs.

mod refusals;
mod resume;
mod same_as_own;
mod told;
mod toy;
