//! `bitquake attack`.

mod progress;

use std::path::{Path, PathBuf, absolute};

use bitquake::attack::{
    Attack, End, EndReason, FlipsToTarget, GoalRecord, Summary, TrialSummary, pattern_file, read_attack,
};
use bitquake::stats::Interval;
use serde::Serialize;

use crate::exit::Failure;
use crate::folder::{Results, check_is_apart};
use crate::output::{Output, grouped, table};
use crate::signal::stop_on_signal;
use progress::Progress;

/// Find the flips of stored weights that do most damage, or resume.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Attack file; later ones, such as the storage.toml of a training, override keys of earlier ones
    #[arg(required = true, value_name = "ATTACK.toml")]
    files: Vec<PathBuf>,
    /// Output folder; default: [output] dir, or attacks/<name> beside the attack file
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Override a key, such as attack.trials=5; repeat for more
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let mut config = read_attack(&args.files, &args.set)?;
    if let Some(dir) = &args.output {
        config.output.dir = Some(absolute(dir).unwrap_or_else(|_| dir.clone()));
    }
    let attack = Attack::prepare(config)?;
    let dir = attack.dir().to_owned();
    check_is_apart(&dir, &args.files, Some(Results::Attack))?;
    let stop = stop_on_signal("finishing the running step; once more to stop at once")?;
    let mut progress = Progress::new(output.quiet);
    let end = attack.run(&stop, |event| progress.event(&event));
    progress.close();
    match end? {
        End::Finished(summary) => show(&dir, &summary, args.json, output),
        End::Stopped { trial, flips } => Err(Failure::stopped(format!(
            "stopped in trial {trial} after {} flips; run the same command again to resume",
            grouped(flips)
        ))),
    }
}

#[derive(Serialize)]
struct Told<'a> {
    dir: &'a Path,
    #[serde(flatten)]
    summary: &'a Summary,
}

/// Prints a row a trial and what all of them come to, and says where the flips are.
fn show(dir: &Path, summary: &Summary, json: bool, output: &Output) -> Result<(), Failure> {
    if json {
        return output.json(&Told { dir, summary });
    }
    output.data(&trials(&summary.trials))?;
    output.data(&over_trials(summary))?;
    let first = summary.trials.first().map_or(0, |trial| trial.trial);
    output.note(format!("files: {}; flips: {}, ...", dir.display(), pattern_file(first)));
    Ok(())
}

fn trials(trials: &[TrialSummary]) -> String {
    let row = |trial: &TrialSummary| {
        let Interval { lo, hi, .. } = trial.interval;
        vec![
            trial.trial.to_string(),
            grouped(trial.flip_count),
            grouped(trial.distance),
            format!("{:.2} %", 100.0 * trial.clean_accuracy),
            format!("{:.2} % [{:.2}, {:.2}]", 100.0 * trial.accuracy, 100.0 * lo, 100.0 * hi),
            trial.success.map_or_else(|| "-".into(), |share| format!("{:.2} %", 100.0 * share)),
            trial.reason.told().to_owned(),
        ]
    };
    let header = ["trial", "flips", "distance", "clean accuracy", "accuracy", "success", "end"];
    table(&header, &[0, 1, 2, 3, 4, 5], trials.iter().map(row))
}

/// `accuracy at or below 11.00 %: 23.4 flips [18.1, 28.7], 5 of 5 trials`.
fn over_trials(summary: &Summary) -> String {
    let goal = match summary.goal {
        GoalRecord::Accuracy(share) => format!("accuracy at or below {:.2} %", 100.0 * share),
        GoalRecord::Success(share) => format!("success at or above {:.2} %", 100.0 * share),
    };
    let FlipsToTarget { reached, trials, mean, interval, .. } = summary.flips;
    let at_least = if summary.flips.is_at_least() { "at least " } else { "" };
    let interval = interval.map_or_else(String::new, |Interval { lo, hi, confidence, .. }| {
        format!(" [{lo:.1}, {hi:.1}] at {:.0} %", 100.0 * confidence)
    });
    let why = summary.trials.iter().any(|trial| trial.reason == EndReason::NoIncrease);
    let hint = if why && summary.flips.is_at_least() {
        "\nsome trials ended because no flips raised the loss: a larger [attack.search] most, or more images, may find more"
    } else {
        ""
    };
    format!("{goal}: {at_least}{mean:.1} flips{interval}; reached in {reached} of {trials} trials{hint}")
}
