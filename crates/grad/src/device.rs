//! Where a network is computed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a network is computed. Text form: `cpu`, `cuda`, `cuda:1`, `wgpu`, `wgpu:1`; without a number the first device.
///
/// ```
/// use bitquake_grad::Device;
///
/// assert_eq!("cuda:1".parse(), Ok(Device::Cuda(1)));
/// assert_eq!(Device::Cuda(0).to_string(), "cuda");
/// assert!("tpu".parse::<Device>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The processor; always there, and deterministic.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its index; needs the Cargo feature `cuda`.
    Cuda(usize),
    /// A GPU that Vulkan, Metal or DirectX reach, by its index; needs the Cargo feature `wgpu`.
    Wgpu(usize),
}

/// A text that names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no device: cpu, cuda, cuda:N, wgpu and wgpu:N are")]
pub struct DeviceParseError {
    /// The text.
    pub text: String,
}

impl FromStr for Device {
    type Err = DeviceParseError;

    fn from_str(text: &str) -> Result<Device, DeviceParseError> {
        let bad = || DeviceParseError { text: text.to_owned() };
        let (kind, index) = match text.split_once(':') {
            Some((kind, index)) => (kind, Some(index.parse::<usize>().map_err(|_| bad())?)),
            None => (text, None),
        };
        match (kind, index) {
            ("cpu", None) => Ok(Device::Cpu),
            ("cuda", index) => Ok(Device::Cuda(index.unwrap_or(0))),
            ("wgpu", index) => Ok(Device::Wgpu(index.unwrap_or(0))),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = DeviceParseError;

    fn try_from(text: String) -> Result<Device, DeviceParseError> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        device.to_string()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.pad("cpu"),
            Device::Cuda(0) => f.pad("cuda"),
            Device::Cuda(index) => f.pad(&format!("cuda:{index}")),
            Device::Wgpu(0) => f.pad("wgpu"),
            Device::Wgpu(index) => f.pad(&format!("wgpu:{index}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let devices = [Device::Cpu, Device::Cuda(0), Device::Cuda(3), Device::Wgpu(0), Device::Wgpu(1)];
        for device in devices {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for text in ["", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "CUDA", "gpu"] {
            assert_eq!(text.parse::<Device>(), Err(DeviceParseError { text: text.to_owned() }));
        }
    }
}
