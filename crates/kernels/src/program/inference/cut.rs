//! Stages whose weights stay in the cache while several images go through, and maps taken into the convolutions that read them.

use crate::program::Program;
use crate::program::instruction::{Instruction, Item};
use crate::program::placement::{Home, Sharing, place};
use crate::program::plan::{Place, Plan, Stage};

/// The same plan in more stages: a stage ends where its weights would push each other out of the cache from one image to the next. Maps that
/// one convolution of the same stage reads, between pads, are computed there.
pub(super) fn cut(mut plan: Plan, program: &Program) -> Plan {
    let stages = std::mem::take(&mut plan.stages);
    plan.stages = stages.into_iter().flat_map(|stage| parts(stage, &plan)).collect();
    plan.forward = plan.stages.len();
    joined(plan, program)
}

/// The same forward plan with maps computed by the convolutions that alone read them.
pub(in crate::program) fn joined(mut plan: Plan, program: &Program) -> Plan {
    let reads = reads(&plan);
    plan.stages.iter_mut().for_each(|stage| take_in(stage, &reads, program));
    let home = |place: Place| match place {
        Place::Images => Home::Images,
        Place::Output => Home::Output,
        Place::OutputTangent => Home::OutputTangent,
        Place::Seed => Home::Seed,
        Place::SeedTangent => Home::SeedTangent,
        Place::Tap(tap) => Home::Tap(tap),
        Place::Region(_) | Place::Packed(_) | Place::Scratch(_) => Home::Free,
    };
    let items: Vec<(usize, Home)> = plan.items.iter().map(|item| (item.floats, home(item.place))).collect();
    let placed = place(&items, &plan.stages, &plan.slopes, Sharing::Alike);
    (plan.items, plan.regions, plan.scratch) = (placed.items, placed.regions, placed.scratch);
    plan
}

fn parts(stage: Stage, plan: &Plan) -> Vec<Stage> {
    /// The floats of a stage's weights: 128 KiB stay in the cache beside what images need.
    const MOST: usize = 1 << 15;
    let mut parts = vec![Stage::default()];
    let mut floats = 0;
    for instruction in stage.instructions {
        let own = match &instruction {
            Instruction::Convolution { layer, .. } => plan.layers[*layer].convolution.met_weights_len(),
            _ => 0,
        };
        if floats > 0 && own > 0 && floats + own > MOST {
            parts.push(Stage::default());
            floats = 0;
        }
        floats += own;
        if let Some(last) = parts.last_mut() {
            last.instructions.push(instruction);
        }
    }
    if let Some(last) = parts.last_mut() {
        last.tasks = stage.tasks;
    }
    parts
}

/// Of each item how often it is read.
fn reads(plan: &Plan) -> Vec<usize> {
    let mut reads = vec![0; plan.items.len()];
    for stage in &plan.stages {
        for instruction in &stage.instructions {
            instruction.items(|item, is_written| reads[item] += usize::from(!is_written));
        }
        stage.tasks.iter().flat_map(|task| task.items()).flatten().for_each(|item| reads[item] += 1);
    }
    reads
}

/// Joins maps with the convolutions that alone read them.
fn take_in(stage: &mut Stage, reads: &[usize], program: &Program) {
    // A convolution of single pixels reads its image where it is; one that skips pixels reads them one by one.
    let copies_rows = |layer: usize| {
        let window = &program.layers[layer].window;
        window.stride == [1, 1] && window.kernel != [1, 1]
    };
    let map_of = |x: Item, instructions: &[Instruction]| {
        let gives = |instruction: &Instruction| match *instruction {
            Instruction::Map { is_plain, y, .. } => !is_plain && y == x && reads[x] == 1,
            _ => false,
        };
        instructions.iter().position(gives)
    };
    let mut is_taken = vec![false; stage.instructions.len()];
    for place in 0..stage.instructions.len() {
        let Instruction::Convolution { layer, x: image, y } = stage.instructions[place] else { continue };
        let Some(map) = map_of(image, &stage.instructions[..place]).filter(|_| copies_rows(layer)) else {
            continue;
        };
        if let Instruction::Map { pixels, x, norm, other, limit, .. } = stage.instructions[map] {
            stage.instructions[place] = Instruction::Mapped { layer, pixels, x, norm, other, limit, y };
            is_taken[map] = true;
        }
    }
    let mut is_taken = is_taken.into_iter();
    stage.instructions.retain(|_| is_taken.next() != Some(true));
}
