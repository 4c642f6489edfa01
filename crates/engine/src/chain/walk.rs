//! Following a fault through one image, as far as it reaches.
//!
//! A changed element of an image changes few outputs of the next convolution: a window around it. Running links would
//! compute the whole image; a [`Walker`] computes the [`Region`] in which values can differ, node by node, and takes all else
//! from the golden run. Where a region comes out golden bit for bit at its rim it shrinks, and a row whose regions are all
//! empty is golden again.
//!
//! The arithmetic is that of the engine, in its order (`direct`). That this holds to the bit is not believed but tried: a link is
//! walked only if the walk reproduces its golden values for some images ([`Walk::proved`]). What cannot be walked is left to
//! links: the row is taken up there with the values that it has.

mod conv;
mod kernel;
mod region;
mod step;

use std::collections::BTreeMap;
use std::ops::Range;

use bitquake_data::Dataset;

use crate::chain::golden::GoldenRun;
use crate::chain::plan::ChainPlan;
use crate::chain::rows::{RowFaults, RowValues};
use crate::chain::state::{Carried, same_bits};
use crate::error::EngineError;
use crate::model::Model;
use conv::ConvScratch;
use region::Region;
use step::{Kind, Step};

/// Images on which a link must reproduce its golden values before it is walked.
const PROOFS: usize = 3;

/// The nodes that can be walked, link by link.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    /// Of each link, its nodes; none if it cannot be walked.
    links: Vec<Option<Vec<Step>>>,
    values: Vec<WalkValue>,
}

/// A value of one image.
#[derive(Clone, Debug)]
struct WalkValue {
    /// Channels, rows, columns; none for other values.
    dims: Option<[usize; 3]>,
    /// Which value of the plan it is.
    planned: Option<usize>,
}

impl Walk {
    /// Looks at the nodes of a plan. What the walk computes is yet to be proved.
    pub(crate) fn new(model: &Model, plan: &ChainPlan) -> Option<Self> {
        let nodes = model.image.model_layout().ok()?.model.graph.nodes;
        let mut walk = Self { links: Vec::new(), values: Vec::new() };
        // Values of the plan have the same places in the walk.
        for (at, value) in plan.values.iter().enumerate() {
            let dims: Vec<usize> = value.dims.iter().map(|&dim| dim as usize).collect();
            walk.values.push(WalkValue { dims: dims.try_into().ok(), planned: Some(at) });
        }
        let mut names: BTreeMap<&str, usize> =
            plan.values.iter().zip(0..).map(|(value, at)| (value.name.as_str(), at)).collect();
        for (link, place) in plan.links.iter().zip(0..) {
            let alive = plan.boundaries[place].iter().chain(&plan.boundaries[place + 1]);
            let are_images = alive.into_iter().all(|&value| walk.values[value].dims.is_some());
            let mut steps = Vec::new();
            for node in link.nodes.iter().map_while(|&node| nodes.get(node)) {
                let Some(kind) = Kind::new(node, model, &plan.dims) else { break };
                let mut of = |name: &String| {
                    let at = *names.get(name.as_str()).unwrap_or(&walk.values.len());
                    if at == walk.values.len() {
                        let dims = plan.dims.get(name).cloned().and_then(|dims| dims.try_into().ok());
                        walk.values.push(WalkValue { dims, planned: None });
                    }
                    at
                };
                let first = of(&node.inputs[0]);
                let second = if matches!(kind, Kind::Add) { of(&node.inputs[1]) } else { first };
                let output = of(&node.outputs[0]);
                names.insert(nodes[link.nodes[steps.len()]].outputs[0].as_str(), output);
                steps.push(Step { kind, inputs: [first, second], output });
            }
            let all = steps.len() == link.nodes.len() && !steps.is_empty() && are_images;
            walk.links.push(all.then_some(steps));
        }
        walk.links.iter().any(Option::is_some).then_some(walk)
    }

    /// The walk without the links whose golden values it does not reproduce bit for bit, or for which there is no room for
    /// the golden values that it needs.
    pub(crate) fn proved(mut self, plan: &ChainPlan, golden: &GoldenRun, data: &Dataset) -> Option<Self> {
        for link in 0..self.links.len() {
            let Some(steps) = self.links[link].take() else { continue };
            let is_kept =
                |value: &usize| self.values[*value].planned.is_some_and(|value| golden.keeps(value));
            let kept = golden.kept[link] && golden.kept[link + 1];
            let has_golden = |step: &Step| match step.kind {
                Kind::Conv(_) | Kind::Add => step.inputs.iter().all(is_kept),
                _ => true,
            };
            if kept && plan.boundaries[link + 1].iter().all(is_kept) && steps.iter().all(has_golden) {
                self.links[link] = Some(steps);
                let mut walker = Walker::new(&self, plan, golden, data);
                let proved = (0..PROOFS.min(data.len())).all(|image| walker.reproduces(link, image));
                if !proved {
                    self.links[link] = None;
                }
            }
        }
        self.links.iter().any(Option::is_some).then_some(self)
    }

    /// How many links can be walked.
    pub(crate) fn links(&self) -> usize {
        self.links.iter().flatten().count()
    }

    /// Whether rows can be walked from a boundary on.
    pub(crate) fn starts_at(&self, boundary: usize) -> bool {
        self.links.get(boundary).is_some_and(Option::is_some)
    }
}

/// How a walk ended.
pub(crate) enum End {
    /// With the golden values.
    Golden,
    /// At a boundary where links must go on.
    At(Carried),
}

/// Where a value differs from the golden one, and what it is there.
#[derive(Default)]
struct Delta {
    region: Region,
    /// All places, channels last; only those of the region mean something.
    values: Vec<f32>,
}

/// Walks rows, one after the other.
pub(crate) struct Walker<'w> {
    walk: &'w Walk,
    plan: &'w ChainPlan,
    golden: &'w GoldenRun,
    data: &'w Dataset,
    image: usize,
    deltas: Vec<Delta>,
    conv: ConvScratch,
    other: Vec<f32>,
}

impl<'w> Walker<'w> {
    pub(crate) fn new(walk: &'w Walk, plan: &'w ChainPlan, golden: &'w GoldenRun, data: &'w Dataset) -> Self {
        let deltas = walk.values.iter().map(|_| Delta::default()).collect();
        Self { walk, plan, golden, data, image: 0, deltas, conv: ConvScratch::default(), other: Vec::new() }
    }

    /// Follows the faults of a row, the first of which are at a boundary where walks can start.
    pub(crate) fn row(
        &mut self,
        image: usize,
        row: usize,
        faults: &dyn RowFaults,
    ) -> Result<End, EngineError> {
        self.image = image;
        self.deltas.iter_mut().for_each(|delta| delta.region = Region::default());
        let stops = faults.stops(row);
        let mut passed = 0;
        let mut place = stops.first().map_or(0, |stop| stop.boundary);
        loop {
            let is_golden = self.is_golden();
            match stops.get(passed) {
                Some(stop) if stop.boundary == place || is_golden => {
                    place = stop.boundary;
                    if stop.looks_back || !self.walk.starts_at(place) {
                        return Ok(End::At(self.carried(row, place, passed)));
                    }
                    self.edit(place, row, faults)?;
                    passed += 1;
                }
                None if is_golden => return Ok(End::Golden),
                _ => {
                    let Some(steps) = self.walk.links.get(place).and_then(Option::as_deref) else {
                        return Ok(End::At(self.carried(row, place, passed)));
                    };
                    steps.iter().for_each(|step| self.step(step));
                    place += 1;
                    self.forget(place);
                }
            }
        }
    }

    fn is_golden(&self) -> bool {
        self.deltas.iter().all(|delta| delta.region.is_empty())
    }

    /// Forgets values that are not alive at a boundary.
    fn forget(&mut self, place: usize) {
        let alive = &self.plan.boundaries[place];
        for (value, delta) in self.deltas.iter_mut().enumerate() {
            if !alive.contains(&value) {
                delta.region = Region::default();
            }
        }
    }

    /// Applies the faults that a row has at a boundary.
    fn edit(&mut self, place: usize, row: usize, faults: &dyn RowFaults) -> Result<(), EngineError> {
        let alive = &self.plan.boundaries[place];
        let mut rows: Vec<Vec<f32>> = alive.iter().map(|&value| self.planar(value)).collect();
        let named = alive.iter().zip(&mut rows);
        let here = named.map(|(&value, row)| (self.plan.values[value].name.as_str(), row.as_mut_slice()));
        faults.apply(row, place, &mut RowValues { here: here.collect(), before: Vec::new() })?;
        for (&value, row) in alive.iter().zip(&rows) {
            self.take(value, row);
        }
        Ok(())
    }

    /// The values of a row at a boundary, for links to go on with.
    fn carried(&self, row: usize, place: usize, passed: usize) -> Carried {
        let alive = self.plan.boundaries[place].iter();
        let values = (!self.is_golden()).then(|| alive.map(|&value| (value, self.planar(value))).collect());
        Carried { row, place, passed, values }
    }

    /// The golden values of a value that is kept, channels first.
    fn golden_row(&self, value: usize) -> Option<&'w [f32]> {
        self.golden.row(self.walk.values[value].planned?, self.image, self.plan, self.data)
    }

    fn dims(&self, value: usize) -> [usize; 3] {
        // Links with other values are not walked.
        self.walk.values[value].dims.unwrap_or_default()
    }

    /// The whole value, channels first.
    fn planar(&self, value: usize) -> Vec<f32> {
        let mut row = self.golden_row(value).unwrap_or_default().to_vec();
        let Delta { region, values } = &self.deltas[value];
        if region.is_empty() {
            return row;
        }
        let [channels, rows, columns] = self.dims(value);
        for (channel, plane) in row.chunks_exact_mut(rows * columns).enumerate() {
            for line in region.rows.clone() {
                for column in region.columns.clone() {
                    let at = line * columns + column;
                    plane[at] = values[at * channels + channel];
                }
            }
        }
        row
    }

    /// Takes a value as it is now, channels first.
    fn take(&mut self, value: usize, row: &[f32]) {
        let Some(golden) = self.golden_row(value) else { return };
        let [channels, rows, columns] = self.dims(value);
        let mut region = Region::default();
        for (at, (plane, golden)) in row
            .chunks_exact(columns)
            .zip(golden.chunks_exact(columns))
            .enumerate()
            .filter(|(_, (a, b))| !same_bits(a, b))
        {
            let line = at % rows;
            let differs = |column: &usize| plane[*column].to_bits() != golden[*column].to_bits();
            let first = (0..columns).find(differs).unwrap_or(0);
            let last = (0..columns).rfind(differs).unwrap_or(0);
            region = region.join(&Region { rows: line..line + 1, columns: first..last + 1 });
        }
        let delta = self.fresh(value, region.clone());
        for line in region.rows {
            for column in region.columns.clone() {
                let at = line * columns + column;
                for channel in 0..channels {
                    delta[at * channels + channel] = row[channel * rows * columns + at];
                }
            }
        }
    }

    /// Gives a value a region, and the memory to fill it.
    fn fresh(&mut self, value: usize, region: Region) -> &mut [f32] {
        let len = self.dims(value).iter().product();
        let delta = &mut self.deltas[value];
        delta.region = region;
        delta.values.resize(len, 0.0);
        &mut delta.values
    }

    /// Computes what a node gives where it can differ.
    fn step(&mut self, step: &Step) {
        let [first, second] = step.inputs;
        let reached = self.deltas[first].region.join(&self.deltas[second].region);
        let region = match &step.kind {
            Kind::Conv(conv) if !reached.is_empty() => reached.after(&conv.shape),
            _ => reached,
        };
        if region.is_empty() {
            self.deltas[step.output].region = Region::default();
            return;
        }
        self.fresh(step.output, region.clone());
        let mut out = std::mem::take(&mut self.deltas[step.output].values);
        match &step.kind {
            Kind::Conv(conv) => {
                let (row, column, height, width) = conv.read_by(&region);
                let mut source = std::mem::take(&mut self.conv.source);
                source.resize(height * width * conv.shape.channels_in, 0.0);
                self.gather(first, (row, column), width, &mut source);
                self.conv.source = source;
                conv.compute(&region, width, &mut self.conv, &mut out);
            }
            Kind::Scale(factors) => self.each_line(step, &region, &mut out, |line, from| {
                let pixels = line.chunks_exact_mut(factors.len()).zip(from.chunks_exact(factors.len()));
                for (out, from) in pixels {
                    for ((out, x), (factor, term)) in out.iter_mut().zip(from).zip(factors) {
                        *out = x * factor + term;
                    }
                }
            }),
            Kind::Relu => self.each_line(step, &region, &mut out, |line, from| {
                line.iter_mut().zip(from).for_each(|(out, &x)| *out = relu(x));
            }),
            Kind::Add => self.add(step, &region, &mut out),
        }
        self.deltas[step.output].values = out;
        self.shrink(step.output);
    }

    /// Computes lines of the output from the same lines of the input.
    fn each_line(&self, step: &Step, region: &Region, out: &mut [f32], compute: impl Fn(&mut [f32], &[f32])) {
        let [channels, _, columns] = self.dims(step.output);
        let from = &self.deltas[step.inputs[0]].values;
        for row in region.rows.clone() {
            let line = (row * columns + region.columns.start) * channels
                ..(row * columns + region.columns.end) * channels;
            compute(&mut out[line.clone()], &from[line]);
        }
    }

    fn add(&mut self, step: &Step, region: &Region, out: &mut [f32]) {
        let [channels, _, columns] = self.dims(step.output);
        let width = region.columns.len();
        let corner = (region.rows.start as isize, region.columns.start as isize);
        let len = region.rows.len() * width * channels;
        let mut one = std::mem::take(&mut self.conv.source);
        let mut other = std::mem::take(&mut self.other);
        one.resize(len.max(one.len()), 0.0);
        other.resize(len.max(other.len()), 0.0);
        self.gather(step.inputs[0], corner, width, &mut one[..len]);
        self.gather(step.inputs[1], corner, width, &mut other[..len]);
        let lines = one[..len].chunks_exact(width * channels).zip(other.chunks_exact(width * channels));
        for (row, (one, other)) in region.rows.clone().zip(lines) {
            let at = (row * columns + region.columns.start) * channels;
            let out = &mut out[at..at + width * channels];
            out.iter_mut().zip(one).zip(other).for_each(|((out, a), b)| *out = a + b);
        }
        (self.conv.source, self.other) = (one, other);
    }

    /// Copies a part of a value, channels last: the golden one with what differs; 0 beyond its edges.
    fn gather(&self, value: usize, (row, column): (isize, isize), width: usize, to: &mut [f32]) {
        let [channels, rows, columns] = self.dims(value);
        let golden = self.golden_row(value).unwrap_or_default();
        let Delta { region, values } = &self.deltas[value];
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
            let at = |place: usize| (place as isize - column) as usize * channels;
            transpose(
                golden,
                row,
                all.start..own.start,
                [channels, rows, columns],
                &mut line[at(all.start)..],
            );
            transpose(golden, row, own.end..all.end, [channels, rows, columns], &mut line[at(own.end)..]);
            if !own.is_empty() {
                let from = (row * columns + own.start) * channels..(row * columns + own.end) * channels;
                line[at(own.start)..at(own.end)].copy_from_slice(&values[from]);
            }
        }
    }

    /// Takes from a value's region the rim that is golden.
    fn shrink(&mut self, value: usize) {
        let Some(golden) = self.golden_row(value) else { return };
        let [channels, rows, columns] = self.dims(value);
        let delta = &self.deltas[value];
        let differs = |lines: Range<usize>, places: Range<usize>| {
            lines.clone().any(|row| {
                places.clone().any(|column| {
                    let at = row * columns + column;
                    let found = &delta.values[at * channels..(at + 1) * channels];
                    let golden = golden[at..].iter().step_by(rows * columns);
                    found.iter().zip(golden).any(|(a, b)| a.to_bits() != b.to_bits())
                })
            })
        };
        let region = delta.region.clone().shrunk(differs);
        self.deltas[value].region = region;
    }

    /// Whether a walk of a link from golden values, all taken as if they differed, gives golden values.
    fn reproduces(&mut self, link: usize, image: usize) -> bool {
        self.image = image;
        self.deltas.iter_mut().for_each(|delta| delta.region = Region::default());
        let steps = self.walk.links[link].as_deref().unwrap_or_default();
        for step in steps {
            for input in step.inputs {
                if let Some(golden) = self.golden_row(input) {
                    let dims = self.dims(input);
                    self.fresh(input, Region::all(dims));
                    let mut values = std::mem::take(&mut self.deltas[input].values);
                    for row in 0..dims[1] {
                        transpose(golden, row, 0..dims[2], dims, &mut values[row * dims[2] * dims[0]..]);
                    }
                    self.deltas[input].values = values;
                }
            }
            self.step(step);
            let is_golden = self.deltas[step.output].region.is_empty();
            if self.golden_row(step.output).is_some() && !is_golden {
                return false;
            }
        }
        true
    }
}

/// Copies places of a golden row, channels last.
fn transpose(
    golden: &[f32],
    row: usize,
    places: Range<usize>,
    [channels, rows, columns]: [usize; 3],
    to: &mut [f32],
) {
    if places.is_empty() {
        return;
    }
    for (channel, plane) in golden.chunks_exact(rows * columns).enumerate() {
        let line = &plane[row * columns + places.start..row * columns + places.end];
        for (to, from) in to[channel..].iter_mut().step_by(channels).zip(line) {
            *to = *from;
        }
    }
}

/// As the engine: NaN stays NaN, and so does -0.
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}
