//! The tangents of all that a plan computes, along a direction of the parameters: the products of the Hessian are the tangents of the
//! gradients.
//!
//! The plan of the gradients is differentiated step by step (Pearlmutter, "Fast exact multiplication by the Hessian" (1994)): each step is
//! followed, in the same stage, by those that compute the tangents of what it gave. Of a sum of products `w x` that is `w x' + w' x`: the
//! step itself on the tangent, on top of the step with the direction for weights. Layers and parameters are followed by as many of
//! directions, tables by as many of tangents. What does not move has no tangent: the images, and what depends on no wanted parameter.

mod norms;

use std::collections::BTreeMap;

use super::{Compiler, wanted_of};
use crate::program::instruction::{Instruction, Item, Slope, Source, TangentOf, Task};
use crate::program::operation::Linear;
use crate::program::placement::Home;
use crate::program::plan::{PlannedLayer, Stage, Table};

impl Compiler<'_> {
    /// Adds the tangents of all steps.
    pub(super) fn add_tangents(&mut self) {
        let mut tangents = Tangents {
            items: Vec::new(),
            crossed: BTreeMap::new(),
            standards: BTreeMap::new(),
            tables: self.tables.len(),
            compiler: self,
        };
        tangents.add_directions();
        let stages = std::mem::take(&mut tangents.compiler.stages);
        for (number, stage) in stages.into_iter().enumerate() {
            tangents.compiler.stage(number);
            tangents.stage(number, stage);
        }
        let slopes = tangents.compiler.slopes.clone();
        slopes.iter().for_each(|slope| tangents.slope(slope));
    }
}

struct Tangents<'c, 'p> {
    compiler: &'c mut Compiler<'p>,
    /// Of each item that of its tangent, if it moves.
    items: Vec<Option<Item>>,
    /// Of sums of gradients those of gradients times tangents of standardized values.
    crossed: BTreeMap<Item, Item>,
    /// Of tables with measured statistics the tangent of the standardized value, and the means that it was made with.
    standards: BTreeMap<usize, [Item; 2]>,
    /// The tables of the plan of the gradients.
    tables: usize,
}

/// What the tangent of a sum of products is made of; something moves.
struct Product {
    /// The layer of directions, if the weights move.
    direction: Option<usize>,
    /// The tangent of what is multiplied with the weights.
    moved: Option<Item>,
    /// The tangent itself.
    y: Item,
}

impl Tangents<'_, '_> {
    /// Layers whose weights are the directions, and tables of tangents.
    fn add_directions(&mut self) {
        let compiler = &mut *self.compiler;
        let count = compiler.program.parameters.len();
        let layers = compiler.layers.iter().map(|layer| PlannedLayer {
            convolution: layer.convolution.clone(),
            weight: count + layer.weight,
            bias: layer.bias.map(|bias| count + bias),
            has_data_gradient: layer.has_data_gradient && layer.has_weight_gradient,
            has_weight_gradient: layer.has_weight_gradient,
        });
        let layers: Vec<PlannedLayer> = layers.collect();
        compiler.layers.extend(layers);
        let linears = compiler.linears.iter().map(|linear| Linear {
            weight: count + linear.weight,
            bias: linear.bias.map(|bias| count + bias),
            ..linear.clone()
        });
        let linears: Vec<Linear> = linears.collect();
        compiler.linears.extend(linears);
        compiler.tables.extend_from_within(..);
        compiler.tables[self.tables..].iter_mut().for_each(|table: &mut Table| table.is_tangent = true);
        compiler.wanted.extend_from_within(..);
    }

    fn stage(&mut self, number: usize, stage: Stage) {
        for instruction in stage.instructions {
            self.compiler.emit(number, instruction.clone());
            self.instruction(number, &instruction);
        }
        for task in stage.tasks {
            self.compiler.task(number, task.clone());
            self.task(number, &task);
        }
    }

    /// The tangent of an item, if it moves.
    fn moved(&mut self, item: Item) -> Option<Item> {
        // The tangent of the gradient of the outputs is the caller's.
        if self.compiler.items[item].1 == Home::Seed {
            return Some(self.new_moved(item));
        }
        self.items.get(item).copied().flatten()
    }

    /// The item for the tangent of an item.
    fn new_moved(&mut self, item: Item) -> Item {
        if let Some(known) = self.items.get(item).copied().flatten() {
            return known;
        }
        let (floats, home) = self.compiler.items[item];
        let home = match home {
            Home::Output => Home::OutputTangent,
            Home::Seed => Home::SeedTangent,
            home => home,
        };
        let moved = self.compiler.item_at(floats, home);
        self.items.resize(self.compiler.items.len(), None);
        self.items[item] = Some(moved);
        moved
    }

    fn is_wanted(&self, parameter: usize) -> bool {
        self.compiler.wanted[parameter]
    }

    /// Whether the numbers of a table move.
    fn moves(&self, table: usize) -> bool {
        let Table { norm, of_batch, .. } = self.compiler.tables[table];
        wanted_of(&norm, &self.compiler.wanted, of_batch).any()
    }

    /// The layer of directions, if the weights or the bias move.
    fn direction(&self, layer: usize) -> Option<usize> {
        let compiler = &*self.compiler;
        let PlannedLayer { weight, bias, .. } = compiler.layers[layer];
        let moves = self.is_wanted(weight) || bias.is_some_and(|bias| self.is_wanted(bias));
        moves.then_some(compiler.program.layers.len() + layer)
    }

    /// As [`direction`](Self::direction), of a fully connected layer.
    fn linear_direction(&self, layer: usize) -> Option<usize> {
        let compiler = &*self.compiler;
        let Linear { weight, bias, .. } = compiler.linears[layer];
        let moves = self.is_wanted(weight) || bias.is_some_and(|bias| self.is_wanted(bias));
        moves.then_some(compiler.program.linears.len() + layer)
    }

    /// The tangent of `y`, a sum of products of `x` with weights whose layer of directions is `direction`.
    fn product(&mut self, x: Item, y: Item, direction: Option<usize>) -> Option<Product> {
        let moved = self.moved(x);
        (moved.is_some() || direction.is_some()).then(|| Product { direction, moved, y: self.new_moved(y) })
    }

    fn instruction(&mut self, stage: usize, instruction: &Instruction) {
        match *instruction {
            Instruction::Block { channels, plain, blocked } => {
                let Some(plain) = self.moved(plain) else { return };
                let blocked = self.new_moved(blocked);
                self.compiler.emit(stage, Instruction::Block { channels, plain, blocked });
            }
            Instruction::Unblock { channels, blocked, plain } => {
                let Some(blocked) = self.moved(blocked) else { return };
                let plain = self.new_moved(plain);
                self.compiler.emit(stage, Instruction::Unblock { channels, blocked, plain });
            }
            Instruction::Copy { from, to } => {
                let Some(from) = self.moved(from) else { return };
                let to = self.new_moved(to);
                self.compiler.emit(stage, Instruction::Copy { from, to });
            }
            Instruction::Convolution { layer, x, y } => self.convolution(stage, layer, x, y),
            Instruction::DataGradient { layer, dy, dx, .. } => self.data_gradient(stage, layer, dy, dx),
            Instruction::WeightGradient { layer, x, dy } => {
                let of_direction = self.compiler.program.layers.len() + layer;
                let [moved_x, moved_dy] = [x, dy].map(|item| self.moved(item));
                for (x, dy) in moved_x.zip(Some(dy)).into_iter().chain(Some(x).zip(moved_dy)) {
                    self.compiler.emit(stage, Instruction::WeightGradient { layer: of_direction, x, dy });
                }
            }
            Instruction::Pool { pool, x, y, winners, .. } => {
                let Some(x) = self.moved(x) else { return };
                let y = self.new_moved(y);
                let instruction = match winners {
                    Some(winners) => Instruction::Tangent(TangentOf::Pool { pool, winners, x, y }),
                    None => Instruction::Pool { pool, is_positive: false, x, y, winners: None },
                };
                self.compiler.emit(stage, instruction);
            }
            Instruction::PoolGradient { pool, winners, dy, dx, totals } => {
                let Some(dy) = self.moved(dy) else { return };
                let (dx, totals) = (self.new_moved(dx), totals.map(|totals| self.new_moved(totals)));
                self.compiler.emit(stage, Instruction::PoolGradient { pool, winners, dy, dx, totals });
            }
            _ => self.norm(stage, instruction),
        }
    }

    fn convolution(&mut self, stage: usize, layer: usize, x: Item, y: Item) {
        let Some(Product { direction, moved, y }) = self.product(x, y, self.direction(layer)) else { return };
        if let Some(layer) = direction {
            self.compiler.emit(stage, Instruction::Convolution { layer, x, y });
        }
        if let Some(x) = moved {
            let is_added = direction.is_some();
            self.compiler.emit(stage, Instruction::Correlation { layer, x, y, is_added });
        }
    }

    fn data_gradient(&mut self, stage: usize, layer: usize, dy: Item, dx: Item) {
        let weights_move = self.compiler.layers[layer].has_weight_gradient;
        let direction = weights_move.then_some(self.compiler.program.layers.len() + layer);
        let Some(Product { direction, moved, y: dx }) = self.product(dy, dx, direction) else { return };
        if let Some(layer) = direction {
            self.compiler.emit(stage, Instruction::DataGradient { layer, dy, dx, is_added: false });
        }
        if let Some(dy) = moved {
            let is_added = direction.is_some();
            self.compiler.emit(stage, Instruction::DataGradient { layer, dy, dx, is_added });
        }
    }

    fn task(&mut self, stage: usize, task: &Task) {
        match *task {
            Task::Linear { layer, x, y } => {
                let direction = self.linear_direction(layer);
                let Some(Product { direction, moved, y }) = self.product(x, y, direction) else { return };
                if let Some(layer) = direction {
                    self.compiler.task(stage, Task::Linear { layer, x, y });
                }
                if let Some(x) = moved {
                    let is_added = direction.is_some();
                    self.compiler.task(stage, Task::LinearProduct { layer, x, y, is_added });
                }
            }
            Task::LinearData { layer, dy, dx, .. } => {
                let weights_move = self.is_wanted(self.compiler.linears[layer].weight);
                let direction = weights_move.then_some(self.compiler.program.linears.len() + layer);
                let Some(Product { direction, moved, y: dx }) = self.product(dy, dx, direction) else {
                    return;
                };
                if let Some(layer) = direction {
                    self.compiler.task(stage, Task::LinearData { layer, dy, dx, is_added: false });
                }
                if let Some(dy) = moved {
                    let is_added = direction.is_some();
                    self.compiler.task(stage, Task::LinearData { layer, dy, dx, is_added });
                }
            }
            Task::Statistics { .. } | Task::Slopes { .. } | Task::LinearProduct { .. } => {
                debug_assert!(false, "no plan with tangents measures batches, or has tangents already");
            }
        }
    }

    fn slope(&mut self, slope: &Slope) {
        let parameters = self.compiler.program.parameters.len();
        let linears = self.compiler.program.linears.len();
        match *slope {
            Slope::Convolution { layer } => {
                let layer = self.compiler.program.layers.len() + layer;
                self.compiler.slopes.push(Slope::Convolution { layer });
            }
            Slope::Bias { parameter, channels, totals } => {
                let Some(totals) = self.moved(totals) else { return };
                let parameter = parameters + parameter;
                self.compiler.slopes.push(Slope::Bias { parameter, channels, totals });
            }
            Slope::Norm { table, totals } => {
                let Some(moved) = self.moved(totals) else { return };
                let crossed = self.crossed.get(&totals).copied();
                let tangent = self.tables + table;
                self.compiler.slopes.push(Slope::NormTangent { table, tangent, totals, moved, crossed });
            }
            Slope::Linear { layer, x, dy } => {
                let layer = linears + layer;
                let [moved_x, moved_dy] = [x, dy].map(|item| self.moved(item));
                for (x, dy) in moved_x.zip(Some(dy)).into_iter().chain(Some(x).zip(moved_dy)) {
                    self.compiler.slopes.push(Slope::Linear { layer, x, dy });
                }
            }
            Slope::LinearBias { layer, dy } => {
                let Some(dy) = self.moved(dy) else { return };
                self.compiler.slopes.push(Slope::LinearBias { layer: linears + layer, dy });
            }
            Slope::NormTangent { .. } => {}
        }
    }

    /// The table of tangents of a norm.
    fn tangent(&self, norm: Source) -> usize {
        self.tables + norm.table
    }
}
