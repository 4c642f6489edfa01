//! Convolutions.

use bitquake_graph::window::window;

use super::window::as_image;
use crate::axes::count;
use crate::call::{Call, Value, one};
use crate::float::Float;
use crate::seam::{Kernels, Part};

pub(super) fn conv<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    let (data, weight) = (call.float(0)?, call.float(1)?);
    let rank = data.rank();
    if weight.rank() != rank {
        return Err(format!("a weight of shape {:?} on data of shape {:?}", weight.shape(), data.shape()));
    }
    let (data, weight) = (as_image(data, "the data")?, as_image(weight, "the weight")?);
    let (shape, kernel) = (data.shape(), weight.shape());
    let groups = call.attributes().int("group", 1)?;
    let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or("attribute `group` must be at least 1")?;
    if kernel[1] * groups != shape[1] || kernel[0] % groups != 0 || kernel.contains(&0) {
        return Err(format!("a weight of shape {kernel:?} in {groups} groups on data of shape {shape:?}"));
    }
    if let Some(said) = call.attributes().ints("kernel_shape")? {
        let found: Vec<i64> = kernel[6 - rank..].iter().map(|&size| size as i64).collect();
        if said != found {
            return Err(format!("attribute `kernel_shape` is {said:?}, the weight has {found:?}"));
        }
    }
    let window = window(call.attributes(), &shape, &kernel[6 - rank..], groups)?;
    count(&[shape[0], kernel[0], window.output[0], window.output[1]])?;
    let output = B::convolution(Part::Output, data.into_primitive(), weight.into_primitive(), &window);
    let mut output = Float::<B>::new(output);
    if let Some(bias) = call.optional_float(2)? {
        if bias.shape() != [kernel[0]] {
            return Err(format!("a bias of shape {:?} for {} channels", bias.shape(), kernel[0]));
        }
        output = output.add(bias.reshape(&[1, kernel[0], 1, 1]))?;
    }
    let mut dims = output.shape();
    if rank == 3 {
        dims.remove(2);
    }
    one(output.reshape(&dims))
}
