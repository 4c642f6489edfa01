//! Random changes of training images, keyed by what they are for.

mod autoaugment;
mod error;
mod step;
mod window;

use bitquake_sample::{Rate, Stream, StreamKey, Words};
use rayon::prelude::*;

use crate::batch::Batch;
use crate::dataset::Dataset;

pub use error::AugmentError;
pub use step::{Fill, FillName, Policy, Step};

/// Steps made ready for images of one shape.
///
/// Images are changed before their mean and deviation are taken out, so colours are those of the stored values
/// divided by `preprocess.scale`. What happens to an image is a function of (seed, epoch, row) and of the steps
/// alone: not of its batch, the batch size or the thread. Every image has a sequence of random words of its own,
/// which the steps read one after another, in the order of the list.
#[derive(Clone, Debug)]
pub struct Augmentation {
    steps: Vec<Ready>,
    shape: Shape,
}

/// The shape of one image; all 1 if no step looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// A step whose values are checked and whose fill is a colour.
#[derive(Clone, Debug)]
enum Ready {
    Crop { padding: usize, fill: Vec<f32> },
    Flip { probability: Rate },
    Cutout { side: usize, fill: Vec<f32> },
    AutoAugment(autoaugment::Ready),
}

impl Augmentation {
    /// Nothing is changed.
    pub fn none() -> Augmentation {
        Augmentation { steps: Vec::new(), shape: Shape { channels: 1, height: 1, width: 1 } }
    }

    /// The steps, in their order, for the images of `data`, which are scaled and not normalized
    /// ([`load_scaled`](crate::load_scaled)). `mean_colour` has one value for each channel and stands for
    /// [`FillName::Mean`].
    ///
    /// # Errors
    /// [`AugmentError`] for a value outside its range, images that are no images (plain features), a colour that does
    /// not have one value for each channel, and, before AutoAugment, values outside [0, 1].
    ///
    /// ```
    /// use bitquake_data::{Augmentation, Batch, Dataset, Step};
    /// let data = Dataset::new(vec![0.1, 0.2, 0.3], vec![1, 1, 3], vec![0])?;
    /// let mut batch = Batch::new();
    /// batch.fill(&data, &[0]);
    /// Augmentation::new(&[Step::Flip { probability: 1.0 }], &data, &[0.2])?.apply(&mut batch, 42, 0);
    /// assert_eq!(batch.images(), [0.3, 0.2, 0.1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(steps: &[Step], data: &Dataset, mean_colour: &[f32]) -> Result<Augmentation, AugmentError> {
        if steps.is_empty() {
            return Ok(Augmentation::none());
        }
        let &[channels, height, width] = data.image_shape() else {
            return Err(AugmentError::NoImages { shape: data.image_shape().to_vec() });
        };
        let shape = Shape { channels, height, width };
        let ready = |step| Ready::new(step, shape, data, mean_colour);
        Ok(Augmentation { steps: steps.iter().map(ready).collect::<Result<_, _>>()?, shape })
    }

    /// Changes every image of a batch, each as its row and `epoch` say. Images are done in parallel.
    ///
    /// # Panics
    /// If the images of the batch do not have the shape of the data that the steps were made for.
    pub fn apply(&self, batch: &mut Batch, seed: u64, epoch: u64) {
        if self.steps.is_empty() {
            return;
        }
        let (images, rows) = batch.parts_mut();
        let len = self.shape.len();
        assert_eq!(images.len(), rows.len() * len, "images of another shape than {:?}", self.shape);
        let stream = stream(seed, epoch);
        let pairs = images.par_chunks_exact_mut(len).zip(rows);
        pairs.for_each_init(Vec::new, |scratch, (image, &row)| {
            self.change(image, &mut stream.words(row as u64), scratch);
        });
    }

    fn change(&self, image: &mut [f32], words: &mut Words, scratch: &mut Vec<f32>) {
        for step in &self.steps {
            match step {
                Ready::Crop { padding, fill } => {
                    window::crop(image, self.shape, *padding, fill, words, scratch);
                }
                Ready::Flip { probability } => {
                    if words.chance(*probability) {
                        window::mirror(image, self.shape.width);
                    }
                }
                Ready::Cutout { side, fill } => window::cutout(image, self.shape, *side, fill, words),
                Ready::AutoAugment(policy) => policy.apply(image, self.shape, words),
            }
        }
    }
}

/// The random words of an epoch's images: one sequence for each row.
fn stream(seed: u64, epoch: u64) -> Stream {
    StreamKey { seed, point: epoch, trial: 0 }.part("data augmentation").whole()
}

impl Shape {
    /// The number of values.
    pub(crate) fn len(self) -> usize {
        self.channels * self.height * self.width
    }
}

impl Ready {
    fn new(step: &Step, shape: Shape, data: &Dataset, mean: &[f32]) -> Result<Ready, AugmentError> {
        let smaller = shape.height.min(shape.width);
        let side = |key, value: u32, largest: usize| match usize::try_from(value) {
            Ok(side) if (1..=largest).contains(&side) => Ok(side),
            _ => Err(AugmentError::Side { key, value, largest }),
        };
        Ok(match step {
            Step::Crop { padding, fill } => Ready::Crop {
                padding: side("crop", *padding, smaller)?,
                fill: fill.colour(shape.channels, mean)?,
            },
            Step::Flip { probability } => match Rate::new(*probability) {
                Ok(probability) => Ready::Flip { probability },
                Err(_) => return Err(AugmentError::Probability { value: *probability }),
            },
            Step::Cutout { size, fill } => Ready::Cutout {
                side: side("cutout", *size, smaller)?,
                fill: fill.colour(shape.channels, mean)?,
            },
            Step::AutoAugment { policy, fill } => {
                let fill = fill.colour(shape.channels, mean)?;
                Ready::AutoAugment(autoaugment::Ready::new(*policy, &fill, shape, data)?)
            }
        })
    }
}
