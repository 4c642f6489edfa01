//! Pools. A NaN in a window gives a NaN.

use bitquake_graph::window::{Window, counts, kernel, said_padding, window};
use burn_backend::TensorMetadata;
use burn_backend::ops::PadMode;

use super::reduce::largest;
use super::window::as_image;
use crate::call::{Call, Value, one};
use crate::float::Float;
use crate::seam::{Kernels, Part, flat_places};

type Results<B> = Result<Vec<Value<B>>, String>;

pub(super) fn max<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let data = call.float(0)?;
    let rank = data.rank();
    let data = as_image(data, "the data")?;
    let shape = data.shape();
    let kernel = kernel(call.attributes(), rank - 2)?;
    let window = window(call.attributes(), &shape, &kernel, 1)?;
    let (data, window) = padded(data, window, f32::NEG_INFINITY);
    let places = B::max_places(data.primitive().clone(), &window);
    let output = places.shape().to_vec();
    // As a gather, whose derivatives of any order are scatters and gathers at the same places.
    let flat = data.flat_image().into_primitive();
    let largest = Float::<B>::new(B::float_gather(2, flat, flat_places::<B>(places)));
    one(back(largest, output, rank))
}

/// As a convolution of each channel with ones, divided by how many values there were.
pub(super) fn average<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let data = call.float(0)?;
    let rank = data.rank();
    let data = as_image(data, "the data")?;
    let shape = data.shape();
    let kernel = kernel(call.attributes(), rank - 2)?;
    let counts_padding = call.attributes().int("count_include_pad", 0)? != 0;
    let window = window(call.attributes(), &shape, &kernel, shape[1])?;
    let said = said_padding(call.attributes(), &window, rank - 2)?;
    let counts = counts(&window, if counts_padding { said } else { [(0, 0); 2] });
    let ones = Float::<B>::full(1.0, &[shape[1], 1, window.kernel[0], window.kernel[1]], call.device);
    let sums = B::convolution(Part::Output, data.into_primitive(), ones.into_primitive(), &window);
    let [rows, columns] = window.output;
    let counts = Float::from_host(counts, &[1, 1, rows, columns], call.device);
    let means = Float::<B>::new(sums).div(counts)?;
    one(back(means, vec![shape[0], shape[1], rows, columns], rank))
}

/// The image with its padding filled in.
fn padded<B: Kernels>(data: Float<B>, window: Window, value: f32) -> (Float<B>, Window) {
    let [rows, columns] = window.padding;
    if [rows, columns] == [(0, 0); 2] {
        return (data, window);
    }
    let padding = [(0, 0), (0, 0), rows, columns];
    let data = data.map(|data| B::float_pad(data, &padding, PadMode::Constant(value)));
    let shape = data.shape();
    (data, Window { image: [shape[2], shape[3]], padding: [(0, 0); 2], ..window })
}

/// The result in the rank that the data had.
fn back<B: Kernels>(result: Float<B>, mut shape: Vec<usize>, rank: usize) -> Float<B> {
    if rank == 3 {
        shape.remove(2);
    }
    result.reshape(&shape)
}

pub(super) fn global_average<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let data = call.float(0)?;
    let axes = spatial(&data)?;
    one(data.mean(&axes))
}

pub(super) fn global_max<B: Kernels>(call: Call<'_, B>) -> Results<B> {
    let data = call.float(0)?;
    let axes = spatial(&data)?;
    one(largest(data, &axes))
}

/// The spatial axes: all but the first two.
fn spatial<B: Kernels>(data: &Float<B>) -> Result<Vec<usize>, String> {
    if data.rank() < 3 {
        return Err(format!("data of shape {:?} have no spatial axes", data.shape()));
    }
    Ok((2..data.rank()).collect())
}
