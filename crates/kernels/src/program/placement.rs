//! Where items are: in the memory of a thread if one stage uses them, else in regions that are kept for the batch. Items that are not
//! used at the same time share memory.

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

/// Places all items.
pub(super) fn place(items: &[(usize, Home)], stages: &[Stage], slopes: &[Slope]) -> Placement {
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
    let regions = regions(items, &lives, &mut places);
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
    let is_shared = |item: &Item| lives[*item].is_some_and(|life| life.is_shared);
    let mut shared: Vec<Item> =
        (0..items.len()).filter(|item| places[*item].is_none() && is_shared(item)).collect();
    let life = |item: Item| lives[item].map_or((0, 0), |life| (life.first, life.last));
    shared.sort_by_key(|&item| life(item).0);
    // Of each region the size, and the last stage that uses it.
    let mut regions: Vec<(usize, usize)> = Vec::new();
    for item in shared {
        let (floats, (first, last)) = (items[item].0, life(item));
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
        let placement = place(&items, &stages, &[]);
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
}
