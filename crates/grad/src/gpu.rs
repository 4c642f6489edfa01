//! GPUs, by the features `cuda` and `wgpu`: one backend of burn, whose devices say what a tensor is on.

#[cfg(feature = "wgpu")]
use cubecl::device::WgpuDeviceKind;
use cubecl::device::{Device as Place, DeviceUnavailable};

use crate::interpreter::guarded;
use crate::model::Model;
use crate::runner::{Engine, Runner};
use crate::{Device, GradError};

#[cfg(feature = "cuda")]
pub(crate) use burn_cuda::Cuda as Gpu;
#[cfg(not(feature = "cuda"))]
pub(crate) use burn_wgpu::Wgpu as Gpu;

/// The parameters on a CUDA device.
#[cfg(feature = "cuda")]
pub(crate) fn cuda(model: &Model, index: usize) -> Result<Box<dyn Engine>, GradError> {
    on(Device::Cuda(index), model, || Place::cuda(index))
}

/// The parameters on a device of wgpu: the one it prefers, or a discrete GPU by its index.
#[cfg(feature = "wgpu")]
pub(crate) fn wgpu(model: &Model, index: usize) -> Result<Box<dyn Engine>, GradError> {
    let kind = if index == 0 { WgpuDeviceKind::DefaultDevice } else { WgpuDeviceKind::DiscreteGpu(index) };
    on(Device::Wgpu(index), model, || Place::wgpu(kind))
}

/// Puts the parameters on a GPU and gets one back, since a driver may be there and fail; some do so by a panic.
fn on(
    device: Device,
    model: &Model,
    place: impl FnOnce() -> Result<Place, DeviceUnavailable>,
) -> Result<Box<dyn Engine>, GradError> {
    let missing = |message: String| {
        let problem = format!("not found, or its driver fails ({message}); use the device cpu");
        GradError::Device { device, problem }
    };
    let placed = guarded(|| {
        let place = place().map_err(|error| missing(error.to_string()))?;
        Runner::<Gpu>::new(model, place).probed()
    });
    match placed {
        Ok(runner) => Ok(Box::new(runner)),
        Err(GradError::Backend { message, .. }) => Err(missing(message)),
        Err(other) => Err(other),
    }
}
