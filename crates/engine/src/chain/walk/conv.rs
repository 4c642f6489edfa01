//! Convolutions of parts of an image.

use crate::chain::walk::kernel::{LANES, Lanes, Run, outputs};
use crate::chain::walk::region::Region;
use crate::direct::conv::{Conv, Shape};

/// A convolution, its weights laid out for [`outputs`].
#[derive(Clone, Debug)]
pub(crate) struct WalkConv {
    pub(crate) shape: Shape,
    /// Runs of inputs: place of the window, first channel, and the rest of [`Run`].
    runs: Vec<(usize, usize, Run)>,
    /// Of each group of output channels, the weights in the order of `runs`.
    weights: Vec<Vec<Lanes>>,
    /// Vectors of lanes in a group: 1, 2 or 4.
    vectors: usize,
    bias: Option<Vec<f32>>,
}

/// Memory that is used again. Its content means nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConvScratch {
    pub(crate) source: Vec<f32>,
    bases: Vec<usize>,
    runs: Vec<Run>,
    one: Vec<[Lanes; 1]>,
    two: Vec<[Lanes; 2]>,
    four: Vec<[Lanes; 4]>,
}

impl WalkConv {
    /// `None` where weights would meet the zeros of the padding in another way than in the engine.
    pub(crate) fn new(conv: &Conv, weights: &[f32], bias: Option<Vec<f32>>) -> Option<Self> {
        let shape = conv.shape.clone();
        if shape.groups != 1 || !shape.is_image || weights.iter().any(|weight| !weight.is_finite()) {
            return None;
        }
        let window = shape.window();
        let taps: Vec<(usize, usize)> =
            conv.order.weights.iter().map(|&index| (index % window, index / window)).collect();
        let runs = runs_of(&taps, &conv.order.ends);
        let vectors = match shape.channels_out.div_ceil(LANES) {
            1 => 1,
            2 => 2,
            _ => 4,
        };
        let filter = shape.channels_in * window;
        let groups = shape.channels_out.div_ceil(vectors * LANES);
        let packed = (0..groups).map(|group| {
            let lane = |index: usize, vector: usize, lane: usize| {
                let channel = (group * vectors + vector) * LANES + lane;
                if channel < shape.channels_out { weights[channel * filter + index] } else { 0.0 }
            };
            let vectors_of = |&index: &usize| {
                (0..vectors).map(move |vector| std::array::from_fn(|at| lane(index, vector, at)))
            };
            conv.order.weights.iter().flat_map(vectors_of).collect()
        });
        let weights = packed.collect();
        Some(Self { shape, runs, weights, vectors, bias })
    }

    /// The part of the input that a region of outputs reads: first row, first column, rows, columns. It may lie beyond the
    /// input, in the padding.
    pub(crate) fn read_by(&self, region: &Region) -> (isize, isize, usize, usize) {
        let (rows, columns) = (&self.shape.rows, &self.shape.columns);
        let of = |axis: &crate::direct::conv::Axis, range: &std::ops::Range<usize>| {
            let first = (range.start * axis.stride) as isize - axis.before as isize;
            (first, (range.len() - 1) * axis.stride + (axis.window - 1) * axis.dilation + 1)
        };
        let ((row, height), (column, width)) = (of(rows, &region.rows), of(columns, &region.columns));
        (row, column, height, width)
    }

    /// Computes a region of the output into `out`, channels last, from what it reads in `scratch.source`, channels last,
    /// `width` places a row.
    pub(crate) fn compute(&self, region: &Region, width: usize, scratch: &mut ConvScratch, out: &mut [f32]) {
        let Self { shape, .. } = self;
        let channels = shape.channels_in;
        scratch.bases.clear();
        for row in 0..region.rows.len() {
            let first = row * shape.rows.stride * width;
            let place = |column| (first + column * shape.columns.stride) * channels;
            scratch.bases.extend((0..region.columns.len()).map(place));
        }
        scratch.runs.clear();
        scratch.runs.extend(self.runs.iter().map(|&(place, channel, run)| {
            let row = place / shape.columns.window * shape.rows.dilation;
            let column = place % shape.columns.window * shape.columns.dilation;
            Run { offset: (row * width + column) * channels + channel, ..run }
        }));
        let ConvScratch { source, bases, runs, one, two, four } = scratch;
        for (group, weights) in self.weights.iter().enumerate() {
            let first = group * self.vectors * LANES;
            let (region, from) =
                (region, (source.as_slice(), bases.as_slice(), runs.as_slice(), weights.as_slice()));
            match self.vectors {
                1 => self.compute_group(region, first, from, one, out),
                2 => self.compute_group(region, first, from, two, out),
                _ => self.compute_group(region, first, from, four, out),
            }
        }
    }

    fn compute_group<const V: usize>(
        &self,
        region: &Region,
        first: usize,
        (source, bases, runs, weights): (&[f32], &[usize], &[Run], &[Lanes]),
        found: &mut Vec<[Lanes; V]>,
        out: &mut [f32],
    ) {
        found.resize(bases.len(), [[0.0; LANES]; V]);
        outputs(source, bases, runs, weights, found);
        self.write(region, first, found.as_flattened(), V, out);
    }

    fn write(&self, region: &Region, first: usize, found: &[Lanes], vectors: usize, out: &mut [f32]) {
        let count = (self.shape.channels_out - first).min(vectors * LANES);
        let mut found = found.as_flattened().chunks_exact(vectors * LANES);
        for row in region.rows.clone() {
            for column in region.columns.clone() {
                let at = (row * self.shape.columns.output + column) * self.shape.channels_out + first;
                let Some(found) = found.next() else { return };
                let out = &mut out[at..at + count];
                out.copy_from_slice(&found[..count]);
                if let Some(bias) = &self.bias {
                    out.iter_mut().zip(&bias[first..]).for_each(|(out, bias)| *out += bias);
                }
            }
        }
    }
}

/// Joins inputs of one place and neighbouring channels, as long as they are of one block.
fn runs_of(taps: &[(usize, usize)], ends: &[usize]) -> Vec<(usize, usize, Run)> {
    let mut runs = Vec::new();
    let mut from = 0;
    for &end in ends {
        while from < end {
            let (place, channel) = taps[from];
            let follows = |count: usize| {
                taps[from..end]
                    .iter()
                    .take(count)
                    .zip(channel..)
                    .filter(|(tap, next)| **tap == (place, *next))
                    .count()
                    == count
            };
            let len = [LANES, 4].into_iter().find(|&len| follows(len)).unwrap_or(1);
            from += len;
            runs.push((place, channel, Run { offset: 0, len, ends: from == end }));
        }
    }
    runs
}
