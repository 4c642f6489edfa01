//! The places of a kernel in the order in which they are computed.

use std::ops::Range;

/// A place of a kernel on one axis, and where the first output reads in the scratch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    /// The place in the kernel.
    pub(super) place: usize,
    /// The pixel of the axis in the scratch.
    pub(super) position: usize,
}

/// Places of a kernel that read neighbouring columns of one row: what is read for one serves the others.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The pixel of the scratch where the first output reads for the first place.
    pub(super) start: usize,
    /// The places in the kernel, vertical and horizontal.
    pub(super) places: Vec<[usize; 2]>,
}

/// All places, in runs of at most `longest`, which divide their neighbours evenly. `width`: columns of the scratch.
pub(super) fn runs(rows: &[Tap], columns: &[Tap], width: usize, longest: usize) -> Vec<Run> {
    let mut columns = columns.to_vec();
    columns.sort_unstable_by_key(|tap| tap.position);
    let neighbours = columns.chunk_by(|left, right| right.position == left.position + 1);
    let columns: Vec<&[Tap]> = neighbours.flat_map(|taps| even_chunks(taps, longest)).collect();
    let run = |row: &Tap, taps: &[Tap]| Run {
        start: row.position * width + taps[0].position,
        places: taps.iter().map(|tap| [row.place, tap.place]).collect(),
    };
    rows.iter().flat_map(|row| columns.iter().map(move |taps| run(row, taps))).collect()
}

/// Cuts into the fewest chunks of at most `longest`, whose lengths differ by at most one; the longer ones come first.
pub(super) fn even_chunks<T>(mut items: &[T], longest: usize) -> Vec<&[T]> {
    let count = items.len().div_ceil(longest);
    let cut = |index: usize| {
        let (chunk, rest) = items.split_at(items.len().div_ceil(count - index));
        items = rest;
        chunk
    };
    (0..count).map(cut).collect()
}

/// Cuts a range into the fewest of at most `longest`, whose lengths differ by at most one.
pub(super) fn even_ranges(range: Range<usize>, longest: usize) -> impl Iterator<Item = Range<usize>> {
    // Divisions take long beside a few tiles, and mostly there is one part.
    let count =
        if range.len() <= longest { usize::from(!range.is_empty()) } else { range.len().div_ceil(longest) };
    let (short, longer) =
        if count <= 1 { (range.len(), 0) } else { (range.len() / count, range.len() % count) };
    let start = move |index: usize| range.start + index * short + index.min(longer);
    (0..count).map(move |index| start(index)..start(index + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_even_and_cover_everything() {
        for (len, longest, lengths) in [
            (0, 3, &[][..]),
            (5, 3, &[3, 2]),
            (7, 3, &[3, 2, 2]),
            (4, 3, &[2, 2]),
            (6, 6, &[6]),
            (32, 14, &[11, 11, 10]),
        ] {
            let items: Vec<usize> = (0..len).collect();
            let chunks = even_chunks(&items, longest);
            assert_eq!(chunks.iter().map(|chunk| chunk.len()).collect::<Vec<_>>(), lengths);
            assert_eq!(chunks.concat(), items);
        }
    }

    #[test]
    fn neighbouring_columns_share_a_run() {
        let taps = |positions: &[usize]| -> Vec<Tap> {
            positions.iter().enumerate().map(|(place, &position)| Tap { place, position }).collect()
        };
        // A stride of 2: places 0 and 2 in the first phase, place 1 in the second.
        let found = runs(&taps(&[0, 2]), &taps(&[0, 9, 1]), 17, 3);
        let found: Vec<_> = found.iter().map(|run| (run.start, &run.places[..])).collect();
        let expected: [(usize, &[[usize; 2]]); 4] =
            [(0, &[[0, 0], [0, 2]]), (9, &[[0, 1]]), (34, &[[1, 0], [1, 2]]), (43, &[[1, 1]])];
        assert_eq!(found, expected);
    }

    #[test]
    fn ranges_are_even_and_cover_everything() {
        for (len, longest, lengths) in
            [(32, 14, &[11, 11, 10][..]), (1, 6, &[1]), (12, 6, &[6, 6]), (13, 6, &[5, 4, 4])]
        {
            let ranges: Vec<_> = even_ranges(5..5 + len, longest).collect();
            assert_eq!(ranges.iter().map(Range::len).collect::<Vec<_>>(), lengths);
            assert_eq!(ranges.into_iter().flatten().collect::<Vec<_>>(), (5..5 + len).collect::<Vec<_>>());
        }
    }
}
