//! Campaigns on files, and what result directories say.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use bitquake::campaign::{Campaign, Event, RunOptions, Shard, read_config};
use bitquake::record::ResultDir;
use bitquake::results::{self, ExportFormat};
use pyo3::prelude::*;

use crate::error::{of, usage};
use crate::hosted::ended;
use crate::threads::in_own_process;

/// Runs a campaign of settings `key=value` as `bitquake run` does. `observe` is told what happens: `("golden", 0, 0)`, `("begin", todo, done)` and
/// `("trial", point, trial)`; what it raises stops the run after the running trials, and is raised then.
#[pyfunction]
pub fn run_campaign(
    py: Python<'_>,
    settings: Vec<String>,
    dir: PathBuf,
    observe: Py<PyAny>,
) -> PyResult<(&'static str, u64)> {
    in_own_process(py)?;
    let stop = AtomicBool::new(false);
    let mut raised = None;
    let end = py.detach(|| -> Result<_, bitquake::Error> {
        let (campaign, model) = Campaign::prepare(read_config(&[], &settings)?)?;
        let options = RunOptions { shard: Shard::default(), stop: &stop };
        let end = campaign.run(model, &ResultDir::at(dir), options, |event| {
            let told = match event {
                Event::Golden(_) => ("golden", 0, 0),
                Event::Begin { todo, done } => ("begin", todo, done),
                Event::Trial(trial) => ("trial", trial.point.into(), trial.trial),
                Event::Plan(_) | Event::Look(_) => return,
            };
            let heard =
                Python::attach(|py| py.check_signals().and_then(|()| observe.call1(py, told).map(drop)));
            if let Err(error) = heard {
                stop.store(true, Ordering::Relaxed);
                raised.get_or_insert(error);
            }
        })?;
        Ok(end)
    });
    match raised {
        Some(error) => Err(error),
        None => end.map(ended).map_err(|error| of(py, error)),
    }
}

/// Makes the summaries and the report of a result directory again; returns the path of the report.
#[pyfunction]
pub fn rebuild(py: Python<'_>, dir: PathBuf) -> PyResult<PathBuf> {
    let rebuilt = py.detach(|| results::rebuild(&ResultDir::at(dir)));
    rebuilt.map(|rebuilt| rebuilt.report).map_err(|error| of(py, error))
}

/// The golden run, the summary of each point and all trials of a result directory, as JSON.
#[pyfunction]
pub fn results_json(py: Python<'_>, dir: PathBuf) -> PyResult<String> {
    let written = py.detach(|| -> Result<Vec<u8>, bitquake::Error> {
        let dir = ResultDir::at(dir);
        let mut bytes = Vec::new();
        results::write_json(&dir, &results::summarised(&dir)?.0, &mut bytes)?;
        Ok(bytes)
    });
    let bytes = written.map_err(|error| of(py, error))?;
    String::from_utf8(bytes).map_err(|error| usage(py, error))
}

/// Writes the records as `csv`, `parquet` or `json`; returns the files.
#[pyfunction]
pub fn export(py: Python<'_>, dir: PathBuf, to: &str) -> PyResult<Vec<PathBuf>> {
    let format = match to {
        "csv" => ExportFormat::Csv,
        "parquet" => ExportFormat::Parquet,
        "json" => ExportFormat::Json,
        other => {
            return Err(usage(py, format!("records are exported to csv, parquet or json, not `{other}`")));
        }
    };
    py.detach(|| results::export(&ResultDir::at(dir), format)).map_err(|error| of(py, error))
}
