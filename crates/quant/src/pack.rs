//! Words of any width side by side, low bits first, as [`Layout::packed`](bitquake_bits::Layout::packed) has them.

use bitquake_bits::kernels;

/// Bytes of so many words.
pub(crate) fn packed_len(elements: u64, bits: u32) -> u64 {
    (elements * u64::from(bits)).div_ceil(8)
}

/// Puts words of at most 8 bits, which have no bits above the width, into as many bytes as they take; unused bits of the last byte
/// become 0.
///
/// # Panics
/// When a word has bits above the width, or when there are fewer or more bytes.
pub(crate) fn pack_narrow(words: &[u8], bits: u32, bytes: &mut [u8]) {
    kernels::pack_into(words, bits, bytes).unwrap_or_else(|error| unreachable!("{error}"));
}

/// Takes words of at most 8 bits out of as many bytes as they take.
///
/// # Panics
/// When there are fewer or more bytes.
pub(crate) fn unpack_narrow(bytes: &[u8], bits: u32, words: &mut [u8]) {
    kernels::unpack_into(bytes, bits, words).unwrap_or_else(|error| unreachable!("{error}"));
}

/// Puts words of at most 32 bits, which have no bits above the width, into bytes; unused bits of the last byte become 0.
pub(crate) fn pack<W: Copy + Into<u64>>(words: &[W], bits: u32, bytes: &mut [u8]) {
    if bits.is_multiple_of(8) {
        let width = bits as usize / 8;
        for (bytes, &word) in bytes.chunks_exact_mut(width).zip(words) {
            bytes.copy_from_slice(&word.into().to_le_bytes()[..width]);
        }
        return;
    }
    let (mut pending, mut held) = (0_u64, 0);
    let mut out = bytes.iter_mut();
    for &word in words {
        pending |= word.into() << held;
        held += bits;
        while held >= 8 {
            put(&mut out, &mut pending);
            held -= 8;
        }
    }
    if held > 0 {
        put(&mut out, &mut pending);
    }
}

fn put<'a>(out: &mut impl Iterator<Item = &'a mut u8>, pending: &mut u64) {
    if let Some(byte) = out.next() {
        *byte = *pending as u8;
    }
    *pending >>= 8;
}

/// Takes words of at most 32 bits out of bytes; missing bytes count as 0.
pub(crate) fn unpack(bytes: &[u8], bits: u32, words: &mut [u64]) {
    if bits == 16 && bytes.len() >= 2 * words.len() {
        for (word, pair) in words.iter_mut().zip(bytes.chunks_exact(2)) {
            *word = u64::from(pair[0]) | u64::from(pair[1]) << 8;
        }
        return;
    }
    let mask = u64::MAX >> (u64::BITS - bits);
    let (mut pending, mut held) = (0_u64, 0);
    let mut rest = bytes.iter();
    for word in words {
        while held < bits {
            pending |= u64::from(rest.next().copied().unwrap_or(0)) << held;
            held += 8;
        }
        *word = pending & mask;
        pending >>= bits;
        held -= bits;
    }
}

#[cfg(test)]
mod tests {
    use bitquake_bits::{Format, Words, WordsMut};
    use bitquake_testing::SplitMix64;

    use super::*;

    /// Against the crate that defines the layout, for every width.
    #[test]
    fn as_the_packed_layout_has_them() {
        let mut random = SplitMix64::new(1);
        for bits in 1..=32 {
            let format = Format::unsigned(bits);
            let words: Vec<u64> = (0..37).map(|_| random.next_u64() & format.mask()).collect();
            let mut bytes = vec![0xff; packed_len(37, bits) as usize];
            pack(&words, bits, &mut bytes);
            let mut wanted = vec![0; bytes.len()];
            let mut view = WordsMut::packed(format, &mut wanted);
            for (i, &word) in words.iter().enumerate() {
                view.set(i as u64, word).unwrap();
            }
            assert_eq!(bytes, wanted, "{bits} bits");
            let mut back = vec![0_u64; 37];
            unpack(&bytes, bits, &mut back);
            assert_eq!(back, words, "{bits} bits");
            unpack(&bytes[..1], bits, &mut back);
            assert_eq!(back[36], 0, "missing bytes are 0");
            assert_eq!(Words::packed(format, &bytes).get(36), Some(words[36]));
            if bits <= 8 {
                let narrow: Vec<u8> = words.iter().map(|&word| word as u8).collect();
                let (mut of_narrow, mut back) = (vec![0xff; bytes.len()], vec![0xff; 37]);
                pack_narrow(&narrow, bits, &mut of_narrow);
                unpack_narrow(&of_narrow, bits, &mut back);
                assert_eq!((of_narrow, back), (bytes, narrow), "{bits} bits");
            }
        }
    }
}
