//! Some of the channels of a blocked image as an image of their own.

use std::ops::Range;

use crate::layout::{LANES, blocked_len};

/// `count` channels from `first` on: in place where they are whole blocks, else copied to `staged`.
pub(super) fn gather<'a>(
    image: &'a [f32],
    first: usize,
    count: usize,
    pixels: usize,
    staged: &'a mut [f32],
) -> &'a [f32] {
    if count.is_multiple_of(LANES) {
        return &image[blocks_of(first, count, pixels)];
    }
    for channel in 0..count {
        let from = image[plane(first + channel, pixels)..].iter().step_by(LANES);
        let to = staged[plane(channel, pixels)..].iter_mut().step_by(LANES);
        to.zip(from).take(pixels).for_each(|(to, from)| *to = *from);
    }
    staged
}

/// Has `count` channels from `first` on written: in place where they are whole blocks, else to `staged`, and copied from there. If `is_read`,
/// what they held is in `staged` before.
pub(super) fn scatter(
    image: &mut [f32],
    first: usize,
    count: usize,
    pixels: usize,
    staged: &mut [f32],
    is_read: bool,
    write: impl FnOnce(&mut [f32]),
) {
    if count.is_multiple_of(LANES) {
        return write(&mut image[blocks_of(first, count, pixels)]);
    }
    if is_read {
        gather(image, first, count, pixels, staged);
    }
    write(staged);
    for channel in 0..count {
        let from = staged[plane(channel, pixels)..].iter().step_by(LANES);
        let to = image[plane(first + channel, pixels)..].iter_mut().step_by(LANES);
        to.zip(from).take(pixels).for_each(|(to, from)| *to = *from);
    }
}

fn blocks_of(first: usize, count: usize, pixels: usize) -> Range<usize> {
    let start = first * pixels;
    start..start + blocked_len(count, pixels)
}

/// Where the first pixel of a channel lies.
fn plane(channel: usize, pixels: usize) -> usize {
    channel / LANES * pixels * LANES + channel % LANES
}
