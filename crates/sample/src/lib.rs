//! Keyed streams, and exact samplers of which sites are hit.
//!
//! Every random choice of bitquake is a function of (seed, point, trial, tensor, block) and of nothing else: not of the
//! thread, the batch, the order of work or the machine. [`StreamKey`] is that key; [`BernoulliDraw`] and [`subset()`] are the
//! two ways to choose sites with it, and [`first_hit`] finds where the hits of a draw that has any begin.
//!
//! ```
//! use bitquake_sample::{BernoulliDraw, Rate, StreamKey};
//!
//! let stream = StreamKey { seed: 42, point: 0, trial: 7 }.tensor("conv1.weight");
//! let few = BernoulliDraw::new(&stream, 1_000_000, Rate::new(1e-4)?).sites();
//! let many = BernoulliDraw::new(&stream, 1_000_000, Rate::new(1e-3)?).sites();
//! assert!(few.iter().all(|site| many.binary_search(site).is_ok()), "patterns are nested across rates");
//! # Ok::<(), bitquake_sample::RateError>(())
//! ```

mod bernoulli;
mod blockset;
mod chacha;
mod first;
mod key;
mod poisson;
mod rate;
mod sequences;
mod shells;
mod sorted;
mod subset;
mod together;
mod wide;

pub use bernoulli::{BernoulliDraw, BlockHits, Scratch};
pub use first::{Trials, first_hit};
pub use key::{PartKey, STREAM_VERSION, Stream, StreamKey, Words};
pub use rate::{Rate, RateError};
pub use subset::{SubsetError, subset, subset_of};
