//! Shards: a campaign's trials dealt out to several processes.

use std::fmt;
use std::str::FromStr;

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
