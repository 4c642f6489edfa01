//! Flips by element: what a word becomes, and the flips that make it another one.

use bitquake_bits::Words;

/// Appends the addresses of the bits set in `mask`, for an element of `width` bits.
pub(super) fn push_bits(flips: &mut Vec<u64>, element: u64, width: u32, mask: u64) {
    let set = (0..width).filter(|bit| mask >> bit & 1 == 1);
    flips.extend(set.map(|bit| element * u64::from(width) + u64::from(bit)));
}

/// The elements of rising flips, each with the mask of its flipped bits.
pub(super) fn by_element(flips: &[u64], width: u32) -> impl Iterator<Item = (u64, u64)> {
    let width = u64::from(width);
    flips.chunk_by(move |a, b| a / width == b / width).map(move |bits| {
        let mask = bits.iter().fold(0, |mask, &address| mask | 1 << (address % width));
        (bits[0] / width, mask)
    })
}

/// The flips after some elements (rising) have been replaced by `word`, whatever was flipped in them.
pub(super) fn replace_elements(flips: &[u64], elements: &[u64], word: u64, words: &Words<'_>) -> Vec<u64> {
    let width = words.format().width();
    let is_kept = |address: &u64| elements.binary_search(&(address / u64::from(width))).is_err();
    let mut replaced: Vec<u64> = flips.iter().copied().filter(is_kept).collect();
    for &element in elements {
        if let Some(clean) = words.get(element) {
            push_bits(&mut replaced, element, width, clean ^ word);
        }
    }
    replaced.sort();
    replaced
}
