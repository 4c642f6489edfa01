//! The images of a training: what is learnt from, and what is kept from training.

use std::path::Path;
use std::sync::Arc;

use bitquake_data::{
    Augmentation, Batch, Batches, ChannelStatistics, DataConfig, DataError, Dataset, Held, LastBatch,
    Normalization, Split, load_scaled,
};

use crate::error::TrainError;
use crate::recipe::Recipe;

/// Images of one file or pair of files, scaled, and what is taken out of them before the network sees them.
#[derive(Debug)]
struct Source {
    data: Dataset,
    normalization: Normalization,
}

/// Some rows of a source.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    source: Arc<Source>,
    rows: Vec<usize>,
}

/// The three parts of the data, the training images with their augmentation.
#[derive(Debug)]
pub(crate) struct Sets {
    training: Part,
    augmentation: Augmentation,
    pub(crate) validation: Option<Part>,
    pub(crate) test: Option<Part>,
}

impl Sets {
    /// Loads what the recipe names and divides it; all labels must be classes of the network.
    ///
    /// # Errors
    /// [`TrainError::Data`] and [`TrainError::Recipe`].
    pub(crate) fn load(recipe: &Recipe, shape: &[Option<usize>], classes: u64) -> Result<Self, TrainError> {
        let config = &recipe.data;
        let source = Source::load(&config.files, "[data]", shape, classes)?;
        let split = Split::new(source.data.labels(), &config.split, recipe.seed)
            .map_err(|error| TrainError::recipe("[data.split]", error.to_string()))?;
        let augmentation = augmentation(recipe, &source.data, &split.training)?;
        let source = Arc::new(source);
        let part = |held: &Option<Held>, rows: Vec<usize>, place| match held {
            None => Ok(None),
            Some(Held::Out(_)) => Ok(Some(Part { source: Arc::clone(&source), rows })),
            Some(Held::Files(files)) => Part::whole(files, place, shape, classes).map(Some),
        };
        Ok(Self {
            validation: part(&config.split.validation, split.validation, "[data.split.validation]")?,
            test: part(&config.split.test, split.test, "[data.split.test]")?,
            training: Part { source: Arc::clone(&source), rows: split.training },
            augmentation,
        })
    }

    /// The number of training images.
    pub(crate) fn len(&self) -> usize {
        self.training.rows.len()
    }

    /// The batches of an epoch.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] when there are none.
    pub(crate) fn batches(&self, recipe: &Recipe, epoch: u64) -> Result<Batches, TrainError> {
        let (rows, train) = (self.training.rows.clone(), &recipe.train);
        Batches::shuffled(rows, train.batch, train.last_batch, recipe.seed, epoch)
            .map_err(|error| TrainError::recipe("[train]", error.to_string()))
    }

    /// Fills a batch with training images as the network sees them in an epoch.
    pub(crate) fn fill(&self, batch: &mut Batch, rows: &[usize], seed: u64, epoch: u64) {
        let source = &self.training.source;
        batch.fill(&source.data, rows);
        self.augmentation.apply(batch, seed, epoch);
        source.normalization.apply(batch.images_mut(), source.data.image_len());
    }
}

impl Part {
    fn whole(
        files: &DataConfig,
        place: &'static str,
        shape: &[Option<usize>],
        classes: u64,
    ) -> Result<Self, TrainError> {
        let source = Source::load(files, place, shape, classes)?;
        let rows = (0..source.data.len()).collect();
        Ok(Self { source: Arc::new(source), rows })
    }

    /// Calls `each` with the images in their order, in batches, as the network sees them.
    ///
    /// # Errors
    /// What `each` returns.
    pub(crate) fn for_each_batch(
        &self,
        size: usize,
        mut each: impl FnMut(&Batch) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let batches = Batches::in_order(self.rows.clone(), size, LastBatch::Keep)
            .map_err(|error| TrainError::recipe("[train]", error.to_string()))?;
        let mut batch = Batch::new();
        for rows in batches.iter() {
            batch.fill(&self.source.data, rows);
            self.source.normalization.apply(batch.images_mut(), self.source.data.image_len());
            each(&batch)?;
        }
        Ok(())
    }
}

impl Source {
    fn load(
        files: &DataConfig,
        place: &'static str,
        shape: &[Option<usize>],
        classes: u64,
    ) -> Result<Self, TrainError> {
        let data = load_scaled(files, Path::new("")).map_err(TrainError::data(place))?;
        check_shape(place, data.image_shape(), shape)?;
        data.check_labels(classes).map_err(TrainError::data(place))?;
        let normalization = files
            .preprocess
            .normalization(data.channels())
            .map_err(|error| TrainError::data(place)(DataError::from(error)))?;
        Ok(Self { data, normalization })
    }
}

/// That the network takes images of this shape; its first dimension is the batch.
fn check_shape(place: &'static str, found: &[usize], wanted: &[Option<usize>]) -> Result<(), TrainError> {
    let wanted = wanted.get(1..).unwrap_or_default();
    let fits = wanted.len() == found.len()
        && wanted.iter().zip(found).all(|(wanted, found)| wanted.is_none_or(|wanted| wanted == *found));
    if fits {
        return Ok(());
    }
    let text = |dim: &Option<usize>| dim.map_or("any".into(), |dim| dim.to_string());
    let wanted: Vec<String> = wanted.iter().map(text).collect();
    let reason = format!("the images have shape {found:?}, the network takes [{}]", wanted.join(", "));
    Err(TrainError::recipe(place, reason))
}

/// The steps of `[[augment]]`; the mean colour is that of the training images.
fn augmentation(recipe: &Recipe, data: &Dataset, rows: &[usize]) -> Result<Augmentation, TrainError> {
    if recipe.augment.is_empty() {
        return Ok(Augmentation::none());
    }
    let statistics = ChannelStatistics::of(data, rows).map_err(TrainError::data("[data]"))?;
    let mean: Vec<f32> = statistics.mean.iter().map(|&mean| mean as f32).collect();
    Augmentation::new(&recipe.augment, data, &mean)
        .map_err(|error| TrainError::recipe("augment", error.to_string()))
}
