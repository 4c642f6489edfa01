//! The stages of the backward pass.

use super::{Compiler, wanted_of};
use crate::program::fuse::{Limit, MapNode, Node, Norm};
use crate::program::instruction::{Instruction, Item, Slope, Task};
use crate::program::operation::Arithmetic;
use crate::program::placement::Home;

impl Compiler<'_> {
    /// Goes through the nodes from the last to the first; each takes the gradient of its value and gives parts of its inputs' gradients.
    pub(super) fn backward(&mut self) {
        let first = self.forward_stages;
        let shape = self.program.shapes[self.output];
        self.stage(first);
        if self.needs_gradient[self.output] {
            let plain = self.item_at(shape.elements(), Home::Seed);
            let blocked = self.blocked(self.output);
            self.emit(first, Instruction::Block { channels: shape.channels, plain, blocked });
            self.parts[self.output].push((blocked, first));
        }
        for (value, node) in self.nodes.clone().into_iter().rev() {
            self.enter(value);
            self.tap(value);
            if self.needs_gradient[value] && !self.parts[value].is_empty() {
                self.differentiate(value, &node);
            }
        }
        self.tap(0);
    }

    /// Gives the caller the gradient of a value, if it is asked for.
    fn tap(&mut self, value: usize) {
        let Some(wanted) = &self.purpose.gradients else { return };
        let taps = wanted.values.iter().enumerate().filter(|(_, wanted)| **wanted == value);
        let taps: Vec<usize> = taps.map(|(tap, _)| tap).collect();
        if taps.is_empty() || self.parts[value].is_empty() {
            return;
        }
        let (blocked, stage) = self.total(value);
        let shape = self.program.shapes[value];
        for tap in taps {
            let plain = self.item_at(shape.elements(), Home::Tap(tap));
            self.emit(stage, Instruction::Unblock { channels: shape.channels, blocked, plain });
        }
    }

    /// The stage in which all parts of a gradient are there.
    pub(super) fn ready(&self, value: usize) -> usize {
        self.parts[value].iter().map(|(_, stage)| *stage).max().unwrap_or(self.forward_stages)
    }

    /// The gradient of a value in one item: its parts are added, all but `left` of them.
    fn gathered(&mut self, value: usize, left: usize) -> (Vec<Item>, usize) {
        let stage = self.ready(value);
        let pixels = self.program.shapes[value].pixels();
        while self.parts[value].len() > left {
            let (a, b) = (self.parts[value].remove(0).0, self.parts[value].remove(0).0);
            let y = self.blocked(value);
            let sum = Instruction::Map {
                is_plain: false,
                pixels,
                x: a,
                norm: None,
                other: Some(b),
                limit: Limit::None,
                y,
            };
            self.emit(stage, sum);
            self.parts[value].insert(0, (y, stage));
        }
        (self.parts[value].iter().map(|(item, _)| *item).collect(), stage)
    }

    fn total(&mut self, value: usize) -> (Item, usize) {
        let (items, stage) = self.gathered(value, 1);
        (items[0], stage)
    }

    fn give(&mut self, value: usize, item: Item, stage: usize) {
        self.parts[value].push((item, stage));
    }

    fn is_wanted(&self, parameter: usize) -> bool {
        self.purpose.gradients.as_ref().is_some_and(|wanted| wanted.parameters[parameter])
    }

    fn differentiate(&mut self, value: usize, node: &Node) {
        match *node {
            Node::Convolution { x, layer } => self.convolution(value, x, layer),
            Node::Linear { x, layer } => self.linear(value, x, layer),
            Node::Pool { x, pool, .. } => {
                if self.needs_gradient[x] {
                    let (dy, stage) = self.total(value);
                    let winners = self.recalled_winners(value);
                    let totals = (winners.is_some() && self.is_for_bias(x)).then(|| {
                        let floats = self.program.shapes[x].padded();
                        self.item(floats)
                    });
                    self.totals[x] = totals;
                    let dx = self.blocked(x);
                    self.emit(stage, Instruction::PoolGradient { pool, winners, dy, dx, totals });
                    self.give(x, dx, stage);
                }
            }
            Node::Flatten { x } => {
                if self.needs_gradient[x] {
                    let (plain, stage) = self.total(value);
                    let shape = self.program.shapes[x];
                    if shape.pixels() == 1 {
                        return self.give(x, plain, stage);
                    }
                    let blocked = self.blocked(x);
                    self.emit(stage, Instruction::Block { channels: shape.channels, plain, blocked });
                    self.give(x, blocked, stage);
                }
            }
            Node::Same { x } => {
                if self.needs_gradient[x] {
                    let parts = self.parts[value].clone();
                    self.parts[x].extend(parts);
                }
            }
            Node::Map(map) => self.differentiate_map(value, map),
        }
    }

    fn convolution(&mut self, value: usize, x: usize, layer: usize) {
        let (dy, stage) = self.total(value);
        let shape = self.program.shapes[value];
        let bias = self.layers[layer].bias.filter(|&bias| self.is_wanted(bias));
        if let Some(parameter) = bias {
            let totals = self.totals[value].unwrap_or_else(|| {
                let totals = self.item(2 * shape.padded());
                self.emit(stage, sums_of(dy, shape.pixels(), totals));
                totals
            });
            self.slopes.push(Slope::Bias { parameter, channels: shape.channels, totals });
        }
        if self.layers[layer].has_weight_gradient {
            let image = self.need(x, stage);
            self.emit(stage, Instruction::WeightGradient { layer, x: image, dy });
            self.slopes.push(Slope::Convolution { layer });
        }
        if self.needs_gradient[x] {
            let dx = self.blocked(x);
            self.emit(stage, Instruction::DataGradient { layer, dy, dx, is_added: false });
            self.give(x, dx, stage);
        }
    }

    /// Whether the sums of a value's gradient are the gradient of a convolution's bias, and one operation alone gives that gradient.
    fn is_for_bias(&self, value: usize) -> bool {
        let uses = self.nodes.iter().flat_map(|(_, node)| node.inputs()).filter(|&input| input == value);
        let giver = self.givers[value].map(|place| &self.nodes[place].1);
        let Some(&Node::Convolution { layer, .. }) = giver else { return false };
        uses.count() == 1 && self.layers[layer].bias.is_some_and(|bias| self.is_wanted(bias))
    }

    fn linear(&mut self, value: usize, x: usize, layer: usize) {
        let (dy, stage) = self.total(value);
        let (weight, bias) = (self.program.linears[layer].weight, self.program.linears[layer].bias);
        if self.is_wanted(weight) {
            let features = self.need(x, stage);
            self.slopes.push(Slope::Linear { layer, x: features, dy });
        }
        if bias.is_some_and(|bias| self.is_wanted(bias)) {
            self.slopes.push(Slope::LinearBias { layer, dy });
        }
        if self.needs_gradient[x] {
            let dx = self.blocked(x);
            self.task(stage, Task::LinearData { layer, dy, dx, is_added: false });
            self.stage(stage + 1);
            self.give(x, dx, stage + 1);
        }
    }

    fn differentiate_map(&mut self, value: usize, map: MapNode) {
        let (dy, stage) = self.gathered(value, 2);
        let pixels = self.program.shapes[value].pixels();
        let gate = match map.limit {
            Limit::None => None,
            Limit::Positive => Some(self.need(value, stage)),
            Limit::Within(_) => Some(self.need(map.x, stage)),
        };
        let sums = self.sums(value, map);
        let is_passed_on =
            self.needs_gradient[map.x] || map.other.is_some_and(|other| self.needs_gradient[other]);
        let is_changed = gate.is_some() || dy.len() > 1;
        let dz = (is_passed_on && is_changed).then(|| self.blocked(value));
        let totals = (sums != Sums::None).then(|| self.item(2 * self.program.shapes[value].padded()));
        if dz.is_some() || totals.is_some() {
            let standard = self.table_of[value].filter(|_| sums == Sums::Both);
            let standard = standard.map(|table| (self.need(map.x, stage), self.source(table)));
            let more = dy.get(1).copied();
            let limit = map.limit;
            self.emit(
                stage,
                Instruction::Back { pixels, dy: dy[0], more, gate, limit, standard, dz, totals },
            );
        }
        if let (Some(table), Some(totals)) = (self.table_of[value], totals) {
            self.slopes.push(Slope::Norm { table, totals });
        }
        let dz = dz.unwrap_or(dy[0]);
        if let Some(other) = map.other.filter(|&other| self.needs_gradient[other]) {
            self.give(other, dz, stage);
        }
        if self.needs_gradient[map.x] {
            self.through_norm(value, map, dz, totals, stage);
        }
    }

    /// Which sums over pixels a map's gradient needs.
    fn sums(&self, value: usize, map: MapNode) -> Sums {
        let (Some(norm), Some(wanted)) = (map.norm, &self.purpose.gradients) else { return Sums::None };
        let of_norm = wanted_of(&norm, &wanted.parameters, self.purpose.of_batch);
        let is_measured = match norm {
            Norm::Batch { .. } => self.purpose.of_batch,
            Norm::Group { .. } => true,
            Norm::Channelwise { .. } => false,
        };
        debug_assert!(self.table_of[value].is_some(), "norms have tables");
        if of_norm.along || (is_measured && self.needs_gradient[map.x]) {
            Sums::Both
        } else if of_norm.plain {
            Sums::Gradient
        } else {
            Sums::None
        }
    }

    /// The gradient of what a norm is applied to.
    fn through_norm(&mut self, value: usize, map: MapNode, dz: Item, totals: Option<Item>, stage: usize) {
        let Some((norm, table)) = map.norm.zip(self.table_of[value]) else {
            return self.give(map.x, dz, stage);
        };
        let pixels = self.program.shapes[value].pixels();
        match (norm, totals) {
            (Norm::Channelwise { arithmetic: Arithmetic::Add | Arithmetic::Subtract, .. }, _) => {
                self.give(map.x, dz, stage);
            }
            (Norm::Batch { .. }, Some(totals)) if self.purpose.of_batch => {
                self.task(stage, Task::Slopes { table, totals });
                self.stage(stage + 1);
                let x = self.need(map.x, stage + 1);
                let dx = self.blocked(map.x);
                let norm = self.source(table);
                self.emit(stage + 1, Instruction::Normal { pixels, norm, slopes: None, dz, x, dx });
                self.give(map.x, dx, stage + 1);
            }
            (Norm::Group { .. }, Some(totals)) => {
                let slopes = self.item(2 * self.program.shapes[value].padded());
                self.emit(stage, Instruction::GroupSlopes { table, totals, slopes });
                let x = self.need(map.x, stage);
                let dx = self.blocked(map.x);
                let norm = self.source(table);
                self.emit(stage, Instruction::Normal { pixels, norm, slopes: Some(slopes), dz, x, dx });
                self.give(map.x, dx, stage);
            }
            _ => {
                let dx = self.blocked(map.x);
                self.emit(stage, Instruction::Scale { pixels, table, dz, dx });
                self.give(map.x, dx, stage);
            }
        }
    }
}

/// The sums over pixels that a gradient leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sums {
    None,
    Gradient,
    Both,
}

/// The sums of a gradient over pixels.
fn sums_of(dy: Item, pixels: usize, totals: Item) -> Instruction {
    Instruction::Back {
        pixels,
        dy,
        more: None,
        gate: None,
        limit: Limit::None,
        standard: None,
        dz: None,
        totals: Some(totals),
    }
}
