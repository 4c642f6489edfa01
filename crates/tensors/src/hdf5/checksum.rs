//! The checksum of HDF5's newer blocks: Jenkins' `lookup3`, byte-wise, with the initial value 0.
//!
//! Bob Jenkins, "lookup3.c" (public domain, 2006), `hashlittle`.

/// The checksum of `bytes`.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let mut state = [start; 3];
    // The last twelve bytes are mixed otherwise, even if they are a whole group.
    let groups = bytes.len().saturating_sub(1) / 12;
    let (whole, rest) = bytes.split_at(groups * 12);
    for group in whole.chunks_exact(12) {
        add(&mut state, group);
        mix(&mut state);
    }
    if rest.is_empty() {
        return state[2];
    }
    add(&mut state, rest);
    finish(&mut state);
    state[2]
}

/// Adds up to twelve bytes, as three little-endian numbers.
fn add(state: &mut [u32; 3], group: &[u8]) {
    for (index, &byte) in group.iter().enumerate() {
        let word = &mut state[index / 4];
        *word = word.wrapping_add(u32::from(byte) << (index % 4 * 8));
    }
}

/// One round for each of the six rotations: a word loses another, is mixed with it, and that one gains the third.
fn mix([a, b, c]: &mut [u32; 3]) {
    let step = |first: &mut u32, second: &mut u32, third: u32, rotation: u32| {
        *first = first.wrapping_sub(*second) ^ second.rotate_left(rotation);
        *second = second.wrapping_add(third);
    };
    step(a, c, *b, 4);
    step(b, a, *c, 6);
    step(c, b, *a, 8);
    step(a, c, *b, 16);
    step(b, a, *c, 19);
    step(c, b, *a, 4);
}

fn finish([a, b, c]: &mut [u32; 3]) {
    let step = |first: &mut u32, second: u32, rotation: u32| {
        *first = (*first ^ second).wrapping_sub(second.rotate_left(rotation));
    };
    step(c, *b, 14);
    step(a, *c, 11);
    step(b, *a, 25);
    step(c, *b, 16);
    step(a, *c, 4);
    step(b, *a, 14);
    step(c, *b, 24);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_values() {
        // From the self-test in lookup3.c.
        assert_eq!(checksum(b""), 0xdead_beef);
        assert_eq!(checksum(b"Four score and seven years ago"), 0x1777_0551);
    }

    #[test]
    fn every_byte_counts() {
        for length in 1..40 {
            let bytes: Vec<u8> = (0..length).collect();
            for index in 0..bytes.len() {
                let mut other = bytes.clone();
                other[index] ^= 0x80;
                assert_ne!(checksum(&bytes), checksum(&other), "{length} {index}");
            }
        }
    }
}
