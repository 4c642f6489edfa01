//! A data set small enough to learn in a second.

use crate::SplitMix64;

/// Grey images of 8 x 8 pixels with labels of 4 classes, row-major, one byte a pixel: a bright bar whose place tells the class,
/// and noise. Labels go round: 0, 1, 2, 3, 0, ...
///
/// ```
/// let (pixels, labels) = bitquake_testing::bars(6);
/// assert_eq!(pixels.len(), 6 * 64);
/// assert_eq!(labels, [0, 1, 2, 3, 0, 1]);
/// // The bar of class 1 covers columns 2 and 3.
/// assert!(pixels[64 + 2] >= 120 && pixels[64] < 120);
/// ```
#[must_use]
pub fn bars(count: usize) -> (Vec<u8>, Vec<u8>) {
    let mut random = SplitMix64::new(7);
    let labels: Vec<u8> = (0..count).map(|image| (image % 4) as u8).collect();
    let mut pixels = Vec::with_capacity(count * 64);
    for &label in &labels {
        for place in 0..64_u64 {
            let is_bar = place % 8 / 2 == u64::from(label);
            pixels.push(random.below(90) as u8 + if is_bar { 120 } else { 0 });
        }
    }
    (pixels, labels)
}
