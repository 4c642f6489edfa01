//! Convolutions.
//!
//! The input is copied into planes with their padding, so that for each place of the window the inputs of all outputs of a
//! channel lie one after the other (with strides, one plane for each remainder). Then a channel is one pass over its
//! weights. What is computed between the rows of the output is thrown away.

use std::ops::Range;

use bitquake_tensors::onnx::{AttributeValue, Node};

use super::order::Order;
use super::sums::{Blocks, NOTHING, Tap, runs, skipping};
use super::touched::{Part, Ranges};
use super::{DirectError, Inputs, Scratch, Stored, StoredValues, Touched, int_attribute, sizes_attribute};

/// A convolution of one image; with one spatial dimension, that one is the columns and there is one row.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    pub(crate) weight: Stored,
    pub(crate) bias: Option<Stored>,
    pub(crate) shape: Shape,
    pub(crate) order: Order,
    /// The remainders of places by the strides, one plane each: of rows and of columns.
    phases: Vec<(usize, usize)>,
    /// For each weight of a channel, where its run of inputs begins.
    offsets: Vec<usize>,
}

/// The sizes of a convolution.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) groups: usize,
    /// Input channels of one group.
    pub(crate) channels_in: usize,
    /// Output channels of all groups.
    pub(crate) channels_out: usize,
    pub(crate) rows: Axis,
    pub(crate) columns: Axis,
    /// Whether there are two spatial dimensions.
    pub(crate) is_image: bool,
}

/// One spatial dimension.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) window: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    /// Padding before the first and after the last input.
    pub(crate) before: usize,
    after: usize,
}

impl Conv {
    pub(super) fn new(node: &Node, inputs: &Inputs) -> Option<Conv> {
        let (weight, weight_dims) = inputs.stored_at(1)?;
        let shape = Shape::new(node, inputs.activation_at(0)?, weight_dims)?;
        let bias = match inputs.has(2) {
            false => None,
            true => Some(inputs.stored_at(2)?.0).filter(|bias| bias.elements == shape.channels_out),
        };
        if inputs.has(2) && bias.is_none() {
            return None;
        }
        if shape.is_depthwise_multiplied() && shape.is_padded() {
            return None;
        }
        let phases = shape.phases();
        let offsets =
            (0..shape.channels_in * shape.window()).map(|index| shape.offset(index, &phases)).collect();
        let order = Order::of_conv(&shape);
        Some(Conv { weight, bias, order, phases, offsets, shape })
    }

    pub(super) fn output_len(&self) -> usize {
        self.shape.channels_out * self.shape.outputs()
    }

    pub(super) fn touch(&self, role: usize, element: usize, touched: &mut Touched) {
        let filter = self.offsets.len();
        match role {
            0 if self.reached(element % self.shape.window()).is_some() => {
                touched.tap_of(element / filter, element % self.shape.window());
            }
            0 => {}
            _ => touched.all_of(element),
        }
    }

    /// The rows and columns of outputs that a place of the window reaches when its weight changes.
    fn reached(&self, place: usize) -> Option<[Range<usize>; 2]> {
        if self.order.multiplies_padding { Some(self.shape.all()) } else { self.shape.reached(place) }
    }

    pub(super) fn ranges(&self, touched: &Touched, ranges: &mut Ranges) {
        let outputs = self.shape.outputs();
        for (channel, part) in touched.iter() {
            self.rectangles(part, |[rows, columns]| {
                for row in rows {
                    let start = channel * outputs + row * self.shape.columns.output;
                    ranges.push(start + columns.start..start + columns.end);
                }
            });
        }
    }

    fn rectangles(&self, part: &Part, mut each: impl FnMut([Range<usize>; 2])) {
        match part {
            Part::All => each(self.shape.all()),
            Part::Taps(_) if self.order.multiplies_padding => each(self.shape.all()),
            Part::Taps(places) => places.iter().filter_map(|&place| self.shape.reached(place)).for_each(each),
        }
    }

    pub(super) fn recompute(
        &self,
        touched: &Touched,
        input: &[f32],
        stored: &StoredValues<'_>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), DirectError> {
        let weights = self.weight.values(stored)?;
        let bias = self.bias.as_ref().map(|bias| bias.values(stored)).transpose()?;
        let (outputs, filter) = (self.shape.outputs(), self.offsets.len());
        let Scratch { source, sums, taps } = scratch;
        let mut filled = None;
        for (channel, part) in touched.iter() {
            let group = channel / (self.shape.channels_out / self.shape.groups);
            let source = if self.shape.is_plain() {
                &input[group * self.shape.channels_in * self.shape.plane()..]
            } else {
                if filled != Some(group) {
                    self.fill(group, input, source);
                    filled = Some(group);
                }
                source.as_slice()
            };
            let weights = &weights[channel * filter..][..filter];
            self.sum(weights, source, taps, sums);
            let bias = bias.as_ref().map_or(NOTHING, |bias| bias[channel]);
            let out = &mut out[channel * outputs..][..outputs];
            let finite = weights.iter().all(|weight| weight.is_finite());
            match part {
                // Times zeros of the padding, a weight that is no number reaches every output, and a finite one does not.
                Part::Taps(places) if finite || !self.order.multiplies_padding => {
                    let reached = places.iter().filter_map(|&place| self.shape.reached(place));
                    reached.for_each(|place| self.write(place, sums, bias, out));
                }
                _ => self.write(self.shape.all(), sums, bias, out),
            }
        }
        Ok(())
    }

    fn write(&self, [rows, columns]: [Range<usize>; 2], sums: &[f32], bias: f32, out: &mut [f32]) {
        let width = self.shape.width();
        for row in rows {
            let sums = &sums[row * width..][columns.clone()];
            let out = &mut out[row * self.shape.columns.output..][columns.clone()];
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum + bias);
        }
    }

    /// The sums of one channel without its bias, `width` from row to row.
    fn sum(&self, weights: &[f32], source: &[f32], taps: &mut Vec<Tap>, sums: &mut Vec<f32>) {
        taps.clear();
        taps.extend(
            self.order
                .weights
                .iter()
                .map(|&index| Tap { offset: self.offsets[index], weight: weights[index] }),
        );
        let blocks = Blocks { ends: &self.order.ends, factor: 1.0, start: NOTHING };
        sums.clear();
        sums.resize(self.shape.span(), 0.0);
        let finite = weights.iter().all(|weight| weight.is_finite());
        if finite || self.order.multiplies_padding || !self.shape.is_padded() {
            runs(source, taps, blocks, sums);
        } else {
            self.sum_skipping(source, taps, blocks, sums);
        }
    }

    fn sum_skipping(&self, source: &[f32], taps: &[Tap], blocks: Blocks<'_>, sums: &mut [f32]) {
        let (window, width) = (self.shape.window(), self.shape.width());
        for row in 0..self.shape.rows.output {
            for column in 0..self.shape.columns.output {
                let at = row * width + column;
                sums[at] = skipping(source, taps, blocks, |tap| {
                    let place = self.order.weights[tap] % window;
                    self.shape.is_inside(place, row, column).then(|| taps[tap].offset + at)
                });
            }
        }
    }

    /// Copies the channels of a group into planes.
    fn fill(&self, group: usize, input: &[f32], source: &mut Vec<f32>) {
        let (rows, columns) = (&self.shape.rows, &self.shape.columns);
        let (plane, width) = (self.shape.plane(), self.shape.width());
        let used = self.shape.channels_in * self.phases.len() * plane;
        source.clear();
        source.resize(used, 0.0);
        let size = rows.input * columns.input;
        let input = input[group * self.shape.channels_in * size..].chunks_exact(size);
        let planes = source.chunks_exact_mut(plane * self.phases.len());
        for (input, planes) in input.zip(planes).take(self.shape.channels_in) {
            for (plane, &(row_phase, column_phase)) in planes.chunks_exact_mut(plane).zip(&self.phases) {
                for (row, line) in plane.chunks_exact_mut(width).enumerate() {
                    if let Some(row) = rows.input_at(row, row_phase) {
                        columns.copy(&input[row * columns.input..][..columns.input], column_phase, line);
                    }
                }
            }
        }
    }
}

impl Shape {
    fn new(node: &Node, input: &[usize], weight: &[usize]) -> Option<Shape> {
        let (&channels, spatial) = input.split_first()?;
        let [channels_out, channels_in, window @ ..] = weight else { return None };
        let groups = usize::try_from(int_attribute(node, "group", 1)?).ok().filter(|&groups| groups > 0)?;
        let fits = channels_in.checked_mul(groups) == Some(channels)
            && channels_out.is_multiple_of(groups)
            && window.len() == spatial.len();
        if !fits {
            return None;
        }
        let (rows, columns) = match *axes(node, spatial, window)?.as_slice() {
            [columns] => (Axis::ONE, columns),
            [rows, columns] => (rows, columns),
            _ => return None,
        };
        let is_image = spatial.len() == 2;
        Some(Shape {
            groups,
            channels_in: *channels_in,
            channels_out: *channels_out,
            rows,
            columns,
            is_image,
        })
    }

    /// Places of the window.
    pub(crate) fn window(&self) -> usize {
        self.rows.window * self.columns.window
    }

    /// Outputs of one channel.
    pub(super) fn outputs(&self) -> usize {
        self.rows.output * self.columns.output
    }

    pub(crate) fn is_padded(&self) -> bool {
        [self.rows, self.columns].iter().any(|axis| axis.before + axis.after > 0)
    }

    /// Whether each input channel gives several output channels and no other gives them: for some of those the engine has a
    /// way of its own, and which it takes, so what it makes of padding, is not known.
    fn is_depthwise_multiplied(&self) -> bool {
        self.groups > 1 && self.channels_in == 1 && self.channels_out > self.groups
    }

    fn all(&self) -> [Range<usize>; 2] {
        [0..self.rows.output, 0..self.columns.output]
    }

    /// The outputs for which a place of the window is not in the padding; `None` if there are none.
    fn reached(&self, place: usize) -> Option<[Range<usize>; 2]> {
        let reached = [
            self.rows.reached(place / self.columns.window),
            self.columns.reached(place % self.columns.window),
        ];
        reached.iter().all(|range| !range.is_empty()).then_some(reached)
    }

    /// Whether the planes are the channels of the input as they are.
    fn is_plain(&self) -> bool {
        !self.is_padded() && [self.rows, self.columns].iter().all(|axis| axis.stride == 1)
    }

    fn is_inside(&self, place: usize, row: usize, column: usize) -> bool {
        self.rows.reached(place / self.columns.window).contains(&row)
            && self.columns.reached(place % self.columns.window).contains(&column)
    }

    /// Elements from one row of a plane to the next.
    fn width(&self) -> usize {
        self.columns.planned()
    }

    /// Elements of a plane.
    fn plane(&self) -> usize {
        self.rows.planned() * self.columns.planned()
    }

    /// From the first output of a channel to its last, with what lies between rows.
    fn span(&self) -> usize {
        (self.rows.output - 1) * self.width() + self.columns.output
    }

    fn phases(&self) -> Vec<(usize, usize)> {
        let rows = self.rows.phases();
        rows.into_iter()
            .flat_map(|row| self.columns.phases().into_iter().map(move |column| (row, column)))
            .collect()
    }

    /// Where the inputs of a channel's weight begin.
    fn offset(&self, index: usize, phases: &[(usize, usize)]) -> usize {
        let (channel, place) = (index / self.window(), index % self.window());
        let (row, row_phase) = self.rows.planned_tap(place / self.columns.window);
        let (column, column_phase) = self.columns.planned_tap(place % self.columns.window);
        let phase = phases.iter().position(|&phase| phase == (row_phase, column_phase)).unwrap_or_default();
        (channel * phases.len() + phase) * self.plane() + row * self.width() + column
    }
}

impl Axis {
    /// The rows of what has none.
    const ONE: Axis = Axis { input: 1, output: 1, window: 1, stride: 1, dilation: 1, before: 0, after: 0 };

    /// Outputs for which this place of the window reads an input.
    fn reached(&self, tap: usize) -> Range<usize> {
        let tap = tap * self.dilation;
        let first = self.before.saturating_sub(tap).div_ceil(self.stride);
        let end = (self.input + self.before).saturating_sub(tap).div_ceil(self.stride).min(self.output);
        first.min(end)..end
    }

    /// The remainders, by the stride, of the places of the window.
    fn phases(&self) -> Vec<usize> {
        let mut phases: Vec<usize> = (0..self.window).map(|tap| self.planned_tap(tap).1).collect();
        phases.sort_unstable();
        phases.dedup();
        phases
    }

    /// The place of the window in its plane, and the plane.
    fn planned_tap(&self, tap: usize) -> (usize, usize) {
        (tap * self.dilation / self.stride, tap * self.dilation % self.stride)
    }

    /// The size of a plane.
    fn planned(&self) -> usize {
        self.output + self.planned_tap(self.window - 1).0
    }

    /// Which input lies at a place of a plane.
    fn input_at(&self, place: usize, phase: usize) -> Option<usize> {
        (place * self.stride + phase).checked_sub(self.before).filter(|&at| at < self.input)
    }

    /// Copies one line of the input into one of a plane.
    fn copy(&self, input: &[f32], phase: usize, line: &mut [f32]) {
        let first = self.before.saturating_sub(phase).div_ceil(self.stride);
        let Some(line) = line.get_mut(first..) else { return };
        let start = first * self.stride + phase - self.before;
        let Some(input) = input.get(start..) else { return };
        if self.stride == 1 {
            let count = line.len().min(input.len());
            line[..count].copy_from_slice(&input[..count]);
        } else {
            line.iter_mut().zip(input.iter().step_by(self.stride)).for_each(|(to, from)| *to = *from);
        }
    }
}

/// The spatial dimensions, with the attributes and their defaults.
fn axes(node: &Node, spatial: &[usize], window: &[usize]) -> Option<Vec<Axis>> {
    let rank = spatial.len();
    if node.attribute("kernel_shape").is_some() && sizes_attribute(node, "kernel_shape", rank, 1)? != window {
        return None;
    }
    let strides = sizes_attribute(node, "strides", rank, 1)?;
    let dilations = sizes_attribute(node, "dilations", rank, 1)?;
    let pads = sizes_attribute(node, "pads", 2 * rank, 0)?;
    let auto_pad = match node.attribute("auto_pad") {
        None => "NOTSET",
        Some(AttributeValue::String(text)) => text,
        Some(_) => return None,
    };
    let axis = |at: usize| {
        let (stride, dilation) = (strides[at], dilations[at]);
        if stride == 0 || dilation == 0 || window[at] == 0 {
            return None;
        }
        let reach = (window[at] - 1).checked_mul(dilation)?.checked_add(1)?;
        let (before, after) = match auto_pad {
            "NOTSET" | "" => (pads[at], pads[rank + at]),
            "VALID" => (0, 0),
            "SAME_UPPER" | "SAME_LOWER" => {
                let all = ((spatial[at].div_ceil(stride) - 1) * stride + reach).saturating_sub(spatial[at]);
                if auto_pad == "SAME_UPPER" { (all / 2, all - all / 2) } else { (all - all / 2, all / 2) }
            }
            _ => return None,
        };
        let output = (spatial[at] + before + after).checked_sub(reach)? / stride + 1;
        Some(Axis { input: spatial[at], output, window: window[at], stride, dilation, before, after })
    };
    (0..rank).map(axis).collect()
}
