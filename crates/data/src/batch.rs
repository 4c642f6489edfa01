//! The images and labels of one batch, in memory that is used again for the next.

use crate::dataset::Dataset;

/// Images and labels, copied together from the rows of a data set. Filling it again keeps its memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    images: Vec<f32>,
    labels: Vec<u32>,
    rows: Vec<usize>,
}

impl Batch {
    /// A batch of nothing.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Replaces the content by the images and labels of `rows`, in their order.
    ///
    /// # Panics
    /// If a row is not below [`Dataset::len`].
    pub fn fill(&mut self, data: &Dataset, rows: &[usize]) {
        self.images.clear();
        self.labels.clear();
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        for &row in rows {
            self.images.extend_from_slice(data.images(row..row + 1));
            self.labels.push(data.labels()[row]);
        }
    }

    /// The number of images, and of labels.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing has been filled in yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The images, one after another, each in NCHW order like those of a [`Dataset`].
    pub fn images(&self) -> &[f32] {
        &self.images
    }

    /// The images, to be changed.
    pub fn images_mut(&mut self) -> &mut [f32] {
        &mut self.images
    }

    /// The label of each image.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The row in the data set of each image.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The images to be changed, with the row of each. `image_len` is the number of values of one image.
    pub(crate) fn parts_mut(&mut self) -> (&mut [f32], &[usize]) {
        (&mut self.images, &self.rows)
    }
}
