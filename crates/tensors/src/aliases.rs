//! Tensors that have words of an earlier one, which must not count twice.

use std::collections::BTreeMap;
use std::ops::Range;

use bitquake_bits::Layout;

use crate::file::Storage;
use crate::{Role, TensorInfo};

/// Gives tensors that have words of an earlier one the role of an alias.
///
/// `has_blocks`: words lie in blocks, those of one tensor between each other, and no tensor overlaps another.
pub(crate) fn mark_aliases(entries: &mut [(TensorInfo, Storage)], has_blocks: bool) {
    let groups = together(entries).into_iter();
    let aliases: Vec<usize> = groups.flat_map(|group| aliases_in(entries, group, has_blocks)).collect();
    for index in aliases {
        let role = &mut entries[index].0.role;
        *role = if role.is_reached_by_globs() { Role::Alias } else { *role };
    }
}

/// Where the words of a tensor lie: part, bytes, how.
type Placed<'a> = (usize, &'a Range<usize>, &'a Layout);

fn words(entry: &(TensorInfo, Storage)) -> Option<Placed<'_>> {
    match &entry.1 {
        Storage::Words { part, range, layout } if !range.is_empty() => Some((*part, range, layout)),
        _ => None,
    }
}

/// Tensors whose bytes overlap, in the order of the file; those alone are left out.
fn together(entries: &[(TensorInfo, Storage)]) -> Vec<Vec<usize>> {
    let placed = entries.iter().enumerate().filter_map(|(index, entry)| Some((words(entry)?, index)));
    let mut order: Vec<(usize, &Range<usize>, usize)> =
        placed.map(|((part, range, _), index)| (part, range, index)).collect();
    order.sort_by_key(|(part, range, index)| (*part, range.start, *index));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut last: Option<(usize, usize)> = None;
    for (part, range, index) in order {
        match (last, groups.last_mut()) {
            (Some((other, end)), Some(group)) if other == part && range.start < end => {
                group.push(index);
                last = Some((part, end.max(range.end)));
            }
            _ => {
                groups.push(vec![index]);
                last = Some((part, range.end));
            }
        }
    }
    groups.retain(|group| group.len() > 1);
    groups.iter_mut().for_each(|group| group.sort_unstable());
    groups
}

/// Those of a group that have bytes of an earlier one which is no alias itself.
fn aliases_in(entries: &[(TensorInfo, Storage)], group: Vec<usize>, has_blocks: bool) -> Vec<usize> {
    let placed = |index: &usize| words(&entries[*index]);
    if group.iter().filter_map(placed).all(|(_, _, layout)| layout.is_packed()) {
        let mut taken = Spans::default();
        return group.into_iter().filter(|index| placed(index).is_some_and(|it| !taken.take(it.1))).collect();
    }
    if has_blocks {
        return Vec::new(); // the codes and scales of one tensor
    }
    let mut taken = Bytes::over(group.iter().filter_map(placed));
    group.into_iter().filter(|&index| !taken.take(&entries[index])).collect()
}

/// Ranges that do not overlap, by their starts.
#[derive(Default)]
struct Spans(BTreeMap<usize, usize>);

impl Spans {
    /// Takes a range, unless a part of it is taken; returns whether it did.
    fn take(&mut self, range: &Range<usize>) -> bool {
        let before = self.0.range(..range.end).next_back();
        if before.is_some_and(|(_, &end)| end > range.start) {
            return false;
        }
        self.0.insert(range.start, range.end);
        true
    }
}

/// Bytes that tensors have, a bit each.
struct Bytes {
    start: usize,
    bits: Vec<u64>,
}

impl Bytes {
    /// None of the bytes that these tensors span.
    fn over<'a>(all: impl Iterator<Item = Placed<'a>> + Clone) -> Bytes {
        let start = all.clone().map(|(_, range, _)| range.start).min().unwrap_or(0);
        let end = all.map(|(_, range, _)| range.end).max().unwrap_or(0);
        Bytes { start, bits: vec![0; (end - start).div_ceil(64)] }
    }

    /// Takes the bytes of a tensor, unless one of them is taken; returns whether it did.
    fn take(&mut self, entry: &(TensorInfo, Storage)) -> bool {
        let Some((_, range, layout)) = words(entry) else { return true };
        let Some(format) = entry.0.dtype.format().filter(|_| !layout.is_packed()) else {
            return self.take_all(std::iter::once(range.clone()));
        };
        let width = u64::from(format.width());
        let word = |element: u64| {
            // Its bytes lie together, in whatever order.
            let first = (0..width).step_by(8).map(|bit| layout.position(element * width + bit) / 8).min();
            let first = range.start + first.unwrap_or(0) as usize;
            first..first + width.div_ceil(8) as usize
        };
        self.take_all((0..entry.0.elements()).map(word))
    }

    fn take_all(&mut self, bytes: impl Iterator<Item = Range<usize>> + Clone) -> bool {
        let start = self.start;
        let masks = bytes.flat_map(|range| masks(range.start - start..range.end - start));
        if masks.clone().any(|(place, mask)| self.bits[place] & mask != 0) {
            return false;
        }
        masks.for_each(|(place, mask)| self.bits[place] |= mask);
        true
    }
}

/// The words of a list of bits that a range touches, with those of their bits that it has.
fn masks(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> + Clone {
    (range.start / 64..range.end.div_ceil(64)).map(move |place| {
        let (from, to) = (range.start.max(place * 64) % 64, (range.end - place * 64).min(64));
        (place, u64::MAX << from & u64::MAX >> (64 - to))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_taken_once() {
        let mut taken = Spans::default();
        for (range, is_free) in
            [(10..20, true), (20..30, true), (0..10, true), (5..6, false), (15..40, false), (30..31, true)]
        {
            assert_eq!(taken.take(&range), is_free, "{range:?}");
        }
    }

    #[test]
    fn masks_have_the_bits_of_their_range() {
        for range in [0..1, 0..64, 3..5, 63..65, 60..200, 64..128, 5..5] {
            let bits: Vec<usize> = masks(range.clone())
                .flat_map(|(place, mask)| {
                    (0..64).filter(move |bit| mask >> bit & 1 == 1).map(move |bit| place * 64 + bit)
                })
                .collect();
            assert_eq!(bits, range.collect::<Vec<_>>());
        }
    }
}
