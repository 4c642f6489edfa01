//! `bitquake run`.

use std::path::PathBuf;

use bitquake::campaign::{Campaign, End, RunOptions, Shard, read_config};
use bitquake::engine::Model;
use bitquake::record::ResultDir;
use bitquake::results::rebuild;

use crate::exit::Failure;
use crate::folder::{Results, check_is_apart};
use crate::output::{Output, counted};
use crate::plan;
use crate::progress::Progress;
use crate::results::show;
use crate::signal::stop_on_signal;

/// Run a campaign, or resume it where it was stopped.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Campaign file; later ones override keys of earlier ones
    #[arg(required = true, value_name = "CAMPAIGN.toml")]
    files: Vec<PathBuf>,
    /// Result directory; default: [output] dir, or results/<name> beside the campaign file
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Run only the trials of shard I of N
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    shard: Shard,
    /// Override a key, such as run.trials=10; repeat for more
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Tell what the run would take, and run no trial
    #[arg(long)]
    plan: bool,
    /// Print the summary, or the plan, as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let mut config = read_config(&args.files, &args.set)?;
    if let Some(dir) = &args.output {
        config.output.dir = Some(std::path::absolute(dir).unwrap_or_else(|_| dir.clone()));
    }
    let dir = ResultDir::at(config.output.dir.clone().unwrap_or_else(|| "results".into()));
    check_is_apart(dir.path(), &args.files, Some(Results::Campaign))?;
    let (campaign, model) = Campaign::prepare(config)?;
    let stop = stop_on_signal("finishing the running trials; once more to stop at once")?;
    let options = RunOptions { shard: args.shard, stop: &stop };
    if args.plan {
        return show_plan(&campaign, model, &dir, options, args.json, output);
    }
    let mut progress = Progress::new(output.quiet, campaign.config().run.stop.as_ref(), args.shard);
    let end = campaign.run(model, &dir, options, |event| progress.event(&event));
    progress.close();
    let end = end?;
    show(&dir, &rebuild(&dir)?, args.json, output)?;
    match end {
        End::Finished => Ok(()),
        End::OutOfTime { .. } => {
            // An end that was asked for: a scheduler must not send it again.
            output.note("the time of [run] stop is over; run the same command again to go on");
            Ok(())
        }
        End::Stopped { missing } => Err(Failure::stopped(format!(
            "stopped with {} to go; run the same command again to resume",
            counted(missing, "trial")
        ))),
    }
}

/// What the run would take: data, since it was asked for.
fn show_plan(
    campaign: &Campaign,
    model: Model,
    dir: &ResultDir,
    options: RunOptions<'_>,
    json: bool,
    output: &Output,
) -> Result<(), Failure> {
    let (_, plan) = campaign.plan(model, dir, options)?;
    if json { output.json(&plan) } else { output.data(&plan::shown(&plan)) }
}
