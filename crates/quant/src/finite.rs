//! NaN and infinities are found before anything else is done.

use crate::error::QuantError;
use crate::kernel;

/// The bits of the largest finite magnitude.
const LARGEST: u32 = 0x7f7f_ffff;

/// Names the first value that is not finite; `start` is the index of the first value given.
pub(crate) fn check(values: &[f32], start: u64) -> Result<(), QuantError> {
    // Blocks that fit the first-level cache, so that a pass over them costs little; the kernel has no early exit and is made
    // of integer comparisons, which vectorise.
    for (block, chunk) in values.chunks(4096).enumerate() {
        if !kernel::are_finite(chunk) {
            let first = chunk.iter().position(|value| !value.is_finite()).unwrap_or(0);
            let index = start + (block * 4096 + first) as u64;
            return Err(QuantError::NotFinite { index, value: chunk[first] });
        }
    }
    Ok(())
}

#[inline(always)]
pub(crate) fn any_not_finite(chunk: &[f32]) -> bool {
    chunk.iter().fold(false, |any, value| any | ((value.to_bits() & 0x7fff_ffff) > LARGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_is_named() {
        let mut values = vec![f32::MAX; 10_000];
        assert_eq!(check(&values, 0), Ok(()));
        values[9_000] = f32::NEG_INFINITY;
        values[9_999] = f32::NAN;
        assert_eq!(check(&values, 5), Err(QuantError::NotFinite { index: 9_005, value: f32::NEG_INFINITY }));
        values[4_096] = f32::INFINITY;
        assert_eq!(check(&values, 0), Err(QuantError::NotFinite { index: 4_096, value: f32::INFINITY }));
    }
}
