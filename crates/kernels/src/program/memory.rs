//! Memory that tasks share: each task works on images of its own.

use std::marker::PhantomData;
use std::ops::Range;

/// A list of floats for each image, which the tasks of different images read and write at the same time.
///
/// What makes that sound is a promise of the caller: while a task holds the row of an image, no other task holds it to write.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    first: *mut f32,
    count: usize,
    len: usize,
    stride: usize,
    is_writable: bool,
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: floats may be used from any thread, and the methods' own conditions keep apart what tasks read and write.
#[expect(unsafe_code, reason = "tasks of different images work on the same buffers")]
unsafe impl Send for Rows<'_> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "tasks of different images work on the same buffers")]
unsafe impl Sync for Rows<'_> {}

impl<'a> Rows<'a> {
    /// `count` rows of `len` floats, `stride` apart.
    ///
    /// # Panics
    ///
    /// When the floats are fewer, or rows overlap.
    pub(super) fn new(floats: &'a mut [f32], count: usize, len: usize, stride: usize) -> Rows<'a> {
        check(floats.len(), count, len, stride);
        Rows { first: floats.as_mut_ptr(), count, len, stride, is_writable: true, memory: PhantomData }
    }

    /// Rows that are only read.
    pub(super) fn read_only(floats: &'a [f32], count: usize, len: usize) -> Rows<'a> {
        check(floats.len(), count, len, len);
        let first = floats.as_ptr().cast_mut();
        Rows { first, count, len, stride: len, is_writable: false, memory: PhantomData }
    }

    /// The same rows, of which only the first floats are used.
    pub(super) fn narrowed(&self, len: usize) -> Rows<'a> {
        assert!(len <= self.len, "{len} of {} floats", self.len);
        Rows { len, ..*self }
    }

    /// Other rows in the memory of these, from a float of it on.
    ///
    /// # Panics
    ///
    /// When there is less memory, or rows overlap.
    pub(super) fn regrouped(&self, start: usize, count: usize, len: usize, stride: usize) -> Rows<'a> {
        let floats = if self.count == 0 { 0 } else { (self.count - 1) * self.stride + self.len };
        assert!(start <= floats, "from float {start} on of {floats}");
        check(floats - start, count, len, stride);
        Rows { first: self.first.wrapping_add(start), count, len, stride, ..*self }
    }

    /// The same rows, which are not written any more through this value.
    pub(super) fn frozen(&self) -> Rows<'a> {
        Rows { is_writable: false, ..*self }
    }

    pub(super) fn is_writable(&self) -> bool {
        self.is_writable
    }

    /// Where the row of an image is: an address and a length, not yet borrowed.
    pub(super) fn place(&self, image: usize) -> (*mut f32, usize) {
        assert!(image < self.count, "image {image} of {}", self.count);
        (self.first.wrapping_add(image * self.stride), self.len)
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// All rows, with what lies between them.
    ///
    /// # Safety
    ///
    /// Nothing writes any row while the result lives.
    #[expect(unsafe_code, reason = "the caller keeps writers away")]
    pub(super) unsafe fn all(&self) -> &'a [f32] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: the rows lie within the memory that the value was made of; the caller answers for the absence of writers.
        unsafe { std::slice::from_raw_parts(self.first, (self.count - 1) * self.stride + self.len) }
    }

    /// The row of an image.
    ///
    /// # Safety
    ///
    /// Nothing writes this row while the result lives.
    #[expect(unsafe_code, reason = "the caller keeps writers away")]
    pub(super) unsafe fn row(&self, image: usize) -> &'a [f32] {
        assert!(image < self.count, "image {image} of {}", self.count);
        // SAFETY: the row lies within the memory that the value was made of; the caller answers for the absence of writers.
        unsafe { std::slice::from_raw_parts(self.first.add(image * self.stride), self.len) }
    }

    /// A part of the row of an image, to be written.
    ///
    /// # Safety
    ///
    /// Nothing else reads or writes this part while the result lives.
    #[expect(unsafe_code, reason = "the caller keeps others away")]
    pub(super) unsafe fn part_mut(&self, image: usize, part: Range<usize>) -> &'a mut [f32] {
        assert!(self.is_writable, "the rows are only read");
        assert!(
            image < self.count && part.start <= part.end && part.end <= self.len,
            "{part:?} of image {image}"
        );
        // SAFETY: the part lies within the memory that the value was made of, which is writable; the caller answers for the rest.
        unsafe {
            std::slice::from_raw_parts_mut(self.first.add(image * self.stride + part.start), part.len())
        }
    }
}

fn check(floats: usize, count: usize, len: usize, stride: usize) {
    let needed = if count == 0 { 0 } else { (count - 1) * stride + len };
    assert!(
        len <= stride && needed <= floats,
        "{count} rows of {len} floats, {stride} apart, in {floats} floats"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regrouped_rows_are_where_they_were_put() {
        let mut floats: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let rows = Rows::new(&mut floats, 3, 6, 8).regrouped(4, 4, 3, 4);
        // SAFETY: nothing else uses the floats.
        #[expect(unsafe_code, reason = "rows are borrowed one after the other")]
        let found: Vec<&[f32]> = (0..4).map(|image| unsafe { rows.row(image) }).collect();
        assert_eq!(found, [[4.0, 5.0, 6.0], [8.0, 9.0, 10.0], [12.0, 13.0, 14.0], [16.0, 17.0, 18.0]]);
    }

    #[test]
    #[should_panic(expected = "5 rows of 3 floats, 4 apart, in 18 floats")]
    fn rows_beyond_the_memory_panic() {
        let mut floats = vec![0.0; 24];
        let _ = Rows::new(&mut floats, 3, 6, 8).regrouped(4, 5, 3, 4);
    }
}
