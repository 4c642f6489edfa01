//! The images of a training: what is learnt from, and what is kept from training.

use bitquake_data::{
    Augmentation, BatchError, DataConfig, DataError, Feed, Held, Normalization, Part, Parts,
};

use crate::error::TrainError;
use crate::recipe::Recipe;

/// The parts of the data, as batches ready for the network.
#[derive(Debug)]
pub(crate) struct Sets {
    pub(crate) training: Feed,
    pub(crate) validation: Option<Feed>,
    pub(crate) test: Option<Feed>,
}

impl Sets {
    /// Makes the parts ready. `shape` are the sizes that the network takes, the batch first; all labels must
    /// be below `classes`.
    ///
    /// # Errors
    /// [`TrainError::Data`] and [`TrainError::Recipe`].
    pub(crate) fn new(
        parts: Parts,
        recipe: &Recipe,
        shape: &[Option<usize>],
        classes: u64,
    ) -> Result<Self, TrainError> {
        let (config, size) = (&recipe.data, recipe.train.batch);
        check_shape(parts.training.data().image_shape(), shape)?;
        let held = |part: Option<Part>, held: &Option<Held>, place| {
            let files = if let Some(Held::Files(files)) = held { files } else { &config.files };
            part.map(|part| evaluation(part, files, size, place, classes)).transpose()
        };
        Ok(Self {
            validation: held(parts.validation, &config.split.validation, "[data.split.validation]")?,
            test: held(parts.test, &config.split.test, "[data.split.test]")?,
            training: training(parts.training, recipe, classes)?,
        })
    }
}

fn training(part: Part, recipe: &Recipe, classes: u64) -> Result<Feed, TrainError> {
    part.data().check_labels(classes).map_err(TrainError::data("[data]"))?;
    let normalization = normalization(&part, &recipe.data.files, "[data]")?;
    let augmentation = Augmentation::new(&recipe.augment, part.data(), normalization.mean())
        .map_err(|error| TrainError::recipe("augment", error.to_string()))?;
    let train = &recipe.train;
    Feed::training(part, train.batch, train.last_batch, augmentation, normalization, recipe.seed)
        .map_err(no_batch)
}

fn evaluation(
    part: Part,
    files: &DataConfig,
    size: usize,
    place: &'static str,
    classes: u64,
) -> Result<Feed, TrainError> {
    part.data().check_labels(classes).map_err(TrainError::data(place))?;
    let normalization = normalization(&part, files, place)?;
    Feed::evaluation(part, size, normalization).map_err(no_batch)
}

fn normalization(part: &Part, files: &DataConfig, place: &'static str) -> Result<Normalization, TrainError> {
    let found = files.preprocess.normalization(part.data().channels());
    found.map_err(|error| TrainError::data(place)(DataError::from(error)))
}

fn no_batch(error: BatchError) -> TrainError {
    TrainError::recipe("[train]", error.to_string())
}

/// That the network takes images of this shape; its first dimension is the batch.
fn check_shape(found: &[usize], wanted: &[Option<usize>]) -> Result<(), TrainError> {
    let wanted = wanted.get(1..).unwrap_or_default();
    let fits = wanted.len() == found.len()
        && wanted.iter().zip(found).all(|(wanted, found)| wanted.is_none_or(|wanted| wanted == *found));
    if fits {
        return Ok(());
    }
    let text = |dim: &Option<usize>| dim.map_or("any".into(), |dim| dim.to_string());
    let wanted: Vec<String> = wanted.iter().map(text).collect();
    let reason = format!("the images have shape {found:?}, the network takes [{}]", wanted.join(", "));
    Err(TrainError::recipe("[data]", reason))
}
