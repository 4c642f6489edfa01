//! The files that are made from records, and can be made again at any time.

use std::path::PathBuf;

use bitquake_campaign::{Compat, Config, read_config};
use bitquake_record::{
    CAMPAIGN_FILE, PointSummary, ResultDir, Results, SummaryOptions, csv, summarise, trials_to_parquet,
    write_atomically,
};
use bitquake_report::{ReportInput, html};

use crate::error::Error;

/// Results, summarised and written.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// The records.
    pub results: Results,
    /// One summary a point.
    pub points: Vec<PointSummary>,
    /// How they were summarised.
    pub options: SummaryOptions,
    /// The report.
    pub report: PathBuf,
}

/// Writes `summary.csv`, `trials.csv`, `report.html` and what `[output] compat` asks for.
///
/// # Errors
/// [`Error`] when the records cannot be read or a file cannot be written.
pub fn rebuild(dir: &ResultDir) -> Result<Rebuilt, Error> {
    let (results, points, options, config) = summarised(dir)?;
    let put = |name: &str, text: String| write_atomically(&dir.path().join(name), text.as_bytes());
    put("summary.csv", csv::summary(&points, options.margin))?;
    put("trials.csv", csv::trials(&results.trials))?;
    if config.output.compat == Some(Compat::NnErrorInjection) {
        let model =
            config.model.path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        put(&format!("{model}.csv"), csv::compat_summary(&points))?;
        put(&format!("detail-{model}.csv"), csv::compat_detail(&results.trials))?;
    }
    let report = dir.path().join("report.html");
    let page = html(&ReportInput { results: &results, points: &points, options, dir: dir.path() })?;
    write_atomically(&report, page.as_bytes())?;
    Ok(Rebuilt { results, points, options, report })
}

/// A file format for records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// `summary.csv` and `trials.csv`.
    Csv,
    /// `trials.parquet`.
    Parquet,
    /// `results.json`: the golden run, the summary and all trials.
    Json,
}

/// Writes the records in a format; returns the files.
///
/// # Errors
/// [`Error`] when the records cannot be read or a file cannot be written.
pub fn export(dir: &ResultDir, format: ExportFormat) -> Result<Vec<PathBuf>, Error> {
    let (results, points, options, _) = summarised(dir)?;
    let files: Vec<(&str, Vec<u8>)> = match format {
        ExportFormat::Csv => vec![
            ("summary.csv", csv::summary(&points, options.margin).into_bytes()),
            ("trials.csv", csv::trials(&results.trials).into_bytes()),
        ],
        ExportFormat::Parquet => vec![("trials.parquet", trials_to_parquet(&results.trials)?)],
        ExportFormat::Json => {
            vec![("results.json", bitquake_record::to_json(&results, &points)?.into_bytes())]
        }
    };
    let write = |(name, bytes): (&str, Vec<u8>)| {
        let path = dir.path().join(name);
        write_atomically(&path, &bytes)?;
        Ok(path)
    };
    files.into_iter().map(write).collect()
}

/// The records of a directory with their summary, as its own configuration asks.
///
/// # Errors
/// [`Error`] when they cannot be read.
pub fn summarised(dir: &ResultDir) -> Result<(Results, Vec<PointSummary>, SummaryOptions, Config), Error> {
    let results = dir.read()?;
    let config = read_config(&[dir.path().join(CAMPAIGN_FILE)], &[])?;
    let options = SummaryOptions { confidence: config.run.confidence, margin: config.run.margin };
    let points = summarise(&results.golden, &results.trials, options)?;
    Ok((results, points, options, config))
}
