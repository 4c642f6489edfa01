//! Loaded images and labels.

use std::ops::Range;

use crate::error::DataError;

/// Images, preprocessed and ready for a model, with their labels. There is at least one.
///
/// Images are `f32`, contiguous, row-major in NCHW order: image by image, then channel, row, column.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    images: Vec<f32>,
    image_shape: Vec<usize>,
    image_len: usize,
    labels: Vec<u32>,
}

impl Dataset {
    /// A data set from values that are preprocessed already: as many images of `image_shape` as there are labels.
    ///
    /// # Errors
    /// [`DataError::ShapeMismatch`] if the values are not exactly that many, or if there are none.
    ///
    /// ```
    /// use bitquake_data::Dataset;
    /// let data = Dataset::new(vec![0.0, 0.5, 1.0, 0.25], vec![1, 1, 2], vec![2, 0])?;
    /// assert_eq!(data.len(), 2);
    /// assert_eq!(data.classes(), 3);
    /// # Ok::<(), bitquake_data::DataError>(())
    /// ```
    pub fn new(images: Vec<f32>, image_shape: Vec<usize>, labels: Vec<u32>) -> Result<Dataset, DataError> {
        let image_len = image_shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
        match image_len {
            Some(image_len)
                if !images.is_empty() && image_len.checked_mul(labels.len()) == Some(images.len()) =>
            {
                Ok(Dataset { images, image_shape, image_len, labels })
            }
            _ => Err(DataError::ShapeMismatch { values: images.len(), image_shape, labels: labels.len() }),
        }
    }

    /// The number of images, and of labels.
    #[expect(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The shape of one image: `[C, H, W]`, or `[F]` for plain features.
    pub fn image_shape(&self) -> &[usize] {
        &self.image_shape
    }

    /// The number of values of one image, the product of [`image_shape`](Self::image_shape).
    pub fn image_len(&self) -> usize {
        self.image_len
    }

    /// The number of channels: C of `[C, H, W]`, and 1 for every other shape.
    pub fn channels(&self) -> usize {
        match *self.image_shape.as_slice() {
            [channels, _, _] => channels,
            _ => 1,
        }
    }

    /// The values of the images in `range`, one after another.
    ///
    /// # Panics
    /// Like indexing a slice, if the range is reversed or ends after [`len`](Self::len).
    pub fn images(&self, range: Range<usize>) -> &[f32] {
        assert!(range.end <= self.len(), "images {range:?} of a data set of {}", self.len());
        &self.images[range.start * self.image_len..range.end * self.image_len]
    }

    /// The label of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The same images, all with label 0.
    pub(crate) fn without_labels(self) -> Dataset {
        Dataset { labels: vec![0; self.labels.len()], ..self }
    }

    /// The number of classes that the labels suggest: the largest label and one.
    pub fn classes(&self) -> u64 {
        self.labels.iter().max().map_or(0, |&label| u64::from(label) + 1)
    }

    /// Checks that every label is below `classes`, the number of classes of a model.
    ///
    /// # Errors
    /// [`DataError::LabelOutOfBounds`], which names the first image whose label is not.
    pub fn check_labels(&self, classes: u64) -> Result<(), DataError> {
        match self.labels.iter().position(|&label| u64::from(label) >= classes) {
            None => Ok(()),
            Some(index) => Err(DataError::LabelOutOfBounds { index, label: self.labels[index], classes }),
        }
    }
}
