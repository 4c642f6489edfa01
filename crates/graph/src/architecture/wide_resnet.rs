//! Wide residual networks. Zagoruyko and Komodakis, "Wide Residual Networks" (2016); SPEC section 2.6.
//!
//! Normalization and activation come before each convolution. The stride is that of a block's second convolution. Where the shape
//! changes, the shortcut is a 1x1 convolution of the normalized and activated input. Every convolution has a bias.

use super::ArchitectureError;
use super::layers::Conv;
use super::plan::{Features, Maps, Plan};

const DEPTH: u64 = 28;
const WIDENING: u64 = 10;
const STAGES: u64 = 3;

pub(super) fn wrn28_10(plan: &mut Plan, images: Maps) -> Result<Features, ArchitectureError> {
    let base = plan.options.channels;
    let mut value = plan.conv("conv1", &images, Conv::new(base, 3));
    for stage in 0..STAGES {
        // A block has two convolutions in each stage; the stem and the shortcuts count as four layers.
        for index in 0..(DEPTH - 4) / (2 * STAGES) {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let name = format!("block{}.{index}", stage + 1);
            value = block(plan, &name, &value, (base * WIDENING) << stage, stride)?;
        }
    }
    value = plan.norm("norm", &value)?;
    value = plan.act("act", &value);
    Ok(plan.global_average_pool(&value))
}

fn block(
    plan: &mut Plan,
    name: &str,
    input: &Maps,
    channels: u64,
    stride: u64,
) -> Result<Maps, ArchitectureError> {
    let part = |part: &str| format!("{name}.{part}");
    let mut value = plan.norm(&part("norm1"), input)?;
    value = plan.act(&part("act1"), &value);
    let shortcut = if stride != 1 || channels != input.channels {
        plan.conv(&part("shortcut"), &value, Conv::new(channels, 1).stride(stride))
    } else {
        input.clone()
    };
    value = plan.conv(&part("conv1"), &value, Conv::new(channels, 3));
    value = plan.norm(&part("norm2"), &value)?;
    value = plan.act(&part("act2"), &value);
    value = plan.conv(&part("conv2"), &value, Conv::new(channels, 3).stride(stride));
    Ok(plan.add(&part("sum"), &value, &shortcut))
}
