//! Estimates and their intervals: no number without one.
//!
//! The trial is the sample: all images of a trial share its faults, so `n` counts trials, never images. Every
//! function here is a pure function of its arguments; rates and shares are fractions in [0, 1], and a confidence is a
//! fraction too (0.95, not 95).
//!
//! - [`mean_estimate`]: the mean of a metric over trials, with Student's t interval.
//! - [`share_estimate`]: the share of trials for which something held, with the Clopper-Pearson interval.
//! - [`Summary`]: count, mean, sample standard deviation, minimum and maximum.
//! - [`Running`]: mean and standard deviation of the values so far, for a progress line.
//!
//! These intervals are for a number of trials fixed in advance. Looking at them after every trial and stopping when
//! they please gives them less confidence than they state.
//!
//! ```
//! let accuracies = [0.913, 0.908, 0.911, 0.874, 0.910];
//! let estimate = bitquake_stats::mean_estimate(&accuracies, 0.95)?.expect("five trials");
//! let interval = estimate.interval.expect("two trials or more have an interval");
//! assert!((estimate.value - 0.9032).abs() < 1e-12);
//! assert!(interval.lo < 0.89 && interval.hi > 0.92);
//! # Ok::<(), bitquake_stats::StatsError>(())
//! ```

mod clopper_pearson;
mod error;
mod estimate;
mod incomplete_beta;
mod interval;
mod running;
mod student;
mod summary;

pub use clopper_pearson::clopper_pearson;
pub use error::{StatsError, check_confidence};
pub use estimate::{Estimate, mean_estimate, share_estimate};
pub use interval::{Interval, Method, weighted};
pub use running::Running;
pub use student::t_interval;
pub use summary::Summary;
