//! `bitquake report`, `export` and `replay`.

use std::path::{Path, PathBuf};

use bitquake::campaign::read_config;
use bitquake::inject::write_pattern;
use bitquake::record::{CAMPAIGN_FILE, ResultDir};
use bitquake::report::{TableStyle, table, vulnerability_table};
use bitquake::results::{ExportFormat, Rebuilt, curves, rebuild, write_json};

use crate::exit::Failure;
use crate::folder::check_output;
use crate::output::{Output, counted};

/// Make the tables and the report of a campaign again, from its records; or one page for several campaigns.
///
/// Several campaigns are drawn as curves of their test error. Where names hold ` - `, what stands before is the plot, what stands after the
/// curve.
#[derive(clap::Args)]
pub(crate) struct ReportArgs {
    /// Result directory, or several
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// Where the page of several campaigns goes
    #[arg(short, long, value_name = "FILE", default_value = "curves.html")]
    output: PathBuf,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn report(args: &ReportArgs, output: &Output) -> Result<(), Failure> {
    if let [dir] = args.dirs.as_slice() {
        let dir = ResultDir::at(dir);
        return show(&dir, &rebuild(&dir)?, args.json, output);
    }
    if args.json {
        return Err(Failure::usage("--json takes one result directory"));
    }
    curves(&args.dirs.iter().map(ResultDir::at).collect::<Vec<_>>(), &args.output)?;
    output.note(format!("report: {}", args.output.display()));
    Ok(())
}

/// Prints the table of the points and names the report.
pub(crate) fn show(dir: &ResultDir, rebuilt: &Rebuilt, json: bool, output: &Output) -> Result<(), Failure> {
    if json {
        let mut document = Vec::new();
        write_json(dir, &rebuilt.overview, &mut document)?;
        return output.data(&String::from_utf8_lossy(&document));
    }
    let style = TableStyle { colour: false, width: None };
    output.data(&table(&rebuilt.overview, style))?;
    if let Some(text) = vulnerability_table(&rebuilt.overview) {
        output.data(&text)?;
    }
    output.note(format!("report: {}", rebuilt.report.display()));
    Ok(())
}

/// Write the records of a campaign in another format.
#[derive(clap::Args)]
pub(crate) struct ExportArgs {
    /// Result directory
    dir: PathBuf,
    /// csv: summary.csv and trials.csv; parquet: trials.parquet; json: results.json
    #[arg(long)]
    to: Format,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    Csv,
    Parquet,
    Json,
}

pub(crate) fn export(args: &ExportArgs, output: &Output) -> Result<(), Failure> {
    let format = match args.to {
        Format::Csv => ExportFormat::Csv,
        Format::Parquet => ExportFormat::Parquet,
        Format::Json => ExportFormat::Json,
    };
    let files = bitquake::results::export(&ResultDir::at(&args.dir), format)?;
    let list: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    output.data(&list.join("\n"))
}

/// Write the faulty model of one recorded trial.
#[derive(clap::Args)]
pub(crate) struct ReplayArgs {
    /// Result directory
    dir: PathBuf,
    /// The point, from 0
    #[arg(long, value_name = "I")]
    point: u32,
    /// The trial, from 0
    #[arg(long, value_name = "J")]
    trial: u64,
    /// Model file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Also save the flips, for `bitquake inject --pattern`
    #[arg(long, value_name = "F")]
    pattern_out: Option<PathBuf>,
    /// Override a key, such as model.path=elsewhere.onnx
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
}

pub(crate) fn replay(args: &ReplayArgs, output: &Output) -> Result<(), Failure> {
    let dir = ResultDir::at(&args.dir);
    let config = read_config(&[dir.path().join(CAMPAIGN_FILE)], &args.set)?;
    let data = [Some(&config.data.images), config.data.labels.as_ref()];
    let mut needed: Vec<&Path> = data.into_iter().flatten().map(PathBuf::as_path).collect();
    needed.push(&config.model.path);
    check_output(&args.output, &needed)?;
    needed.push(&args.output);
    args.pattern_out.as_ref().map_or(Ok(()), |path| check_output(path, &needed))?;
    let pattern = bitquake::replay::replay(&dir, args.point, args.trial, &args.output, &args.set)?;
    if let Some(path) = &args.pattern_out {
        write_pattern(path, &pattern)?;
    }
    let (flips, file) = (counted(pattern.flips(), "bit"), args.output.display());
    output.note(format!("point {}, trial {}: {flips} flipped; wrote {file}", args.point, args.trial));
    if config.fault.also.is_some() {
        output.note("the trial's faults in activations or inputs ([fault.also]) are no part of a model");
    }
    Ok(())
}
