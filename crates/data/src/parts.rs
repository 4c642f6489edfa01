//! The parts of the data that training uses, loaded.

use std::path::Path;
use std::sync::Arc;

use crate::config::DataConfig;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::load::load_scaled;
use crate::split::{Held, PartName, Split, SplitConfig};
use crate::statistics::ChannelStatistics;

/// Some rows of a data set, which several parts may share. There is at least one.
#[derive(Clone, Debug)]
pub struct Part {
    data: Arc<Dataset>,
    rows: Vec<usize>,
}

impl Part {
    /// All rows.
    pub fn whole(data: Arc<Dataset>) -> Part {
        let rows = (0..data.len()).collect();
        Part { data, rows }
    }

    /// Some rows.
    ///
    /// # Errors
    /// [`DataError::NoRows`] if there are none, [`DataError::RowOutOfBounds`] if one does not exist.
    pub fn new(data: Arc<Dataset>, rows: Vec<usize>) -> Result<Part, DataError> {
        if rows.is_empty() {
            return Err(DataError::NoRows);
        }
        match rows.iter().find(|&&row| row >= data.len()) {
            Some(&row) => Err(DataError::RowOutOfBounds { row, rows: data.len() }),
            None => Ok(Part { data, rows }),
        }
    }

    /// The data set that the rows are of.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// The rows, ascending if they are those of a split.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The mean and deviation of each channel, over these rows alone: for whitening, and for the mean colour.
    ///
    /// # Errors
    /// As [`ChannelStatistics::of`].
    pub fn statistics(&self) -> Result<ChannelStatistics, DataError> {
        ChannelStatistics::of(&self.data, &self.rows)
    }

    /// The number of rows.
    #[expect(clippy::len_without_is_empty, reason = "a part is never empty")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

/// What training uses: images scaled and not yet normalized, because augmentation comes first.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What the network learns from.
    pub training: Part,
    /// What checkpoints are chosen by.
    pub validation: Option<Part>,
    /// What the result is judged by.
    pub test: Option<Part>,
}

impl Parts {
    /// Loads the data and divides them. Rows that are taken out of the training data are not copied.
    ///
    /// # Errors
    /// [`DataError`]: as [`load`](crate::load) and [`Split::new`], and if the images of two files differ in shape.
    pub fn load(
        config: &DataConfig,
        split: &SplitConfig,
        seed: u64,
        base: &Path,
    ) -> Result<Parts, DataError> {
        let data = Arc::new(load_scaled(config, base)?);
        let rows = Split::new(data.labels(), split, seed)?;
        let held = |part, held: &Option<Held>, rows| match held {
            None => Ok(None),
            Some(Held::Out(_)) => Part::new(Arc::clone(&data), rows).map(Some),
            Some(Held::Files(config)) => {
                let files = load_scaled(config, base)?;
                check_shape(part, &files, &data)?;
                Ok(Some(Part::whole(Arc::new(files))))
            }
        };
        Ok(Parts {
            validation: held(PartName::Validation, &split.validation, rows.validation)?,
            test: held(PartName::Test, &split.test, rows.test)?,
            training: Part::new(data, rows.training)?,
        })
    }
}

fn check_shape(part: PartName, files: &Dataset, data: &Dataset) -> Result<(), DataError> {
    let (shape, training) = (files.image_shape(), data.image_shape());
    match shape == training {
        true => Ok(()),
        false => Err(DataError::PartShape { part, shape: shape.to_vec(), training: training.to_vec() }),
    }
}
