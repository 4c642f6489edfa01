//! LeNet-5 (LeCun et al. 1998; SPEC section 4.2), and the LeNet of SPEC section 2.6.

use super::ArchitectureError;
use super::layers::Conv;
use super::plan::{Features, Maps, Plan};

/// Two 5x5 convolutions, the first padded by 2, each followed by normalization, activation and 2x2 max pooling; linear layers of
/// 120 and 84 with activations, which are not normalized.
pub(super) fn lenet5(plan: &mut Plan, images: Maps) -> Result<Features, ArchitectureError> {
    let value = conv_block(plan, 1, &images, Conv::new(6, 5))?;
    let value = conv_block(plan, 2, &value, Conv::new(16, 5).padding(0))?;
    let features = plan.flatten(&value);
    let features = linear_block(plan, 3, &features, 120);
    Ok(linear_block(plan, 4, &features, 84))
}

/// 5x5 convolutions that keep height and width, each followed by normalization, activation and 2x2 max pooling, with channels
/// that double, until a further halving would leave a side below 3 or an odd one; then a linear layer of 1024 with activation,
/// which is not normalized.
pub(super) fn lenet(plan: &mut Plan, images: Maps) -> Result<Features, ArchitectureError> {
    let mut channels = plan.options.channels;
    let mut value = conv_block(plan, 1, &images, Conv::new(channels, 5))?;
    let mut number = 2;
    while [value.height, value.width].into_iter().all(halves) {
        channels *= 2;
        value = conv_block(plan, number, &value, Conv::new(channels, 5))?;
        number += 1;
    }
    let features = plan.flatten(&value);
    Ok(linear_block(plan, number, &features, 1024))
}

/// Whether half of a side is at least 3 and even.
fn halves(side: u64) -> bool {
    side / 2 >= 3 && (side / 2).is_multiple_of(2)
}

fn conv_block(plan: &mut Plan, number: u32, input: &Maps, conv: Conv) -> Result<Maps, ArchitectureError> {
    let value = plan.conv(&format!("conv{number}"), input, conv);
    let value = plan.norm(&format!("norm{number}"), &value)?;
    let value = plan.act(&format!("act{number}"), &value);
    Ok(plan.max_pool(&format!("pool{number}"), &value))
}

fn linear_block(plan: &mut Plan, number: u32, input: &Features, count: u64) -> Features {
    let features = plan.linear(&format!("linear{number}"), input, count);
    plan.act_features(&format!("act{number}"), &features)
}
