//! `results.json`: the golden run, the summary of each point and all trials.

use std::io::{self, Write};

use crate::dir::Results;
use crate::error::RecordError;
use crate::golden::Golden;
use crate::summary::PointSummary;
use crate::trial::TrialRecord;

/// The document being written, trial by trial: an object with `schema`, `golden`, `points` and the array `trials`.
#[derive(Debug)]
pub struct JsonResults<W> {
    out: W,
    is_first: bool,
}

impl<W: Write> JsonResults<W> {
    /// Writes all that comes before the trials.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(mut out: W, golden: &Golden, points: &[PointSummary]) -> io::Result<Self> {
        write!(out, "{{\n\"schema\": {},\n\"golden\": ", crate::SCHEMA)?;
        serde_json::to_writer_pretty(&mut out, golden)?;
        write!(out, ",\n\"points\": ")?;
        serde_json::to_writer_pretty(&mut out, points)?;
        write!(out, ",\n\"trials\": [")?;
        Ok(Self { out, is_first: true })
    }

    /// Adds a trial.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&mut self, trial: &TrialRecord) -> io::Result<()> {
        self.out.write_all(if self.is_first { b"\n" } else { b",\n" })?;
        self.is_first = false;
        Ok(serde_json::to_writer(&mut self.out, trial)?)
    }

    /// Ends the document.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(b"\n]\n}")?;
        Ok(self.out)
    }
}

/// The document for trials in memory.
///
/// # Errors
/// [`RecordError::Export`] when a number is not one that JSON has; records never hold such.
pub fn to_json(results: &Results, points: &[PointSummary]) -> Result<String, RecordError> {
    let write = || {
        let mut document = JsonResults::new(Vec::new(), &results.golden, points)?;
        results.trials.iter().try_for_each(|trial| document.write(trial))?;
        document.finish()
    };
    let fail = |reason: String| RecordError::Export { format: "json", reason };
    let bytes = write().map_err(|error: io::Error| fail(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| fail(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::golden;
    use crate::trial::tests::{full_record, record};
    use crate::{Amount, SummaryOptions, summarise};

    #[test]
    fn everything_is_in_the_document() {
        for trials in [vec![], vec![record(0, 0, 90)], vec![record(0, 0, 90), full_record(0, 1, 80)]] {
            let golden = golden(&[Amount::Rate(1e-5)]);
            let points = summarise(&golden, &trials, SummaryOptions::default()).unwrap();
            let text = to_json(&Results { golden, campaign: String::new(), trials: trials.clone() }, &points);
            let value: serde_json::Value = serde_json::from_str(&text.unwrap()).unwrap();
            assert_eq!(serde_json::from_value::<Vec<TrialRecord>>(value["trials"].clone()).unwrap(), trials);
            assert_eq!((&value["schema"], &value["golden"]["name"]), (&1.into(), &"test".into()));
            assert_eq!(value["points"][0]["trials"], trials.len());
        }
    }
}
