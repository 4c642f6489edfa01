//! What a host tells that runs its network and judges it itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The host's number that stands for the accuracy where it does not count images.
const ACCURACY: &str = "accuracy";

/// What the host of a campaign told of one run of its network, instead of outputs that could be judged here.
///
/// ```
/// use bitquake_record::{Counts, HostRecord, METRICS, TrialRecord};
///
/// let host = HostRecord { counts: [].into(), own: [("accuracy".into(), Some(0.75)), ("f1".into(), None)].into() };
/// let trial = TrialRecord { host: Some(host), ..TrialRecord::default() };
/// let values = METRICS.iter().filter_map(|metric| Some((metric.name, metric.of(&trial, &Counts::default())?)));
/// // What nobody counted is absent, not 0.
/// assert_eq!(values.collect::<Vec<_>>(), [("accuracy", 0.75), ("err", 0.25), ("faults", 0.0)]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The counts of images that it told, by the names of their fields, such as `correct`. The other counts of the record are 0 and
    /// mean nothing.
    pub counts: BTreeSet<String>,
    /// Numbers of its own, by name; none for one that is NaN or infinite. `accuracy` is the share of images whose label is the best
    /// class, in `[0, 1]`, of a host that tells no counts.
    pub own: BTreeMap<String, Option<f64>>,
}

impl HostRecord {
    /// Whether it told a count.
    #[must_use]
    pub fn knows(&self, count: &str) -> bool {
        self.counts.contains(count)
    }

    /// The accuracy that it told as a bare number.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        self.own.get(ACCURACY).copied().flatten()
    }

    /// The names of its own numbers that are no metric of every campaign.
    pub fn own_names(&self) -> impl Iterator<Item = &str> {
        self.own.keys().map(String::as_str).filter(|name| *name != ACCURACY)
    }
}

/// A count if it is known: always, where no host tells the numbers.
pub(crate) fn known(host: Option<&HostRecord>, count: &str, number: u64) -> Option<u64> {
    host.is_none_or(|host| host.knows(count)).then_some(number)
}
