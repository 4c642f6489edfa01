//! An exact number of distinct sites.

use std::collections::HashMap;

use crate::key::{Stream, StreamKey};

/// More sites were asked for than there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} distinct sites asked for, but there are only {population}")]
pub struct SubsetError {
    /// How many were asked for.
    pub count: u64,
    /// How many there are.
    pub population: u64,
}

/// `count` distinct sites out of `population`, sorted; every such subset is equally likely.
///
/// The first `count` places of a Fisher-Yates shuffle that is never written out, so time and memory follow `count`. For one
/// key the subset of a smaller count is contained in that of a larger one.
///
/// # Errors
/// [`SubsetError`] when `count > population`.
///
/// ```
/// use bitquake_sample::{StreamKey, subset};
/// let key = StreamKey { seed: 42, point: 0, trial: 0 };
/// assert_eq!(subset(&key, 5, 5)?, [0, 1, 2, 3, 4]);
/// assert!(subset(&key, 5, 6).is_err());
/// # Ok::<(), bitquake_sample::SubsetError>(())
/// ```
pub fn subset(key: &StreamKey, population: u64, count: u64) -> Result<Vec<u64>, SubsetError> {
    subset_of(&key.whole(), population, count)
}

/// Like [`subset`], with a stream of one's own.
///
/// # Errors
/// [`SubsetError`] when `count > population`.
pub fn subset_of(stream: &Stream, population: u64, count: u64) -> Result<Vec<u64>, SubsetError> {
    if count > population {
        return Err(SubsetError { count, population });
    }
    let mut words = stream.block(0);
    // Only the places of the shuffled order that differ from the original one.
    let mut moved: HashMap<u64, u64> = HashMap::new();
    let mut chosen = Vec::new();
    for place in 0..count {
        let other = place + words.below(population - place);
        let at_place = moved.get(&place).copied().unwrap_or(place);
        chosen.push(moved.insert(other, at_place).unwrap_or(other));
    }
    chosen.sort_unstable();
    Ok(chosen)
}
