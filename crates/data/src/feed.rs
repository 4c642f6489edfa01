//! Batches ready for a network: gathered, augmented, normalized.

use crate::augment::Augmentation;
use crate::batch::Batch;
use crate::batches::{BatchError, Batches, LastBatch};
use crate::parts::Part;
use crate::preprocess::Normalization;

/// Where batches come from and what is done to them.
#[derive(Clone, Debug)]
pub struct Feed {
    part: Part,
    normalization: Normalization,
    size: usize,
    order: Order,
}

/// In which order rows come, and whether they are changed.
#[derive(Clone, Debug)]
enum Order {
    Stored,
    Random { last: LastBatch, seed: u64, augmentation: Augmentation },
}

impl Feed {
    /// For training: every epoch has its own random order, a function of (seed, epoch), and its own augmentation of
    /// each image, a function of (seed, epoch, row).
    ///
    /// # Errors
    /// [`BatchError`] if batches of this size cannot be made.
    pub fn training(
        part: Part,
        size: usize,
        last: LastBatch,
        augmentation: Augmentation,
        normalization: Normalization,
        seed: u64,
    ) -> Result<Feed, BatchError> {
        Batches::in_order(part.rows().to_vec(), size, last)?;
        Ok(Feed { part, normalization, size, order: Order::Random { last, seed, augmentation } })
    }

    /// For evaluation: every row once, in stored order, unchanged.
    ///
    /// # Errors
    /// [`BatchError`] if the size is 0.
    pub fn evaluation(part: Part, size: usize, normalization: Normalization) -> Result<Feed, BatchError> {
        Batches::in_order(part.rows().to_vec(), size, LastBatch::Keep)?;
        Ok(Feed { part, normalization, size, order: Order::Stored })
    }

    /// The part that the batches are of.
    pub fn part(&self) -> &Part {
        &self.part
    }

    /// The number of batches in an epoch, at least 1.
    pub fn batches(&self) -> usize {
        match &self.order {
            Order::Random { last: LastBatch::Drop, .. } => self.part.len() / self.size,
            Order::Random { .. } | Order::Stored => self.part.len().div_ceil(self.size),
        }
    }

    /// One pass over the part. Any epoch can be had at any time, so a run that was interrupted goes on at the batch
    /// it needs.
    pub fn epoch(&self, epoch: u64) -> Epoch<'_> {
        let rows = self.part.rows().to_vec();
        let batches = match &self.order {
            Order::Stored => Batches::in_order(rows, self.size, LastBatch::Keep),
            Order::Random { last, seed, .. } => Batches::shuffled(rows, self.size, *last, *seed, epoch),
        };
        Epoch { feed: self, epoch, batches: batches.expect("the constructors made batches of these rows") }
    }
}

/// One pass over a part.
#[derive(Clone, Debug)]
pub struct Epoch<'a> {
    feed: &'a Feed,
    epoch: u64,
    batches: Batches,
}

impl Epoch<'_> {
    /// The rows of each batch.
    pub fn batches(&self) -> &Batches {
        &self.batches
    }

    /// Fills `batch` with the batch of this number, counted from 0; false, and no change, after the last.
    pub fn fill(&self, number: usize, batch: &mut Batch) -> bool {
        let Some(rows) = self.batches.get(number) else { return false };
        let data = self.feed.part.data();
        batch.fill(data, rows);
        if let Order::Random { seed, augmentation, .. } = &self.feed.order {
            augmentation.apply(batch, *seed, self.epoch);
        }
        self.feed.normalization.apply(batch.images_mut(), data.image_len());
        true
    }
}
