//! Inputs made from other inputs, as a fuzzer makes them, but the same on every machine.

use crate::SplitMix64;

/// Numbers at which lengths and counts go wrong.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    0x7fff_ffff_ffff_ffff,
    u64::MAX - 1,
    u64::MAX,
];

/// `bytes` with one to four changes: bits and bytes, numbers of 1 to 8 bytes in either order, decimal numbers, cuts, repetitions,
/// and pieces of `other`.
///
/// ```
/// let mut random = bitquake_testing::SplitMix64::new(1);
/// let changed = bitquake_testing::mutated(b"[0, 1, 2]", b"{}", &mut random);
/// assert_ne!(changed, b"[0, 1, 2]");
/// ```
#[must_use]
pub fn mutated(bytes: &[u8], other: &[u8], random: &mut SplitMix64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        mutate(&mut bytes, other, random);
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut SplitMix64) {
    let mut place = |bytes: &[u8]| random.below(bytes.len() as u64 + 1) as usize;
    let (at, far, from) = (place(bytes), place(bytes), place(other));
    let end = bytes.len().min(at + 1 + random.below(16) as usize);
    match random.below(12) {
        0 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        1 => bytes[at..end].iter_mut().take(1).for_each(|byte| *byte = random.next_u64() as u8),
        2..=4 => put_number(&mut bytes[at..], random),
        5 => bytes[at..end].fill(0xff),
        6 => bytes.truncate(at),
        7 => drop(bytes.drain(at..end)),
        8 => drop(bytes.splice(at..at, bytes[at..end].repeat(1 + random.below(4) as usize))),
        9 => put_decimal(bytes, at, random),
        10 => {
            // A piece of the file itself, over another place.
            let piece = bytes[far..bytes.len().min(far + end - at)].to_vec();
            bytes[at..].iter_mut().zip(piece).for_each(|(byte, new)| *byte = new);
        }
        _ => {
            let piece = &other[from..other.len().min(from + 1 + random.below(200) as usize)];
            drop(bytes.splice(at..end, piece.iter().copied()));
        }
    }
}

/// A small number that may be a place in the file, or one of [`NUMBERS`], over the first bytes.
fn put_number(bytes: &mut [u8], random: &mut SplitMix64) {
    let bits = 1 + random.below(20);
    let number = match random.below(2) {
        0 => NUMBERS[random.below(NUMBERS.len() as u64) as usize],
        _ => random.below(1 << bits),
    };
    let size = 1 << random.below(4);
    let little = number.to_le_bytes();
    let mut number = little[..size].to_vec();
    if random.below(3) == 0 {
        number.reverse();
    }
    bytes.iter_mut().zip(number).for_each(|(byte, new)| *byte = new);
}

/// Another number in the place of the next digits.
fn put_decimal(bytes: &mut Vec<u8>, at: usize, random: &mut SplitMix64) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|digit| at + digit) else { return };
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut text = NUMBERS[random.below(NUMBERS.len() as u64) as usize].to_string();
    match random.below(4) {
        0 => text.insert(0, '-'),
        1 => text.push_str("e300"),
        _ => {}
    }
    bytes.splice(start..start + digits, text.into_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_follow_from_the_seed() {
        let of = |seed| {
            let mut random = SplitMix64::new(seed);
            (0..50).map(|_| mutated(b"0123456789", b"abc", &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }

    #[test]
    fn every_input_can_be_mutated() {
        let mut random = SplitMix64::new(5);
        for (bytes, other) in [(&b""[..], &b""[..]), (b"", b"x"), (b"x", b"")] {
            assert!((0..1000).any(|_| mutated(bytes, other, &mut random) != bytes) || other.is_empty());
        }
        let long = vec![b'1'; 5000];
        let lengths: Vec<usize> = (0..1000).map(|_| mutated(&long, b"ab", &mut random).len()).collect();
        assert!(lengths.iter().any(|&length| length > 5000) && lengths.iter().any(|&length| length < 4000));
    }
}
