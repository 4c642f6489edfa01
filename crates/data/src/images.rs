//! Reading images: any stored order in, preprocessed `f32` in NCHW order out.

use crate::array::{Array, Order};
use crate::error::{DataError, Place};
use crate::preprocess::{Layout, PerChannel, Preprocess};

/// What an error says of element types that cannot be images.
pub(crate) const WANTED: &str = "images need one of u1, i1, u2, i2, f2, f4, f8";

/// How one image lies in the file.
#[derive(Debug, PartialEq)]
pub(crate) struct Geometry {
    /// Number of images.
    count: u64,
    channels: usize,
    /// Rows times columns.
    pixels: usize,
    /// Whether the channels of a pixel lie side by side.
    is_interleaved: bool,
    /// The shape of one loaded image.
    pub(crate) image_shape: Vec<usize>,
}

impl Geometry {
    /// Of an array of this shape, which has no 0 and whose product fits a `usize`.
    pub(crate) fn new(place: &Place, shape: &[u64], layout: Layout) -> Result<Geometry, DataError> {
        let wanted = "images are [N, C, H, W], [N, H, W, C], [N, H, W] or [N, F]";
        let wrong = || DataError::Dimensions { place: place.clone(), shape: shape.to_vec(), wanted };
        let is_interleaved = layout == Layout::Nhwc && shape.len() == 4;
        let (&count, image) = shape.split_first().ok_or_else(wrong)?;
        // No dimension is 0 and all products of them fit a usize: `Array::new` checked.
        let (channels, image_shape) = match *image {
            [features] => (1, vec![features]),
            [height, width] => (1, vec![1, height, width]),
            [height, width, channels] if is_interleaved => (channels, vec![channels, height, width]),
            [channels, height, width] => (channels, vec![channels, height, width]),
            _ => return Err(wrong()),
        };
        let image_shape: Vec<usize> = image_shape.into_iter().map(|dim| dim as usize).collect();
        let channels = channels as usize;
        let pixels = image_shape.iter().product::<usize>() / channels;
        Ok(Geometry { count, channels, pixels, is_interleaved, image_shape })
    }

    /// Appends one image, given in the order of the file's axes.
    pub(crate) fn append(&self, stored: &[f32], normalize: PerChannel<'_>, images: &mut Vec<f32>) {
        for channel in 0..self.channels {
            let normalize = normalize.of(channel);
            if self.is_interleaved {
                let plane = stored.iter().skip(channel).step_by(self.channels);
                images.extend(plane.map(|&value| normalize.apply(value)));
            } else {
                let plane = &stored[channel * self.pixels..(channel + 1) * self.pixels];
                images.extend(plane.iter().map(|&value| normalize.apply(value)));
            }
        }
    }
}

/// Loaded images.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) values: Vec<f32>,
    pub(crate) image_shape: Vec<usize>,
}

impl Images {
    /// Takes the first images away; there are at least so many.
    pub(crate) fn skip(&mut self, count: usize) {
        let pixels = self.image_shape.iter().product::<usize>();
        self.values.drain(..count * pixels);
    }
}

/// Reads an array of images and keeps the first `keep` of them, which must not be more than there are.
pub(crate) fn read(mut array: Array<'_>, keep: u64, preprocess: &Preprocess) -> Result<Images, DataError> {
    let element = array.header.element;
    if !element.is_image() {
        let found = element.name().to_owned();
        return Err(DataError::ElementType { place: array.place, found, wanted: WANTED });
    }
    let geometry = Geometry::new(&array.place, &array.header.shape, preprocess.layout)?;
    let normalize = preprocess.per_channel(geometry.channels)?;
    let mut values = match array.header.order {
        Order::C => read_in_order(&mut array, &geometry, keep, normalize)?,
        Order::Fortran => gather(&mut array, &geometry, keep, normalize)?,
    };
    array.finish()?;
    values.shrink_to_fit();
    Ok(Images { values, image_shape: geometry.image_shape })
}

/// One image at a time, so that the stored bytes are never held together.
fn read_in_order(
    array: &mut Array<'_>,
    geometry: &Geometry,
    keep: u64,
    normalize: PerChannel<'_>,
) -> Result<Vec<f32>, DataError> {
    let image_bytes = array.declared_bytes() / geometry.count;
    let (mut images, mut bytes, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..geometry.count {
        array.read(image_bytes, &mut bytes)?;
        if index < keep {
            stored.clear();
            array.header.element.append_f32(&bytes, &mut stored);
            geometry.append(&stored, normalize, &mut images);
        }
    }
    Ok(images)
}

/// In Fortran order the elements of one image are spread over the whole array, which must be held.
fn gather(
    array: &mut Array<'_>,
    geometry: &Geometry,
    keep: u64,
    normalize: PerChannel<'_>,
) -> Result<Vec<f32>, DataError> {
    let mut bytes = Vec::new();
    array.read(array.declared_bytes(), &mut bytes)?;
    let (element, size) = (array.header.element, array.header.element.bytes());
    let offsets = fortran_offsets(&array.header.shape);
    let (mut images, mut gathered, mut stored) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..keep as usize {
        gathered.clear();
        for offset in &offsets {
            let start = (index + offset) * size;
            gathered.extend_from_slice(&bytes[start..start + size]);
        }
        stored.clear();
        element.append_f32(&gathered, &mut stored);
        geometry.append(&stored, normalize, &mut images);
    }
    Ok(images)
}

/// Where the elements of image 0 lie in an array in Fortran order, counted in elements, listed in C order. Image `n`
/// lies `n` further. Called after the array has been read, so its size is real.
fn fortran_offsets(shape: &[u64]) -> Vec<usize> {
    let mut strides = Vec::new();
    let mut stride = 1;
    for &dim in shape {
        strides.push(stride);
        stride *= dim as usize;
    }
    let axes = shape.iter().zip(strides).skip(1);
    axes.fold(vec![0], |outer, (&dim, stride)| {
        outer.iter().flat_map(|&start| (0..dim as usize).map(move |i| start + i * stride)).collect()
    })
}
