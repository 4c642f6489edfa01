//! The rows of a block on their way along the links.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::chain::golden::GoldenRun;
use crate::chain::layout::same_bits;
use crate::chain::plan::ChainPlan;
use crate::chain::rows::{HereRow, RowFaults, RowValues};
use crate::error::EngineError;

use bitquake_data::Dataset;

/// Of each value alive, the rows of the active images.
pub(crate) type Buffers = BTreeMap<usize, Vec<f32>>;

/// A value of the plan, and what a row has there.
pub(crate) type OwnValue = (usize, Vec<f32>);

/// A row that was followed up to a boundary, where links go on.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The row.
    pub(crate) row: usize,
    /// The boundary.
    pub(crate) place: usize,
    /// How many of its stops lie behind.
    pub(crate) passed: usize,
    /// The values alive there; none if they are golden.
    pub(crate) values: Option<Vec<OwnValue>>,
}

/// A block of rows.
pub(crate) struct Block<'b> {
    /// The image of each.
    pub(crate) images: &'b [u32],
    /// The number of the first row, for `faults`.
    pub(crate) first: usize,
    pub(crate) faults: &'b dyn RowFaults,
    pub(crate) golden: &'b GoldenRun,
    pub(crate) plan: &'b ChainPlan,
    pub(crate) data: &'b Dataset,
    /// The links with faults in their weights, ascending.
    pub(crate) faulty: Vec<usize>,
    /// Whether all rows run from the start to the end, whatever they become: the golden run.
    pub(crate) all: bool,
    /// Whether rows are let go when they became golden ones.
    pub(crate) lets_go: bool,
    /// Of each row, how far it has been followed, if any has.
    pub(crate) carried: &'b [Carried],
}

impl<'b> Block<'b> {
    /// The golden row of a value, if it is kept.
    fn golden_row(&self, value: usize, row: usize) -> Option<Cow<'b, [f32]>> {
        self.golden.row(value, self.images[row] as usize, self.plan, self.data)
    }

    fn is_golden_row(&self, found: &[f32], value: usize, row: usize) -> bool {
        self.golden.is_row(found, value, self.images[row] as usize, self.plan, self.data)
    }

    fn golden_output(&self, row: usize) -> &'b [f32] {
        let images = self.golden.golden.predictions.len().max(1);
        let classes = self.golden.golden.outputs.len() / images;
        let image = self.images[row] as usize;
        &self.golden.golden.outputs[image * classes..(image + 1) * classes]
    }

    /// Where a row comes from a walk, and with which values of its own.
    fn carried_to(&self, row: usize) -> Option<(usize, &'b [OwnValue])> {
        let carried = self.carried.get(row)?;
        Some((carried.place, carried.values.as_deref()?))
    }

    /// The boundary at which a row must be taken up, when it is golden at `place` and `passed` of its stops lie behind.
    fn wake(&self, row: usize, passed: usize, place: usize) -> Option<usize> {
        if self.all {
            return Some(0);
        }
        let stop = self.faults.stops(self.first + row).get(passed).map(|stop| {
            let back = usize::from(stop.looks_back && stop.boundary > 0);
            match self.golden.start_for(stop.boundary) {
                here if here == stop.boundary && self.golden.start_for(here - back) + back == here => here,
                _ => self.golden.start_for(stop.boundary - back),
            }
        });
        let link = self.faulty.iter().find(|&&link| link >= place).map(|&link| self.golden.start_for(link));
        [stop, link].into_iter().flatten().min()
    }
}

/// Where the rows of a block are.
pub(crate) struct State<'b> {
    block: &'b Block<'b>,
    /// The rows that are not golden, or must run all the same.
    pub(crate) active: Vec<usize>,
    is_active: Vec<bool>,
    /// Of each row, how many of its stops lie behind.
    passed: Vec<usize>,
    /// The values of the active rows.
    pub(crate) values: Buffers,
    /// What the link before read, for stops that look back, and how many rows ran it.
    before: (Buffers, usize),
    looks_back: bool,
}

impl<'b> State<'b> {
    pub(crate) fn new(block: &'b Block<'b>) -> Self {
        let rows = block.images.len();
        let looks_back =
            (0..rows).any(|row| block.faults.stops(block.first + row).iter().any(|stop| stop.looks_back));
        Self {
            block,
            active: Vec::with_capacity(rows),
            is_active: vec![false; rows],
            passed: (0..rows).map(|row| block.carried.get(row).map_or(0, |carried| carried.passed)).collect(),
            values: Buffers::new(),
            before: (Buffers::new(), 0),
            looks_back,
        }
    }

    /// Takes up the rows that wake at a boundary.
    pub(crate) fn enter(&mut self, place: usize) {
        let block = self.block;
        for row in 0..block.images.len() {
            let carried = block.carried_to(row).filter(|(at, _)| *at >= place);
            let wakes = match carried {
                Some((at, _)) => at == place,
                None => block.wake(row, self.passed[row], place) == Some(place),
            };
            if self.is_active[row] || !wakes {
                continue;
            }
            self.is_active[row] = true;
            self.active.push(row);
            if let Some((_, values)) = carried {
                for (value, own) in values {
                    self.values.entry(*value).or_default().extend_from_slice(own);
                }
                continue;
            }
            for &value in &block.plan.boundaries[place] {
                // A row wakes only where everything alive is kept; at the end it would wake for nothing.
                let golden = block.golden_row(value, row).unwrap_or_default();
                self.values.entry(value).or_default().extend_from_slice(&golden);
            }
        }
    }

    /// Applies the faults that rows have at a boundary.
    pub(crate) fn edit(&mut self, place: usize) -> Result<(), EngineError> {
        let block = self.block;
        for at in 0..self.active.len() {
            let row = self.active[at];
            let stops = block.faults.stops(block.first + row);
            let Some(stop) = stops.get(self.passed[row]).filter(|stop| stop.boundary == place) else {
                continue;
            };
            self.passed[row] += 1;
            let before = if stop.looks_back { self.row_before(at, row, place) } else { Vec::new() };
            let here = self.values.iter_mut().map(|(&value, rows)| {
                let value = &block.plan.values[value];
                let elements = value.elements();
                let row = &mut rows[at * elements..(at + 1) * elements];
                (value.name.as_str(), HereRow::InPlace(row))
            });
            let mut values = RowValues { here: here.collect(), before };
            block.faults.apply(block.first + row, place, &mut values)?;
        }
        Ok(())
    }

    /// What the link before `place` read for a row: `at` is its place among the active rows.
    fn row_before(&self, at: usize, row: usize, place: usize) -> Vec<(&'b str, Vec<f32>)> {
        let Some(link) = place.checked_sub(1).and_then(|link| self.block.plan.links.get(link)) else {
            return Vec::new();
        };
        let (buffers, ran) = &self.before;
        let of = |&value: &usize| {
            let known = &self.block.plan.values[value];
            let elements = known.elements();
            let kept = || buffers.get(&value).and_then(|rows| rows.get(at * elements..(at + 1) * elements));
            let golden = || self.block.golden_row(value, row).map(Cow::into_owned);
            let values = if at < *ran { kept().map(<[f32]>::to_vec) } else { golden() };
            Some((known.name.as_str(), values?))
        };
        link.inputs.iter().filter_map(of).collect()
    }

    /// Lets go the rows that are golden at a boundary and need not run the next link.
    pub(crate) fn leave(&mut self, place: usize) {
        let block = self.block;
        if block.all || !block.lets_go || !block.golden.kept[place] || self.active.is_empty() {
            return;
        }
        let is_golden = |at: usize, row: usize| {
            block.plan.boundaries[place].iter().all(|&value| {
                let elements = block.plan.values[value].elements();
                let here =
                    self.values.get(&value).and_then(|rows| rows.get(at * elements..(at + 1) * elements));
                here.is_some_and(|here| block.is_golden_row(here, value, row))
            })
        };
        let stays = |(at, &row): (usize, &usize)| {
            let sleeps = block.wake(row, self.passed[row], place).is_none_or(|wake| wake > place);
            !(sleeps && is_golden(at, row))
        };
        let stays: Vec<bool> = self.active.iter().enumerate().map(stays).collect();
        if stays.iter().all(|stays| *stays) {
            return;
        }
        for (&value, rows) in &mut self.values {
            retain_rows(rows, &stays, block.plan.values[value].elements());
        }
        for (&row, _) in self.active.iter().zip(&stays).filter(|(_, stays)| !**stays) {
            self.is_active[row] = false;
        }
        let mut stays = stays.iter();
        self.active.retain(|_| *stays.next().unwrap_or(&true));
    }

    /// Moves on over a link: `outputs` are what it computed.
    pub(crate) fn advance(&mut self, link: usize, outputs: Vec<(usize, Vec<f32>)>) {
        let plan = self.block.plan;
        if self.looks_back {
            let read = plan.links[link].inputs.iter();
            let kept = read.filter_map(|value| Some((*value, self.values.get(value)?.clone())));
            self.before = (kept.collect(), self.active.len());
        }
        let alive = &plan.boundaries[link + 1];
        self.values.retain(|value, _| alive.contains(value));
        self.values.extend(outputs);
    }

    /// Forgets what is left of the link before, which no active row ran.
    pub(crate) fn rest(&mut self) {
        self.values.clear();
        self.before = (Buffers::new(), 0);
    }

    /// Tells the outputs in the order of the rows; `None` where they are the golden ones bit for bit.
    pub(crate) fn finish(&self, each: &mut dyn FnMut(usize, Option<&[f32]>)) {
        let block = self.block;
        let last = block.plan.boundaries.len() - 1;
        let output = block.plan.boundaries[last].first().and_then(|value| self.values.get(value));
        let mut places = vec![None; block.images.len()];
        self.active.iter().enumerate().for_each(|(at, &row)| places[row] = Some(at));
        for (row, at) in places.into_iter().enumerate() {
            let found = at.zip(output).map(|(at, rows)| {
                let classes = rows.len() / self.active.len();
                &rows[at * classes..(at + 1) * classes]
            });
            let is_news = |found: &&[f32]| block.all || !same_bits(found, block.golden_output(row));
            each(block.first + row, found.filter(is_news));
        }
    }
}

/// Keeps some rows, in their order.
fn retain_rows(rows: &mut Vec<f32>, stays: &[bool], elements: usize) {
    let mut end = 0;
    for (at, _) in stays.iter().enumerate().filter(|(_, stays)| **stays) {
        rows.copy_within(at * elements..(at + 1) * elements, end);
        end += elements;
    }
    rows.truncate(end);
}
