//! Trains networks that stand bit errors.
//!
//! A [`Recipe`] is what a TOML file says; [`Training::prepare`] loads the model and the data that it names and checks that they fit;
//! [`Training::run`] trains, from the newest snapshot if there is one, and writes the models. [`method`] is what happens to weights
//! in a step: how they are stored, which faults hit them, and how the gradients become one; [`Optimiser`] moves them.
//!
//! The master weights, the state of the optimiser and the quantized weights lie on the host, in f32. The network ([`bitquake_grad`])
//! holds on its device what the memory would hold, and gives gradients.
//!
//! An output folder holds `recipe.toml` (resolved, every default visible), `training.jsonl` ([`LogLine`]) and `tensorboard/`, the
//! snapshots `last.safetensors` and `best.safetensors` ([`Snapshot`]), and at the end the models with their `[storage]` ([`Exported`]).

mod error;
mod events;
mod export;
mod folder;
mod learner;
mod log;
pub mod method;
mod optimiser;
mod recipe;
mod schedule;
mod score;
mod sets;
mod snapshot;
mod trainer;

pub use error::TrainError;
pub use events::EventWriter;
pub use export::Exported;
pub use log::{EVENTS_DIR, EpochRecord, LOG_FILE, LogLine, Losses, StepsRecord, read_log};
pub use optimiser::{Optimiser, OptimiserConfig, OptimiserKind, OptimiserOverride, StepSettings};
pub use recipe::{
    Beginning, DeviceName, ModelFile, Recipe, RecipeData, RecipeModel, RecipeOutput, TrainConfig,
    read_recipe, recipe_toml,
};
pub use schedule::{ScheduleConfig, ScheduleKind, Timeline};
pub use score::{CONFIDENCE, Score};
pub use snapshot::{BEST_SNAPSHOT, Best, Header, LAST_SNAPSHOT, Progress, Snapshot, SnapshotTensor};
pub use trainer::{Begin, End, Event, RECIPE_FILE, StepEvent, Summary, TrainedModel, Training};
