//! Pools. A NaN in a window gives a NaN.

use burn_backend::TensorMetadata;
use burn_backend::ops::PadMode;

use super::window::{as_image, kernel, window};
use crate::call::{Call, Value, one};
use crate::float::Float;
use crate::seam::{Kernels, Window, flat_places};

pub(super) fn max_pool<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    let data = call.float(0)?;
    let rank = data.rank();
    let data = as_image(data, "the data")?;
    let shape = data.shape();
    let kernel = kernel(&call, rank - 2)?;
    let window = window(&call, [shape[2], shape[3]], &kernel, 1)?;
    let (data, window) = padded(data, window, f32::NEG_INFINITY);
    let places = B::max_places(data.primitive().clone(), &window);
    let output = places.shape().to_vec();
    // As a gather, whose derivative of any order is a scatter and a gather at the same places.
    let flat = data.flat_image().into_primitive();
    let largest = Float::<B>::new(B::float_gather(2, flat, flat_places::<B>(places)));
    one(back(largest, output, rank))
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

pub(super) fn global_average<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    let data = call.float(0)?;
    let axes = spatial(&data)?;
    one(data.mean(&axes))
}

/// The spatial axes: all but the first two.
fn spatial<B: Kernels>(data: &Float<B>) -> Result<Vec<usize>, String> {
    if data.rank() < 3 {
        return Err(format!("data of shape {:?} have no spatial axes", data.shape()));
    }
    Ok((2..data.rank()).collect())
}
