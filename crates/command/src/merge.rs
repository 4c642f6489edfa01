//! `bitquake merge`.

use std::path::PathBuf;

use bitquake::merge::merge;
use bitquake::record::ResultDir;
use bitquake::results::rebuild;

use crate::exit::Failure;
use crate::output::{Output, counted};
use crate::results::show;

/// Join the trials of shards that ran in several directories, or in one.
///
/// All must be of one campaign, with the same golden outputs; a trial that was run twice must have given the same. The joined
/// directory can be reported, exported, replayed and run further like any other.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Result directories
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Result directory to write, which may be one of them; what it holds stays
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let out = ResultDir::at(&args.output);
    let merged = merge(&args.dirs, &out)?;
    let trials = counted(merged.trials, "trial");
    let twice = match merged.duplicates {
        0 => String::new(),
        duplicates => format!("; more records of the same that agree: {duplicates}"),
    };
    output.note(format!("{} holds {trials}{twice}", args.output.display()));
    show(&out, &rebuild(&out)?, args.json, output)
}
