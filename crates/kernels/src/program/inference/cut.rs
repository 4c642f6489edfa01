//! Stages whose weights stay in the cache while several images go through.

use crate::program::instruction::Instruction;
use crate::program::placement::{Home, place};
use crate::program::plan::{Place, Plan, Stage};

/// The same plan in more stages: a stage ends where its weights would push each other out of the cache from one image to the next.
pub(super) fn cut(mut plan: Plan) -> Plan {
    let stages = std::mem::take(&mut plan.stages);
    plan.stages = stages.into_iter().flat_map(|stage| parts(stage, &plan)).collect();
    plan.forward = plan.stages.len();
    let home = |place: Place| match place {
        Place::Images => Home::Images,
        Place::Output => Home::Output,
        Place::Seed => Home::Seed,
        Place::Tap(tap) => Home::Tap(tap),
        Place::Region(_) | Place::Scratch(_) => Home::Free,
    };
    let items: Vec<(usize, Home)> = plan.items.iter().map(|item| (item.floats, home(item.place))).collect();
    let placed = place(&items, &plan.stages, &plan.slopes);
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
            Instruction::Convolution { layer, .. } => plan.layers[*layer].convolution.forward_weights_len(),
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
