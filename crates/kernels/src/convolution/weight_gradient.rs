//! A plan of sums that computes the gradient to the weights.
//!
//! The gradient of a weight is a sum over the pixels of the result: what the weight's place of the kernel reads there, times the gradient of
//! the result. Each function of [`sums`](super::sums) keeps some places and channels in registers over a band of rows that fits the
//! first-level cache; what it sums starts from zero for every band, so that long sums are made of short ones.

#![expect(unsafe_code, reason = "sums are given pointers")]

use super::axes::forward_axis;
use super::padded::Padded;
use super::runs::{Run, Tap, even_chunks, runs};
use super::sums::{Products, SumFn, SumRegisters, lanewise_function, outer_function};
use super::tile::Source;
use crate::isa::Isa;
use crate::layout::{LANES, blocks};
use crate::window::Axis;

/// What a band reads should stay in the first-level cache.
const RESIDENT_FLOATS: usize = 8 << 10;

/// The gradient to the weights of one image.
#[derive(Clone, Debug)]
pub(super) struct WeightGradient {
    source: Source,
    /// Channels of the image that meet each channel of the result, and channels of the result.
    channels: [usize; 2],
    padded: Padded,
    /// Rows and columns of the result that are walked: all pixels may be one row.
    grid: [usize; 2],
    /// Rows and columns of a band.
    band: [usize; 2],
    /// Sums that are computed together at one block of the result, for an outer product at all channels of it.
    parts: Vec<Part>,
    packed_len: usize,
}

/// Some places of the kernel.
#[derive(Clone, Debug)]
struct Part {
    /// Floats from the first pixel of the source.
    offsets: Vec<usize>,
    /// What each vector of the packed sum means: a channel (or the first of sixteen), and a place of the kernel.
    entries: Vec<Entry>,
    /// The first channel (of the whole result, or of each block) and the function.
    sums: Vec<(usize, SumFn)>,
    /// Floats of the packed sum before.
    start: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    channel: usize,
    place: [usize; 2],
}

impl WeightGradient {
    pub(super) fn new(axes: [Axis; 2], channels: [usize; 2], source: Source, isa: Isa) -> Self {
        let [(rows, of_rows), (columns, of_columns)] = axes.map(|axis| forward_axis(&axis));
        let padded = Padded::new([rows, columns], axes.map(|axis| axis.image), source.pixel());
        let taps = [of_rows, of_columns];
        let [rows, columns] = axes.map(|axis| axis.output);
        let width = padded.size()[1];
        let (grid, band) = if width == columns {
            // The next row continues where the last ends.
            ([1, rows * columns], [1, RESIDENT_FLOATS / (2 * LANES)])
        } else {
            ([rows, columns], [(RESIDENT_FLOATS / ((width + columns) * LANES)).max(1), columns])
        };
        let registers = SumRegisters::of(isa);
        let parts = match source {
            Source::Blocked => outer_parts(&padded, &taps, channels, registers, isa),
            Source::Plain | Source::Lanewise => {
                lanewise_parts(&padded, &taps, channels, source, registers, isa)
            }
        };
        let mut gradient = Self { source, channels, padded, grid, band, parts, packed_len: 0 };
        for index in 0..gradient.parts.len() {
            gradient.parts[index].start = gradient.packed_len;
            gradient.packed_len += gradient.part_len(index);
        }
        gradient
    }

    /// Floats of the packed sum that a part has: by channel of the result, or by its block.
    fn part_len(&self, index: usize) -> usize {
        let count = if self.source == Source::Blocked { self.channels[1] } else { blocks(self.channels[1]) };
        self.parts[index].entries.len() * count * LANES
    }

    /// Floats of the packed sum.
    pub(super) fn packed_len(&self) -> usize {
        self.packed_len
    }

    /// Floats of scratch.
    pub(super) fn scratch_len(&self) -> usize {
        let planes = match self.source {
            Source::Plain => self.channels[0],
            Source::Blocked => blocks(self.channels[0]),
            Source::Lanewise => blocks(self.channels[1]),
        };
        self.padded.scratch_len(planes)
    }

    /// Adds the gradient of an image to the packed sum. The caller has checked the lengths.
    pub(super) fn add(&self, image: &[f32], gradient: &[f32], packed: &mut [f32], scratch: &mut [f32]) {
        debug_assert_eq!(packed.len(), self.packed_len);
        let image = self.padded.fill(image, scratch);
        let [rows, columns] = self.grid;
        for row in (0..rows).step_by(self.band[0]) {
            for column in (0..columns).step_by(self.band[1]) {
                let end = [row + self.band[0], column + self.band[1]];
                let band = [row..rows.min(end[0]), column..columns.min(end[1])];
                self.add_band(image, gradient, packed, band);
            }
        }
    }

    fn add_band(
        &self,
        image: &[f32],
        gradient: &[f32],
        packed: &mut [f32],
        [rows, columns]: [std::ops::Range<usize>; 2],
    ) {
        let pixel = if self.source == Source::Plain { 1 } else { LANES };
        let width = self.padded.size()[1];
        let pixels = self.grid[0] * self.grid[1];
        let image = &image[(rows.start * width + columns.start) * pixel..];
        let gradient = &gradient[(rows.start * self.grid[1] + columns.start) * LANES..];
        for part in &self.parts {
            let packed = &mut packed[part.start..];
            let entries = part.entries.len();
            let mut add = |image: &[f32], gradient: &[f32], target: usize, sum: SumFn| {
                let products = Products {
                    image: image.as_ptr(),
                    offsets: &part.offsets,
                    image_row: width * pixel,
                    gradient: gradient.as_ptr(),
                    gradient_row: self.grid[1] * LANES,
                    rows: rows.len(),
                    columns: columns.len(),
                    target: packed[target..].as_mut_ptr(),
                };
                // SAFETY: `Convolution::new` asked the processor for the instructions. The first output reads within the scratch at each
                // offset, and so does every other, as phases are as long as their farthest reader (`forward_axis`); the gradient has all
                // pixels of the grid in every block; the packed sum has a vector for each entry and channel (or block).
                unsafe { sum(&products) };
            };
            if self.source == Source::Blocked {
                for &(channel, sum) in &part.sums {
                    let first = channel / LANES * pixels * LANES + channel % LANES;
                    add(image, &gradient[first..], channel * entries * LANES, sum);
                }
                continue;
            }
            for block in 0..blocks(self.channels[1]) {
                let first = if self.source == Source::Lanewise { block * self.padded.block_len() } else { 0 };
                let gradient = &gradient[block * pixels * LANES..];
                for &(_, sum) in &part.sums {
                    add(&image[first..], gradient, block * entries * LANES, sum);
                }
            }
        }
    }

    /// Writes the packed sum: `write(channel of the result, channel of the image, place, value)`.
    pub(super) fn unpack(&self, packed: &[f32], mut write: impl FnMut(usize, usize, [usize; 2], f32)) {
        for part in &self.parts {
            let vectors = packed[part.start..].as_chunks::<LANES>().0;
            let entries = part.entries.len();
            if self.source == Source::Blocked {
                let all = vectors.chunks_exact(entries).take(self.channels[1]).enumerate();
                for (channel, vectors) in all {
                    for (entry, lanes) in part.entries.iter().zip(vectors) {
                        let real = self.channels[0] - entry.channel;
                        for (lane, &value) in lanes.iter().enumerate().take(real) {
                            write(channel, entry.channel + lane, entry.place, value);
                        }
                    }
                }
            } else {
                let all = vectors.chunks_exact(entries).take(blocks(self.channels[1])).enumerate();
                for (block, vectors) in all {
                    for (entry, lanes) in part.entries.iter().zip(vectors) {
                        let real = self.channels[1] - block * LANES;
                        for (lane, &value) in lanes.iter().enumerate().take(real) {
                            write(block * LANES + lane, entry.channel, entry.place, value);
                        }
                    }
                }
            }
        }
    }
}

/// Outer products: sixteen channels of the image by some of the result.
fn outer_parts(
    padded: &Padded,
    taps: &[Vec<Tap>; 2],
    channels: [usize; 2],
    registers: SumRegisters,
    isa: Isa,
) -> Vec<Part> {
    let runs = runs(&taps[0], &taps[1], padded.size()[1], 1);
    let at = |block: usize| {
        runs.iter().map(move |run| {
            let entry = Entry { channel: block * LANES, place: run.places[0] };
            (block * padded.block_len() + run.start * LANES, entry)
        })
    };
    let all: Vec<(usize, Entry)> = (0..blocks(channels[0])).flat_map(at).collect();
    let part = |chunk: &[(usize, Entry)]| {
        let (offsets, entries): (Vec<usize>, Vec<Entry>) = chunk.iter().copied().unzip();
        let most = registers.channels(offsets.len());
        let all: Vec<usize> = (0..channels[1]).collect();
        // No part of the channels crosses the end of a block.
        let parts = all.chunks(LANES).flat_map(|block| even_chunks(block, most));
        let sum = |channels: &[usize]| {
            let sum = outer_function(isa, offsets.len(), channels.len());
            (channels[0], sum.expect("a function for all sums that fit the registers"))
        };
        Part { sums: parts.map(sum).collect(), offsets, entries, start: 0 }
    };
    even_chunks(&all, registers.offsets).into_iter().map(part).collect()
}

/// Sums whose lanes are the channels of the result: what a plain image, or each lane of a depthwise convolution, needs.
fn lanewise_parts(
    padded: &Padded,
    taps: &[Vec<Tap>; 2],
    channels: [usize; 2],
    source: Source,
    registers: SumRegisters,
    isa: Isa,
) -> Vec<Part> {
    let pixel = if source == Source::Plain { 1 } else { LANES };
    let mut runs = runs(&taps[0], &taps[1], padded.size()[1], registers.run);
    runs.sort_by_key(|run| run.places.len()); // stable: only runs of equal length are summed together
    let at = |channel: usize| runs.iter().map(move |run| (channel, run));
    let mut all: Vec<(usize, &Run)> = (0..channels[0]).flat_map(at).collect();
    all.sort_by_key(|(_, run)| run.places.len());
    let part = |chunk: &[(usize, &Run)]| {
        let offset = |(channel, run): &(usize, &Run)| channel * padded.block_len() + run.start * pixel;
        let entries = chunk
            .iter()
            .flat_map(|&(channel, run)| run.places.iter().map(move |&place| Entry { channel, place }));
        let sum = lanewise_function(isa, source, chunk.len(), chunk[0].1.places.len());
        Part {
            offsets: chunk.iter().map(offset).collect(),
            entries: entries.collect(),
            sums: vec![(0, sum.expect("a function for all sums that fit the registers"))],
            start: 0,
        }
    };
    let alike = all.chunk_by(|(_, left), (_, right)| left.places.len() == right.places.len());
    let chunks = alike.flat_map(|runs| even_chunks(runs, registers.runs(runs[0].1.places.len())));
    chunks.map(part).collect()
}
