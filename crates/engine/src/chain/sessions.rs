//! The sessions of all links, for one pattern in the weights.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitquake_bits::WordStore;
use bitquake_data::Dataset;
use bitquake_fault::FaultPattern;
use ort::session::Session;

use crate::chain::golden::GoldenRun;
use crate::chain::plan::{ChainPlan, Link, Value};
use crate::chain::rows::RowFaults;
use crate::chain::session::{Feed, Settings, build_lent, build_owned, run, run_error};
use crate::chain::state::{Block, Buffers, State};
use crate::chain::value_map::ValueMap;
use crate::error::EngineError;
use crate::evaluator::Evaluator;
use crate::lend::LentSession;
use crate::model::Model;

/// The sessions of all links for one pattern in the weights.
pub(crate) struct Sessions<'s> {
    pub(crate) model: &'s Model,
    pub(crate) data: &'s Dataset,
    plan: &'s ChainPlan,
    settings: Settings,
    golden: &'s mut [Option<Session>],
    /// Whether outputs must be rows of class scores.
    classes: bool,
    values: Option<Arc<dyn ValueMap>>,
    /// Of each link that the pattern touches, its session.
    faulty: BTreeMap<usize, LentSession<'s>>,
}

impl<'s> Sessions<'s> {
    /// The sessions of `evaluator`, in whose model `pattern` is applied. Links that it touches get new ones.
    pub(crate) fn new(evaluator: &'s mut Evaluator<'_>, pattern: &FaultPattern) -> Result<Self, EngineError> {
        let Evaluator { model, data, plan, settings, sessions, judge, values, .. } = evaluator;
        let (model, plan): (&'s Model, &'s ChainPlan) = (model, plan);
        let mut touched: BTreeSet<usize> =
            pattern.tensors().iter().flat_map(|flips| plan.links_of(&flips.tensor)).collect();
        if plan.links.len() == 1 {
            // The whole model: its session would be a second copy of all weights, for the golden run alone.
            touched.insert(0);
        }
        let faulty = |link| Ok((link, build_lent(&bytes_of(model, &plan.links[link]), model, *settings)?));
        let faulty = touched.into_iter().map(faulty).collect::<Result<_, EngineError>>()?;
        Ok(Self {
            model,
            data,
            plan,
            settings: *settings,
            golden: sessions,
            classes: judge.is_classifier(),
            values: values.clone(),
            faulty,
        })
    }

    /// Rows as a block.
    pub(crate) fn block<'b>(
        &self,
        images: &'b [u32],
        faults: &'b dyn RowFaults,
        golden: &'b GoldenRun,
    ) -> Block<'b>
    where
        's: 'b,
    {
        let faulty = self.faulty.keys().copied().collect();
        let (plan, data) = (self.plan, self.data);
        Block {
            images,
            first: 0,
            faults,
            golden,
            plan,
            data,
            faulty,
            all: false,
            lets_go: false,
            carried: &[],
        }
    }

    /// Runs one block of rows from where they wake to where they end.
    pub(crate) fn run(
        &mut self,
        block: &Block<'_>,
        keep: &mut dyn FnMut(usize, &[f32]),
        each: &mut dyn FnMut(usize, Option<&[f32]>),
    ) -> Result<(), EngineError> {
        let mut state = State::new(block);
        for place in 0..=self.plan.links.len() {
            state.enter(place);
            state.edit(place)?;
            state.leave(place);
            if place == self.plan.links.len() {
                break;
            }
            if state.active.is_empty() {
                state.rest();
                continue;
            }
            let mut outputs = self.link(place, state.active.len(), &state.values)?;
            self.map(&mut outputs)?;
            outputs.iter().for_each(|(value, rows)| keep(*value, rows));
            state.advance(place, outputs);
        }
        state.finish(each);
        Ok(())
    }

    /// Lets happen to values what happens to them besides being computed.
    fn map(&self, outputs: &mut [(usize, Vec<f32>)]) -> Result<(), EngineError> {
        let Some(map) = &self.values else { return Ok(()) };
        outputs.iter_mut().try_for_each(|(value, rows)| {
            let value = &self.plan.values[*value].name;
            map.apply(value, rows).map_err(|reason| EngineError::Value { value: value.clone(), reason })
        })
    }

    /// Runs a link on the active rows.
    fn link(
        &mut self,
        place: usize,
        rows: usize,
        values: &Buffers,
    ) -> Result<Vec<(usize, Vec<f32>)>, EngineError> {
        let link = &self.plan.links[place];
        // A model with a batch of its own gets full batches.
        let full = self.model.fixed_batch.map_or(rows, |batch| batch as usize);
        let mut padded: Vec<(usize, Vec<f32>)> = Vec::new();
        if full != rows {
            for &value in &link.inputs {
                let mut row = values[&value].clone();
                row.resize(full * self.plan.values[value].elements(), 0.0);
                padded.push((value, row));
            }
        }
        let feeds: Vec<Feed<'_>> = link
            .inputs
            .iter()
            .map(|&value| {
                let Value { name, dims } = &self.plan.values[value];
                let shape = [full as i64].into_iter().chain(dims.iter().map(|&dim| dim as i64)).collect();
                let row = padded.iter().find(|(known, _)| *known == value).map(|(_, row)| row);
                (name.as_str(), shape, row.unwrap_or_else(|| &values[&value]).as_slice())
            })
            .collect();
        let names: Vec<&str> =
            link.outputs.iter().map(|&value| self.plan.values[value].name.as_str()).collect();
        let is_last = place + 1 == self.plan.links.len();
        let take = |name: &str, output: Option<&ort::value::DynValue>| {
            let odd = |reason: String| odd_output(self.model, name, &reason);
            let output = output.ok_or_else(|| odd("is missing".into()))?;
            let (shape, elements) =
                output.try_extract_tensor::<f32>().map_err(|error| odd(error.to_string()))?;
            if is_last && self.classes {
                classes(shape, full).map_err(odd)?;
            } else if shape.first() != Some(&(full as i64)) {
                return Err(odd(format!("has shape {shape:?} for {full} images")));
            }
            Ok(elements[..elements.len() / full * rows].to_vec())
        };
        let taken: Result<Vec<Vec<f32>>, EngineError> = if let Some(session) = self.faulty.get_mut(&place) {
            let outputs = session.run(&feeds).map_err(|error| run_error(self.model, &error))?;
            names.iter().map(|name| take(name, outputs.get(name))).collect()
        } else {
            if self.golden[place].is_none() {
                self.golden[place] =
                    Some(build_owned(&bytes_of(self.model, link), self.model, self.settings)?);
            }
            let session =
                self.golden[place].as_mut().ok_or_else(|| odd_output(self.model, "", "no session"))?;
            let outputs = run(session, &feeds).map_err(|error| run_error(self.model, &error))?;
            names
                .iter()
                .map(|name| take(name, if name.is_empty() { None } else { outputs.get(name) }))
                .collect()
        };
        Ok(link.outputs.iter().copied().zip(taken?).collect())
    }
}

/// The bytes of a link's model as the weights are now.
fn bytes_of<'m>(model: &'m Model, link: &Link) -> Cow<'m, [u8]> {
    let Some(segment) = &link.segment else { return Cow::Borrowed(model.image.main()) };
    let mut bytes = segment.bytes.clone();
    for (tensor, range) in &segment.inline {
        let words = model.image.words(tensor);
        if let Some(words) = words.as_ref().and_then(|words| words.packed_bytes()) {
            bytes[range.clone()].copy_from_slice(words);
        }
    }
    Cow::Owned(bytes)
}

/// Classes in each row of an output.
fn classes(shape: &[i64], rows: usize) -> Result<usize, String> {
    let classes = match shape {
        [batch, classes, rest @ ..] if *batch == rows as i64 && rest.iter().all(|&dim| dim == 1) => *classes,
        _ => 0,
    };
    if classes < 2 {
        let wanted = "models that give one row of at least 2 class scores for each image are supported";
        return Err(format!("has shape {shape:?} for {rows} images; {wanted}"));
    }
    Ok(classes as usize)
}

fn odd_output(model: &Model, name: &str, reason: &str) -> EngineError {
    EngineError::Unsupported { model: model.file.clone(), reason: format!("output `{name}` {reason}") }
}
