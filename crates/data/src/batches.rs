//! Which rows make which batch.

use bitquake_sample::StreamKey;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::shuffle::shuffle;

/// What becomes of the last batch of an epoch, if it is smaller than the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LastBatch {
    /// It is used as it is.
    #[default]
    Keep,
    /// Its rows are left out of this epoch.
    Drop,
}

/// Batches that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Batches of nothing.
    #[error("the batch size is 0; it must be at least 1")]
    ZeroSize,
    /// Nothing to make batches of, or only an incomplete one that is dropped.
    #[error("{rows} images make no batch of {size}")]
    None {
        /// The number of rows.
        rows: usize,
        /// The batch size.
        size: usize,
    },
}

/// The batches of one epoch: rows in an order, cut into pieces of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batches {
    order: Vec<usize>,
    size: usize,
}

impl Batches {
    /// Batches of `rows` as they stand. There is at least one.
    ///
    /// # Errors
    /// [`BatchError`] if the size is 0, or if there is no batch.
    pub fn in_order(rows: Vec<usize>, size: usize, last: LastBatch) -> Result<Batches, BatchError> {
        if size == 0 {
            return Err(BatchError::ZeroSize);
        }
        let count = rows.len();
        let mut order = rows;
        if last == LastBatch::Drop {
            order.truncate(count - count % size);
        }
        match order.is_empty() {
            true => Err(BatchError::None { rows: count, size }),
            false => Ok(Batches { order, size }),
        }
    }

    /// Batches of `rows` in a random order, a function of `seed`, `epoch` and the rows given, in their order, alone.
    /// Each order is as likely as any other, and epochs are independent.
    ///
    /// # Errors
    /// As [`in_order`](Self::in_order).
    ///
    /// ```
    /// use bitquake_data::{Batches, LastBatch};
    /// let batches = Batches::shuffled((0..10).collect(), 4, LastBatch::Keep, 42, 0)?;
    /// let sizes: Vec<usize> = batches.iter().map(<[usize]>::len).collect();
    /// assert_eq!(sizes, [4, 4, 2]);
    /// assert_ne!(batches, Batches::shuffled((0..10).collect(), 4, LastBatch::Keep, 42, 1)?);
    /// # Ok::<(), bitquake_data::BatchError>(())
    /// ```
    pub fn shuffled(
        mut rows: Vec<usize>,
        size: usize,
        last: LastBatch,
        seed: u64,
        epoch: u64,
    ) -> Result<Batches, BatchError> {
        let key = StreamKey { seed, point: epoch, trial: 0 }.part("data order");
        shuffle(&mut rows, &mut key.whole().words(0));
        Batches::in_order(rows, size, last)
    }

    /// The number of batches, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "there is always a batch")]
    pub fn len(&self) -> usize {
        self.order.len().div_ceil(self.size)
    }

    /// The number of rows in all batches together.
    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// The rows of one batch, counted from 0; `None` after the last.
    pub fn get(&self, batch: usize) -> Option<&[usize]> {
        let start = batch.checked_mul(self.size).filter(|&start| start < self.order.len())?;
        Some(&self.order[start..self.order.len().min(start + self.size)])
    }

    /// The rows of each batch.
    pub fn iter(&self) -> impl Iterator<Item = &[usize]> {
        self.order.chunks(self.size)
    }
}
