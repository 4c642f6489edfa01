//! A plan of sums that computes the gradient to the weights.
//!
//! The gradient of a weight is a sum over the pixels of the result: what the weight's place of the kernel reads there, times the gradient of
//! the result. Each function of [`sums`](super::sums) keeps some places and channels in registers over a band of pixels that fits the
//! first-level cache; what it sums starts from zero for every band, so that long sums are made of short ones.

#![expect(unsafe_code, reason = "sums are given pointers")]

use std::ops::Range;

use super::axes::forward_axis;
use super::padded::Padded;
use super::runs::{Run, Tap, even_chunks, even_ranges, runs};
use super::sums::{Products, SumFn, SumRegisters, lanewise_function, outer_function};
use super::tile::Source;
use crate::isa::Isa;
use crate::layout::{LANES, blocks};
use crate::pixels::Image;
use crate::window::Axis;

/// What a band reads should stay in the first-level cache.
const RESIDENT_FLOATS: usize = 8 << 10;

/// The gradient to the weights of one image.
#[derive(Clone, Debug)]
pub(super) struct WeightGradient {
    source: Source,
    lanes: Side,
    /// Channels of the image that meet each channel of the result, and channels of the result.
    channels: [usize; 2],
    padded: Padded,
    /// Rows and columns of the result that are walked: all pixels may be one row.
    grid: [usize; 2],
    /// Rows and columns of a band.
    band: [usize; 2],
    parts: Vec<Part>,
    packed_len: usize,
}

/// Whose channels lie side by side in a vector of the packed sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Image,
    Result,
}

/// Some places of the kernel, at some channels of the image, that are summed together.
#[derive(Clone, Debug)]
struct Part {
    /// Floats from the first pixel of the source.
    offsets: Vec<usize>,
    entries: Vec<Entry>,
    /// What is summed together of the result: the first channel, and the function.
    sums: Vec<(usize, SumFn)>,
    /// Floats of the packed sum before. The sum has a vector for every entry, for every channel of the result (or for every block, where those
    /// are the lanes).
    start: usize,
}

/// What a vector of the packed sum is the gradient of.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The channel of the image, or the first of sixteen.
    channel: usize,
    place: [usize; 2],
}

impl WeightGradient {
    pub(super) fn new(axes: [Axis; 2], channels: [usize; 2], source: Source, isa: Isa) -> Self {
        let [(rows, of_rows), (columns, of_columns)] = axes.map(|axis| forward_axis(&axis));
        let padded = Padded::new([rows, columns], axes.map(|axis| axis.image), source.pixel());
        let [rows, columns] = axes.map(|axis| axis.output);
        let width = padded.size()[1];
        let (grid, band) = if width == columns {
            // The next row continues where the last ends.
            ([1, rows * columns], [1, RESIDENT_FLOATS / (2 * LANES)])
        } else {
            ([rows, columns], [(RESIDENT_FLOATS / ((width + columns) * LANES)).max(1), columns])
        };
        let lanes = Side::best(source, channels);
        let kernel = Kernel { padded: &padded, taps: [&of_rows, &of_columns], channels, source, isa };
        let mut parts = match lanes {
            Side::Image => kernel.outer_parts(),
            Side::Result => kernel.lanewise_parts(),
        };
        let vectors = if lanes == Side::Image { channels[1] } else { blocks(channels[1]) };
        let mut packed_len = 0;
        for part in &mut parts {
            part.start = packed_len;
            packed_len += part.entries.len() * vectors * LANES;
        }
        Self { source, lanes, channels, padded, grid, band, parts, packed_len }
    }

    /// Floats of the packed sum.
    pub(super) fn packed_len(&self) -> usize {
        self.packed_len
    }

    /// Floats of scratch.
    pub(super) fn scratch_len(&self) -> usize {
        self.padded.scratch_len(self.source.planes(self.channels[0]))
    }

    /// Adds the gradient of an image to the packed sum. The caller has checked the lengths.
    pub(super) fn add(&self, image: &Image<'_>, gradient: &[f32], packed: &mut [f32], scratch: &mut [f32]) {
        debug_assert_eq!(packed.len(), self.packed_len);
        let all = blocks(self.channels[1]);
        if self.source != Source::Lanewise {
            let source = self.padded.fill(image, 0..self.source.planes(self.channels[0]), scratch);
            return self.add_bands(source, gradient, packed, 0..all);
        }
        // Lanes never meet other lanes, so one block after the other is padded and summed while it lies in the cache.
        for block in 0..all {
            let source = self.padded.fill(image, block..block + 1, scratch);
            self.add_bands(source, gradient, packed, block..block + 1);
        }
    }

    /// `results`: the blocks of the result that meet the source.
    fn add_bands(&self, source: &[f32], gradient: &[f32], packed: &mut [f32], results: Range<usize>) {
        let [rows, columns] = self.grid;
        for of_rows in even_ranges(0..rows, self.band[0]) {
            for of_columns in even_ranges(0..columns, self.band[1]) {
                let (row, column) = (of_rows.start, of_columns.start);
                let band = Band {
                    source: &source[(row * self.padded.size()[1] + column) * self.source.pixel()..],
                    gradient: &gradient[(row * columns + column) * LANES..],
                    rows: of_rows.len(),
                    columns: of_columns.len(),
                };
                for part in &self.parts {
                    self.add_part(part, &band, packed, results.clone());
                }
            }
        }
    }

    fn add_part(&self, part: &Part, band: &Band<'_>, packed: &mut [f32], results: Range<usize>) {
        match self.lanes {
            Side::Image => {
                for &(channel, sum) in &part.sums {
                    self.add_sum(part, band, packed, channel, sum);
                }
            }
            Side::Result => {
                for (block, &(_, sum)) in
                    results.flat_map(|block| part.sums.iter().map(move |sum| (block, sum)))
                {
                    self.add_sum(part, band, packed, block * LANES, sum);
                }
            }
        }
    }

    /// `channel`: the first of the result that is summed.
    fn add_sum(&self, part: &Part, band: &Band<'_>, packed: &mut [f32], channel: usize, sum: SumFn) {
        debug_assert!(self.is_within(part, band));
        let pixels = self.grid[0] * self.grid[1];
        let vector = if self.lanes == Side::Image { channel } else { channel / LANES };
        let target = part.start + vector * part.entries.len() * LANES;
        let products = Products {
            image: band.source.as_ptr(),
            offsets: &part.offsets,
            image_row: self.padded.size()[1] * self.source.pixel(),
            gradient: band.gradient[channel / LANES * pixels * LANES + channel % LANES..].as_ptr(),
            gradient_row: self.grid[1] * LANES,
            rows: band.rows,
            columns: band.columns,
            target: packed[target..].as_mut_ptr(),
        };
        // SAFETY: `Convolution::new` asked the processor for the instructions. The first output reads within the source at each offset, and so
        // does every other, as phases are as long as their farthest reader (`axes`); the gradient has all pixels of the grid in every block;
        // the packed sum has the vectors that `Part::start` says, for as many channels as the function was chosen for.
        unsafe { sum(&products) };
    }

    /// Whether what the sums read of a band lies in the source.
    fn is_within(&self, part: &Part, band: &Band<'_>) -> bool {
        let pixel = self.source.pixel();
        let run = part.entries.len() / part.offsets.len();
        let last = (band.rows - 1) * self.padded.size()[1] + band.columns - 1 + run - 1;
        last * pixel + part.offsets.iter().max().unwrap_or(&0) < band.source.len()
    }

    /// Writes the packed sum: `write(channel of the result, channel of the image, place, value)`.
    pub(super) fn unpack(&self, packed: &[f32], mut write: impl FnMut(usize, usize, [usize; 2], f32)) {
        for part in &self.parts {
            let vectors = packed[part.start..].as_chunks::<LANES>().0.chunks_exact(part.entries.len());
            let count = if self.lanes == Side::Image { self.channels[1] } else { blocks(self.channels[1]) };
            for (index, vectors) in vectors.take(count).enumerate() {
                for (&Entry { channel, place }, lanes) in part.entries.iter().zip(vectors) {
                    match self.lanes {
                        Side::Image => for_real(lanes, channel, self.channels[0], |read, value| {
                            write(index, read, place, value);
                        }),
                        Side::Result => for_real(lanes, index * LANES, self.channels[1], |written, value| {
                            write(written, channel, place, value);
                        }),
                    }
                }
            }
        }
    }
}

/// Calls `with` for the lanes that are channels; the first lane is channel `first` of `channels`.
fn for_real(lanes: &[f32; LANES], first: usize, channels: usize, mut with: impl FnMut(usize, f32)) {
    for (&value, channel) in lanes.iter().zip(first..channels) {
        with(channel, value);
    }
}

impl Side {
    /// Where the lanes are channels of the image, more of what is read is used twice; but they should be filled.
    fn best(source: Source, channels: [usize; 2]) -> Self {
        let filled = |count: usize| count as f64 / (blocks(count) * LANES) as f64;
        let image_is_best = 1.2 * filled(channels[0]) >= filled(channels[1]);
        if source == Source::Blocked && image_is_best { Side::Image } else { Side::Result }
    }
}

/// A band of the image and of the gradient of the result, from its first pixel on.
struct Band<'a> {
    source: &'a [f32],
    gradient: &'a [f32],
    rows: usize,
    columns: usize,
}

/// What the parts are made of.
struct Kernel<'a> {
    padded: &'a Padded,
    taps: [&'a [Tap]; 2],
    channels: [usize; 2],
    source: Source,
    isa: Isa,
}

impl Kernel<'_> {
    fn runs(&self, longest: usize) -> Vec<Run> {
        runs(self.taps[0], self.taps[1], self.padded.size()[1], longest)
    }

    /// Outer products: sixteen channels of the image by some of the result.
    fn outer_parts(&self) -> Vec<Part> {
        let runs = self.runs(1);
        let vectors: Vec<(usize, Entry)> = (0..blocks(self.channels[0]))
            .flat_map(|block| {
                runs.iter().map(move |run| {
                    let entry = Entry { channel: block * LANES, place: run.places[0] };
                    (block * self.padded.block_len() + run.start * LANES, entry)
                })
            })
            .collect();
        let chunks = even_chunks(&vectors, SumRegisters::of(self.isa).offsets);
        chunks.into_iter().map(|vectors| self.outer_part(vectors)).collect()
    }

    fn outer_part(&self, vectors: &[(usize, Entry)]) -> Part {
        let (offsets, entries): (Vec<usize>, Vec<Entry>) = vectors.iter().copied().unzip();
        let most = SumRegisters::of(self.isa).channels(offsets.len());
        let all: Vec<usize> = (0..self.channels[1]).collect();
        let sum = |channels: &[usize]| {
            let sum = outer_function(self.isa, offsets.len(), channels.len());
            (channels[0], sum.expect("a function for all sums that fit the registers"))
        };
        // What is summed together lies in one block.
        let sums = all.chunks(LANES).flat_map(|block| even_chunks(block, most)).map(sum).collect();
        Part { sums, offsets, entries, start: 0 }
    }

    /// Sums whose lanes are channels of the result.
    fn lanewise_parts(&self) -> Vec<Part> {
        let registers = SumRegisters::of(self.isa);
        let runs = self.runs(registers.run);
        let mut all: Vec<(usize, &Run)> =
            (0..self.channels[0]).flat_map(|channel| runs.iter().map(move |run| (channel, run))).collect();
        // Runs of one length are summed together.
        all.sort_by_key(|(_, run)| run.places.len());
        let alike = all.chunk_by(|(_, left), (_, right)| left.places.len() == right.places.len());
        let chunks = alike.flat_map(|runs| even_chunks(runs, registers.runs(runs[0].1.places.len())));
        chunks.map(|runs| self.lanewise_part(runs)).collect()
    }

    fn lanewise_part(&self, runs: &[(usize, &Run)]) -> Part {
        let entries = runs
            .iter()
            .flat_map(|&(channel, run)| run.places.iter().map(move |&place| Entry { channel, place }));
        let sum = lanewise_function(self.isa, self.source, runs.len(), runs[0].1.places.len());
        Part {
            offsets: runs
                .iter()
                .map(|(channel, run)| self.channel(*channel) + run.start * self.source.pixel())
                .collect(),
            entries: entries.collect(),
            sums: vec![(0, sum.expect("a function for all sums that fit the registers"))],
            start: 0,
        }
    }

    /// Floats before the first pixel of a channel of the source.
    fn channel(&self, channel: usize) -> usize {
        match self.source {
            Source::Blocked | Source::Summed => channel / LANES * self.padded.block_len() + channel % LANES,
            Source::Plain => channel * self.padded.block_len(),
            Source::Lanewise => 0,
        }
    }
}
