//! The tangents of changes of single values, of norms, and of their gradients.

use super::Tangents;
use crate::program::fuse::Limit;
use crate::program::instruction::{Instruction, Item, Source, TangentOf};

impl Tangents<'_, '_> {
    pub(super) fn norm(&mut self, stage: usize, instruction: &Instruction) {
        match *instruction {
            Instruction::Map { .. } => self.map(stage, instruction),
            Instruction::Scale { pixels, table, dz, dx } => self.scale(stage, pixels, table, [dz, dx]),
            Instruction::Back { .. } => self.back(stage, instruction),
            Instruction::GroupSlopes { table, totals, slopes } => {
                let Some(moved) = self.moved(totals) else { return };
                let crossed = self.crossed.get(&totals).copied();
                let (tangent, slopes) = (self.tables + table, self.new_moved(slopes));
                let of = TangentOf::GroupSlopes { table, tangent, totals, moved, crossed, slopes };
                self.compiler.emit(stage, Instruction::Tangent(of));
            }
            Instruction::Normal { pixels, norm, slopes: Some(slopes), dz, x, dx } => {
                let (Some(of_slopes), Some(of_dz)) = (self.moved(slopes), self.moved(dz)) else { return };
                let (moved, tangent) = ([of_slopes, of_dz], self.tangent(norm));
                let (standard, y) = (self.standards.get(&norm.table).copied(), self.new_moved(dx));
                let of = TangentOf::Normal { pixels, norm, tangent, slopes, dz, x, dx, moved, standard, y };
                self.compiler.emit(stage, Instruction::Tangent(of));
            }
            // Statistics move, but nothing reads them by themselves: see `standardize`.
            Instruction::Moments { .. } | Instruction::GroupStatistics { .. } => {}
            _ => debug_assert!(false, "no tangents of {instruction:?}"),
        }
    }

    /// A map: its norm's slope on the tangent, what the motion of its numbers adds, the sum, and nothing where the limit holds.
    fn map(&mut self, stage: usize, instruction: &Instruction) {
        let Instruction::Map { pixels, x, norm, other, limit, y, .. } = *instruction else { return };
        let moved = self.moved(x);
        let moved_other = other.and_then(|other| self.moved(other));
        let moves = norm.is_some_and(|norm| self.moves(norm.table));
        if moved.is_none() && moved_other.is_none() && !moves {
            return;
        }
        let gate = match limit {
            Limit::None => None,
            Limit::Positive => Some(y),
            Limit::Within(_) => Some(x),
        };
        let y = self.new_moved(y);
        let Some(norm) = norm else {
            let mut parts = moved.into_iter().chain(moved_other);
            let Some(dy) = parts.next() else { return };
            let more = parts.next();
            return self.masked(stage, pixels, [Some(dy), more], gate, limit, y);
        };
        let moved = match moved {
            Some(moved) if norm.statistics.is_some() => Some(self.standardize(stage, pixels, norm, moved, x)),
            moved => moved,
        };
        let of = TangentOf::Map {
            pixels,
            norm,
            tangent: self.tangent(norm),
            moved,
            x: moves.then_some(x),
            is_gradient: false,
            other: moved_other,
            gate,
            limit,
            y,
        };
        self.compiler.emit(stage, Instruction::Tangent(of));
    }

    /// `y` is the sum of tangents, or of tangents of gradients, where the limit lets them through.
    fn masked(
        &mut self,
        stage: usize,
        pixels: usize,
        [dy, more]: [Option<Item>; 2],
        gate: Option<Item>,
        limit: Limit,
        y: Item,
    ) {
        let Some(dy) = dy else { return };
        let back =
            Instruction::Back { pixels, dy, more, gate, limit, standard: None, dz: Some(y), totals: None };
        self.compiler.emit(stage, back);
    }

    /// The tangent of what a norm with measured statistics has standardized: the tangent of what was standardized, less what the mean and the
    /// deviation take with them.
    fn standardize(&mut self, stage: usize, pixels: usize, norm: Source, moved: Item, x: Item) -> Item {
        let floats = 2 * self.compiler.tables[norm.table].shape.padded();
        let [totals, means] = [0; 2].map(|_| self.compiler.item(floats));
        let y = self.compiler.item(self.compiler.items[x].0);
        let sums = Instruction::Back {
            pixels,
            dy: moved,
            more: None,
            gate: None,
            limit: Limit::None,
            standard: Some((x, norm)),
            dz: None,
            totals: Some(totals),
        };
        self.compiler.emit(stage, sums);
        self.compiler.emit(stage, Instruction::GroupMeans { table: norm.table, totals, means });
        let of = TangentOf::Standard { pixels, norm, means, moved, x, y };
        self.compiler.emit(stage, Instruction::Tangent(of));
        self.standards.insert(norm.table, [y, means]);
        y
    }

    /// A gradient through a norm with fixed statistics.
    fn scale(&mut self, stage: usize, pixels: usize, table: usize, [dz, dx]: [Item; 2]) {
        let (moved, moves) = (self.moved(dz), self.moves(table));
        if moved.is_none() && !moves {
            return;
        }
        let norm = Source { table, statistics: None };
        let of = TangentOf::Map {
            pixels,
            norm,
            tangent: self.tangent(norm),
            moved,
            x: moves.then_some(dz),
            is_gradient: true,
            other: None,
            gate: None,
            limit: Limit::None,
            y: self.new_moved(dx),
        };
        self.compiler.emit(stage, Instruction::Tangent(of));
    }

    /// A gradient through a sum and a limit, with its sums over pixels. The product of the gradient and a standardized value moves with both.
    fn back(&mut self, stage: usize, instruction: &Instruction) {
        let Instruction::Back { pixels, dy, more, gate, limit, standard, dz, totals } = *instruction else {
            return;
        };
        let mut parts =
            [Some(dy), more].into_iter().flatten().filter_map(|part| self.moved(part)).collect::<Vec<_>>();
        if parts.is_empty() {
            return;
        }
        let moved = Instruction::Back {
            pixels,
            dy: parts.remove(0),
            more: parts.pop(),
            gate,
            limit,
            standard,
            dz: dz.map(|dz| self.new_moved(dz)),
            totals: totals.map(|totals| self.new_moved(totals)),
        };
        self.compiler.emit(stage, moved);
        let (Some((x, norm)), Some(totals)) = (standard, totals) else { return };
        let moved = match self.standards.get(&norm.table) {
            Some([standard, _]) => Some(*standard),
            None => self.moved(x),
        };
        let Some(moved) = moved else { return };
        let crossed = self.compiler.item(self.compiler.items[totals].0);
        self.crossed.insert(totals, crossed);
        let tangent = Source { table: self.tangent(norm), statistics: None };
        let standard = Some((moved, tangent));
        let product =
            Instruction::Back { pixels, dy, more, gate, limit, standard, dz: None, totals: Some(crossed) };
        self.compiler.emit(stage, product);
    }
}
