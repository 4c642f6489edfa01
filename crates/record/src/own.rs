//! Numbers of the host's own over the trials of a point.

use std::collections::BTreeMap;

use bitquake_stats::{Interval, Moments, Summary, t_interval};
use serde::Serialize;

use crate::error::RecordError;
use crate::golden::{Golden, PointPlan};
use crate::host::HostRecord;
use crate::summary::{IntervalRule, Overall, SummaryOptions};

/// A number that the host of a campaign told of each trial ([`HostRecord::own`]), over the trials of a point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OwnSummary {
    /// Its name.
    pub name: String,
    /// Trials in which it is NaN or infinite. They are in no mean, so a mean beside them is over the others alone.
    pub nonfinite: u64,
    /// Count, mean, standard deviation and extremes over the trials in which it is finite; none when there are none.
    pub summary: Option<Summary>,
    /// The t interval of the mean. None for fewer than two trials; and under a stopping rule, since the number has no bounds that an
    /// interval which may be looked at could rest on.
    pub interval: Option<Interval>,
    /// Where trials were drawn given that they have a fault: the mean over all trials. None unless the number is finite in all of
    /// them and in the golden run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overall: Option<Overall>,
}

/// The host's own numbers being summarised.
#[derive(Debug, Default)]
pub(crate) struct OwnTally {
    numbers: BTreeMap<String, (Moments, u64)>,
}

impl OwnTally {
    pub(crate) fn add(&mut self, host: &HostRecord) -> Result<(), RecordError> {
        for name in host.own_names() {
            if !self.numbers.contains_key(name) {
                self.numbers.insert(name.to_owned(), (Moments::default(), 0));
            }
            let Some((moments, nonfinite)) = self.numbers.get_mut(name) else { continue };
            match host.own.get(name).copied().flatten() {
                Some(value) => moments.push(value)?,
                None => *nonfinite += 1,
            }
        }
        Ok(())
    }

    /// What they come to, by name.
    pub(crate) fn finish(
        &self,
        plan: &PointPlan,
        golden: &Golden,
        options: SummaryOptions,
    ) -> Result<Vec<OwnSummary>, RecordError> {
        let clean = |name: &str| golden.metrics.host.as_ref()?.own.get(name).copied().flatten();
        let of = |(name, (moments, nonfinite)): (&String, &(Moments, u64))| {
            let summary = moments.summary()?;
            let interval = match (options.rule, &summary) {
                (IntervalRule::FixedN, Some(summary)) => t_interval(summary, options.confidence)?,
                _ => None,
            };
            let of_all = summary.filter(|_| *nonfinite == 0);
            let overall = plan.weight.zip(clean(name)).zip(of_all);
            let overall =
                overall.map(|((weight, clean), summary)| Overall::new(weight, clean, summary.mean, interval));
            Ok(OwnSummary { name: name.clone(), nonfinite: *nonfinite, summary, interval, overall })
        };
        self.numbers.iter().map(of).collect()
    }
}
