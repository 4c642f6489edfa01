//! Where items are: in the memory of a thread if one stage uses them, else in regions that are kept for the batch. Items that are not
//! used at the same time share memory: either regions of about their size, or, where memory is scarce, one region in which they are packed.

use super::instruction::{Item, Slope};
use super::plan::{Place, Placed, Stage};
use crate::LANES;

/// Where an item must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// Anywhere.
    Free,
    /// With the caller.
    Images,
    Output,
    OutputTangent,
    Seed,
    SeedTangent,
    Tap(usize),
}

pub(super) struct Placement {
    pub(super) items: Vec<Placed>,
    pub(super) regions: Vec<usize>,
    pub(super) scratch: usize,
}

/// The stages that use an item.
#[derive(Clone, Copy, Debug)]
struct Life {
    first: usize,
    last: usize,
    /// Whether something beside the instructions of one stage uses it.
    is_shared: bool,
}

/// How regions are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Each region by items of about its size, one after the other.
    Alike,
    /// One region by all.
    Packed,
}

/// Places all items.
pub(super) fn place(
    items: &[(usize, Home)],
    stages: &[Stage],
    slopes: &[Slope],
    sharing: Sharing,
) -> Placement {
    let lives = lives(items.len(), stages, slopes);
    let fixed = |home: Home| match home {
        Home::Free => None,
        Home::Images => Some(Place::Images),
        Home::Output => Some(Place::Output),
        Home::OutputTangent => Some(Place::OutputTangent),
        Home::Seed => Some(Place::Seed),
        Home::SeedTangent => Some(Place::SeedTangent),
        Home::Tap(tap) => Some(Place::Tap(tap)),
    };
    let mut places: Vec<Option<Place>> = items.iter().map(|(_, home)| fixed(*home)).collect();
    let regions = match sharing {
        Sharing::Alike => regions(items, &lives, &mut places),
        Sharing::Packed => vec![packed(items, &lives, &mut places)],
    };
    let scratches = stages.iter().map(|stage| scratch(stage, items, &mut places));
    let scratch = scratches.max().unwrap_or(0);
    let placed = items.iter().zip(places).map(|(&(floats, _), place)| {
        // What nothing uses is nowhere.
        Placed { floats, place: place.unwrap_or(Place::Scratch(0)) }
    });
    Placement { items: placed.collect(), regions, scratch }
}

fn lives(count: usize, stages: &[Stage], slopes: &[Slope]) -> Vec<Option<Life>> {
    let mut lives: Vec<Option<Life>> = vec![None; count];
    let mut use_in = |item: Item, stage: usize, is_shared: bool| {
        let life = lives[item].get_or_insert(Life { first: stage, last: stage, is_shared });
        life.is_shared |= is_shared || life.first != stage;
        (life.first, life.last) = (life.first.min(stage), life.last.max(stage));
    };
    for (number, stage) in stages.iter().enumerate() {
        for instruction in &stage.instructions {
            instruction.items(|item, _| use_in(item, number, false));
        }
        for item in stage.tasks.iter().flat_map(|task| task.items()).flatten() {
            use_in(item, number, true);
            use_in(item, number + 1, true);
        }
    }
    for item in slopes.iter().flat_map(Slope::items).flatten() {
        use_in(item, stages.len(), true);
    }
    lives
}

/// Puts shared items into regions, those of disjoint lives into the same one where their sizes are alike. Gives the regions' sizes.
fn regions(items: &[(usize, Home)], lives: &[Option<Life>], places: &mut [Option<Place>]) -> Vec<usize> {
    let mut shared = shared(lives, places);
    shared.sort_by_key(|(_, life)| life.first);
    // Of each region the size, and the last stage that uses it.
    let mut regions: Vec<(usize, usize)> = Vec::new();
    for (item, Life { first, last, .. }) in shared {
        let floats = items[item].0;
        let fits = |(size, used): &(usize, usize)| *used < first && *size >= floats && *size <= 2 * floats;
        let best = (0..regions.len())
            .filter(|&region| fits(&regions[region]))
            .min_by_key(|&region| regions[region].0);
        let region = best.unwrap_or_else(|| {
            regions.push((floats, 0));
            regions.len() - 1
        });
        regions[region].1 = last;
        places[item] = Some(Place::Region(region));
    }
    regions.into_iter().map(|(size, _)| size).collect()
}

/// The items that need memory for the batch, and their lives.
fn shared(lives: &[Option<Life>], places: &[Option<Place>]) -> Vec<(Item, Life)> {
    let lives = lives.iter().enumerate().filter_map(|(item, life)| Some((item, (*life)?)));
    lives.filter(|(item, life)| places[*item].is_none() && life.is_shared).collect()
}

/// Packs shared items into one region, the largest first, each at the first float from which on it meets none that is used at the same time.
/// Gives the region's size.
fn packed(items: &[(usize, Home)], lives: &[Option<Life>], places: &mut [Option<Place>]) -> usize {
    let mut shared = shared(lives, places);
    shared.sort_by_key(|(item, _)| std::cmp::Reverse(items[*item].0));
    // Of each packed item the first float, the one after the last, and the life; by the first float.
    let mut taken: Vec<(usize, usize, Life)> = Vec::new();
    let mut end = 0;
    for (item, life) in shared {
        let floats = items[item].0.next_multiple_of(LANES) + PACKED_APART;
        let meets = |other: &Life| life.first <= other.last && other.first <= life.last;
        let mut start = 0;
        for &(first, until, _) in taken.iter().filter(|(_, _, other)| meets(other)) {
            if first >= start + floats {
                break;
            }
            start = start.max(until);
        }
        end = end.max(start + floats);
        taken.insert(taken.partition_point(|(first, ..)| *first < start), (start, start + floats, life));
        places[item] = Some(Place::Packed(start));
    }
    end
}

/// Puts the items that a stage alone uses one beside the other; each keeps its place from its first use to its last. Gives the floats.
fn scratch(stage: &Stage, items: &[(usize, Home)], places: &mut [Option<Place>]) -> usize {
    let mut last = vec![0; items.len()];
    for (number, instruction) in stage.instructions.iter().enumerate() {
        instruction.items(|item, _| last[item] = number);
    }
    // Of each slot the first float, the size, and the instruction after which it is free.
    let mut slots: Vec<(usize, usize, Option<usize>)> = Vec::new();
    let mut end = 0;
    for (number, instruction) in stage.instructions.iter().enumerate() {
        instruction.items(|item, _| {
            if places[item].is_some() {
                return;
            }
            let floats = items[item].0;
            let fits = |(_, size, until): &(usize, usize, Option<usize>)| {
                until.is_none_or(|until| until < number) && *size >= floats
            };
            let best = (0..slots.len()).filter(|&slot| fits(&slots[slot])).min_by_key(|&slot| slots[slot].1);
            let slot = best.unwrap_or_else(|| {
                slots.push((end, floats, None));
                end += floats.next_multiple_of(LANES) + APART;
                slots.len() - 1
            });
            slots[slot].2 = Some(last[item]);
            places[item] = Some(Place::Scratch(slots[slot].0));
        });
    }
    end
}

/// Floats of each image between packed items, so that those can start elsewhere than at multiples of 4 KiB.
pub(super) const PACKED_APART: usize = LANES;

/// Lists that lie a multiple of 4 KiB apart get into each other's way in the cache.
const APART: usize = 17 * LANES;

/// The same placement, but what a stage alone uses keeps its memory to the end of the stage. Gives also the floats that a thread needs.
pub(super) fn unshared(placed: &[Placed], stages: &[Stage]) -> (Vec<Placed>, usize) {
    let mut items = placed.to_vec();
    let mut most = 0;
    for stage in stages {
        let mut end = 0;
        for instruction in &stage.instructions {
            instruction.items(|item, is_written| {
                if let (true, Place::Scratch(start)) = (is_written, &mut items[item].place) {
                    *start = end;
                    end += items[item].floats.next_multiple_of(LANES) + APART;
                }
            });
        }
        most = most.max(end);
    }
    (items, most)
}

#[cfg(test)]
mod tests {
    use super::super::instruction::Instruction;
    use super::*;

    fn copy(from: Item, to: Item) -> Instruction {
        Instruction::Copy { from, to }
    }

    #[test]
    fn items_share_memory_only_when_their_uses_are_apart() {
        let mut items = vec![(64, Home::Free); 7];
        items[0].1 = Home::Images;
        let stages = [
            Stage { instructions: vec![copy(0, 1), copy(1, 2), copy(2, 3), copy(3, 4)], ..Stage::default() },
            Stage { instructions: vec![copy(4, 5)], ..Stage::default() },
            Stage { instructions: vec![copy(5, 6)], ..Stage::default() },
        ];
        let placement = place(&items, &stages, &[], Sharing::Alike);
        let place = |item: Item| placement.items[item].place;
        assert_eq!(place(0), Place::Images);
        assert_eq!(
            (place(1), place(3)),
            (Place::Scratch(0), Place::Scratch(0)),
            "1 is not used after 2 is made"
        );
        assert!(matches!(place(2), Place::Scratch(offset) if offset >= 64));
        assert_eq!(
            (place(4), place(5)),
            (Place::Region(0), Place::Region(1)),
            "both are used in the second stage"
        );
        assert_eq!(placement.regions, [64, 64]);
        assert!(placement.scratch >= 128);
        let (apart, floats) = unshared(&placement.items, &stages);
        let Place::Scratch(first) = apart[1].place else { panic!("{:?}", apart[1]) };
        let Place::Scratch(third) = apart[3].place else { panic!("{:?}", apart[3]) };
        assert!(third >= first + 64 && third + 64 <= floats, "{first} {third} of {floats}");
        assert_eq!((apart[0].place, apart[4].place), (place(0), place(4)));
    }

    #[test]
    fn packed_items_that_are_used_at_the_same_time_lie_apart() {
        const SMALL: usize = 32 + PACKED_APART;
        const LARGE: usize = 128 + PACKED_APART;
        // Each is written in one stage and read in the next: a small one, a large one, two small ones, a large one.
        let sizes = [(0, Home::Images), (32, Home::Free), (128, Home::Free), (32, Home::Free)];
        let items = [&sizes[..], &[(32, Home::Free), (128, Home::Free), (32, Home::Free)]].concat();
        let chain = [
            vec![copy(0, 1)],
            vec![copy(1, 2)],
            vec![copy(2, 3), copy(2, 4)],
            vec![copy(3, 5), copy(4, 5)],
            vec![copy(5, 6)],
        ];
        let stages = chain.map(|instructions| Stage { instructions, ..Stage::default() });
        let placement = place(&items, &stages, &[], Sharing::Packed);
        let start = |item: Item| match placement.items[item].place {
            Place::Packed(start) => start,
            other => panic!("{item} at {other:?}"),
        };
        assert_eq!((start(2), start(5)), (0, 0), "the large ones are apart in time");
        assert_eq!(start(1), LARGE, "beside the first large one");
        assert_eq!((start(3), start(4)), (LARGE, LARGE + SMALL), "both beside both large ones");
        assert_eq!(placement.regions, [LARGE + 2 * SMALL]);
        assert_eq!(placement.items[6].place, Place::Scratch(0), "used in one stage alone");
    }
}
