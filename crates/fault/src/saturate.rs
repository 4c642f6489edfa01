//! The extremes of a format.

use bitquake_bits::Format;

/// The words of the largest finite magnitude, for words whose most significant bit is 0 and for those where it is 1.
///
/// Floats and signed codes keep their sign, which their most significant bit tells (in Gray code too); what has no sign has one
/// extreme, its largest number.
pub(crate) fn extremes(format: Format) -> [u64; 2] {
    let top = 1 << format.msb();
    if let Some((low, high)) = format.integer_range() {
        let word = |integer| format.word_of_integer(integer).unwrap_or(0);
        let (low, high) = (if low < 0 { low } else { high }, high);
        // Offset binary has its most significant bit set in the numbers that are not negative.
        return if word(high) & top != 0 { [word(low), word(high)] } else { [word(high), word(low)] };
    }
    if !format.is_float() {
        // Powers of two: the word of all ones is NaN.
        return [format.mask() - 1; 2];
    }
    let magnitude = largest_magnitude(format);
    [magnitude, magnitude | top]
}

/// The selected bits that saturation may change: all but a sign, which it keeps.
pub(crate) fn saturating_bits(format: Format, mask: u64) -> u64 {
    let top = 1 << format.msb();
    let [low, high] = extremes(format);
    let keeps_sign = low & top == 0 && high & top != 0;
    if keeps_sign { mask & !top } else { mask }
}

/// All ones, all ones but the last bit (the only NaN of some 8-bit floats), or the number below infinity.
fn largest_magnitude(format: Format) -> u64 {
    let all = format.mask() >> 1;
    let infinity = format.nearest(f64::INFINITY).unwrap_or(all);
    [all, all - 1].into_iter().find(|&word| format.is_finite(word)).unwrap_or(infinity.wrapping_sub(1) & all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By looking at every word.
    fn slow(format: Format, top_bit: u64) -> u64 {
        let words = (0..=format.mask()).filter(|word| format.is_finite(*word));
        let is_negative = |word: &u64| format.decode(*word) < 0.0;
        let sample = words.clone().filter(|word| word >> format.msb() == top_bit);
        let negative = sample.clone().any(|word| is_negative(&word));
        let size = |word: &u64| format.decode(*word).abs();
        let same_sign = words.filter(|word| is_negative(word) == negative);
        same_sign.max_by(|a, b| size(a).total_cmp(&size(b))).unwrap()
    }

    #[test]
    fn extremes_are_the_largest_of_all_words() {
        let names = [
            "f16",
            "bf16",
            "f8e4m3",
            "f8e5m2",
            "f8e4m3fnuz",
            "f8e5m2fnuz",
            "f8e8m0",
            "f6e3m2",
            "f6e2m3",
            "f4e2m1",
            "i8",
            "u8",
            "i1",
            "u1",
            "i5",
            "u4",
            "i8.5",
            "i8-offset",
            "i8-sign-magnitude",
            "i8-gray",
            "u4-gray",
            "i16",
        ];
        for name in names {
            let format = Format::from_name(name).unwrap();
            let want = [0, 1].map(|top| format.decode(slow(format, top)));
            assert_eq!(extremes(format).map(|word| format.decode(word)), want, "{name}");
        }
    }

    #[test]
    fn wide_formats() {
        let rows: [(Format, [u64; 2]); 5] = [
            (Format::F32, [0x7f7f_ffff, 0xff7f_ffff]),
            (Format::F64, [f64::MAX.to_bits(), f64::MIN.to_bits()]),
            (Format::I32, [0x7fff_ffff, 0x8000_0000]),
            (Format::U32, [0xffff_ffff; 2]),
            (Format::I64, [u64::MAX >> 1, 1 << 63]),
        ];
        for (format, want) in rows {
            assert_eq!(extremes(format), want, "{format}");
        }
        assert_eq!(saturating_bits(Format::I8, 0xff), 0x7f);
        assert_eq!(saturating_bits(Format::U8, 0xff), 0xff);
        assert_eq!(saturating_bits(Format::F8E8M0, 0xff), 0xff);
    }
}
