//! `bitquake train`.

mod progress;

use std::path::{Path, PathBuf, absolute};

use bitquake::stats::Interval;
use bitquake::train::{DeviceName, End, Score, Summary, TrainedModel, Training, read_recipe};
use serde::Serialize;

use crate::exit::Failure;
use crate::folder::{Results, check_is_apart};
use crate::output::{Output, table};
use crate::signal::stop_on_signal;
use progress::Progress;

/// Train a network that stands bit errors, or resume where it was stopped.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Recipe; later ones override keys of earlier ones
    #[arg(required = true, value_name = "RECIPE.toml")]
    files: Vec<PathBuf>,
    /// Output folder; default: [output] dir, or trained/<name> beside the recipe
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Override a key, such as train.epochs=10; repeat for more
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Where to compute: cpu, cuda, cuda:1, wgpu; default: [train] device, or cpu
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Print the models and their errors as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let mut recipe = read_recipe(&args.files, &args.set)?;
    if let Some(device) = &args.device {
        recipe.train.device = DeviceName::try_from(device.clone()).map_err(Failure::usage)?;
    }
    if let Some(dir) = &args.output {
        recipe.output.dir = Some(absolute(dir).unwrap_or_else(|_| dir.clone()));
    }
    let training = Training::prepare(recipe)?;
    let dir = training.dir().to_owned();
    check_is_apart(&dir, &args.files, Some(Results::Training))?;
    let stop = stop_on_signal("finishing the running step; once more to stop at once")?;
    let mut progress = Progress::new(output.quiet);
    let end = training.run(&stop, |event| progress.event(&event));
    progress.close();
    match end? {
        End::Finished(summary) => show(&dir, &summary, args.json, output),
        End::Stopped { epoch, step, steps } => Err(Failure::stopped(format!(
            "stopped in epoch {} after step {step} of {steps}; run the same command again to resume",
            epoch + 1
        ))),
    }
}

/// Prints the table of the models, and says what comes next.
fn show(dir: &Path, summary: &Summary, json: bool, output: &Output) -> Result<(), Failure> {
    if json {
        let models = summary.models.iter().map(ModelJson::new).collect();
        return output.json(&SummaryJson { dir, models, campaign: summary.campaign.as_deref() });
    }
    output.data(&models(&summary.models))?;
    output.note(format!("files: {}", shown(dir).display()));
    if let Some(model) = summary.models.first() {
        let campaign = summary
            .campaign
            .as_deref()
            .map_or("CAMPAIGN.toml".into(), |path| shown(path).display().to_string());
        let storage = shown(&model.files.storage);
        output.note(format!("next: bitquake run {campaign} {}", storage.display()));
    }
    Ok(())
}

/// One row a model: its errors without faults, as its memory holds it.
fn models(models: &[TrainedModel]) -> String {
    let row = |model: &TrainedModel| {
        let file =
            model.files.model.file_name().map_or_else(String::new, |name| name.to_string_lossy().into());
        vec![
            model.name.to_owned(),
            (model.epoch + 1).to_string(),
            error(model.validation),
            error(model.test),
            file,
        ]
    };
    table(&["model", "epoch", "validation error", "test error", "file"], &[1, 2, 3], models.iter().map(row))
}

/// `8.25 % [7.72, 8.81]`.
fn error(score: Option<Score>) -> String {
    let Some(score) = score else { return "-".into() };
    let interval = score
        .error_interval()
        .map(|Interval { lo, hi, .. }| format!(" [{:.2}, {:.2}]", 100.0 * lo, 100.0 * hi));
    format!("{:.2} %{}", 100.0 * score.error(), interval.unwrap_or_default())
}

/// A path as a person would type it: relative to the working directory where it lies in it.
fn shown(path: &Path) -> &Path {
    let here = std::env::current_dir().ok();
    here.and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path)
}

/// What `--json` prints.
#[derive(Serialize)]
struct SummaryJson<'a> {
    dir: &'a Path,
    models: Vec<ModelJson<'a>>,
    campaign: Option<&'a Path>,
}

#[derive(Serialize)]
struct ModelJson<'a> {
    name: &'a str,
    epoch: u64,
    validation: Option<ScoreJson>,
    test: Option<ScoreJson>,
    model: &'a Path,
    storage: &'a Path,
    codes: &'a Path,
}

#[derive(Serialize)]
struct ScoreJson {
    images: u64,
    wrong: u64,
    error: f64,
    interval: Option<Interval>,
    loss: f64,
}

impl<'a> ModelJson<'a> {
    fn new(model: &'a TrainedModel) -> Self {
        let files = &model.files;
        Self {
            name: model.name,
            epoch: model.epoch,
            validation: model.validation.map(ScoreJson::new),
            test: model.test.map(ScoreJson::new),
            model: &files.model,
            storage: &files.storage,
            codes: &files.codes,
        }
    }
}

impl ScoreJson {
    fn new(score: Score) -> Self {
        let Score { images, wrong, .. } = score;
        Self { images, wrong, error: score.error(), interval: score.error_interval(), loss: score.loss() }
    }
}
