//! The blocked layout of images.
//!
//! A plain image is `[channels][pixels]`; a blocked one is `[ceil(channels / 16)][pixels][16]`. The lanes beyond the channels hold anything
//! at all: nothing that is computed from a blocked image may depend on them.

/// The channels of a block: as many floats as the widest vector holds.
pub const LANES: usize = 16;

/// The blocks of `channels` channels.
#[must_use]
pub const fn blocks(channels: usize) -> usize {
    channels.div_ceil(LANES)
}

/// The floats of a blocked image.
///
/// # Panics
///
/// When they are more than a `usize` counts.
#[must_use]
pub fn blocked_len(channels: usize, pixels: usize) -> usize {
    let floats = blocks(channels).checked_mul(LANES).and_then(|lanes| lanes.checked_mul(pixels));
    floats.expect("an image that memory can hold")
}

/// Turns a plain image into a blocked one. The lanes beyond the channels become zero.
///
/// ```
/// use bitquake_kernels::layout;
///
/// let plain = [1.0, 2.0, 3.0, 4.0]; // two channels of two pixels
/// let mut blocked = vec![0.0; layout::blocked_len(2, 2)];
/// layout::block(&plain, 2, &mut blocked);
/// assert_eq!((&blocked[..2], &blocked[16..18]), (&[1.0, 3.0][..], &[2.0, 4.0][..]));
/// ```
///
/// # Panics
///
/// When the lengths are not those of one image of `channels` channels.
pub fn block(plain: &[f32], channels: usize, blocked: &mut [f32]) {
    let pixels = check(plain, channels, blocked);
    if pixels == 0 {
        return;
    }
    for (planes, block) in plain.chunks(LANES * pixels).zip(blocked.chunks_exact_mut(LANES * pixels)) {
        for (index, pixel) in block.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            *pixel = [0.0; LANES];
            for (lane, plane) in pixel.iter_mut().zip(planes.chunks_exact(pixels)) {
                *lane = plane[index];
            }
        }
    }
}

/// Turns a blocked image into a plain one.
///
/// # Panics
///
/// When the lengths are not those of one image of `channels` channels.
pub fn unblock(blocked: &[f32], channels: usize, plain: &mut [f32]) {
    let pixels = check(plain, channels, blocked);
    if pixels == 0 {
        return;
    }
    for (planes, block) in plain.chunks_mut(LANES * pixels).zip(blocked.chunks_exact(LANES * pixels)) {
        for (lane, plane) in planes.chunks_exact_mut(pixels).enumerate() {
            for (value, pixel) in plane.iter_mut().zip(block.as_chunks::<LANES>().0) {
                *value = pixel[lane];
            }
        }
    }
}

/// The pixels of the image.
fn check(plain: &[f32], channels: usize, blocked: &[f32]) -> usize {
    assert!(channels > 0, "an image has channels");
    let pixels = plain.len() / channels;
    assert!(
        pixels * channels == plain.len() && blocked.len() == blocked_len(channels, pixels),
        "{} plain and {} blocked floats are not one image of {channels} channels",
        plain.len(),
        blocked.len()
    );
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocked_and_back_is_the_same_image() {
        for (channels, pixels) in [(1, 1), (3, 5), (16, 4), (17, 3), (40, 7), (32, 0)] {
            let plain: Vec<f32> = (0..channels * pixels).map(|index| index as f32).collect();
            let mut blocked = vec![f32::NAN; blocked_len(channels, pixels)];
            block(&plain, channels, &mut blocked);
            for (index, &value) in plain.iter().enumerate() {
                let (channel, pixel) = (index / pixels, index % pixels);
                assert_eq!(blocked[(channel / LANES * pixels + pixel) * LANES + channel % LANES], value);
            }
            let kept = blocked.iter().filter(|value| **value != 0.0).count();
            assert_eq!(kept, plain.len().saturating_sub(1), "the lanes beyond the channels are zero");
            let mut back = vec![f32::NAN; plain.len()];
            unblock(&blocked, channels, &mut back);
            assert_eq!(back, plain);
        }
    }

    #[test]
    #[should_panic(expected = "6 plain and 48 blocked floats are not one image of 3 channels")]
    fn a_wrong_length_panics() {
        let mut blocked = [0.0; 48];
        block(&[0.0; 6], 3, &mut blocked);
    }
}
