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

mod compute;
mod conv;
mod deltas;
mod kernel;
mod region;
mod step;
mod walker;

use std::collections::BTreeMap;

use bitquake_data::Dataset;

use crate::chain::golden::GoldenRun;
use crate::chain::layout::ImageDims;
use crate::chain::plan::ChainPlan;
use crate::model::Model;
use step::{Kind, Step};
pub(crate) use walker::{End, WalkScratch, Walker};

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
    dims: Option<ImageDims>,
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
        let images = PROOFS.min(data.len());
        let mut sample = golden.first_images(images, plan);
        self.lay_channels_last(plan, &mut sample);
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
                let mut walker = Walker::new(&self, plan, &sample, data, WalkScratch::default());
                let proved = (0..images).all(|image| walker.reproduces(link, image));
                if !proved {
                    self.links[link] = None;
                }
            }
        }
        self.links.iter().any(Option::is_some).then_some(self)
    }

    /// Lays golden values out as walks read them: those at both ends of links that can be walked.
    pub(crate) fn lay_channels_last(&self, plan: &ChainPlan, golden: &mut GoldenRun) {
        let links = self.links.iter().zip(plan.boundaries.windows(2)).filter(|(link, _)| link.is_some());
        for &value in links.flat_map(|(_, ends)| ends).flatten() {
            if let Some(dims) = self.values[value].dims {
                golden.lay_channels_last(value, dims);
            }
        }
    }

    /// The nodes of a link, if it can be walked.
    fn steps(&self, link: usize) -> Option<&[Step]> {
        self.links.get(link)?.as_deref()
    }

    /// Links with values that have no such dimensions are not walked.
    fn dims(&self, value: usize) -> ImageDims {
        self.values[value].dims.unwrap_or_default()
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
