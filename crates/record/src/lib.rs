//! Result files: what a campaign leaves behind, and how it is read again.
//!
//! A result directory holds `campaign.toml` (the resolved configuration), `golden.json` ([`Golden`]) and
//! `trials-<shard>.jsonl` (one [`TrialRecord`] a line). From those, and at any time, [`summarise`] makes the table of points
//! and [`csv`] the files `summary.csv` and `trials.csv`; [`trials_to_parquet`] makes `trials.parquet`.

mod column;
pub mod csv;
mod dir;
mod error;
mod finished;
mod golden;
mod lines;
mod metric;
mod parquet_export;
mod summary;
mod trial;

pub use dir::{Appender, CAMPAIGN_FILE, GOLDEN_FILE, ResultDir, Results, shard_file, write_atomically};
pub use error::RecordError;
pub use finished::FinishedSet;
pub use golden::{
    Counts, DistanceMeasure, DistanceRule, Engine, Golden, Machine, PointPlan, Sampling, SpaceTensorRecord,
    StorageRecord, StratumRecord,
};
pub use metric::{METRICS, Metric};
pub use parquet_export::trials_to_parquet;
pub use summary::{MetricSummary, Overall, PointSummary, SummaryOptions, summarise, to_json};
pub use trial::{Amount, CleanRecord, DistanceRecord, Extent, ProtectionRecord, SiteRecord, TrialRecord};

/// Version of the files. Readers refuse newer ones.
pub const SCHEMA: u32 = 1;
