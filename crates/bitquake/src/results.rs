//! The files that are made from records, and can be made again at any time.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bitquake_campaign::{Compat, SavedConfig, StopConfig};
use bitquake_record::{
    AtomicFile, CAMPAIGN_FILE, Golden, HostRecord, IntervalRule, JsonResults, METRICS, Overview,
    OverviewBuilder, ParquetRows, RecordError, ResultDir, StopGoal, SummaryOptions, TrialRecord, csv,
    write_atomically,
};
use bitquake_report::{ReportInput, curves_html, html};
use bitquake_stats::StopRule;

use crate::error::Error;

/// Results, summarised and written.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// What the records come to.
    pub overview: Overview,
    /// The report.
    pub report: PathBuf,
}

/// Writes `summary.csv`, `trials.csv`, `report.html`, what `[output] compat` asks for, and, if trials have single faults,
/// `vulnerability.json` and `vulnerability.csv`.
///
/// The records are read once, in the order of points and trials, and not kept: memory does not grow with their number.
///
/// # Errors
/// [`Error`] when the records cannot be read or a file cannot be written.
pub fn rebuild(dir: &ResultDir) -> Result<Rebuilt, Error> {
    let golden = dir.require_golden()?;
    let (config, options) = configuration(dir)?;
    let mut builder = OverviewBuilder::new(golden, dir.campaign()?, options)?;
    let compat = compat_model(&config);
    let mut rows = vec![Rows::trials(&dir.path().join("trials.csv"), builder.golden())?];
    if let Some(model) = &compat {
        let path = dir.path().join(format!("detail-{model}.csv"));
        rows.push(Rows::create(&path, csv::TrialRows::compat_detail)?);
    }
    dir.for_each_in_order(|trial| {
        rows.iter_mut().try_for_each(|rows| rows.write(&trial))?;
        builder.add(&trial)
    })?;
    rows.into_iter().try_for_each(Rows::commit)?;
    let overview = builder.finish()?;
    let put = |name: &str, text: String| write_atomically(&dir.path().join(name), text.as_bytes());
    put("summary.csv", csv::summary(&overview.points, options.margin))?;
    if let Some(model) = &compat {
        put(&format!("{model}.csv"), csv::compat_summary(&overview.points))?;
    }
    if let Some(vulnerability) = &overview.vulnerability {
        put("vulnerability.json", vulnerability.to_json()?)?;
        put("vulnerability.csv", csv::vulnerability(vulnerability))?;
    }
    let report = dir.path().join("report.html");
    let page = html(&ReportInput { overview: &overview, dir: dir.path() })?;
    write_atomically(&report, page.as_bytes())?;
    Ok(Rebuilt { overview, report })
}

/// The model that the files of another project are named after, if they are asked for. A host's campaign has none.
fn compat_model(config: &SavedConfig) -> Option<String> {
    let config = config.own().filter(|config| config.output.compat == Some(Compat::NnErrorInjection))?;
    let stem = config.model.path.file_stem();
    Some(stem.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default())
}

/// Writes one page with the error curves of several campaigns, from their records ([`curves_html`]).
///
/// # Errors
/// [`Error`] when records cannot be read, campaigns have no common picture, or the file cannot be written.
pub fn curves(dirs: &[ResultDir], page: &Path) -> Result<(), Error> {
    let overviews = dirs.iter().map(|dir| Ok(summarised(dir)?.0)).collect::<Result<Vec<_>, Error>>()?;
    let html = curves_html(&overviews.iter().collect::<Vec<_>>())?;
    Ok(write_atomically(page, html.as_bytes())?)
}

/// A file with one row a trial.
struct Rows {
    rows: csv::TrialRows<AtomicFile>,
    path: PathBuf,
}

impl Rows {
    /// `trials.csv`, with the numbers of a host's own that the golden run has.
    fn trials(path: &Path, golden: &Golden) -> Result<Self, RecordError> {
        Self::create(path, |file| csv::TrialRows::trials_with_own(file, &own_names(golden)))
    }

    fn create(
        path: &Path,
        start: impl FnOnce(AtomicFile) -> io::Result<csv::TrialRows<AtomicFile>>,
    ) -> Result<Self, RecordError> {
        let rows = start(AtomicFile::create(path)?).map_err(cannot_write(path))?;
        Ok(Self { rows, path: path.to_owned() })
    }

    fn write(&mut self, trial: &TrialRecord) -> Result<(), RecordError> {
        self.rows.write(trial).map_err(cannot_write(&self.path))
    }

    fn commit(self) -> Result<(), RecordError> {
        self.rows.into_inner().commit()
    }
}

/// The numbers of a host's own that every trial has.
fn own_names(golden: &Golden) -> Vec<String> {
    golden.metrics.host.iter().flat_map(HostRecord::own_names).map(str::to_owned).collect()
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError::Io { path, action: "write", source }
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
    let path = |name: &str| dir.path().join(name);
    match format {
        ExportFormat::Csv => {
            let overview = summarised(dir)?.0;
            let summary = csv::summary(&overview.points, overview.options.margin);
            write_atomically(&path("summary.csv"), summary.as_bytes())?;
            let mut rows = Rows::trials(&path("trials.csv"), &overview.golden)?;
            dir.for_each_in_order(|trial| rows.write(&trial))?;
            rows.commit()?;
            Ok(vec![path("summary.csv"), path("trials.csv")])
        }
        ExportFormat::Parquet => {
            let own = own_names(&dir.require_golden()?);
            let mut rows = ParquetRows::with_own(AtomicFile::create(&path("trials.parquet"))?, &own)?;
            dir.for_each_in_order(|trial| rows.write(trial))?;
            rows.finish()?.commit()?;
            Ok(vec![path("trials.parquet")])
        }
        ExportFormat::Json => {
            let overview = summarised(dir)?.0;
            let path = path("results.json");
            let mut file = AtomicFile::create(&path)?;
            write_json(dir, &overview, &mut file)?;
            file.commit()?;
            Ok(vec![path])
        }
    }
}

/// Writes the golden run, the summary of each point and all trials as one JSON document, trial by trial.
///
/// # Errors
/// [`Error`] when the records cannot be read or `out` cannot be written.
pub fn write_json(dir: &ResultDir, overview: &Overview, out: &mut impl Write) -> Result<(), Error> {
    let path = Path::new("results.json");
    let document = JsonResults::new(out, &overview.golden, &overview.points);
    let mut document = document.map_err(cannot_write(path))?;
    dir.for_each_in_order(|trial| document.write(&trial).map_err(cannot_write(path)))?;
    document.finish().map_err(cannot_write(path))?;
    Ok(())
}

/// What the records of a directory come to, as its own configuration asks.
///
/// # Errors
/// [`Error`] when they cannot be read.
pub fn summarised(dir: &ResultDir) -> Result<(Overview, SavedConfig), Error> {
    let golden = dir.require_golden()?;
    let (config, options) = configuration(dir)?;
    let mut builder = OverviewBuilder::new(golden, dir.campaign()?, options)?;
    dir.for_each_in_order(|trial| builder.add(&trial))?;
    Ok((builder.finish()?, config))
}

pub(crate) fn configuration(dir: &ResultDir) -> Result<(SavedConfig, SummaryOptions), Error> {
    let config = SavedConfig::read(&dir.path().join(CAMPAIGN_FILE))?;
    let options = summary_options(&config);
    Ok((config, options))
}

/// How the trials of a campaign are summarised. With a stopping rule all intervals are such that looking does no harm.
#[must_use]
pub fn summary_options(config: &SavedConfig) -> SummaryOptions {
    let run = config.run();
    let goal = |stop: &StopConfig| {
        let metric = METRICS.iter().find(|metric| metric.name == stop.metric)?;
        let (half_width, relative) = (stop.half_width, stop.relative);
        let rule = StopRule::new(run.stop_confidence(), stop.max_trials);
        Some(StopGoal { metric: metric.name, rule: StopRule { half_width, relative, ..rule } })
    };
    SummaryOptions {
        confidence: run.confidence,
        margin: run.margin,
        rule: if run.stop.is_some() { IntervalRule::Anytime } else { IntervalRule::FixedN },
        stop: run.stop.as_ref().and_then(goal),
        raw_fit_per_mbit: config.report().raw_fit_per_mbit,
    }
}
