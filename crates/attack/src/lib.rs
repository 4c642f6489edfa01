//! Bit-flip attacks, the flips of stored weights that do most damage, and rankings of bits.
//!
//! An [`AttackFile`] is what a TOML file says; [`Attack::prepare`] loads the model and the data that it names, and stores the weights as
//! `[storage]` says; [`Attack::run`] runs trials, each with images and random choices of its own, and resumes from what is recorded.
//!
//! - [`AttackedWords`] are the stored words: codes of any quantizer, or float32. A flip changes a word, and what it stands for is decoded
//!   once: no attack assumes an encoding.
//! - [`Victim`] is what an attack asks of a network: its loss and gradient, and the loss with a few weights changed.
//!   [`Subject`] is a network of `bitquake-grad` with the images to attack it on.
//! - [`step`] is one step of the progressive bit search, [`exhaustive_step`] the best flip of all, [`random_site`] a random one.
//!
//! [`rank`] tells which stored bits matter most, without trying them all.
//!
//! An output folder of an attack holds `attack.toml` (resolved, every default visible), `attack.jsonl` ([`AttackLine`]), and, of each trial that is over,
//! `trial-<number>.json`: the flips as a [`FaultPattern`](bitquake_fault::FaultPattern) over the memory. At the end `profile.csv` (one row a
//! flip) and `summary.json` ([`Summary`]) are made of the lines.

mod ascent;
mod attack;
mod candidates;
mod config;
mod csv;
mod error;
mod evaluate;
mod exhaustive;
mod feasible;
mod identity;
mod images;
mod levels;
mod limits;
mod objective;
mod profile;
mod random;
pub mod rank;
mod record;
mod search;
mod stored;
mod subject;
mod summary;
mod trial;
mod victim;
mod words;

pub use ascent::AscentConfig;
pub use attack::{ATTACK_FILE, Attack, End, Event, PROFILE_FILE, SUMMARY_FILE, pattern_file};
pub use candidates::Candidate;
pub use config::{
    AttackConfig, AttackFile, AttackKind, AttackOutput, EvaluateConfig, Goal, Labels, StopConfig,
    attack_toml, read_attack,
};
pub use error::AttackError;
pub use evaluate::Evaluation;
pub use exhaustive::exhaustive_step;
pub use limits::{Limits, Room};
pub use objective::Objective;
pub use random::{Weighting, random_site};
pub use record::{
    AttackLine, AttackRecord, AttackRecords, EndReason, EndRecord, FlipRecord, RECORD_FILE, StepRecord,
    TrialLines, TrialRecord,
};
pub use search::{Chosen, Effort, Flat, Growth, NonFinite, SearchConfig, Step, step};
pub use subject::{AttackBatch, Subject, SubjectVictim};
pub use summary::{FlipsToTarget, GoalRecord, Summary, TrialSummary};
pub use victim::{Change, Slopes, Victim};
pub use words::{AttackedTensor, AttackedWords, BitSite};
