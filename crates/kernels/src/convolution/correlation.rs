//! A plan of tiles that computes a convolution forward, or its gradient to the image.
//!
//! Both are correlations of a padded image with the weights. The gradient to the image reads the padded gradient of the result; with a
//! stride of `s`, the pixels with the same remainder modulo `s` meet the same places of the kernel, so each remainder is a pass of its own,
//! with stride 1.

#![expect(unsafe_code, reason = "tiles are given pointers")]

use std::ptr::null;

use super::padded::{Padded, Phase, forward_axis};
use super::runs::{Run, Tap, runs};
use super::tile::{Reach, Registers, Source, Tile, TileFn, function};
use crate::isa::Isa;
use crate::layout::{LANES, blocks};
use crate::window::Axis;

/// The weights that a tile meets again for every row should stay in the first-level cache, beside what it reads and writes.
const RESIDENT_FLOATS: usize = 6 << 10;

/// A correlation of one image.
#[derive(Clone, Debug)]
pub(super) struct Correlation {
    source: Source,
    /// Channels that are read for each result, and channels of the result.
    channels: [usize; 2],
    padded: Padded,
    /// Pixels of the result.
    pixels: usize,
    passes: Vec<Pass>,
    /// Whether the passes write all pixels.
    is_covering: bool,
    packed_len: usize,
}

/// Pixels of the result that meet the same places of the kernel.
#[derive(Clone, Debug)]
struct Pass {
    outputs: Outputs,
    runs: Vec<Run>,
    reaches: Vec<Reach>,
    groups: Vec<Group>,
}

/// A grid of pixels of the result.
#[derive(Clone, Copy, Debug)]
struct Outputs {
    rows: usize,
    columns: usize,
    /// The first pixel, and pixels from one row, and column, to the next.
    start: usize,
    row_pitch: usize,
    pitch: usize,
}

/// Blocks of the result that are computed together.
#[derive(Clone, Debug)]
struct Group {
    block: usize,
    blocks: usize,
    /// Floats of weights before.
    weights: usize,
    /// Blocks of the source between which sums wait in the result.
    chunk: usize,
    /// The tiles of a row, as even as they can be.
    tiles: Vec<Tiles>,
}

/// Tiles of one size that follow each other.
#[derive(Clone, Copy, Debug)]
struct Tiles {
    /// The first column.
    start: usize,
    count: usize,
    /// Columns of each.
    pixels: usize,
    function: TileFn,
}

impl Correlation {
    /// The convolution itself.
    pub(super) fn forward(axes: [Axis; 2], channels: [usize; 2], source: Source, isa: Isa) -> Self {
        let [(rows, of_rows), (columns, of_columns)] = axes.map(|axis| forward_axis(&axis));
        let pixel = if source == Source::Plain { 1 } else { LANES };
        let padded = Padded::new([rows, columns], axes.map(|axis| axis.image), pixel);
        let [rows, columns] = axes.map(|axis| axis.output);
        let outputs = Outputs { rows, columns, start: 0, row_pitch: columns, pitch: 1 };
        let grid = Grid { outputs, taps: [taps(&of_rows), taps(&of_columns)] };
        Self::new(source, channels, padded, rows * columns, vec![grid], isa)
    }

    /// The gradient to the image. `channels`: of the result of the convolution, and of its image.
    pub(super) fn data(axes: [Axis; 2], channels: [usize; 2], source: Source, isa: Isa) -> Self {
        let of = axes.map(|axis| data_axis(&axis));
        let phases = of.each_ref().map(|(phase, _)| vec![*phase]);
        let padded = Padded::new(phases, axes.map(|axis| axis.output), LANES);
        let [(_, of_rows), (_, of_columns)] = &of;
        let width = axes[1].image;
        let grid = |rows: &Remainder, columns: &Remainder| Grid {
            outputs: Outputs {
                rows: rows.count,
                columns: columns.count,
                start: rows.start * width + columns.start,
                row_pitch: axes[0].stride * width,
                pitch: axes[1].stride,
            },
            taps: [rows.taps.clone(), columns.taps.clone()],
        };
        let grids = of_rows.iter().flat_map(|rows| of_columns.iter().map(move |columns| grid(rows, columns)));
        Self::new(source, channels, padded, axes[0].image * width, grids.collect(), isa)
    }

    fn new(
        source: Source,
        channels: [usize; 2],
        padded: Padded,
        pixels: usize,
        grids: Vec<Grid>,
        isa: Isa,
    ) -> Self {
        let covered: usize = grids.iter().map(|grid| grid.outputs.rows * grid.outputs.columns).sum();
        let mut packed_len = 0;
        let mut passes = Vec::new();
        for grid in grids {
            let (pass, weights) = Pass::new(source, channels, &padded, grid, packed_len, isa);
            packed_len += weights;
            passes.push(pass);
        }
        Self { source, channels, padded, pixels, passes, is_covering: covered == pixels, packed_len }
    }

    /// Floats of packed weights.
    pub(super) fn packed_len(&self) -> usize {
        self.packed_len
    }

    /// Floats of scratch.
    pub(super) fn scratch_len(&self) -> usize {
        self.padded.scratch_len(self.planes())
    }

    /// Blocks (or planes) of the image that is read.
    fn planes(&self) -> usize {
        match self.source {
            Source::Plain => self.channels[0],
            Source::Blocked => blocks(self.channels[0]),
            Source::Lanewise => blocks(self.channels[1]),
        }
    }

    /// Packs the weights `weight(written, read, place)`; lanes beyond the channels become zero.
    pub(super) fn pack(&self, weight: impl Fn(usize, usize, [usize; 2]) -> f32, packed: &mut [f32]) {
        let channels: Vec<usize> = (0..self.channels[0]).collect();
        let together = Pitches::of(self.source, self.channels[0], 0).block_channels;
        let mut lanes = packed.as_chunks_mut::<LANES>().0.iter_mut();
        for pass in &self.passes {
            for group in &pass.groups {
                for channels in channels.chunks(together) {
                    for run in &pass.runs {
                        for &channel in channels {
                            let of_run = run
                                .places
                                .iter()
                                .flat_map(|place| (0..group.blocks).map(move |b| (place, b)));
                            for ((place, b), lanes) in of_run.zip(lanes.by_ref()) {
                                self.pack_lanes(group.block + b, lanes, |written| {
                                    weight(written, channel, *place)
                                });
                            }
                        }
                    }
                }
            }
        }
    }

    fn pack_lanes(&self, block: usize, lanes: &mut [f32; LANES], weight: impl Fn(usize) -> f32) {
        for (lane, value) in lanes.iter_mut().enumerate() {
            let written = block * LANES + lane;
            *value = if written < self.channels[1] { weight(written) } else { 0.0 };
        }
    }

    /// Computes the result of an image. `start`: what the sum of each channel of the result starts from, else zero.
    ///
    /// The caller has checked the lengths.
    pub(super) fn run(
        &self,
        packed: &[f32],
        start: Option<&[f32]>,
        image: &[f32],
        target: &mut [f32],
        scratch: &mut [f32],
    ) {
        debug_assert_eq!(packed.len(), self.packed_len);
        debug_assert_eq!(target.len(), blocks(self.channels[1]) * self.pixels * LANES);
        if !self.is_covering {
            target.fill(0.0);
        }
        if self.passes.is_empty() {
            return;
        }
        let source = self.padded.fill(image, scratch);
        debug_assert_eq!(source.len(), self.planes() * self.padded.block_len());
        for pass in &self.passes {
            for group in &pass.groups {
                let starts = group.starts(start, self.channels[1]);
                self.run_group(pass, group, packed, &starts, source, target);
            }
        }
    }

    fn run_group(
        &self,
        pass: &Pass,
        group: &Group,
        packed: &[f32],
        starts: &[f32],
        source: &[f32],
        target: &mut [f32],
    ) {
        let pitches = Pitches::of(self.source, self.channels[0], self.padded.block_len());
        let places: usize = pass.reaches.iter().map(|reach| reach.places).sum();
        let (width, pixel) = (self.padded.size()[1], pitches.pixel);
        let outputs = &pass.outputs;
        let step = group.chunk * pitches.block_channels;
        let first_block = if self.source == Source::Lanewise { group.block } else { 0 };
        for channel in (0..self.channels[0]).step_by(step) {
            let channels = step.min(self.channels[0] - channel);
            let weights = &packed[group.weights + channel * places * group.blocks * LANES..];
            let chunk = &source[(first_block + channel / pitches.block_channels) * pitches.block..];
            for row in 0..outputs.rows {
                let target = &mut target
                    [(group.block * self.pixels + outputs.start + row * outputs.row_pitch) * LANES..];
                for (column, tile) in group.tiles.iter().flat_map(Tiles::each) {
                    let here = Tile {
                        reaches: &pass.reaches,
                        source: chunk[(row * width + column) * pixel..].as_ptr(),
                        channels,
                        block_channels: pitches.block_channels,
                        block_pitch: pitches.block,
                        channel_pitch: pitches.channel,
                        weights: weights.as_ptr(),
                        start: if channel == 0 { starts.as_ptr() } else { null() },
                        target: target[column * outputs.pitch * LANES..].as_mut_ptr(),
                        target_block: self.pixels * LANES,
                        target_pitch: outputs.pitch * LANES,
                    };
                    // SAFETY: `Convolution::new` asked the processor for the instructions. The first output of a pass reads within the
                    // scratch for every place of the kernel, and so does every other, as phases are as long as their farthest reader
                    // (`forward_axis`, `data_axis`); packed weights follow each other in the order of `pack`; outputs lie in the image.
                    unsafe { tile(&here) };
                }
            }
        }
    }
}

impl Tiles {
    /// The first column and the function of each.
    fn each(&self) -> impl Iterator<Item = (usize, TileFn)> {
        (0..self.count).map(|index| (self.start + index * self.pixels, self.function))
    }
}

/// How the channels of a source follow each other, in floats.
struct Pitches {
    pixel: usize,
    block: usize,
    channel: usize,
    /// Channels of a block.
    block_channels: usize,
}

impl Pitches {
    /// `channels`: those that are read; `block`: floats of a block, or plane, of the scratch.
    fn of(source: Source, channels: usize, block: usize) -> Self {
        match source {
            Source::Blocked => Self { pixel: LANES, block, channel: 1, block_channels: LANES },
            // All planes together are one block.
            Source::Plain => Self { pixel: 1, block: 0, channel: block, block_channels: channels },
            Source::Lanewise => Self { pixel: LANES, block, channel: 0, block_channels: 1 },
        }
    }
}

/// Pixels of the result and the places of the kernel that they meet.
struct Grid {
    outputs: Outputs,
    taps: [Vec<Tap>; 2],
}

impl Pass {
    /// The pass, and the floats of its weights. `weights`: floats of the passes before.
    fn new(
        source: Source,
        channels: [usize; 2],
        padded: &Padded,
        grid: Grid,
        mut weights: usize,
        isa: Isa,
    ) -> (Self, usize) {
        let registers = Registers::of(isa);
        let width = padded.size()[1];
        let runs = runs(&grid.taps[0], &grid.taps[1], width, registers.places);
        let pixel = Pitches::of(source, channels[0], 0).pixel;
        let reach = |run: &Run| Reach { offset: run.start * pixel, places: run.places.len() };
        let reaches: Vec<Reach> = runs.iter().map(reach).collect();
        let outputs = grid.outputs.joined(width);
        let longest = reaches.iter().map(|reach| reach.places).max().unwrap_or(1);
        let places: usize = reaches.iter().map(|reach| reach.places).sum();
        let first = weights;
        let mut groups = Vec::new();
        let all = blocks(channels[1]);
        let mut block = 0;
        while block < all {
            let count = together(source, all - block, outputs.columns, longest, registers);
            let of_block = Pitches::of(source, channels[0], 0).block_channels * places * count * LANES;
            let tiles = tiles(isa, source, count, outputs.columns, registers.pixels(count, longest));
            groups.push(Group {
                block,
                blocks: count,
                weights,
                chunk: (RESIDENT_FLOATS / of_block).max(1),
                tiles,
            });
            weights += channels[0] * places * count * LANES;
            block += count;
        }
        (Self { outputs, runs, reaches, groups }, weights - first)
    }
}

impl Outputs {
    /// Rows of which the next continues where the last ends, in the source and in the result, are one row.
    fn joined(self, width: usize) -> Self {
        if width == self.columns && self.row_pitch == self.columns * self.pitch {
            return Self { rows: 1, columns: self.rows * self.columns, ..self };
        }
        self
    }
}

impl Group {
    /// What the sums start from.
    fn starts(&self, start: Option<&[f32]>, channels: usize) -> [f32; MOST_BLOCKS * LANES] {
        let mut starts = [0.0; MOST_BLOCKS * LANES];
        if let Some(start) = start {
            let first = self.block * LANES;
            let end = channels.min(first + self.blocks * LANES);
            starts[..end - first].copy_from_slice(&start[first..end]);
        }
        starts
    }
}

/// The most blocks of a tile.
const MOST_BLOCKS: usize = 4;

/// How many of the `left` blocks are computed together: more, where a row is short, so that enough sums are on their way.
fn together(source: Source, left: usize, columns: usize, places: usize, registers: Registers) -> usize {
    let fits = |blocks: usize| left >= blocks && registers.pixels(blocks, places) > 0;
    match source {
        Source::Lanewise => 1,
        Source::Blocked if fits(4) && columns <= registers.pixels(4, places) => 4,
        _ if fits(2) => 2,
        _ => 1,
    }
}

/// The fewest tiles of at most `most` pixels for a row; their pixels differ by at most one.
fn tiles(isa: Isa, source: Source, blocks: usize, columns: usize, most: usize) -> Vec<Tiles> {
    let count = columns.div_ceil(most);
    let (short, longer) = (columns / count, columns % count);
    let of = |start, count, pixels| {
        let function = function(isa, source, blocks, pixels);
        let function = function.expect("a function for every tile that fits the registers");
        Tiles { start, count, pixels, function }
    };
    let mut tiles = Vec::new();
    if longer > 0 {
        tiles.push(of(0, longer, short + 1));
    }
    tiles.push(of(longer * (short + 1), count - longer, short));
    tiles
}

fn taps(positions: &[usize]) -> Vec<Tap> {
    positions.iter().enumerate().map(|(place, &position)| Tap { place, position }).collect()
}

/// Pixels of an axis of the image that have the same remainder modulo the stride, counted from the pads.
struct Remainder {
    start: usize,
    count: usize,
    taps: Vec<Tap>,
}

/// The gradient of the result as the gradient to the image reads it on one axis, and the remainders that some place of the kernel meets.
fn data_axis(axis: &Axis) -> (Phase, Vec<Remainder>) {
    let offsets: Vec<usize> = (0..axis.kernel).map(|place| place * axis.dilation).collect();
    let mut remainders: Vec<usize> = offsets.iter().map(|offset| offset % axis.stride).collect();
    remainders.sort_unstable();
    remainders.dedup();
    let start = |remainder: usize| (remainder + axis.stride - axis.begin % axis.stride) % axis.stride;
    remainders.retain(|&remainder| start(remainder) < axis.image);
    // Where the first pixel of a remainder reads for a place: negative before the first result.
    let reads = |remainder: usize, offset: usize| {
        ((start(remainder) + axis.begin) / axis.stride) as isize - (offset / axis.stride) as isize
    };
    let count = |remainder: usize| (axis.image - start(remainder)).div_ceil(axis.stride);
    let met = |remainder: usize| {
        let places = offsets.iter().enumerate().filter(move |(_, offset)| *offset % axis.stride == remainder);
        places.map(move |(place, &offset)| (place, reads(remainder, offset)))
    };
    let all = || remainders.iter().flat_map(|&remainder| met(remainder).map(move |(_, at)| (remainder, at)));
    let first = all().map(|(_, at)| at).min().unwrap_or(0);
    let end = all().map(|(remainder, at)| at + count(remainder) as isize).max().unwrap_or(0);
    let of = |&remainder: &usize| Remainder {
        start: start(remainder),
        count: count(remainder),
        taps: met(remainder).map(|(place, at)| Tap { place, position: (at - first) as usize }).collect(),
    };
    (Phase { first, step: 1, len: (end - first) as usize }, remainders.iter().map(of).collect())
}
