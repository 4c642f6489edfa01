//! A plan of passes that computes a convolution forward, or its gradient to the image.
//!
//! Both are correlations of a padded image with the weights. The gradient to the image reads the padded gradient of the result; with a
//! stride of `s`, the pixels with the same remainder modulo `s` meet the same places of the kernel, so each remainder is a pass of its own,
//! with stride 1.

use super::axes::{Phase, Remainder, data_axis, forward_axis};
use super::padded::Padded;
use super::pass::{Operands, Outputs, Pass, Start};
use super::runs::Tap;
use super::summed;
use super::tile::Source;
use super::winograd::{self, Winograd};
use crate::isa::Isa;
use crate::layout::{LANES, blocks};
use crate::pixels::Pixels;
use crate::window::Axis;

/// A correlation of one image.
#[derive(Clone, Debug)]
pub(super) struct Correlation {
    source: Source,
    /// Channels that are read for each result (of a summed source blocks of them), and channels of the result.
    channels: [usize; 2],
    padded: Padded,
    /// Pixels of the result.
    pixels: usize,
    passes: Vec<Pass>,
    /// Whether the passes write all pixels.
    is_covering: bool,
    /// Floats of the weights of the passes.
    direct_len: usize,
    /// Another way, for results that have one.
    winograd: Option<Winograd>,
}

impl Correlation {
    /// The convolution itself.
    pub(super) fn forward(axes: [Axis; 2], channels: [usize; 2], source: Source, isa: Isa) -> Self {
        let [(rows, of_rows), (columns, of_columns)] = axes.map(|axis| forward_axis(&axis));
        let (taps, size) = ([&of_rows[..], &of_columns], axes.map(|axis| axis.output));
        let side = winograd::best_side(source, channels, &axes, size, isa);
        let phases = [rows, columns].map(|phases| whole(phases, side));
        let padded = Padded::new(phases, axes.map(|axis| axis.image), source.pixel());
        let [rows, columns] = size;
        let outputs = Outputs { rows, columns, start: 0, row_pitch: columns, pitch: 1 };
        let mut plan = Self::new(source, channels, padded, rows * columns, isa);
        plan.add(outputs, taps, isa);
        plan.is_covering = true;
        let width = plan.padded.size()[1];
        plan.winograd = side.map(|side| Winograd::new(side, channels, size, width, taps, isa));
        plan
    }

    /// The gradient to the image. `channels`: of the result of the convolution, and of its image.
    pub(super) fn data(axes: [Axis; 2], channels: [usize; 2], source: Source, isa: Isa) -> Self {
        let [(of_rows, rows), (of_columns, columns)] = axes.map(|axis| data_axis(&axis));
        let size = axes.map(|axis| axis.image);
        let side = winograd::best_side(source, channels, &axes, size, isa);
        let phases = [vec![of_rows], vec![of_columns]].map(|phases| whole(phases, side));
        let padded = Padded::new(phases, axes.map(|axis| axis.output), source.pixel());
        let width = axes[1].image;
        let mut plan = Self::new(source, channels, padded, axes[0].image * width, isa);
        for row in &rows {
            for column in &columns {
                let outputs = Outputs {
                    rows: row.count,
                    columns: column.count,
                    start: row.start * width + column.start,
                    row_pitch: axes[0].stride * width,
                    pitch: axes[1].stride,
                };
                plan.add(outputs, [&row.taps, &column.taps], isa);
            }
        }
        let covered =
            |remainders: &[Remainder]| remainders.iter().map(|remainder| remainder.count).sum::<usize>();
        plan.is_covering = [covered(&rows), covered(&columns)] == size;
        // With a stride of one there is one remainder.
        if let (Some(side), [rows], [columns]) = (side, &rows[..], &columns[..]) {
            let taps = [&rows.taps[..], &columns.taps];
            let width = plan.padded.size()[1];
            plan.winograd = Some(Winograd::new(side, channels, size, width, taps, isa));
        }
        plan
    }

    fn new(source: Source, channels: [usize; 2], padded: Padded, pixels: usize, isa: Isa) -> Self {
        let (source, channels) = match source {
            Source::Blocked if summed::is_best(channels, isa) => {
                (Source::Summed, [blocks(channels[0]), channels[1]])
            }
            _ => (source, channels),
        };
        let (passes, winograd) = (Vec::new(), None);
        Self { source, channels, padded, pixels, passes, is_covering: false, direct_len: 0, winograd }
    }

    fn add(&mut self, outputs: Outputs, taps: [&[Tap]; 2], isa: Isa) {
        let start = self.direct_len;
        let (pass, weights) = Pass::new(self.source, self.channels, &self.padded, outputs, taps, start, isa);
        self.direct_len += weights;
        self.passes.push(pass);
    }

    /// Floats of packed weights: first [each once](Self::pack_once), then what is [derived](Self::derive) from them.
    pub(super) fn packed_len(&self) -> usize {
        self.direct_len + self.winograd.as_ref().map_or(0, Winograd::packed_len)
    }

    /// Floats of packed weights that an image meets, unless it has to be computed directly.
    pub(super) fn met_len(&self) -> usize {
        self.winograd.as_ref().map_or(self.direct_len, Winograd::packed_len)
    }

    /// Floats of scratch.
    pub(super) fn scratch_len(&self) -> usize {
        self.padded_len() + self.winograd.as_ref().map_or(0, Winograd::scratch_len)
    }

    fn padded_len(&self) -> usize {
        self.padded.scratch_len(self.source.planes(self.channels[0]))
    }

    /// Packs the weights `weight(written, read, place)`; lanes beyond the channels become zero.
    pub(super) fn pack(&self, weight: impl Fn(usize, usize, [usize; 2]) -> f32, packed: &mut [f32]) {
        self.pack_once(weight, packed);
        self.derive(packed);
    }

    /// Makes what is derived from packed weights.
    pub(super) fn derive(&self, packed: &mut [f32]) {
        let [read, written] = [self.channels[0], blocks(self.channels[1])];
        self.derive_kernels(
            (0..written).flat_map(|block| (0..read).map(move |channel| (channel, block))),
            packed,
        );
    }

    /// Makes what is derived from the packed weights of some channels that are read, for some blocks of the result.
    pub(super) fn derive_kernels(&self, kernels: impl Iterator<Item = (usize, usize)>, packed: &mut [f32]) {
        if let Some(winograd) = &self.winograd {
            let (direct, derived) = packed.split_at_mut(self.direct_len);
            winograd.transform(kernels, &self.passes[0], direct, derived);
        }
    }

    /// Packs each weight once, in the order in which the passes' tiles meet them.
    pub(super) fn pack_once(&self, weight: impl Fn(usize, usize, [usize; 2]) -> f32, packed: &mut [f32]) {
        let packed = &mut packed[..self.direct_len];
        let channels: Vec<usize> = (0..self.channels[0]).collect();
        let mut lanes = packed.as_chunks_mut::<LANES>().0.iter_mut();
        if self.source == Source::Summed {
            return self.pack_summed(weight, lanes);
        }
        for pass in &self.passes {
            for group in &pass.groups {
                let blocks = group.block..group.block + group.blocks;
                for channels in channels.chunks(self.source.block_channels(self.channels[0])) {
                    for run in &pass.runs {
                        for (&read, &place) in
                            channels.iter().flat_map(|read| run.places.iter().map(move |place| (read, place)))
                        {
                            for (block, lanes) in blocks.clone().zip(lanes.by_ref()) {
                                self.pack_lanes(block, lanes, |written| weight(written, read, place));
                            }
                        }
                    }
                }
            }
        }
    }

    /// Packs weights whose lanes are channels that are read.
    fn pack_summed<'l>(
        &self,
        weight: impl Fn(usize, usize, [usize; 2]) -> f32,
        mut lanes: impl Iterator<Item = &'l mut [f32; LANES]>,
    ) {
        let places = |pass: &Pass| pass.runs.iter().flat_map(|run| run.places.clone()).collect::<Vec<_>>();
        for pass in &self.passes {
            let places = places(pass);
            for (block, &place) in
                (0..self.channels[0]).flat_map(|block| places.iter().map(move |place| (block, place)))
            {
                for (written, lanes) in (0..self.channels[1]).zip(lanes.by_ref()) {
                    *lanes = std::array::from_fn(|lane| weight(written, block * LANES + lane, place));
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

    /// Computes the result of an image, or adds it to what the target holds.
    ///
    /// The caller has checked the lengths.
    pub(super) fn run(
        &self,
        packed: &[f32],
        start: Start<'_>,
        image: &impl Pixels,
        target: &mut [f32],
        scratch: &mut [f32],
    ) {
        debug_assert_eq!(packed.len(), self.packed_len());
        debug_assert_eq!(target.len(), blocks(self.channels[1]) * self.pixels * LANES);
        if !self.is_covering && start != Start::Target {
            target.fill(0.0);
        }
        if self.passes.is_empty() {
            return;
        }
        let (packed, derived) = packed.split_at(self.direct_len);
        if self.source != Source::Lanewise {
            let (padded, scratch) = scratch.split_at_mut(self.padded_len());
            let source = self.padded.fill(image, 0..self.source.planes(self.channels[0]), padded);
            if let Some(winograd) = self.winograd.as_ref().filter(|way| way.is_tame(derived, source)) {
                return winograd.run(derived, start, source, target, scratch);
            }
            let mut operands = Operands { packed, start, source, target, pixels: self.pixels };
            for pass in &self.passes {
                pass.run(&pass.groups, &self.padded, &mut operands);
            }
            return;
        }
        // Lanes never meet other lanes, so one block after the other is padded and computed while it lies in the cache.
        for block in 0..blocks(self.channels[1]) {
            let source = self.padded.fill(image, block..block + 1, scratch);
            let mut operands = Operands { packed, start, source, target, pixels: self.pixels };
            for pass in &self.passes {
                pass.run(&pass.groups[block..=block], &self.padded, &mut operands);
            }
        }
    }
}

/// The phases of an axis, with as many pixels as whole tiles read. What is beyond the pads is zero too.
fn whole(mut phases: Vec<Phase>, side: Option<usize>) -> Vec<Phase> {
    if let Some(side) = side {
        // A tile reads two pixels more than it has.
        phases.iter_mut().for_each(|phase| phase.len = (phase.len - 2).next_multiple_of(side) + 2);
    }
    phases
}
