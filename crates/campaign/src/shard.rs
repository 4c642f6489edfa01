//! One campaign on many machines: which trials are whose, and how shards that share a directory agree.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use bitquake_record::{Golden, RecordError, ResultDir, write_atomically};
use serde::{Deserialize, Serialize};

use crate::campaign::Campaign;
use crate::config::resolved_toml;
use crate::error::CampaignError;
use crate::run_config::RunConfig;

/// Which trials this process runs: those whose number leaves remainder `index` when divided by `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// This shard, from 0.
    pub index: u32,
    /// How many shards there are.
    pub count: u32,
}

/// A text that is not `I/N`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a shard: write I/N with I from 0 to N-1, such as 0/4")]
pub struct ShardError(
    /// The text given.
    pub String,
);

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let parse = || {
            let (index, count) = text.split_once('/')?;
            Some(Self { index: index.parse().ok()?, count: count.parse().ok()? })
        };
        parse().filter(|shard| shard.index < shard.count).ok_or_else(|| ShardError(text.to_owned()))
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl Shard {
    /// Whether a trial belongs to the shard.
    #[must_use]
    pub fn owns(self, trial: u64) -> bool {
        trial % u64::from(self.count) == u64::from(self.index)
    }
}

/// `shard-<index>.json`: what a run says of itself when it begins its trials, for people who look on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunNote {
    /// The shard, from 0.
    pub shard: u32,
    /// How many shards there are.
    pub shards: u32,
    /// The machine's name.
    pub host: String,
    /// The process on it.
    pub pid: u32,
    /// When its trials began, in seconds since 1970.
    pub began: f64,
    /// Trials of the shard.
    pub trials: u64,
    /// Trials of the shard that were finished before.
    pub finished: u64,
    /// Once the run has nothing left to do: the stopping rule ([`stop_text`]) under which that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
}

/// A stopping rule as text, to be compared; empty without one.
#[must_use]
pub fn stop_text(run: &RunConfig) -> String {
    run.stop
        .as_ref()
        .map(|stop| format!("{stop:?}, confidence {}", run.stop_confidence()))
        .unwrap_or_default()
}

impl RunNote {
    /// A note of this process that begins now.
    #[must_use]
    pub(crate) fn now(shard: Shard, trials: u64, finished: u64) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            shard: shard.index,
            shards: shard.count,
            host: host.trim().to_owned(),
            pid: std::process::id(),
            began: since.map_or(0.0, |since| since.as_secs_f64()),
            trials,
            finished,
            settled: None,
        }
    }

    /// The file of a shard's note.
    #[must_use]
    pub fn path(dir: &ResultDir, shard: u32) -> PathBuf {
        dir.path().join(format!("shard-{shard}.json"))
    }

    /// The note of a shard's last run, if it left one that can be read.
    #[must_use]
    pub fn read(dir: &ResultDir, shard: u32) -> Option<Self> {
        let text = std::fs::read_to_string(Self::path(dir, shard)).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub(crate) fn write(&self, dir: &ResultDir) -> Result<(), RecordError> {
        let path = Self::path(dir, self.shard);
        let text = serde_json::to_string(self)
            .map_err(|error| RecordError::Invalid { path: path.clone(), reason: error.to_string() })?;
        write_atomically(&path, (text + "\n").as_bytes())
    }
}

impl Campaign {
    /// Writes the golden run, or takes the one that another shard has written first, if it is the same.
    pub(crate) fn claim(&self, dir: &ResultDir, golden: Golden) -> Result<Golden, CampaignError> {
        let there = dir.write_golden(&resolved_toml(self.config())?, &golden)?;
        self.check_same(&there, dir)?;
        if there.outputs != golden.outputs {
            return Err(CampaignError::GoldenDiffers { dir: dir.path().to_owned() });
        }
        Ok(there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_as_text() {
        for text in ["0/1", "3/4", "0/4294967295"] {
            assert_eq!(text.parse::<Shard>().unwrap().to_string(), text);
        }
        for text in ["", "1", "1/1", "0/0", "-1/2", "a/b", "1/2/3", "4294967296/4294967297"] {
            assert_eq!(text.parse::<Shard>(), Err(ShardError(text.into())), "{text}");
        }
    }

    #[test]
    fn every_trial_belongs_to_one_shard() {
        for count in [1, 2, 3, 7] {
            let owners = |trial| (0..count).filter(|&index| Shard { index, count }.owns(trial)).count();
            assert!((0..50).all(|trial| owners(trial) == 1), "{count} shards");
        }
    }

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let temp = tempfile::tempdir().unwrap();
        let dir = ResultDir::at(temp.path());
        assert_eq!(RunNote::read(&dir, 2), None);
        let note = RunNote::now(Shard { index: 2, count: 4 }, 10, 3);
        note.write(&dir).unwrap();
        assert_eq!(RunNote::read(&dir, 2), Some(note));
    }
}
