//! Result files: what a campaign leaves behind, and how it is read again.
//!
//! A result directory holds `campaign.toml` (the resolved configuration), `golden.json` ([`Golden`]) and
//! `trials-<shard>.jsonl` (one [`TrialRecord`] a line). From those, and at any time, [`summarise`] makes the table of points
//! and [`csv`] the files `summary.csv` and `trials.csv`; [`trials_to_parquet`] makes `trials.parquet`.

mod anytime;
mod column;
pub mod csv;
mod dir;
mod error;
mod finished;
mod folder;
mod golden;
mod host;
mod json;
mod lines;
mod metric;
mod metric_sequence;
mod overview;
mod own;
mod parquet_export;
mod score;
mod sealed;
mod sorted;
mod summary;
mod trial;
mod vulnerability;

pub use anytime::{StopGoal, StopStatus};
pub use dir::{
    Appender, AtomicFile, CAMPAIGN_FILE, GOLDEN_FILE, ResultDir, Results, lock_shard, shard_file,
    write_atomically,
};
pub use error::RecordError;
pub use finished::FinishedSet;
pub use folder::FolderLock;
pub use golden::{
    ActivationRecord, Counts, DistanceMeasure, DistanceRule, Engine, Golden, LARGEST_WEIGHT, Machine,
    PointPlan, Sampling, SpaceTensorRecord, StorageRecord, StratumRecord,
};
pub use host::HostRecord;
pub use json::{JsonResults, to_json};
pub use lines::Lines;
pub use lines::for_each_line;
pub use metric::{METRICS, Metric};
pub use metric_sequence::MetricSequence;
pub use overview::{Overview, OverviewBuilder, ShownTrial};
pub use own::OwnSummary;
pub use parquet_export::{ParquetRows, trials_to_parquet};
pub use score::{CONFIDENCE, Score, predictions};
pub use sealed::{Sealed, SealedTensor, SealedValues};
pub use summary::{IntervalRule, MetricSummary, Overall, PointSummary, SummaryOptions, summarise};
pub use trial::{Amount, CleanRecord, DistanceRecord, Extent, ProtectionRecord, SiteRecord, TrialRecord};
pub use vulnerability::{
    Cell, CellTensor, FailureRate, VULNERABILITY_SCHEMA, Vulnerability, VulnerabilityTally, vulnerability,
};

/// Version of the files. Readers refuse newer ones.
pub const SCHEMA: u32 = 1;
