//! Drawing and applying in one pass, without a pattern in between.

use bitquake_sample::{BernoulliDraw, Rate, Scratch, Stream};
use rayon::prelude::*;

use crate::pattern::flip_all;

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
    let draw = BernoulliDraw::new(stream, bytes.len() as u64 * 8, rate);
    if !draw.is_dense() {
        let addresses = draw.sites();
        flip_all(bytes, &addresses);
        return addresses.len() as u64;
    }
    let block_bytes = (draw.block_sites() / 8) as usize;
    let one = |scratch: &mut Scratch, (block, bytes): (usize, &mut [u8])| {
        let first = block as u64 * (draw.block_sites() / 64);
        let mut flips = 0;
        draw.visit_block(block as u64, scratch, |start, words| {
            xor(&mut bytes[(start - first) as usize * 8..], words);
            flips += words.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        });
        flips
    };
    bytes.par_chunks_mut(block_bytes).enumerate().map_init(Scratch::default, one).sum()
}

/// Hits the bits of `bytes` that are set in `masks`; the last mask may reach beyond them with zeros.
fn xor(bytes: &mut [u8], masks: &[u64]) {
    let (words, rest) = bytes.as_chunks_mut();
    for (word, mask) in words.iter_mut().zip(masks) {
        *word = (u64::from_le_bytes(*word) ^ mask).to_le_bytes();
    }
    if let Some(mask) = masks.get(words.len()) {
        rest.iter_mut().zip(mask.to_le_bytes()).for_each(|(byte, mask)| *byte ^= mask);
    }
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
        for (elements, p) in
            [(3, 0.4), (1_000_001, 1e-4), (1_000_001, 0.02), (1_300_003, 0.9), (5, 1.0), (9, 0.0)]
        {
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
}
