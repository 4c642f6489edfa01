//! Residual networks for small images. He et al., "Deep Residual Learning for Image Recognition" (2016); SPEC sections 2.6 and
//! 4.2.
//!
//! A 3x3 stem, stages whose channels double and whose first block has stride 2 (not the first stage's), global average pooling. A
//! basic block is conv-norm-act-conv-norm; a bottleneck block is 1x1, 3x3 (with the stride), 1x1 to four times the channels.
//! Where the shape changes, the shortcut is a 1x1 convolution with normalization. Convolutions inside blocks have no bias.

use super::ArchitectureError;
use super::layers::Conv;
use super::plan::{Features, Maps, Plan};

/// Where these networks differ.
pub(super) struct Layout {
    /// Blocks of each stage.
    stages: &'static [u64],
    /// Whether blocks are bottlenecks.
    is_bottleneck: bool,
    /// Whether stem and shortcuts have a bias.
    has_bias: bool,
}

const fn cifar(stages: &'static [u64]) -> Layout {
    Layout { stages, is_bottleneck: false, has_bias: false }
}

const fn biased(stages: &'static [u64]) -> Layout {
    Layout { stages, is_bottleneck: false, has_bias: true }
}

pub(super) const RESNET20: Layout = cifar(&[3; 3]);
pub(super) const RESNET32: Layout = cifar(&[5; 3]);
pub(super) const RESNET44: Layout = cifar(&[7; 3]);
pub(super) const RESNET56: Layout = cifar(&[9; 3]);
pub(super) const RESNET20_BIASED: Layout = biased(&[3; 3]);
pub(super) const RESNET18: Layout = biased(&[2; 4]);
pub(super) const RESNET34: Layout = biased(&[3, 4, 6, 3]);
pub(super) const RESNET50: Layout = Layout { is_bottleneck: true, ..RESNET34 };

/// How many times its inner channels a bottleneck block gives.
const EXPANSION: u64 = 4;

pub(super) fn body(plan: &mut Plan, images: Maps, layout: &Layout) -> Result<Features, ArchitectureError> {
    let stem = Conv::new(plan.options.channels, 3).bias(layout.has_bias);
    let mut value = plan.conv("conv1", &images, stem);
    value = plan.norm("norm1", &value)?;
    value = plan.act("act1", &value);
    let mut channels = plan.options.channels;
    for (stage, &blocks) in layout.stages.iter().enumerate() {
        for index in 0..blocks {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let name = format!("block{}.{index}", stage + 1);
            value = block(plan, &name, &value, layout, Inner { channels, stride })?;
        }
        channels *= 2;
    }
    Ok(plan.global_average_pool(&value))
}

/// What a block does to the shape.
#[derive(Clone, Copy)]
struct Inner {
    channels: u64,
    stride: u64,
}

fn block(
    plan: &mut Plan,
    name: &str,
    input: &Maps,
    layout: &Layout,
    inner: Inner,
) -> Result<Maps, ArchitectureError> {
    let residual = residual(plan, name, input, layout, inner)?;
    let changes = inner.stride != 1 || residual.channels != input.channels;
    let shortcut = if changes {
        let conv = Conv::new(residual.channels, 1).stride(inner.stride).bias(layout.has_bias);
        let shortcut = plan.conv(&format!("{name}.shortcut"), input, conv);
        plan.norm(&format!("{name}.shortcut.norm"), &shortcut)?
    } else {
        input.clone()
    };
    let sum = plan.add(&format!("{name}.sum"), &residual, &shortcut);
    Ok(plan.act(&format!("{name}.act"), &sum))
}

/// The convolutions of a block, normalized, with activations between.
fn residual(
    plan: &mut Plan,
    name: &str,
    input: &Maps,
    layout: &Layout,
    Inner { channels, stride }: Inner,
) -> Result<Maps, ArchitectureError> {
    let basic = [Conv::new(channels, 3).stride(stride), Conv::new(channels, 3)];
    let bottleneck =
        [Conv::new(channels, 1), Conv::new(channels, 3).stride(stride), Conv::new(EXPANSION * channels, 1)];
    let convs = if layout.is_bottleneck { &bottleneck[..] } else { &basic };
    let mut value = input.clone();
    for (number, conv) in (1..).zip(convs) {
        value = plan.conv(&format!("{name}.conv{number}"), &value, conv.bias(false));
        let norm = format!("{name}.norm{number}");
        if number == convs.len() {
            return plan.norm_of_residual(&norm, &value);
        }
        value = plan.norm(&norm, &value)?;
        value = plan.act(&format!("{name}.act{number}"), &value);
    }
    Ok(value)
}
