//! The two ways in which an image lies in memory: channels first, as the engine has it, and channels last, where all that belongs
//! to a place of the image lies together.

/// Channels, rows and columns of an image.
pub(crate) type ImageDims = [usize; 3];

/// Places that are laid out anew, and elements that are compared, at a time.
const BLOCK: usize = 64;

/// Lays an image out with its channels last.
pub(crate) fn to_channels_last(first: &[f32], [channels, rows, columns]: ImageDims, last: &mut [f32]) {
    for (at, place) in last.chunks_exact_mut(channels).enumerate() {
        let from = first[at..].iter().step_by(rows * columns);
        place.iter_mut().zip(from).for_each(|(element, &from)| *element = from);
    }
}

/// Lays an image out with its channels first.
pub(crate) fn to_channels_first(last: &[f32], [channels, rows, columns]: ImageDims, first: &mut [f32]) {
    // Block by block of places, so that both sides stay in the innermost cache.
    for (block, places) in last.chunks(BLOCK * channels).enumerate() {
        for (channel, plane) in first.chunks_exact_mut(rows * columns).enumerate() {
            let plane = plane[block * BLOCK..].iter_mut();
            plane.zip(places[channel..].iter().step_by(channels)).for_each(|(to, &element)| *to = element);
        }
    }
}

/// Whether an image with its channels first is, bit for bit, one with its channels last.
pub(crate) fn is_same(first: &[f32], last: &[f32], [channels, rows, columns]: ImageDims) -> bool {
    let differs = |(at, place): (usize, &[f32])| {
        let other = first[at..].iter().step_by(rows * columns);
        place.iter().zip(other).any(|(a, b)| a.to_bits() != b.to_bits())
    };
    first.len() == last.len() && !last.chunks_exact(channels).enumerate().any(differs)
}

/// Whether two rows are equal bit for bit: a NaN equals itself, 0 and -0 differ.
pub(crate) fn same_bits(a: &[f32], b: &[f32]) -> bool {
    // Without a way out in the middle, so that the compiler uses vector instructions.
    let differs = |a: &[f32], b: &[f32]| {
        a.iter().zip(b).fold(0, |rest, (a, b)| rest | (a.to_bits() ^ b.to_bits())) != 0
    };
    a.len() == b.len() && !a.chunks(BLOCK).zip(b.chunks(BLOCK)).any(|(a, b)| differs(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let dims = [3, 2, 4];
        let first: Vec<f32> = (0..24).map(|element| element as f32).collect();
        let (mut last, mut back) = (vec![0.0; 24], vec![0.0; 24]);
        to_channels_last(&first, dims, &mut last);
        assert_eq!(last[..6], [0.0, 8.0, 16.0, 1.0, 9.0, 17.0]);
        to_channels_first(&last, dims, &mut back);
        assert_eq!(back, first);
        assert!(is_same(&first, &last, dims));
        for element in 0..24 {
            let mut other = first.clone();
            other[element] = f32::NAN;
            assert!(!is_same(&other, &last, dims), "{element}");
        }
    }

    #[test]
    fn bits_are_compared() {
        let row: Vec<f32> = (0..200).map(|element| element as f32).collect();
        assert!(same_bits(&row, &row.clone()) && !same_bits(&row, &row[1..]));
        for element in [0, 63, 64, 199] {
            let mut other = row.clone();
            other[element] = -other[element];
            assert!(!same_bits(&row, &other), "{element}");
        }
        assert!(same_bits(&[f32::NAN], &[f32::NAN]));
    }
}
