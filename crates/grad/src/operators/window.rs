//! The windows of convolutions and pools: from attributes to sizes, checked.

use burn_backend::Backend;

use crate::axes::count;
use crate::float::Float;
use crate::plan::Attributes;
use crate::seam::Window;

/// The most that a kernel, stride, dilation or padding may be: beyond this, sizes could overflow.
const MOST: i64 = 1 << 20;

/// An image of 1 spatial axis as one of 2, by an axis of size 1 before the last; more than 2 are refused.
pub(super) fn as_image<B: Backend>(x: Float<B>, what: &str) -> Result<Float<B>, String> {
    let shape = x.shape();
    match shape.len() {
        3 => Ok(x.reshape(&[shape[0], shape[1], 1, shape[2]])),
        4 => Ok(x),
        rank => Err(format!("{what} has {} spatial axes; 1 and 2 are supported", rank.saturating_sub(2))),
    }
}

/// The window that a node's attributes tell, for data of rank 4. `kernel` has one size for each axis that the node has.
pub(crate) fn window(
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
    count(&[data[0], data[1], padded[0], padded[1]])?;
    Ok(Window { image, kernel, output, stride, dilation, padding, groups })
}

/// The padding that the attributes tell, without what `ceil_mode` adds.
pub(crate) fn said_padding(
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
pub(crate) fn kernel(attributes: &Attributes, spatial: usize) -> Result<Vec<usize>, String> {
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
