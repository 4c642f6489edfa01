//! The stages of the forward pass.

use super::Compiler;
use crate::program::fuse::{MapNode, Node, Norm};
use crate::program::instruction::{Instruction, Item, Task};
use crate::program::placement::Home;

impl Compiler<'_> {
    /// Puts every node into the first stage in which its inputs are there.
    pub(super) fn forward(&mut self) {
        let stages = self.stages_of_values();
        self.forward_stages = stages.iter().max().map_or(1, |last| last + 1);
        self.stage(self.forward_stages - 1);
        self.images();
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|&place| stages[self.nodes[place].0]);
        for place in order {
            let (value, node) = self.nodes[place].clone();
            self.compute(value, &node, stages[value]);
        }
        let (blocked, stage) = self.places[self.output].expect("the output is computed");
        let shape = self.program.shapes[self.output];
        let plain = self.item_at(shape.elements(), Home::Output);
        self.emit(stage, Instruction::Unblock { channels: shape.channels, blocked, plain });
    }

    fn stages_of_values(&self) -> Vec<usize> {
        let mut stages = vec![0; self.program.shapes.len()];
        for (value, node) in &self.nodes {
            let latest = node.inputs().map(|input| stages[input]).max().unwrap_or(0);
            stages[*value] = match node {
                // A batch norm waits for the statistics of what it is applied to, not for those of what is added to it.
                Node::Map(MapNode { x, norm: Some(Norm::Batch { .. }), .. }) if self.purpose.of_batch => {
                    latest.max(stages[*x] + 1)
                }
                Node::Linear { .. } => latest + 1,
                _ => latest,
            };
        }
        stages
    }

    /// The input: as it is, or blocked.
    fn images(&mut self) {
        let shape = self.program.shapes[0];
        let item = if self.is_plain[0] {
            self.item_at(shape.elements(), Home::Images)
        } else {
            self.blocked_images(0)
        };
        self.define(0, item, 0);
    }

    /// The input, blocked in a stage.
    pub(super) fn blocked_images(&mut self, stage: usize) -> Item {
        let shape = self.program.shapes[0];
        let plain = self.item_at(shape.elements(), Home::Images);
        let blocked = self.blocked(0);
        self.emit(stage, Instruction::Block { channels: shape.channels, plain, blocked });
        blocked
    }

    fn compute(&mut self, value: usize, node: &Node, stage: usize) {
        if let Node::Map(map) = *node {
            self.measure_groups(value, map, stage);
        }
        let item = self.result(value, node, stage);
        self.define(value, item, stage);
    }

    /// Computes what a node gives, in a stage; a fully connected layer at the end of the stage before.
    pub(super) fn result(&mut self, value: usize, node: &Node, stage: usize) -> Item {
        match *node {
            Node::Convolution { x, layer } => {
                let x = self.need(x, stage);
                let y = self.blocked(value);
                self.emit(stage, Instruction::Convolution { layer, x, y });
                y
            }
            Node::Linear { x, layer } => {
                let x = self.need(x, stage - 1);
                let y = self.blocked(value);
                self.task(stage - 1, Task::Linear { layer, x, y });
                y
            }
            Node::Pool { x: from, pool, is_positive } => {
                let x = self.need(from, stage);
                let y = self.blocked(value);
                let is_chosen = self.program.pools[pool].is_max() && self.needs_gradient[from];
                self.winners[value] = is_chosen.then(|| self.blocked(value));
                let winners = self.winners[value];
                self.emit(stage, Instruction::Pool { pool, is_positive, x, y, winners });
                y
            }
            Node::Flatten { x: from } => {
                let shape = self.program.shapes[from];
                let x = self.need(from, stage);
                if shape.pixels() == 1 && !self.is_plain[from] {
                    x
                } else {
                    let y = self.blocked(value);
                    self.emit(
                        stage,
                        if self.is_plain[from] {
                            Instruction::Copy { from: x, to: y }
                        } else {
                            Instruction::Unblock { channels: shape.channels, blocked: x, plain: y }
                        },
                    );
                    y
                }
            }
            Node::Same { x } => self.need(x, stage),
            Node::Map(map) => self.map(value, map, stage),
        }
    }

    /// The statistics of an image's groups, before a group norm.
    fn measure_groups(&mut self, value: usize, map: MapNode, stage: usize) {
        let (Some(Norm::Group { .. }), Some(table)) = (map.norm, self.table_of[value]) else { return };
        let shape = self.program.shapes[value];
        let x = self.need(map.x, stage);
        let moments = self.item(2 * shape.padded());
        let statistics = self.item(2 * shape.padded());
        self.emit(stage, Instruction::Moments { pixels: shape.pixels(), x, moments });
        self.emit(stage, Instruction::GroupStatistics { table, moments, statistics });
        self.statistics[table] = Some(statistics);
    }

    /// A value is there: batch norms that follow measure it while it is in the cache.
    fn define(&mut self, value: usize, item: usize, stage: usize) {
        self.places[value] = Some((item, stage));
        let shape = self.program.shapes[value];
        if self.purpose.checks {
            let is_plain = self.is_plain[value];
            self.emit(stage, Instruction::Check { is_plain, channels: shape.channels, x: item, value });
        }
        if !self.purpose.of_batch {
            return;
        }
        let follows = |(y, node): &(usize, Node)| match node {
            Node::Map(MapNode { x, norm: Some(Norm::Batch { .. }), .. }) if *x == value => self.table_of[*y],
            _ => None,
        };
        let tables: Vec<usize> = self.nodes.iter().filter_map(follows).collect();
        if tables.is_empty() {
            return;
        }
        let moments = self.item(2 * shape.padded());
        self.emit(stage, Instruction::Moments { pixels: shape.pixels(), x: item, moments });
        for table in tables {
            self.task(stage, Task::Statistics { table, moments });
        }
    }
}
