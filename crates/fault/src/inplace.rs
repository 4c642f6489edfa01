//! Drawing and applying in one pass, without a pattern in between.

use std::sync::atomic::{AtomicU64, Ordering};

use bitquake_bits::kernels::flip_counted;
use bitquake_sample::{BernoulliDraw, BlockHits, Rate, Scratch, Stream};

/// Hits each bit of `bytes` with probability `rate`: the same flips as drawing a [`FaultModel`](crate::FaultModel) over the
/// whole tensor and applying it, but no list of them is kept, so memory stays flat at high rates. Doing it again undoes it.
/// Returns the number of flips.
///
/// ```
/// use bitquake_fault::flip_at_rate;
/// use bitquake_sample::{Rate, StreamKey};
/// let stream = StreamKey { seed: 1, point: 0, trial: 0 }.tensor("w");
/// let mut bytes = vec![0; 1000];
/// let flips = flip_at_rate(&mut bytes, &stream, Rate::new(0.01)?);
/// assert_eq!(flips, bytes.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>());
/// # Ok::<(), bitquake_sample::RateError>(())
/// ```
pub fn flip_at_rate(bytes: &mut [u8], stream: &Stream, rate: Rate) -> u64 {
    let bits = bytes.len() as u64 * 8;
    flip_bits_at_rate(bytes, bits, stream, rate, &mut Scratch::default())
}

/// As [`flip_at_rate`] for the first `bits` bits of `bytes` alone: the words of a packed tensor may end within a byte. `scratch`
/// is memory for small draws; larger ones are divided among threads, which have their own.
///
/// # Panics
/// When `bytes` has fewer bits.
pub fn flip_bits_at_rate(
    bytes: &mut [u8],
    bits: u64,
    stream: &Stream,
    rate: Rate,
    scratch: &mut Scratch,
) -> u64 {
    assert!(bits <= bytes.len() as u64 * 8, "{bits} bits of {} bytes", bytes.len());
    let draw = BernoulliDraw::new_in(stream, bits, rate, scratch);
    let bytes = &mut bytes[..bits.div_ceil(8) as usize]; // no chunk without a block
    let blocks = bytes.chunks_mut((draw.block_sites() / 8) as usize);
    if draw.is_small() {
        return (0..).zip(blocks).map(|(block, bytes)| flip(bytes, draw.block(block, scratch))).sum();
    }
    let flips = AtomicU64::new(0);
    draw.each_block(blocks, |scratch, block, bytes| {
        flips.fetch_add(flip(bytes, draw.block(block, scratch)), Ordering::Relaxed);
    });
    flips.into_inner()
}

/// Flips the hits of a block in its bytes; returns how many there are.
fn flip(bytes: &mut [u8], hits: BlockHits<'_>) -> u64 {
    match hits {
        BlockHits::Sites(sites) => {
            sites.iter().for_each(|&site| bytes[(site / 8) as usize] ^= 1 << (site % 8));
            sites.len() as u64
        }
        BlockHits::Bitmap(masks) => flip_masked(bytes, masks),
    }
}

/// Hits the bits of `bytes` that are set in `masks`; returns how many there are. The last mask may reach beyond the bytes with zeros.
fn flip_masked(bytes: &mut [u8], masks: &[u64]) -> u64 {
    /// Masks dealt with at a time: few enough for the first-level cache.
    const AT_ONCE: usize = 512;
    let mut buffer = [[0; 8]; AT_ONCE];
    let flip = |(bytes, masks): (&mut [u8], &[u64])| {
        buffer.iter_mut().zip(masks).for_each(|(bytes, mask)| *bytes = mask.to_le_bytes());
        let mask = &buffer.as_flattened()[..bytes.len()];
        flip_counted(bytes, mask).unwrap_or_else(|error| unreachable!("{error}"))
    };
    bytes.chunks_mut(8 * AT_ONCE).zip(masks.chunks(AT_ONCE)).map(flip).sum()
}

#[cfg(test)]
mod tests {
    use bitquake_bits::{BitSelection, Format};
    use bitquake_sample::StreamKey;

    use super::*;
    use crate::pattern::tests::One;
    use crate::{Candidate, FaultSpace, Hits, Selector};

    #[test]
    fn same_flips_as_a_pattern() {
        let key = StreamKey { seed: 5, point: 0, trial: 1 };
        for (elements, p) in [
            (3, 0.4),
            (1_000_001, 1e-4),
            (1_000_001, 2.6e-3),
            (1_000_001, 0.02),
            (1_300_003, 0.9),
            (5, 1.0),
            (9, 0.0),
        ] {
            let rate = Rate::new(p).unwrap();
            let w = Candidate { name: "w", format: Format::U8, elements, by_name_only: false };
            let space = FaultSpace::select([w], &Selector::all(), BitSelection::All).unwrap();
            let pattern = Hits::Rate(rate).flips(&space, &key).unwrap();
            let mut store = One(Format::U8, vec![0; elements as usize]);
            pattern.apply(&mut store).unwrap();
            let mut bytes = vec![0; elements as usize];
            assert_eq!(flip_at_rate(&mut bytes, &key.tensor("w"), rate), pattern.flips());
            assert!(bytes == store.1, "{elements} bytes at {p}");
        }
    }

    #[test]
    fn same_flips_as_a_pattern_of_words_that_end_within_a_byte() {
        let (key, mut scratch) = (StreamKey { seed: 5, point: 0, trial: 2 }, Scratch::default());
        let format = Format::unsigned(3);
        for (elements, p) in
            [(0, 0.5), (1, 0.9), (5, 0.4), (70_001, 1e-4), (70_001, 0.02), (1_500_005, 0.3), (3, 1.0)]
        {
            let rate = Rate::new(p).unwrap();
            let w = Candidate { name: "w", format, elements, by_name_only: false };
            let space = FaultSpace::select([w], &Selector::all(), BitSelection::All).unwrap();
            let pattern = Hits::Rate(rate).flips(&space, &key).unwrap();
            // A byte more than the words take: it stays as it is.
            let mut wanted = vec![0; (elements as usize * 3).div_ceil(8) + 1];
            for &address in pattern.tensors().iter().flat_map(|flips| &flips.addresses) {
                wanted[(address / 8) as usize] ^= 1 << (address % 8);
            }
            let mut bytes = vec![0; wanted.len()];
            let flips = flip_bits_at_rate(&mut bytes, 3 * elements, &key.tensor("w"), rate, &mut scratch);
            assert_eq!(flips, pattern.flips());
            assert!(bytes == wanted, "{elements} words of 3 bits at {p}");
        }
    }

    #[test]
    #[should_panic(expected = "9 bits of 1 bytes")]
    fn no_bits_beyond_the_bytes() {
        let stream = StreamKey { seed: 5, point: 0, trial: 0 }.tensor("w");
        flip_bits_at_rate(&mut [0], 9, &stream, Rate::ZERO, &mut Scratch::default());
    }
}
