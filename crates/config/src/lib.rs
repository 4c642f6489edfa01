//! Configuration files: TOML in layers, and the sections that campaigns and training share.
//!
//! [`read_layers`] reads files and `key=value` settings, later ones on top of earlier ones, and says what is wrong in a person's
//! words. [`FaultConfig`] is a table of faults, such as `[fault]`; [`FaultConfig::model`] makes the fault model of one of its
//! points. [`check_storage`] and [`fill_storage`] belong to `[storage]`.

mod chip;
mod digest;
mod error;
mod explain;
mod fault;
mod identity;
mod layers;
mod model;
mod pattern;
mod shape;
mod storage;
mod target;

pub use chip::{ChipConfig, OffsetConfig, RandomOffset, SyntheticConfig};
pub use digest::hex;
pub use error::ConfigError;
pub use explain::{explain, explain_message};
pub use fault::{FaultConfig, LengthConfig, ProtectConfig, RegionConfig, ValueConfig};
pub use identity::{Identity, identity_difference};
pub use layers::{Layout, absolute_paths, default_dir, read_layers};
pub use model::{ModelConfig, check_name};
pub use pattern::PatternConfig;
pub use shape::{EffectConfig, PatternFile, ShapeConfig, SizeConfig, ValueEffect};
pub use storage::{check_storage, fill_storage, read_storage};
pub use target::{Persistence, Target};
