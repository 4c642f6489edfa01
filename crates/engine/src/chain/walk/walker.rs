//! Rows on their walks.

use bitquake_data::Dataset;

use crate::chain::golden::GoldenRun;
use crate::chain::layout::{ImageDims, same_bits, to_channels_first, to_channels_last};
use crate::chain::plan::ChainPlan;
use crate::chain::rows::{Changes, ElementChange, HereRow, RowCopy, RowFaults, RowSource, RowValues};
use crate::chain::state::Carried;
use crate::chain::walk::Walk;
use crate::chain::walk::conv::ConvScratch;
use crate::chain::walk::deltas::Deltas;
use crate::chain::walk::region::Region;
use crate::error::EngineError;

/// How a walk ended.
pub(crate) enum End {
    /// With the golden values.
    Golden,
    /// At a boundary where links must go on.
    At(Carried),
}

/// Memory of walks that is used again. Its content means nothing.
#[derive(Debug, Default)]
pub(crate) struct WalkScratch {
    pub(super) deltas: Deltas,
    pub(super) conv: ConvScratch,
    pub(super) other: Vec<f32>,
    input: Vec<f32>,
}

/// Walks rows, one after the other.
pub(crate) struct Walker<'w> {
    pub(super) walk: &'w Walk,
    plan: &'w ChainPlan,
    golden: &'w GoldenRun,
    data: &'w Dataset,
    image: usize,
    pub(super) scratch: WalkScratch,
}

impl<'w> Walker<'w> {
    /// The golden values of all that is walked must lie with their channels last.
    pub(crate) fn new(
        walk: &'w Walk,
        plan: &'w ChainPlan,
        golden: &'w GoldenRun,
        data: &'w Dataset,
        scratch: WalkScratch,
    ) -> Self {
        Self { walk, plan, golden, data, image: 0, scratch }
    }

    pub(crate) fn into_scratch(self) -> WalkScratch {
        self.scratch
    }

    /// Follows the faults of a row, the first of which are at a boundary where walks can start.
    pub(crate) fn row(
        &mut self,
        image: usize,
        row: usize,
        faults: &dyn RowFaults,
    ) -> Result<End, EngineError> {
        let stops = faults.stops(row);
        let Some(first) = stops.first() else { return Ok(End::Golden) };
        let (mut passed, mut place) = (0, first.boundary);
        self.begin(image, place);
        loop {
            let is_golden = self.scratch.deltas.is_golden();
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
                _ => match self.walk.steps(place) {
                    Some(steps) => {
                        steps.iter().for_each(|step| self.step(step));
                        place += 1;
                        self.forget(place);
                    }
                    None => {
                        self.tighten_all(place);
                        if !self.scratch.deltas.is_golden() {
                            return Ok(End::At(self.carried(row, place, passed)));
                        }
                    }
                },
            }
        }
    }

    /// Takes up an image at a boundary.
    fn begin(&mut self, image: usize, place: usize) {
        self.image = image;
        self.scratch.deltas.clear(self.walk.values.len());
        let dims = self.walk.values[INPUT].dims;
        if let Some(dims) = dims.filter(|_| self.plan.boundaries[place].contains(&INPUT)) {
            let input = &mut self.scratch.input;
            input.resize(self.data.image_len(), 0.0);
            to_channels_last(self.data.images(image..image + 1), dims, input);
        }
    }

    /// Forgets values that are not alive at a boundary.
    fn forget(&mut self, place: usize) {
        let alive = &self.plan.boundaries[place];
        self.scratch.deltas.retain(|value| alive.contains(&value));
    }

    fn tighten_all(&mut self, place: usize) {
        let plan = self.plan;
        plan.boundaries[place].iter().for_each(|&value| self.tighten(value));
    }

    /// Applies the faults that a row has at a boundary.
    fn edit(&mut self, place: usize, row: usize, faults: &dyn RowFaults) -> Result<(), EngineError> {
        for (value, changes) in self.edited(place, row, faults)? {
            match changes {
                Changes::Row(before, after) => self.take_row(value, &before, &after),
                Changes::Elements(changes) => changes.iter().for_each(|change| self.take(value, change)),
            }
        }
        Ok(())
    }

    /// The values that the faults of a row touch at a boundary.
    fn edited(
        &self,
        place: usize,
        row: usize,
        faults: &dyn RowFaults,
    ) -> Result<Vec<(usize, Changes)>, EngineError> {
        let here = self.plan.boundaries[place].iter().map(|&value| {
            (self.plan.values[value].name.as_str(), HereRow::Copied(RowCopy::new(self, value)))
        });
        let mut values = RowValues { here: here.collect(), before: Vec::new() };
        faults.apply(row, place, &mut values)?;
        let changes = values.here.into_iter().filter_map(|(_, row)| match row {
            HereRow::Copied(copy) => copy.into_changes(),
            HereRow::InPlace(_) => None,
        });
        Ok(changes.collect())
    }

    /// Takes a value as it was changed.
    fn take_row(&mut self, value: usize, before: &[f32], after: &[f32]) {
        let dims @ [channels, rows, columns] = self.walk.dims(value);
        let changed = changed(before, after, dims);
        if changed.is_empty() {
            return;
        }
        let delta = self.grow(value, &changed);
        for line in changed.rows {
            for at in line * columns + changed.columns.start..line * columns + changed.columns.end {
                let place = &mut delta[at * channels..(at + 1) * channels];
                let from = after[at..].iter().step_by(rows * columns);
                place.iter_mut().zip(from).for_each(|(element, &from)| *element = from);
            }
        }
    }

    /// Takes an element as it was changed.
    fn take(&mut self, value: usize, change: &ElementChange) {
        if change.before.to_bits() == change.after.to_bits() {
            return;
        }
        let [channels, rows, columns] = self.walk.dims(value);
        let (channel, at) = (change.element / (rows * columns), change.element % (rows * columns));
        let (row, column) = (at / columns, at % columns);
        let delta = self.grow(value, &Region { rows: row..row + 1, columns: column..column + 1 });
        delta[at * channels + channel] = change.after;
    }

    /// Makes the region in which a value differs hold another one too; what was golden is golden still.
    fn grow(&mut self, value: usize, by: &Region) -> &mut [f32] {
        let [channels, rows, columns] = self.walk.dims(value);
        let old = self.scratch.deltas.of(value).region.clone();
        let region = old.join(by);
        self.scratch.deltas.fresh(value, region.clone(), channels * rows * columns);
        let mut values = std::mem::take(&mut self.scratch.deltas.of_mut(value).values);
        if let Some(golden) = self.golden(value) {
            let end = region.columns.end;
            for row in region.rows {
                let own = if old.rows.contains(&row) { old.columns.clone() } else { end..end };
                for places in [region.columns.start..own.start, own.end..end] {
                    let line =
                        (row * columns + places.start) * channels..(row * columns + places.end) * channels;
                    values[line.clone()].copy_from_slice(&golden[line]);
                }
            }
        }
        let delta = self.scratch.deltas.of_mut(value);
        (delta.values, delta.is_loose) = (values, !old.is_empty());
        &mut delta.values
    }

    /// The values of a row at a boundary, for links to go on with.
    fn carried(&self, row: usize, place: usize, passed: usize) -> Carried {
        let alive = self.plan.boundaries[place].iter();
        let is_golden = self.scratch.deltas.is_golden();
        let values = (!is_golden).then(|| alive.map(|&value| (value, self.channels_first(value))).collect());
        Carried { row, place, passed, values }
    }

    /// The golden values of a value that is kept, channels last.
    pub(super) fn golden(&self, value: usize) -> Option<&[f32]> {
        match self.walk.values[value].planned? {
            INPUT => Some(&self.scratch.input),
            planned => self.golden.channels_last(planned, self.image),
        }
    }

    /// The whole value, as the engine has it.
    fn channels_first(&self, value: usize) -> Vec<f32> {
        let dims @ [channels, _, columns] = self.walk.dims(value);
        let mut last = self.golden(value).unwrap_or_default().to_vec();
        let delta = self.scratch.deltas.of(value);
        for line in delta.region.lines(columns, channels) {
            last[line.clone()].copy_from_slice(&delta.values[line]);
        }
        let mut first = vec![0.0; last.len()];
        to_channels_first(&last, dims, &mut first);
        first
    }

    /// Whether a walk of a link from golden values, all taken as if they differed, gives golden values.
    pub(super) fn reproduces(&mut self, link: usize, image: usize) -> bool {
        self.begin(image, link);
        for step in self.walk.steps(link).unwrap_or_default() {
            for input in step.inputs {
                if let Some(golden) = self.golden(input).map(<[f32]>::to_vec) {
                    let all = Region::all(self.walk.dims(input));
                    self.scratch.deltas.fresh(input, all, golden.len())[..golden.len()]
                        .copy_from_slice(&golden);
                    self.scratch.deltas.of_mut(input).is_loose = false;
                }
            }
            self.step(step);
            self.tighten(step.output);
            let is_golden = self.scratch.deltas.of(step.output).region.is_empty();
            if self.golden(step.output).is_some() && !is_golden {
                return false;
            }
        }
        true
    }
}

impl RowSource for Walker<'_> {
    fn element(&self, value: usize, element: usize) -> Option<f32> {
        let [channels, rows, columns] = self.walk.dims(value);
        let (channel, at) = (element / (rows * columns), element % (rows * columns));
        let delta = self.scratch.deltas.of(value);
        let (row, column) = (at / columns, at % columns);
        let differs = delta.region.rows.contains(&row) && delta.region.columns.contains(&column);
        let values = if differs { &delta.values } else { self.golden(value)? };
        (channel < channels).then(|| values[at * channels + channel])
    }

    fn row(&self, value: usize) -> Vec<f32> {
        self.channels_first(value)
    }
}

/// The value of the plan that is the model's input.
const INPUT: usize = 0;

/// The least rectangle that holds all places where two images, channels first, differ.
fn changed(before: &[f32], after: &[f32], [_, rows, columns]: ImageDims) -> Region {
    let lines = before.chunks_exact(columns).zip(after.chunks_exact(columns)).enumerate();
    let mut region = Region::default();
    for (at, (before, after)) in lines.filter(|(_, (before, after))| !same_bits(before, after)) {
        let differs = |column: &usize| before[*column].to_bits() != after[*column].to_bits();
        let first = (0..columns).find(differs).unwrap_or(0);
        let last = (0..columns).rfind(differs).unwrap_or(0);
        region = region.join(&Region { rows: at % rows..at % rows + 1, columns: first..last + 1 });
    }
    region
}
