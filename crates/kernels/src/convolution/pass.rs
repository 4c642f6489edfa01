//! A grid of pixels of a result, computed in tiles.

#![expect(unsafe_code, reason = "tiles are given pointers")]

use std::ops::Range;
use std::ptr::null;

use super::padded::Padded;
use super::runs::{Run, Tap, even_ranges, runs};
use super::summed;
use super::tile::{Reach, Registers, Source, Tile, TileFn, function};
use crate::isa::Isa;
use crate::layout::{LANES, blocks};

/// The weights that a tile meets again for every row should stay in the first-level cache, beside what it reads and writes.
const RESIDENT_WEIGHTS: usize = 6 << 10;
/// What is read of the source again for every group of blocks should stay in the second-level cache.
const RESIDENT_SOURCE: usize = 128 << 10;
/// The most blocks of a tile.
const MOST_BLOCKS: usize = 4;

/// A grid of pixels of the result that meet the same places of the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outputs {
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// The first pixel, and pixels from one row, and column, to the next.
    pub(super) start: usize,
    pub(super) row_pitch: usize,
    pub(super) pitch: usize,
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

/// The plan of a grid.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    source: Source,
    channels: [usize; 2],
    outputs: Outputs,
    pub(super) runs: Vec<Run>,
    reaches: Vec<Reach>,
    pub(super) groups: Vec<Group>,
    /// Rows and columns after which the next group has its turn.
    band: [usize; 2],
}

/// Blocks of the result that are computed together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) block: usize,
    pub(super) blocks: usize,
    /// Vectors of weights of each channel that is read and each place: one for each block, or for each channel of a summed result.
    pub(super) vectors: usize,
    /// Floats of weights before.
    weights: usize,
    /// Blocks of the source between which sums wait in the result.
    chunk: usize,
    /// The functions for tiles of one pixel, two, and so on.
    functions: Vec<TileFn>,
}

/// What the sums of a result start from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Start<'a> {
    Zero,
    /// A number for each channel.
    Channels(&'a [f32]),
    /// What the result held before.
    Target,
}

/// What a pass works on.
pub(super) struct Operands<'a> {
    pub(super) packed: &'a [f32],
    pub(super) start: Start<'a>,
    /// The padded image; of a lanewise source the block that the groups need.
    pub(super) source: &'a [f32],
    pub(super) target: &'a mut [f32],
    /// Pixels of the result.
    pub(super) pixels: usize,
}

/// How the channels of a source follow each other, in floats.
#[derive(Clone, Copy, Debug)]
struct Pitches {
    /// From a column, and row, to the next.
    pixel: usize,
    row: usize,
    block: usize,
    channel: usize,
}

impl Pass {
    /// The pass, and the floats of its weights. `weights`: floats of the passes before.
    pub(super) fn new(
        source: Source,
        channels: [usize; 2],
        padded: &Padded,
        outputs: Outputs,
        taps: [&[Tap]; 2],
        weights: usize,
        isa: Isa,
    ) -> (Self, usize) {
        let registers = Registers::of(isa);
        let width = padded.size()[1];
        let longest = if source == Source::Summed { 1 } else { registers.places };
        let runs = runs(taps[0], taps[1], width, longest);
        let pixel = source.pixel();
        let reach = |run: &Run| Reach { offset: run.start * pixel, places: run.places.len() };
        let reaches: Vec<Reach> = runs.iter().map(reach).collect();
        let outputs = outputs.joined(width);
        let mut pass = Self { source, channels, outputs, runs, reaches, groups: Vec::new(), band: [1; 2] };
        pass.band = pass.resident_band(width);
        let all = blocks(channels[1]);
        let (mut block, mut end) = (0, weights);
        while block < all {
            let group = pass.group(block, end, registers, isa);
            end += channels[0] * pass.places() * group.vectors * LANES;
            block += group.blocks;
            pass.groups.push(group);
        }
        (pass, end - weights)
    }

    /// The longest run, which decides how many registers weights take.
    fn longest(&self) -> usize {
        self.reaches.iter().map(|reach| reach.places).max().unwrap_or(1)
    }

    fn places(&self) -> usize {
        self.reaches.iter().map(|reach| reach.places).sum()
    }

    /// Channels that the source holds together.
    fn block_channels(&self) -> usize {
        self.source.block_channels(self.channels[0])
    }

    fn resident_band(&self, width: usize) -> [usize; 2] {
        let Outputs { rows, columns, .. } = self.outputs;
        let of_pixel = match self.source {
            Source::Blocked => blocks(self.channels[0]) * LANES,
            Source::Plain => self.channels[0],
            Source::Lanewise => LANES,
            Source::Summed => self.channels[0] * LANES,
        };
        if rows == 1 {
            return [1, (RESIDENT_SOURCE / of_pixel).clamp(64, columns.max(64))];
        }
        [(RESIDENT_SOURCE / (of_pixel * width)).max(4), columns]
    }

    /// The group of blocks from `block` on: more of them where a row is short, so that enough sums are on their way.
    fn group(&self, block: usize, weights: usize, registers: Registers, isa: Isa) -> Group {
        let (left, longest) = (blocks(self.channels[1]) - block, self.longest());
        let fits = |blocks: usize| left >= blocks && registers.pixels(blocks, longest) > 0;
        let count = match self.source {
            Source::Lanewise | Source::Summed => 1,
            Source::Blocked if fits(4) && self.outputs.columns <= registers.pixels(4, longest) => 4,
            _ if fits(2) => 2,
            _ => 1,
        };
        let (vectors, most) = match self.source {
            Source::Summed => (self.channels[1], summed::most_pixels(self.channels[1])),
            _ => (count, registers.pixels(count, longest)),
        };
        let of_pixels = |pixels| function(isa, self.source, vectors, pixels);
        let functions =
            (1..=most).map(|pixels| of_pixels(pixels).expect("a function for every tile that fits"));
        let of_block = self.block_channels() * self.places() * vectors * LANES;
        let chunk = (RESIDENT_WEIGHTS / of_block).max(1);
        Group { block, blocks: count, vectors, weights, chunk, functions: functions.collect() }
    }

    /// Computes some of the groups.
    pub(super) fn run(&self, groups: &[Group], padded: &Padded, of: &mut Operands<'_>) {
        self.run_columns(0..self.outputs.columns, groups, padded, of);
    }

    /// Computes some columns of some of the groups.
    pub(super) fn run_columns(
        &self,
        columns: Range<usize>,
        groups: &[Group],
        padded: &Padded,
        of: &mut Operands<'_>,
    ) {
        let pitches = self.pitches(padded);
        for rows in even_ranges(0..self.outputs.rows, self.band[0]) {
            for columns in even_ranges(columns.clone(), self.band[1]) {
                for group in groups {
                    self.run_group(group, [rows.clone(), columns.clone()], pitches, of);
                }
            }
        }
    }

    /// Which of the packed vectors has the weights of a channel that is read, and a place of the kernel, for a block of the result. Not of a
    /// summed result.
    pub(super) fn vector_of(&self, block: usize, channel: usize, place: [usize; 2]) -> usize {
        let group = self.groups.iter().rfind(|group| group.block <= block).expect("a block of the result");
        let together = self.block_channels();
        let first = channel / together * together;
        let count = together.min(self.channels[0] - first);
        let mut before = first * self.places();
        for run in &self.runs {
            if let Some(index) = run.places.iter().position(|other| *other == place) {
                before += (channel - first) * run.places.len() + index;
                return group.weights / LANES + before * group.vectors + block - group.block;
            }
            before += count * run.places.len();
        }
        unreachable!("a place of the kernel that the pass meets");
    }

    fn pitches(&self, padded: &Padded) -> Pitches {
        let (pixel, block) = (self.source.pixel(), padded.block_len());
        let channel = if self.source == Source::Plain { block } else { 1 };
        Pitches { pixel, row: padded.size()[1] * pixel, block, channel }
    }

    fn run_group(&self, group: &Group, band: [Range<usize>; 2], pitches: Pitches, of: &mut Operands<'_>) {
        let starts = of.start.of_channels(group.block * LANES, self.channels[1]);
        let step = group.chunk.saturating_mul(self.block_channels());
        for channel in (0..self.channels[0]).step_by(step) {
            let weights = group.weights + channel * self.places() * group.vectors * LANES;
            let part = Part {
                reaches: &self.reaches,
                source: &of.source[channel / self.block_channels() * pitches.block..],
                channels: step.min(self.channels[0] - channel),
                block_channels: self.block_channels(),
                pitches,
                weights: &of.packed[weights..],
                starts: starts.as_ref().filter(|_| channel == 0),
            };
            debug_assert!(part.is_within(band[0].end - 1, band[1].end - 1, group.vectors));
            for row in band[0].clone() {
                let first = group.block * of.pixels + self.outputs.start + row * self.outputs.row_pitch;
                let target = &mut of.target[first * LANES..];
                for columns in even_ranges(band[1].clone(), group.functions.len()) {
                    let tile = part.tile(row, columns.start, self.outputs.pitch, of.pixels, target);
                    // SAFETY: `Convolution::new` asked the processor for the instructions. The first output of a pass reads within the
                    // scratch for every place of the kernel, and so does every other, as phases are as long as their farthest reader
                    // (`axes`); packed weights follow each other in the order of `Correlation::pack`; the outputs lie in the image, for
                    // as many blocks as the group has.
                    unsafe { group.functions[columns.len() - 1](&tile) };
                }
            }
        }
    }
}

/// Some channels of the source and their weights.
struct Part<'a> {
    reaches: &'a [Reach],
    source: &'a [f32],
    channels: usize,
    block_channels: usize,
    pitches: Pitches,
    weights: &'a [f32],
    starts: Option<&'a [f32; MOST_BLOCKS * LANES]>,
}

impl Part<'_> {
    /// Whether what the tiles read up to a row and column lies in the source, and in the weights.
    fn is_within(&self, row: usize, column: usize, vectors: usize) -> bool {
        let Pitches { pixel, row: of_row, block, channel } = self.pitches;
        let last = (self.channels - 1) / self.block_channels * block
            + (self.channels - 1) % self.block_channels * channel;
        let place = |reach: &Reach| reach.offset + (reach.places - 1) * pixel;
        let farthest =
            row * of_row + column * pixel + last + self.reaches.iter().map(place).max().unwrap_or(0);
        let places: usize = self.reaches.iter().map(|reach| reach.places).sum();
        farthest < self.source.len() && self.channels * places * vectors * LANES <= self.weights.len()
    }

    /// The tile of a row that starts at `column`; `target` starts at the row.
    fn tile(&self, row: usize, column: usize, pitch: usize, pixels: usize, target: &mut [f32]) -> Tile<'_> {
        Tile {
            reaches: self.reaches,
            source: self.source[row * self.pitches.row + column * self.pitches.pixel..].as_ptr(),
            channels: self.channels,
            block_channels: self.block_channels,
            block_pitch: self.pitches.block,
            channel_pitch: self.pitches.channel,
            weights: self.weights.as_ptr(),
            start: self.starts.map_or(null(), |starts| starts.as_ptr()),
            target: target[column * pitch * LANES..].as_mut_ptr(),
            target_block: pixels * LANES,
            target_pitch: pitch * LANES,
        }
    }
}

impl Start<'_> {
    /// What the sums of some channels from `first` on start from; none: from the target. Lanes beyond the channels start from zero.
    pub(super) fn of_channels<const N: usize>(&self, first: usize, channels: usize) -> Option<[f32; N]> {
        let mut starts = [0.0; N];
        match self {
            Start::Target => return None,
            Start::Zero => {}
            Start::Channels(start) => {
                let end = channels.min(first + N);
                starts[..end - first].copy_from_slice(&start[first..end]);
            }
        }
        Some(starts)
    }
}
