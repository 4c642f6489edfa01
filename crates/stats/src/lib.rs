//! Estimates and their intervals: no number without one.
//!
//! The trial is the sample: all images of a trial share its faults, so `n` counts trials, never images. Every
//! function here is a pure function of its arguments; rates and shares are fractions in [0, 1], and a confidence is a
//! fraction too (0.95, not 95).
//!
//! | Question | Answer |
//! |---|---|
//! | The mean of a metric over trials? | [`mean_estimate`] (Student's t), [`bootstrap_mean`] |
//! | The same for values that are not kept? | [`Moments`]; for a progress line [`Running`] |
//! | Count, mean, standard deviation, minimum and maximum of a list? | [`Summary`] |
//! | In which share of trials did something happen? | [`share_estimate`], [`clopper_pearson`]; approximate: [`wilson`] |
//! | **May I look after every trial, and stop?** A mean of values in a known range | [`MeanSequence`]; wider, but six numbers: [`BernsteinSequence`] |
//! | A share | [`ShareSequence`]; a mean in [0, 1] of which only the sum is known: [`mean_mixture`] |
//! | A mean of values drawn with unequal probabilities | [`WeightedSequence`] |
//! | When is it enough, and when to look? | [`StopRule`], [`look_after`] |
//! | How many faults or trials will it take? | [`faults_needed`], [`margin_of_faults`], [`trials_needed`] |
//! | How many trials for which part of the fault space? | [`neyman`] |
//! | How many images in each trial? | [`TwoStage`], from a pilot by [`VarianceParts`]; [`finite_population_factor`] |
//! | A share of images, when those of a trial are alike? | [`Clusters`] |
//! | The whole from strata sampled apart? | [`stratified_share`]; approximate: [`stratified_share_mover`], [`stratified_mean`] |
//! | The mean of a sample with unequal probabilities? | [`WeightedMean`] (Horvitz-Thompson, Hájek) |
//! | Does one campaign differ from another on the same patterns? | [`compare_paired`], [`sign_flip_test`], [`sign_flip_counts`], [`mcnemar`] |
//! | Failures in time, and hours between them? | [`fit_rate`] |
//! | Do two rankings of the same things agree? | [`kendall_tau_b`] |
//!
//! Only the sequences (methods for which [`Method::is_anytime_valid`]) keep their confidence when the data decide
//! when to stop. All other intervals are for a number of trials fixed in advance: looking at them after every trial
//! and stopping when they please gives them less confidence than they state.
//!
//! ```
//! let accuracies = [0.913, 0.908, 0.911, 0.874, 0.910];
//! let estimate = bitquake_stats::mean_estimate(&accuracies, 0.95)?.expect("five trials");
//! let interval = estimate.interval.expect("two trials or more have an interval");
//! assert!((estimate.value - 0.9032).abs() < 1e-12);
//! assert!(interval.lo < 0.89 && interval.hi > 0.92);
//! # Ok::<(), bitquake_stats::StatsError>(())
//! ```

mod allocation;
mod bernstein;
mod betting;
mod bootstrap;
mod clopper_pearson;
mod clusters;
mod error;
mod estimate;
mod fit;
mod incomplete_beta;
mod interval;
mod kendall;
mod moments;
mod normal;
mod paired;
mod pareto;
mod predictable;
mod range;
mod ratio;
mod running;
mod sample_size;
mod share_sequence;
mod split_mix;
mod stop;
mod stratified;
mod student;
mod summary;
mod wealth;
mod weighted_mean;
mod wilson;

pub use allocation::{StratumPlan, TwoStage, finite_population_factor, neyman};
pub use bernstein::BernsteinSequence;
pub use betting::MeanSequence;
pub use bootstrap::{Bootstrap, bootstrap_mean};
pub use clopper_pearson::clopper_pearson;
pub use clusters::{Clusters, VarianceParts};
pub use error::{StatsError, check_confidence};
pub use estimate::{Estimate, mean_estimate, share_estimate};
pub use fit::{FitRate, fit_rate};
pub use interval::{Interval, Method, weighted};
pub use kendall::kendall_tau_b;
pub use moments::Moments;
pub use paired::{Paired, SignFlip, compare_paired, mcnemar, sign_flip_counts, sign_flip_test};
pub use pareto::{Priced, Standing, pareto};
pub use running::Running;
pub use sample_size::{faults_needed, margin_of_faults, trials_needed};
pub use share_sequence::{ShareSequence, mean_mixture};
pub use stop::{StopRule, look_after};
pub use stratified::{StratumMean, StratumShare, stratified_mean, stratified_share, stratified_share_mover};
pub use student::t_interval;
pub use summary::Summary;
pub use weighted_mean::{WeightedMean, WeightedSequence};
pub use wilson::wilson;
