//! Result files: what a campaign leaves behind, and how it is read again.
//!
//! A result directory holds `campaign.toml` (the resolved configuration), `golden.json` ([`Golden`]) and
//! `trials-<shard>.jsonl` (one [`TrialRecord`] a line). From those, and at any time, [`summarise`] makes the table of points
//! and [`csv`] the files `summary.csv` and `trials.csv`; [`trials_to_parquet`] makes `trials.parquet`.

pub mod csv;
mod dir;
mod error;
mod golden;
mod metric;
mod parquet_export;
mod summary;
mod trial;

pub use dir::{
    Appender, CAMPAIGN_FILE, GOLDEN_FILE, ResultDir, Results, lock_shard, shard_file, write_atomically,
};
pub use error::RecordError;
pub use golden::{Counts, Engine, Golden, Machine, PointPlan, SpaceTensorRecord, StorageRecord};
pub use metric::{METRICS, Metric};
pub use parquet_export::trials_to_parquet;
pub use summary::{MetricSummary, Overall, PointSummary, SummaryOptions, summarise, to_json};
pub use trial::{Amount, ProtectionRecord, TrialRecord};

/// Version of the files. Readers refuse newer ones.
pub const SCHEMA: u32 = 1;
