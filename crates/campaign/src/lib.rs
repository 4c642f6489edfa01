//! Campaigns: plan, golden run, trials, resume.
//!
//! [`Config`] is what a campaign file says; [`Campaign::prepare`] reads the model and the data it names and fixes the
//! campaign's identity; [`Campaign::run`] proves the set-up, runs the trials that are missing and records each as it
//! finishes. [`Campaign::trial`] gives the faults of any trial again. [`Shard`] divides the trials over processes, and [`slurm`]
//! those over a cluster. [`hosted`] is for campaigns whose network somebody else runs.

mod activation_codes;
mod campaign;
mod config;
mod engine;
mod error;
mod exposure;
pub mod hosted;
mod identity;
mod pilot;
mod plan;
mod pool;
mod rounds;
mod run;
mod run_config;
mod saved;
mod set_up;
mod shard;
pub mod slurm;
mod strata;
mod tally;
mod trial;
mod trial_record;
mod value_faults;
mod worker;

// The sections that campaigns share with training.
pub use bitquake_config::{
    ChipConfig, ConfigError, EffectConfig, FaultConfig, LengthConfig, OffsetConfig, PatternFile, Persistence,
    ProtectConfig, RandomOffset, RegionConfig, ShapeConfig, SizeConfig, SyntheticConfig, Target, ValueConfig,
    ValueEffect,
};

pub use activation_codes::ActivationsConfig;
pub use campaign::{Campaign, candidates, pattern_digest};
pub use config::{
    Compat, Config, ModelConfig, OutcomeConfig, OutputConfig, ReportConfig, read_config, read_config_beside,
    resolved_toml,
};
pub use error::CampaignError;
pub use identity::model_digests;
pub use plan::{Asked, Leveugle, Plan, PlannedPoint};
pub use run::{End, Event, Look, RunOptions};
pub use run_config::{
    EngineConfig, ImagesConfig, ImagesRule, ReuseConfig, RunConfig, SamplingConfig, StopConfig,
};
pub use saved::SavedConfig;
pub use shard::{RunNote, Shard, ShardError, stop_text};
pub use trial::Trial;
