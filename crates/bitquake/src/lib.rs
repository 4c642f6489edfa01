//! Find out what flipped bits do to a neural network.
//!
//! This is the library that the command `bitquake` is a face of. Each lower crate is a module here; [`inject`], [`inspect`],
//! [`diff`], [`replay`] and [`results`] put them together into what one does with a file or a result directory.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//! use bitquake::campaign::{Campaign, RunOptions, Shard, read_config};
//! use bitquake::record::ResultDir;
//!
//! let config = read_config(&["examples/fashion-cnn/campaign.toml".into()], &[])?;
//! let (campaign, model) = Campaign::prepare(config)?;
//! let dir = ResultDir::at("results");
//! let stop = AtomicBool::new(false);
//! campaign.run(model, &dir, RunOptions { shard: Shard::default(), stop: &stop }, |_| ())?;
//! for point in bitquake::results::rebuild(&dir)?.overview.points {
//!     println!("{}: {:?}", point.amount, point.metric("accuracy"));
//! }
//! # Ok::<(), bitquake::Error>(())
//! ```

pub use bitquake_attack as attack;
pub use bitquake_bits as bits;
pub use bitquake_campaign as campaign;
pub use bitquake_config as config;
pub use bitquake_data as data;
pub use bitquake_engine as engine;
pub use bitquake_fault as fault;
pub use bitquake_grad as grad;
pub use bitquake_graph as graph;
pub use bitquake_quant as quant;
pub use bitquake_record as record;
pub use bitquake_report as report;
pub use bitquake_sample as sample;
pub use bitquake_stats as stats;
pub use bitquake_storage as storage;
pub use bitquake_tensors as tensors;
pub use bitquake_train as train;

pub mod compare;
pub mod diff;
pub mod energy;
mod error;
pub mod guard;
pub mod inject;
pub mod inspect;
pub mod merge;
pub mod protect;
pub mod quantize;
pub mod replay;
pub mod results;
mod select;
mod sorted;
pub mod status;
pub mod submit;

pub use error::{Error, ErrorKind};
