//! Computing what nodes give where it can differ from the golden values.

use std::ops::Range;

use crate::chain::layout::same_bits;
use crate::chain::walk::deltas::Delta;
use crate::chain::walk::region::Region;
use crate::chain::walk::step::{Kind, Step};
use crate::chain::walk::walker::Walker;

impl Walker<'_> {
    /// Computes what a node gives where it can differ.
    pub(super) fn step(&mut self, step: &Step) {
        if let Kind::Conv(_) = step.kind {
            // Where nothing differs, nothing spreads.
            self.tighten(step.inputs[0]);
        }
        let [first, second] = step.inputs.map(|input| &self.scratch.deltas.of(input).region);
        let reached = first.join(second);
        let region = match &step.kind {
            Kind::Conv(conv) if !reached.is_empty() => reached.after(&conv.shape),
            _ => reached,
        };
        if region.is_empty() {
            self.scratch.deltas.of_mut(step.output).region = region;
            return;
        }
        let elements = self.walk.dims(step.output).iter().product();
        self.scratch.deltas.fresh(step.output, region.clone(), elements);
        let mut out = std::mem::take(&mut self.scratch.deltas.of_mut(step.output).values);
        match &step.kind {
            Kind::Conv(conv) => {
                let (row, column, height, width) = conv.read_by(&region);
                let mut source = std::mem::take(&mut self.scratch.conv.source);
                source.resize(height * width * conv.shape.channels_in, 0.0);
                self.gather(step.inputs[0], (row, column), width, &mut source);
                self.scratch.conv.source = source;
                conv.compute(&region, width, &mut self.scratch.conv, &mut out);
            }
            Kind::Scale { factors, terms } => self.each_line(step, &region, &mut out, |line, from| {
                let channels = factors.len();
                for (out, from) in line.chunks_exact_mut(channels).zip(from.chunks_exact(channels)) {
                    let by_channel = factors.iter().zip(terms);
                    for ((out, x), (factor, term)) in out.iter_mut().zip(from).zip(by_channel) {
                        *out = x * factor + term;
                    }
                }
            }),
            Kind::Relu => self.each_line(step, &region, &mut out, |line, from| {
                line.iter_mut().zip(from).for_each(|(out, &x)| *out = relu(x));
            }),
            Kind::Add => self.add(step, &region, &mut out),
        }
        let delta = self.scratch.deltas.of_mut(step.output);
        (delta.values, delta.is_loose) = (out, true);
    }

    /// Computes lines of the output from the same lines of the input.
    fn each_line(&self, step: &Step, region: &Region, out: &mut [f32], compute: impl Fn(&mut [f32], &[f32])) {
        let [channels, _, columns] = self.walk.dims(step.output);
        let from = &self.scratch.deltas.of(step.inputs[0]).values;
        for line in region.lines(columns, channels) {
            compute(&mut out[line.clone()], &from[line]);
        }
    }

    fn add(&mut self, step: &Step, region: &Region, out: &mut [f32]) {
        let [channels, _, columns] = self.walk.dims(step.output);
        let width = region.columns.len();
        let corner = (region.rows.start as isize, region.columns.start as isize);
        let len = region.rows.len() * width * channels;
        let mut one = std::mem::take(&mut self.scratch.conv.source);
        let mut other = std::mem::take(&mut self.scratch.other);
        one.resize(len.max(one.len()), 0.0);
        other.resize(len.max(other.len()), 0.0);
        self.gather(step.inputs[0], corner, width, &mut one[..len]);
        self.gather(step.inputs[1], corner, width, &mut other[..len]);
        let sums = one[..len].chunks_exact(width * channels).zip(other.chunks_exact(width * channels));
        for (line, (one, other)) in region.lines(columns, channels).zip(sums) {
            out[line].iter_mut().zip(one).zip(other).for_each(|((out, a), b)| *out = a + b);
        }
        (self.scratch.conv.source, self.scratch.other) = (one, other);
    }

    /// Copies a part of a value: the golden one with what differs; 0 beyond its edges.
    fn gather(&self, value: usize, (row, column): (isize, isize), width: usize, to: &mut [f32]) {
        let [channels, rows, columns] = self.walk.dims(value);
        let golden = self.golden(value).unwrap_or_default();
        let Delta { region, values, .. } = self.scratch.deltas.of(value);
        let inside = Range {
            start: (-column).max(0) as usize,
            end: (columns as isize - column).clamp(0, width as isize) as usize,
        };
        for (line, row) in to.chunks_exact_mut(width * channels).zip(row..) {
            let Some(row) = usize::try_from(row).ok().filter(|&row| row < rows) else {
                line.fill(0.0);
                continue;
            };
            line[..inside.start * channels].fill(0.0);
            line[inside.end * channels..].fill(0.0);
            // From here on in columns of the value.
            let all = (inside.start as isize + column) as usize..(inside.end as isize + column) as usize;
            let own = if region.rows.contains(&row) {
                region.columns.start.max(all.start)..region.columns.end.min(all.end)
            } else {
                all.end..all.end
            };
            let own = if own.is_empty() { all.end..all.end } else { own };
            let mut copy = |places: Range<usize>, from: &[f32]| {
                let at = (places.start as isize - column) as usize * channels;
                let from = &from[(row * columns + places.start) * channels..][..places.len() * channels];
                line[at..at + from.len()].copy_from_slice(from);
            };
            copy(all.start..own.start, golden);
            if !own.is_empty() {
                copy(own.clone(), values);
            }
            copy(own.end..all.end, golden);
        }
    }

    /// Takes from a value's region the rim that is golden.
    pub(super) fn tighten(&mut self, value: usize) {
        let delta = self.scratch.deltas.of(value);
        let Some(golden) = self.golden(value).filter(|_| delta.is_loose && !delta.region.is_empty()) else {
            return;
        };
        let [channels, _, columns] = self.walk.dims(value);
        let differs = |lines: Range<usize>, places: Range<usize>| {
            let mut lines = Region { rows: lines, columns: places }.lines(columns, channels);
            lines.any(|line| {
                let places = delta.values[line.clone()].chunks_exact(channels);
                places.zip(golden[line].chunks_exact(channels)).any(|(a, b)| !same_bits(a, b))
            })
        };
        let region = delta.region.clone().shrunk(differs);
        let delta = self.scratch.deltas.of_mut(value);
        (delta.region, delta.is_loose) = (region, false);
    }
}

/// As the engine: NaN stays NaN, and so does -0.
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}
