//! A small campaign on the shipped model, and its records.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use bitquake::record::{ResultDir, TrialRecord};

use crate::common::{Done, bitquake, example};

/// Settings that make the shipped campaign run in a moment: 20 images, two points, one thread.
pub const SMALL: [&str; 10] = [
    "--set",
    "data.limit=20",
    "--set",
    "run.batch=20",
    "--set",
    "fault.rates=[1e-5, 1e-3]",
    "--set",
    "run.trials=8",
    "--set",
    "run.threads=1",
];

/// A command on the small campaign: `run` or `submit`.
pub fn command(verb: &str, out: &Path, more: &[&str]) -> Command {
    let mut command = bitquake();
    command.arg(verb).arg(example("campaign.toml")).arg("-o").arg(out).args(SMALL).args(more);
    command
}

pub fn campaign(out: &Path, more: &[&str]) -> Done {
    Done::of(command("run", out, more).output().expect("the command starts"))
}

pub fn spawn(out: &Path, more: &[&str]) -> Child {
    let mut command = command("run", out, more);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts")
}

/// The records without their times, sorted.
pub fn records(dir: &Path) -> Vec<TrialRecord> {
    ResultDir::at(dir).trials().expect("records").iter().map(TrialRecord::timeless).collect()
}
