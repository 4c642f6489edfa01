//! Correlations of three by three places in less than half of the multiplications.
//!
//! A tile of `m` by `m` pixels of a result reads `m + 2` by `m + 2` pixels `d` of the source. With weights `g` of three by three it is
//! `A' [(G g G') * (B' d B)] A`, where `*` multiplies element by element, summed over the channels before the last step
//! (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", sections 4.1 and 4.3). The elements of a tile are its
//! *positions*. At each, the sums over the channels of all tiles are a product of matrices. With `m` of 2 there are 16 multiplications for each
//! channel in place of 36, with `m` of 4 there are 36 in place of 144. The matrices of the larger tiles are those of their points (section 4.3).
//!
//! The sums differ from those of the definition: products of a weight with neighbours of the pixels that it meets come in, and cancel out.
//! Beside ordinary numbers what they leave is rounding. Beside huge ones it is not, and infinities and NaN do not cancel out at all. So
//! weights and images are looked at before ([`Winograd::is_tame`]), and where they are not tame the result is computed as the definition has
//! it. That depends on nothing but the weights of the layer and the image.

mod lanes;

use std::ops::Range;

use super::axes::Phase;
use super::padded::Padded;
use super::pass::{Operands, Outputs, Pass, Start};
use super::runs::{Tap, even_ranges};
use super::summed;
use super::tile::Source;
use crate::isa::Isa;
use crate::layout::{LANES, blocks};
use crate::window::Axis;
use lanes::{Functions, Read, Written};

/// Rows, and columns, of the pixels of a tile.
const SIDES: [usize; 2] = [2, 4];
/// Positions of the largest tile.
const MOST_POSITIONS: usize = 36;
/// The floats of the positions of the tiles that are computed together, read and written: they should stay in the second-level cache.
const RESIDENT: usize = 64 << 10;
/// The fewest tiles that are computed together, if there are more: as many as fill the registers.
const FEWEST_TOGETHER: usize = 16;
/// No more floats are kept of the weights of a channel of the source for one of the result,
pub(super) const FLOATS_OF_KERNEL: usize = 2 * MOST_POSITIONS;
/// and no more floats of scratch are needed for either.
pub(super) const FLOATS_OF_CHANNEL: usize = MOST_POSITIONS * (RESIDENT + 4 * LANES);
/// The points at which large tiles are evaluated, beside their negatives, 0 and infinity: with these, rounding leaves about twice as much as in a
/// plain sum, and a third of what it leaves with the usual 1 and 2 (Barabasz et al. 2020, "Error Analysis and Improving the Accuracy of Winograd
/// Convolution for Deep Neural Networks", on how points are chosen).
const NEAR: f32 = 0.625;
const FAR: f32 = 1.5;
/// What reading, or writing, sixteen channels of a position of a tile costs, in multiplications of vectors. Measured, as is what follows.
const COST_OF_STEP: f64 = 4.0;
/// What a position costs beside its tiles.
const COST_OF_POSITION: f64 = 150.0;
/// What reading sixteen transformed weights costs beside what they are multiplied with, if there are at most so many: those that fit into the
/// second-level cache, into the third, and more.
const COST_OF_WEIGHTS: [(usize, f64); 3] = [(1 << 18, 2.0), (1 << 21, 4.5), (usize::MAX, 9.0)];

/// The most that the squares of an image's numbers may sum up to: none is beyond 2^20.
pub(crate) const TAME_IMAGE: f32 = (1_u64 << 40) as f32;
/// The most that the squares of the weights of a layer may sum up to: none is beyond 2^10.
pub(crate) const TAME_WEIGHTS: f32 = (1_u64 << 20) as f32;

/// A plan for the tiles of a result.
#[derive(Clone, Debug)]
pub(super) struct Winograd {
    /// Rows, and columns, of the pixels of a tile.
    side: usize,
    channels: [usize; 2],
    /// Rows and columns of the result.
    size: [usize; 2],
    /// Columns of the scratch that holds the source.
    width: usize,
    /// Of each axis the place of the kernel that a pixel of the result meets at its first pixel of the source, its second and its third.
    places: [[usize; 3]; 2],
    /// The most tiles that are computed together.
    together: usize,
    /// The products of one position.
    products: Pass,
    /// How their source lies: a line of tiles.
    line: Padded,
    /// Floats of the weights of a position.
    weights: usize,
    functions: Functions,
}

/// The side of the tiles in which a result of so many rows and columns should be computed, if it can be; then the axes of its scratch need a
/// multiple of so many pixels.
pub(super) fn best_side(
    source: Source,
    channels: [usize; 2],
    axes: &[Axis; 2],
    size: [usize; 2],
    isa: Isa,
) -> Option<usize> {
    let is_fit = |axis: &Axis| axis.kernel == 3 && axis.stride == 1 && axis.dilation == 1;
    if source != Source::Blocked || summed::is_best(channels, isa) || !axes.iter().all(is_fit) {
        return None;
    }
    let direct = 9.0 * product(size) * product([channels[0], blocks(channels[1])]);
    let costs = SIDES.map(|side| (side, cost(side, channels, size)));
    let (side, cost) = costs.into_iter().min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (cost < direct).then_some(side)
}

/// What a result costs in tiles, in multiplications of vectors.
fn cost(side: usize, channels: [usize; 2], size: [usize; 2]) -> f64 {
    let tiles: usize = tiles(size, side).into_iter().product();
    let steps = channels.iter().map(|&channels| blocks(channels) as f64).sum::<f64>();
    let products = product([channels[0], blocks(channels[1])]);
    let floats = positions(side) as f64 * products * LANES as f64;
    let of_weights =
        COST_OF_WEIGHTS.iter().find(|(most, _)| floats <= *most as f64).map_or(0.0, |(_, cost)| *cost);
    let rounds = tiles.div_ceil(together(side, channels, tiles)) as f64;
    let of_position =
        tiles as f64 * (products + COST_OF_STEP * steps) + rounds * products * of_weights + COST_OF_POSITION;
    positions(side) as f64 * of_position
}

fn product([rows, columns]: [usize; 2]) -> f64 {
    rows as f64 * columns as f64
}

/// How many of the tiles are computed together.
fn together(side: usize, channels: [usize; 2], tiles: usize) -> usize {
    let of_tile = positions(side) * LANES * channels.iter().map(|&channels| blocks(channels)).sum::<usize>();
    (RESIDENT / of_tile).max(FEWEST_TOGETHER).min(tiles)
}

fn tiles(size: [usize; 2], side: usize) -> [usize; 2] {
    size.map(|pixels| pixels.div_ceil(side))
}

fn positions(side: usize) -> usize {
    (side + 2) * (side + 2)
}

impl Winograd {
    /// The plan of a result that is [best](best_side) computed so. `width`: columns of the scratch; `taps`: of each axis.
    pub(super) fn new(
        side: usize,
        channels: [usize; 2],
        size: [usize; 2],
        width: usize,
        taps: [&[Tap]; 2],
        isa: Isa,
    ) -> Self {
        let mut places = [[0; 3]; 2];
        for (places, taps) in places.iter_mut().zip(taps) {
            taps.iter().for_each(|tap| places[tap.position] = tap.place);
        }
        let together = together(side, channels, tiles(size, side).into_iter().product());
        let line = [Phase { first: 0, step: 1, len: 1 }, Phase { first: 0, step: 1, len: together }];
        let line = Padded::new(line.map(|phase| vec![phase]), [1, together], LANES);
        let outputs = Outputs { rows: 1, columns: together, start: 0, row_pitch: together, pitch: 1 };
        let tap = [Tap { place: 0, position: 0 }];
        let (products, weights) = Pass::new(Source::Blocked, channels, &line, outputs, [&tap, &tap], 0, isa);
        let functions = Functions::of(isa, side);
        Self { side, channels, size, width, places, together, products, line, weights, functions }
    }

    /// Floats of transformed weights, and of what is known of them.
    pub(super) fn packed_len(&self) -> usize {
        positions(self.side) * self.weights + LANES
    }

    /// Floats of scratch.
    pub(super) fn scratch_len(&self) -> usize {
        positions(self.side) * self.channels.map(|channels| self.pitch(channels)).iter().sum::<usize>()
    }

    /// Floats from a position to the next. Not a multiple of 4 KiB, as those would get into each other's way in the cache.
    fn pitch(&self, channels: usize) -> usize {
        blocks(channels) * self.together * LANES + 3 * LANES
    }

    /// Transforms some of the weights that are packed for a pass over all places: those of channels of the source for blocks of the result.
    pub(super) fn transform(
        &self,
        kernels: impl Iterator<Item = (usize, usize)>,
        direct: &Pass,
        packed: &[f32],
        transformed: &mut [f32],
    ) {
        let (packed, _) = packed.as_chunks::<LANES>();
        let (positions, tail) = transformed.split_at_mut(positions(self.side) * self.weights);
        let (positions, _) = positions.as_chunks_mut::<LANES>();
        let pitch = self.weights / LANES;
        for (channel, block) in kernels {
            let g = self.places[0].map(|row| {
                self.places[1].map(|column| packed[direct.vector_of(block, channel, [row, column])])
            });
            let to = self.products.vector_of(block, channel, [0, 0]);
            let mut put = |transformed: &[[f32; LANES]]| {
                let lanes = positions[to..].iter_mut().step_by(pitch);
                lanes.zip(transformed).for_each(|(lanes, transformed)| *lanes = *transformed);
            };
            match self.side {
                2 => put(of_weights(&g, small).as_flattened()),
                _ => put(of_weights(&g, large).as_flattened()),
            }
        }
        tail.fill(self.functions.squares(packed.as_flattened(), LANES));
    }

    /// Whether the image can be computed in tiles with these weights. `source`: the padded image.
    pub(super) fn is_tame(&self, transformed: &[f32], source: &[f32]) -> bool {
        // A sum that is NaN is not below anything.
        transformed[positions(self.side) * self.weights] <= TAME_WEIGHTS
            && self.squares_of(source) <= TAME_IMAGE
    }

    /// The sum of the squares of the channels of an image.
    fn squares_of(&self, source: &[f32]) -> f32 {
        let block = source.len() / blocks(self.channels[0]);
        let (whole, last) = source.split_at(self.channels[0] / LANES * block);
        self.functions.squares(whole, LANES) + self.functions.squares(last, self.channels[0] % LANES)
    }

    /// Computes a result from a padded image.
    pub(super) fn run(
        &self,
        transformed: &[f32],
        start: Start<'_>,
        source: &[f32],
        target: &mut [f32],
        scratch: &mut [f32],
    ) {
        let [rows, columns] = tiles(self.size, self.side);
        let [read, written] = self.channels.map(|channels| self.pitch(channels));
        let (tiles, scratch) = scratch.split_at_mut(positions(self.side) * read);
        let sums = &mut scratch[..positions(self.side) * written];
        for tiles_here in even_ranges(0..rows * columns, self.together) {
            self.read(tiles_here.clone(), source, tiles);
            let positions = tiles.chunks_exact(read).zip(sums.chunks_exact_mut(written));
            let weights = transformed.chunks_exact(self.weights);
            for (packed, (source, target)) in weights.zip(positions) {
                let start = Start::Zero;
                let mut operands = Operands { packed, start, source, target, pixels: self.together };
                self.products.run_columns(
                    0..tiles_here.len(),
                    &self.products.groups,
                    &self.line,
                    &mut operands,
                );
            }
            self.write(tiles_here, sums, start, target);
        }
    }

    /// The parts of a range of tiles that lie in one row: the row, the columns, and the tiles before.
    fn rows(&self, tiles_here: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>, usize)> + use<> {
        let columns = tiles(self.size, self.side)[1];
        let first = tiles_here.start;
        (tiles_here.start / columns..tiles_here.end.div_ceil(columns)).map(move |row| {
            let start = tiles_here.start.max(row * columns);
            let end = tiles_here.end.min((row + 1) * columns);
            (row, start - row * columns..end - row * columns, start - first)
        })
    }

    /// Transforms tiles of the source.
    fn read(&self, tiles_here: Range<usize>, source: &[f32], to: &mut [f32]) {
        let position = self.pitch(self.channels[0]);
        let of_block = source.len() / blocks(self.channels[0]);
        for (block, source) in source.chunks_exact(of_block).enumerate() {
            for (row, columns, before) in self.rows(tiles_here.clone()) {
                self.functions.read(Read {
                    source: &source[self.side * (row * self.width + columns.start) * LANES..],
                    row: self.width * LANES,
                    target: &mut to[(block * self.together + before) * LANES..],
                    position,
                    tiles: columns.len(),
                });
            }
        }
    }

    /// Writes the pixels of tiles.
    fn write(&self, tiles_here: Range<usize>, from: &[f32], start: Start<'_>, target: &mut [f32]) {
        let position = self.pitch(self.channels[1]);
        let [rows, columns] = self.size;
        for (block, target) in target.chunks_exact_mut(rows * columns * LANES).enumerate() {
            let start = start.of_channels(block * LANES, self.channels[1]);
            for (row, of_row, before) in self.rows(tiles_here.clone()) {
                let first = self.side * (row * columns + of_row.start);
                self.functions.write(Written {
                    source: &from[(block * self.together + before) * LANES..],
                    position,
                    target: &mut target[first * LANES..],
                    row: columns * LANES,
                    start: start.as_ref(),
                    rows: (rows - self.side * row).min(self.side),
                    columns: (columns - self.side * of_row.start).min(self.side * of_row.len()),
                });
            }
        }
    }
}

/// `G g G'` of sixteen kernels at once, lane by lane. `line`: `G` times a column.
fn of_weights<const N: usize>(
    g: &[[[f32; LANES]; 3]; 3],
    line: impl Fn([f32; 3]) -> [f32; N],
) -> [[[f32; LANES]; N]; N] {
    let mut transformed = [[[0.0; LANES]; N]; N];
    for lane in 0..LANES {
        let rows = g.map(|row| line(row.map(|place| place[lane])));
        for column in 0..N {
            let of_column = line(rows.map(|row| row[column]));
            for (row, value) in of_column.into_iter().enumerate() {
                transformed[row][column][lane] = value;
            }
        }
    }
    transformed
}

/// `G` times a column, of tiles of two by two pixels.
fn small([first, middle, last]: [f32; 3]) -> [f32; 4] {
    let ends = first + last;
    [first, (ends + middle) * 0.5, (ends - middle) * 0.5, last]
}

/// `G` times a column, of tiles of four by four pixels.
fn large([first, middle, last]: [f32; 3]) -> [f32; 6] {
    const NEAR_2: f32 = NEAR * NEAR;
    const FAR_2: f32 = FAR * FAR;
    let near = (first + last * NEAR_2) * (0.5 / (NEAR_2 * (NEAR_2 - FAR_2)));
    let far = (first + last * FAR_2) * (0.5 / (FAR_2 * (FAR_2 - NEAR_2)));
    let of_near = middle * (0.5 / (NEAR * (NEAR_2 - FAR_2)));
    let of_far = middle * (0.5 / (FAR * (FAR_2 - NEAR_2)));
    [first / (NEAR_2 * FAR_2), near + of_near, near - of_near, far + of_far, far - of_far, last]
}
