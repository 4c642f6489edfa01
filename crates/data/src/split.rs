//! Training, validation and test parts of one data set, as lists of rows.

mod held;

use std::fmt;

use bitquake_sample::{PartKey, StreamKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::DataConfig;
use crate::shuffle::shuffle;

/// How many rows a part takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// This share of all rows, above 0 and below 1, counted as `(share * rows).round()` in `f64`: to the nearest
    /// whole number, halves up.
    Share(f64),
    /// This number of rows, at least 1.
    Count(u64),
}

impl Amount {
    fn of(self, rows: usize) -> u64 {
        match self {
            // A float becomes a whole number by saturating, so the largest products stay "too many".
            Self::Share(share) => (share * rows as f64).round() as u64,
            Self::Count(count) => count,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{share:?}"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// Where a part comes from. In TOML a share is a number with a point (`0.1`), a count a whole number (`5000`), and
/// files are a table like `[data]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Held {
    /// Rows taken out of the training data.
    Out(Amount),
    /// Files of its own.
    Files(Box<DataConfig>),
}

/// Which rows are kept from training: the section `[data.split]` of a recipe. What is left out does not exist.
///
/// ```
/// use bitquake_data::{Amount, Held, SplitConfig};
/// let split: SplitConfig = toml::from_str("validation = 0.1")?;
/// assert_eq!(split.validation, Some(Held::Out(Amount::Share(0.1))));
/// assert!(split.test.is_none() && split.stratified);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitConfig {
    /// The part that chooses checkpoints; default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Held>,
    /// The part that judges the result; default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Held>,
    /// Whether every class has its share in every part, as nearly as whole numbers allow; default true. Otherwise
    /// rows are drawn without regard to their labels.
    pub stratified: bool,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { validation: None, test: None, stratified: true }
    }
}

impl SplitConfig {
    /// The amounts taken out of the training data, validation first.
    fn taken(&self) -> [Option<Amount>; 2] {
        [&self.validation, &self.test].map(|held| match held {
            Some(Held::Out(amount)) => Some(*amount),
            Some(Held::Files(_)) | None => None,
        })
    }
}

/// One of the three parts of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartName {
    /// What the network learns from.
    Training,
    /// What checkpoints are chosen by.
    Validation,
    /// What the result is judged by.
    Test,
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Training => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// A split that cannot be made.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SplitError {
    /// A share that is no proper part.
    #[error("data.split.{part} is {share}; a share must be above 0 and below 1")]
    Share {
        /// The part.
        part: PartName,
        /// The share.
        share: f64,
    },
    /// A part without rows.
    #[error("data.split.{part} is {amount}, which is none of {rows} images; a part must hold at least one")]
    Empty {
        /// The part.
        part: PartName,
        /// What was asked for.
        amount: Amount,
        /// The number of rows of the data.
        rows: usize,
    },
    /// Parts that leave nothing to learn from.
    #[error(
        "data.split takes {validation} images for validation and {test} for test out of {rows}, and leaves none for training"
    )]
    NothingLeft {
        /// The number of rows for validation.
        validation: u64,
        /// The number of rows for test.
        test: u64,
        /// The number of rows of the data.
        rows: usize,
    },
}

/// The rows of each part, ascending. Together they are all rows, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// What the network learns from; never empty.
    pub training: Vec<usize>,
    /// What checkpoints are chosen by; empty only if it is not taken from these data.
    pub validation: Vec<usize>,
    /// What the result is judged by; empty only if it is not taken from these data.
    pub test: Vec<usize>,
}

impl Split {
    /// Divides the rows of data with these labels, as `config` says. Parts that are files of their own take no rows.
    ///
    /// Which rows a part gets is a function of `seed`, the labels and `config`: rows are gone through in a random
    /// order, and each goes to the test part while that lacks rows (of its class, if stratified), else to validation,
    /// else to training. Stratified, a part of k rows has `floor(k * n_c / n)` of a class with `n_c` of the `n` rows
    /// not yet given to another part, and what rounding left over goes to the classes with the largest remainders,
    /// the lower label first.
    ///
    /// # Errors
    /// [`SplitError`] for a share outside (0, 1), a part that would be empty, and parts that leave nothing for
    /// training.
    ///
    /// ```
    /// use bitquake_data::{Amount, Held, Split, SplitConfig};
    /// let labels = [0, 1].repeat(50);
    /// let config = SplitConfig { validation: Some(Held::Out(Amount::Share(0.1))), ..SplitConfig::default() };
    /// let split = Split::new(&labels, &config, 42)?;
    /// assert_eq!((split.training.len(), split.validation.len()), (90, 10));
    /// assert_eq!(split.validation.iter().filter(|&&row| labels[row] == 1).count(), 5);
    /// # Ok::<(), bitquake_data::SplitError>(())
    /// ```
    pub fn new(labels: &[u32], config: &SplitConfig, seed: u64) -> Result<Split, SplitError> {
        let [validation, test] = counts(config, labels.len())?;
        let strata = if config.stratified { labels.to_vec() } else { vec![0; labels.len()] };
        let mut left = sizes(&strata);
        let mut of_test = apportion(test, &left);
        left.iter_mut().zip(&of_test).for_each(|((_, left), (_, taken))| *left -= taken);
        let mut of_validation = apportion(validation, &left);

        let mut split = Split { training: Vec::new(), validation: Vec::new(), test: Vec::new() };
        for row in random_order(labels.len(), seed) {
            let stratum = strata[row];
            if take(&mut of_test, stratum) {
                split.test.push(row);
            } else if take(&mut of_validation, stratum) {
                split.validation.push(row);
            } else {
                split.training.push(row);
            }
        }
        [&mut split.training, &mut split.validation, &mut split.test]
            .into_iter()
            .for_each(|rows| rows.sort_unstable());
        Ok(split)
    }
}

/// The numbers of rows for validation and for test.
fn counts(config: &SplitConfig, rows: usize) -> Result<[u64; 2], SplitError> {
    let mut counts = [0; 2];
    let parts = [PartName::Validation, PartName::Test];
    for ((count, amount), part) in counts.iter_mut().zip(config.taken()).zip(parts) {
        let Some(amount) = amount else { continue };
        match amount {
            // A NaN is no share either.
            Amount::Share(share) if !(share > 0.0 && share < 1.0) => {
                return Err(SplitError::Share { part, share });
            }
            _ => *count = amount.of(rows),
        }
        if *count == 0 {
            return Err(SplitError::Empty { part, amount, rows });
        }
    }
    let [validation, test] = counts;
    match validation.checked_add(test) {
        Some(taken) if taken < rows as u64 => Ok(counts),
        _ => Err(SplitError::NothingLeft { validation, test, rows }),
    }
}

/// The number of rows of each stratum, by label ascending. A map by sorted list: labels may be any 32-bit numbers.
type Sizes = Vec<(u32, u64)>;

fn sizes(strata: &[u32]) -> Sizes {
    let mut sorted = strata.to_vec();
    sorted.sort_unstable();
    sorted.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64)).collect()
}

/// Divides `count`, at most the sum of `sizes`, in proportion to them: the largest remainders.
fn apportion(count: u64, sizes: &Sizes) -> Sizes {
    let total: u128 = sizes.iter().map(|&(_, size)| u128::from(size)).sum();
    let share = |size: u64| u128::from(count) * u128::from(size);
    // A share is at most its size, so it fits.
    let mut parts: Sizes =
        sizes.iter().map(|&(label, size)| (label, (share(size) / total.max(1)) as u64)).collect();
    let missing = count - parts.iter().map(|&(_, part)| part).sum::<u64>();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&index| std::cmp::Reverse(share(sizes[index].1) % total.max(1)));
    by_remainder.into_iter().take(missing as usize).for_each(|index| parts[index].1 += 1);
    parts
}

/// Takes one row of a stratum, if there is one to take.
fn take(left: &mut Sizes, stratum: u32) -> bool {
    match left.binary_search_by_key(&stratum, |&(label, _)| label) {
        Ok(index) if left[index].1 > 0 => {
            left[index].1 -= 1;
            true
        }
        _ => false,
    }
}

fn random_order(rows: usize, seed: u64) -> Vec<usize> {
    let key: PartKey = StreamKey { seed, point: 0, trial: 0 }.part("data split");
    let mut order: Vec<usize> = (0..rows).collect();
    shuffle(&mut order, &mut key.whole().words(0));
    order
}
