//! VGG-11 for small images. Simonyan and Zisserman, "Very Deep Convolutional Networks" (2015), configuration A.
//!
//! Eight 3x3 convolutions with bias, normalization and activation, five 2x2 max poolings; what is left (512 values of a 32x32
//! image) goes straight to the logits, as is usual for CIFAR-10, instead of through two layers of 4096.

use super::ArchitectureError;
use super::layers::Conv;
use super::plan::{Features, Maps, Plan};

/// Channels, in base channels, and whether pooling follows.
const BLOCKS: [(u64, bool); 8] =
    [(1, true), (2, true), (4, false), (4, true), (8, false), (8, true), (8, false), (8, true)];

pub(super) fn vgg11(plan: &mut Plan, images: Maps) -> Result<Features, ArchitectureError> {
    let mut value = images;
    for (number, (width, pool)) in (1..).zip(BLOCKS) {
        value = plan.conv(&format!("conv{number}"), &value, Conv::new(width * plan.options.channels, 3));
        value = plan.norm(&format!("norm{number}"), &value)?;
        value = plan.act(&format!("act{number}"), &value);
        if pool {
            value = plan.max_pool(&format!("pool{number}"), &value);
        }
    }
    Ok(plan.flatten(&value))
}
