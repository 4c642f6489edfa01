//! Random numbers that are about normal and the same on every machine.

/// Mean 0, variance 1, within 6: twelve uniform integers of 16 bits from three words of `next`, summed as integers, so that no
/// rounding depends on the machine. A uniform integer below `2^16` has variance `(2^32 - 1) / 12`.
pub(crate) fn about_normal(mut next: impl FnMut() -> u64) -> f64 {
    let sum: u64 = (0..3).map(|_| sum_of_lanes(next())).sum();
    (sum as f64 - 6.0 * 65535.0) / 65536.0
}

/// The sum of the four 16-bit parts of a word.
fn sum_of_lanes(word: u64) -> u64 {
    (0..4).map(|lane| word >> (16 * lane) & 0xffff).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_six_deviations() {
        assert_eq!(
            [u64::MAX, 0].map(|word| about_normal(|| word)),
            [65535.0 / 65536.0 * 6.0, -65535.0 / 65536.0 * 6.0]
        );
    }
}
