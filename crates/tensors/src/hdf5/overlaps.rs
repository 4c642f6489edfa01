//! Which bytes belong to what, and whether data lie over something else.

use std::ops::Range;

use super::Hdf5Error;

/// The places of blocks and of data.
#[derive(Debug)]
pub(crate) struct Overlaps {
    places: Vec<Place>,
}

type Place = (Range<usize>, Owner);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// A block of the file's structure. Blocks may share bytes: nothing in them is changed.
    Block(&'static str),
    /// The data of the dataset of this index.
    Data(usize),
    /// The same, within a block.
    Inline(usize),
}

impl Owner {
    fn class(self) -> usize {
        match self {
            Owner::Block(_) => 0,
            Owner::Data(_) => 1,
            Owner::Inline(_) => 2,
        }
    }

    fn dataset(self) -> Option<usize> {
        match self {
            Owner::Block(_) => None,
            Owner::Data(dataset) | Owner::Inline(dataset) => Some(dataset),
        }
    }
}

/// By class: the classes that may not share a byte with it.
const RIVALS: [&[usize]; 3] = [&[1], &[0, 1, 2], &[1, 2]];

impl Overlaps {
    pub(crate) fn new() -> Overlaps {
        Overlaps { places: Vec::new() }
    }

    pub(crate) fn add_block(&mut self, range: Range<usize>, what: &'static str) {
        self.add(range, Owner::Block(what));
    }

    pub(crate) fn add_data(&mut self, range: Range<usize>, dataset: usize) {
        self.add(range, Owner::Data(dataset));
    }

    /// Data that lie within a block.
    pub(crate) fn add_inline(&mut self, range: Range<usize>, dataset: usize) {
        self.add(range, Owner::Inline(dataset));
    }

    pub(crate) fn append(&mut self, mut other: Overlaps) {
        self.places.append(&mut other.places);
    }

    fn add(&mut self, range: Range<usize>, owner: Owner) {
        if !range.is_empty() {
            self.places.push((range, owner));
        }
    }

    /// Refuses data that overlap anything else. `name` gives the name of a dataset.
    pub(crate) fn check<'a>(mut self, name: impl Fn(usize) -> &'a str) -> Result<(), Hdf5Error> {
        self.places.sort_unstable_by_key(|(range, owner)| (range.start, range.end, *owner));
        // Of what starts earlier, by class, what reaches farthest.
        let mut farthest: [Option<&Place>; 3] = [None; 3];
        for place in &self.places {
            let class = place.1.class();
            let reaches = |other: &&Place| other.0.end > place.0.start;
            let rival = RIVALS[class].iter().find_map(|&rival| farthest[rival].filter(reaches));
            if let Some(rival) = rival {
                return Err(overlap(place, rival, name));
            }
            if farthest[class].is_none_or(|other| other.0.end < place.0.end) {
                farthest[class] = Some(place);
            }
        }
        Ok(())
    }
}

/// The error for two places of which at least one is data.
fn overlap<'a>(a: &Place, b: &Place, name: impl Fn(usize) -> &'a str) -> Hdf5Error {
    let (data, other) = if a.1.dataset().is_some() { (a, b) } else { (b, a) };
    let label = |owner: Owner| match owner {
        Owner::Block(what) => what.to_owned(),
        Owner::Data(dataset) | Owner::Inline(dataset) => format!("the data of {}", name(dataset)),
    };
    Hdf5Error::Overlap {
        dataset: data.1.dataset().map_or_else(String::new, |dataset| name(dataset).to_owned()),
        start: data.0.start as u64,
        end: data.0.end as u64,
        other: label(other.1),
        at: other.0.start as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inline_data_are_within_blocks_but_not_shared() {
        let check = |data: &[Range<usize>]| {
            let mut overlaps = Overlaps::new();
            overlaps.add_block(0..100, "the object header");
            data.iter().enumerate().for_each(|(index, range)| overlaps.add_inline(range.clone(), index));
            overlaps.check(|index| ["a", "b"][index])
        };
        assert_eq!(check(&[10..20, 20..30]), Ok(()));
        let error = check(&[10..20, 19..30]).unwrap_err().to_string();
        assert_eq!(error, "b: its data at bytes 19..30 overlap the data of a at byte 10");
    }

    /// Blocks and data that start at these bytes; the first of each kind is a hundred bytes long, the others ten.
    fn is_fine(blocks: &[usize], data: &[usize]) -> bool {
        let mut overlaps = Overlaps::new();
        let range = |(index, &start): (usize, &usize)| start..start + if index == 0 { 100 } else { 10 };
        blocks.iter().enumerate().map(range).for_each(|range| overlaps.add_block(range, "a block"));
        let ranges = data.iter().enumerate().map(range);
        ranges.enumerate().for_each(|(index, range)| overlaps.add_data(range, index));
        overlaps.check(|index| ["a", "b", "c"][index]).is_ok()
    }

    #[test]
    fn only_data_must_be_alone() {
        let cases: &[(&[usize], &[usize], bool)] = &[
            (&[0, 5, 95, 5], &[], true),
            (&[0], &[100, 200], true),
            (&[0], &[300, 100, 110], true),
            (&[], &[0, 99], false),
            (&[0], &[99], false),
            (&[99], &[0], false),
            (&[0, 5], &[200, 50], false),
            (&[], &[0, 150, 50], false),
            (&[], &[300, 150, 159], false),
        ];
        for (blocks, data, expected) in cases {
            assert_eq!(is_fine(blocks, data), *expected, "{blocks:?} {data:?}");
        }
    }
}
