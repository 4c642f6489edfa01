//! The windows of convolutions and pools: from attributes to sizes, checked.

use crate::plan::Attributes;

/// The most that a kernel, stride, dilation or padding may be: beyond this, sizes could overflow.
const MOST: i64 = 1 << 20;

/// How a kernel moves over an image: height, then width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The image's size.
    pub image: [usize; 2],
    /// The kernel's size.
    pub kernel: [usize; 2],
    /// The output's size.
    pub output: [usize; 2],
    /// Rows and columns from one place to the next.
    pub stride: [usize; 2],
    /// Rows and columns from one number of the kernel to the next.
    pub dilation: [usize; 2],
    /// Rows and columns added before and after.
    pub padding: [(usize, usize); 2],
    /// Groups of channels.
    pub groups: usize,
}

impl Window {
    /// The rows and columns that the kernel reaches over.
    #[must_use]
    pub fn reach(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.dilation[axis] * (self.kernel[axis] - 1) + 1)
    }
}

/// The window that a node's attributes tell, for data of rank 4. `kernel` has one size for each axis that the node has, 1 or 2, each at least 1.
///
/// # Errors
/// What is wrong with an attribute, a kernel that is larger than the padded image, an image of more than 2^30 floats when padded.
///
/// # Panics
/// When `data` has not 4 sizes.
pub fn window(
    attributes: &Attributes,
    data: &[usize],
    kernel: &[usize],
    groups: usize,
) -> Result<Window, String> {
    let image = [data[2], data[3]];
    let spatial = kernel.len();
    let stride = sizes(attributes, "strides", spatial, 1)?;
    let dilation = sizes(attributes, "dilations", spatial, 1)?;
    let is_ceil = attributes.int("ceil_mode", 0)? != 0;
    let kernel = two(kernel, 1);
    let reach = [0, 1].map(|axis| dilation[axis] * (kernel[axis] - 1) + 1);
    let mut padding = padding(attributes, spatial, image, reach, stride)?;
    let mut output = [0; 2];
    for axis in 0..2 {
        let (begin, end) = padding[axis];
        let padded = image[axis] + begin + end;
        let Some(room) = padded.checked_sub(reach[axis]) else {
            return Err(format!(
                "the kernel reaches over {} of {padded} rows or columns (padding included)",
                reach[axis]
            ));
        };
        output[axis] = room / stride[axis] + 1;
        // A window that starts within the image or the padding before it may reach beyond the end.
        if is_ceil && room % stride[axis] != 0 && output[axis] * stride[axis] < image[axis] + begin {
            output[axis] += 1;
            padding[axis].1 += stride[axis] - room % stride[axis];
        }
    }
    let padded = [0, 1].map(|axis| image[axis] + padding[axis].0 + padding[axis].1);
    check_count(&[data[0], data[1], padded[0], padded[1]])?;
    Ok(Window { image, kernel, output, stride, dilation, padding, groups })
}

/// The padding that the attributes tell, without what `ceil_mode` adds.
///
/// # Errors
/// What is wrong with an attribute.
pub fn said_padding(
    attributes: &Attributes,
    window: &Window,
    spatial: usize,
) -> Result<[(usize, usize); 2], String> {
    padding(attributes, spatial, window.image, window.reach(), window.stride)
}

/// A list attribute of positive sizes, one an axis, as two.
fn sizes(attributes: &Attributes, name: &str, spatial: usize, default: usize) -> Result<[usize; 2], String> {
    let Some(values) = attributes.ints(name)? else { return Ok([default; 2]) };
    positive(name, values, spatial, 1).map(|sizes| two(&sizes, default))
}

/// The sizes of a kernel.
///
/// # Errors
/// An attribute that is missing, or has another number of sizes.
pub fn kernel(attributes: &Attributes, spatial: usize) -> Result<Vec<usize>, String> {
    let values = attributes.ints("kernel_shape")?.ok_or("attribute `kernel_shape` is missing")?;
    positive("kernel_shape", values, spatial, 1)
}

fn positive(name: &str, values: &[i64], count: usize, least: i64) -> Result<Vec<usize>, String> {
    if values.len() != count {
        return Err(format!("attribute `{name}` {values:?} has {} numbers, not {count}", values.len()));
    }
    match values.iter().find(|&&value| value < least || value > MOST) {
        Some(value) => Err(format!("attribute `{name}` has {value}; {least} to {MOST} are supported")),
        None => Ok(values.iter().map(|&value| value as usize).collect()),
    }
}

/// Sizes of 1 or 2 axes as those of 2.
fn two(sizes: &[usize], default: usize) -> [usize; 2] {
    match sizes {
        [only] => [default, *only],
        [rows, columns] => [*rows, *columns],
        _ => [default; 2],
    }
}

fn padding(
    attributes: &Attributes,
    spatial: usize,
    image: [usize; 2],
    reach: [usize; 2],
    stride: [usize; 2],
) -> Result<[(usize, usize); 2], String> {
    let auto = attributes.text("auto_pad", "NOTSET")?;
    let is_upper = match auto.as_str() {
        "NOTSET" | "" => {
            let Some(pads) = attributes.ints("pads")? else { return Ok([(0, 0); 2]) };
            let pads = positive("pads", pads, 2 * spatial, 0)?;
            let (begin, end) = (two(&pads[..spatial], 0), two(&pads[spatial..], 0));
            return Ok([0, 1].map(|axis| (begin[axis], end[axis])));
        }
        "VALID" => return Ok([(0, 0); 2]),
        "SAME_UPPER" => true,
        "SAME_LOWER" => false,
        other => return Err(format!("attribute `auto_pad` is {other}")),
    };
    Ok([0, 1].map(|axis| {
        let steps = image[axis].div_ceil(stride[axis]).max(1);
        let needed = ((steps - 1) * stride[axis] + reach[axis]).saturating_sub(image[axis]);
        let (less, more) = (needed / 2, needed - needed / 2);
        if is_upper { (less, more) } else { (more, less) }
    }))
}

/// For each window the number of places within the image and `margin` rows and columns around it.
#[must_use]
pub fn counts(window: &Window, margin: [(usize, usize); 2]) -> Vec<f32> {
    let along = |axis: usize| {
        let before = window.padding[axis].0;
        let inside = before - margin[axis].0..before + window.image[axis] + margin[axis].1;
        (0..window.output[axis]).map(move |step| {
            let start = step * window.stride[axis];
            let places = (0..window.kernel[axis]).map(|place| start + place * window.dilation[axis]);
            places.filter(|place| inside.contains(place)).count() as f32
        })
    };
    along(0).flat_map(|rows| along(1).map(move |columns| rows * columns)).collect()
}

/// That an image is one that could be held: 4 GiB of floats at most.
fn check_count(shape: &[usize]) -> Result<(), String> {
    const MOST: usize = 1 << 30;
    let product = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    match product.filter(|&count| count <= MOST) {
        Some(_) => Ok(()),
        None => Err(format!("shape {shape:?} has too many elements")),
    }
}
