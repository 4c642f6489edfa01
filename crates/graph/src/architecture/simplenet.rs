//! SimpleNet: thirteen convolutions. SPEC section 2.6.

use super::ArchitectureError;
use super::layers::Conv;
use super::plan::{Features, Maps, Plan};

/// A convolution with bias, normalization and activation.
struct Block {
    number: u32,
    /// Channels, in base channels.
    width: u64,
    kernel: u64,
    /// Whether max pooling follows.
    pool: bool,
}

const fn block(number: u32, width: u64, kernel: u64, pool: bool) -> Block {
    Block { number, width, kernel, pool }
}

const BLOCKS: [Block; 13] = [
    block(1, 1, 3, false),
    block(2, 2, 3, false),
    block(3, 2, 3, false),
    block(4, 2, 3, true),
    block(5, 2, 3, false),
    block(6, 2, 3, false),
    block(7, 4, 3, true),
    block(8, 4, 3, false),
    block(9, 4, 3, true),
    block(10, 8, 3, true),
    block(11, 32, 1, false),
    block(12, 4, 1, true),
    block(13, 4, 3, false),
];

/// Images that are smaller, either way, go without blocks 9 and 10, and block 8 widens in the place of block 10. The others keep
/// their numbers.
const LARGE: u64 = 32;

pub(super) fn body(plan: &mut Plan, images: Maps) -> Result<Features, ArchitectureError> {
    let is_small = images.height.min(images.width) < LARGE;
    let blocks = BLOCKS.iter().filter(|block| !(is_small && matches!(block.number, 9 | 10)));
    let mut value = images;
    for &Block { number, width, kernel, pool } in blocks {
        let width = if is_small && number == 8 { 8 } else { width };
        let conv = Conv::new(width * plan.options.channels, kernel);
        value = plan.conv(&format!("conv{number}"), &value, conv);
        value = plan.norm(&format!("norm{number}"), &value)?;
        value = plan.act(&format!("act{number}"), &value);
        if pool {
            value = plan.max_pool(&format!("pool{number}"), &value);
        }
    }
    Ok(plan.global_max_pool(&value))
}
