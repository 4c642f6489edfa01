//! Where a model is cut.

use std::collections::{BTreeMap, BTreeSet};

use bitquake_data::Dataset;
use bitquake_graph::cut::{Cuts, Segment, ValueKind};

use crate::chain::places::Places;
use crate::chain::probe::probe;
use crate::error::EngineError;
use crate::model::Model;

/// A value at a boundary: an activation, the input or the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its name in the graph.
    pub name: String,
    /// Its dimensions for one image, without the batch.
    pub dims: Vec<u64>,
}

impl Value {
    /// Elements of one image.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.dims.iter().product::<u64>() as usize
    }
}

/// Where to cut.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CutRequest {
    /// Into about this many links of about equal cost.
    pub links: usize,
    /// Where it pays, given which stored tensors faults hit.
    pub exposure: Exposure,
    /// Right after the nodes that compute these values: faults shall hit them.
    pub values: Vec<String>,
    /// Right before and after each node that reads these stored tensors, where that is possible.
    pub around: Vec<String>,
}

/// How likely faults are where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposure {
    /// Stored tensors, each with its share of the faults.
    pub tensors: Vec<(String, f64)>,
    /// The faults to expect in a trial, of each kind of trial.
    pub faults: Vec<f64>,
}

/// One link: the nodes between two boundaries.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The sub-model; none for a link that is the whole model.
    pub(crate) segment: Option<Segment>,
    /// The values it reads, as indices of [`ChainPlan::values`].
    pub(crate) inputs: Vec<usize>,
    /// The values it computes.
    pub(crate) outputs: Vec<usize>,
    /// The node, if it is but one that computes with images.
    pub(crate) node: Option<usize>,
    /// The nodes that compute with images, by their places in the file; none for a link that is the whole model.
    pub(crate) nodes: Vec<usize>,
}

/// A model cut into links.
#[derive(Clone, Debug)]
pub struct ChainPlan {
    pub(crate) values: Vec<Value>,
    /// The values alive at each boundary: one more than there are links.
    pub(crate) boundaries: Vec<Vec<usize>>,
    pub(crate) links: Vec<Link>,
    /// The dimensions, for one image, of every value of the graph that has a row for each image.
    pub(crate) dims: BTreeMap<String, Vec<usize>>,
    /// Whether faults hit values, so that following them through images may pay.
    pub(crate) hits_values: bool,
}

impl ChainPlan {
    /// One link: the whole model.
    #[must_use]
    pub fn whole(model: &Model, image_shape: &[usize]) -> Self {
        let dims = image_shape.iter().map(|&dim| dim as u64).collect();
        let input = Value { name: model.input.clone(), dims };
        // What an output row is, the first run tells.
        let output = Value { name: model.output.clone(), dims: Vec::new() };
        Self {
            values: vec![input, output],
            boundaries: vec![vec![0], vec![1]],
            links: vec![Link {
                segment: None,
                inputs: vec![0],
                outputs: vec![1],
                node: None,
                nodes: Vec::new(),
            }],
            dims: BTreeMap::new(),
            hits_values: false,
        }
    }

    /// Cuts a model, looking at the shapes that its values take for the first images.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] when a value of `request.values` cannot be reached: no node computes it, or it has no
    /// float32 row for each image.
    pub fn new(model: &Model, data: &Dataset, request: &CutRequest) -> Result<Self, EngineError> {
        let unsupported = |reason: String| EngineError::Unsupported { model: model.file.clone(), reason };
        let cuts = Cuts::new(&model.image).map_err(|error| unsupported(error.to_string()))?;
        let kinds = probe(model, data, &cuts)?;
        let places = Places::new(&cuts, &kinds);
        let chosen = places.choose(model, request).map_err(unsupported)?;
        let plan = Self::at(&cuts, &kinds, &chosen, model).map_err(unsupported)?;
        Ok(Self { hits_values: !request.values.is_empty(), ..plan })
    }

    fn at(
        cuts: &Cuts<'_>,
        kinds: &BTreeMap<String, ValueKind>,
        chosen: &BTreeSet<usize>,
        model: &Model,
    ) -> Result<Self, String> {
        let end = cuts.nodes().len();
        let places: Vec<usize> = [0].into_iter().chain(chosen.iter().copied()).chain([end]).collect();
        let dims = |kind: &ValueKind| kind.dims.iter().map(|&dim| dim as usize).collect();
        let dims = kinds.iter().map(|(name, kind)| (name.clone(), dims(kind))).collect();
        let (values, boundaries, links) = (Vec::new(), Vec::new(), Vec::new());
        let mut plan = Self { values, boundaries, links, dims, hits_values: false };
        for &after in &places {
            let live = if after == end { vec![model.output.clone()] } else { cuts.boundary(after).live };
            let ids = live.iter().map(|name| plan.value(name, kinds)).collect::<Result<_, _>>()?;
            plan.boundaries.push(ids);
        }
        for pair in places.windows(2) {
            let segment = cuts.segment(pair[0], pair[1], &|name| kinds.get(name).cloned());
            let segment = segment.map_err(|error| error.to_string())?;
            let ids = |names: &[String], plan: &mut Self| {
                names.iter().map(|name| plan.value(name, kinds)).collect::<Result<Vec<_>, _>>()
            };
            let (inputs, mut outputs) = (ids(&segment.inputs, &mut plan)?, ids(&segment.outputs, &mut plan)?);
            let alive = &plan.boundaries[plan.links.len() + 1];
            outputs.retain(|output| alive.contains(output));
            let nodes: Vec<usize> =
                (pair[0]..pair[1]).filter(|&node| !cuts.nodes()[node].is_constant).collect();
            let node = nodes.first().copied().filter(|_| nodes.len() == 1);
            plan.links.push(Link { segment: Some(segment), inputs, outputs, node, nodes });
        }
        Ok(plan)
    }

    fn value(&mut self, name: &str, kinds: &BTreeMap<String, ValueKind>) -> Result<usize, String> {
        if let Some(known) = self.values.iter().position(|value| value.name == name) {
            return Ok(known);
        }
        let kind =
            kinds.get(name).ok_or_else(|| format!("value `{name}` has no float32 row for each image"))?;
        self.values.push(Value { name: name.to_owned(), dims: kind.dims.clone() });
        Ok(self.values.len() - 1)
    }

    /// The values, but the input, that are alive at one of these boundaries.
    pub(crate) fn values_at(&self, boundaries: &[bool]) -> Vec<usize> {
        let is_alive = |value: &usize| {
            boundaries.iter().zip(&self.boundaries).any(|(chosen, alive)| *chosen && alive.contains(value))
        };
        (1..self.values.len()).filter(is_alive).collect()
    }

    /// How many links there are.
    #[must_use]
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// All values at boundaries, the input first.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The names of the values alive at a boundary; boundary 0 is the input, boundary [`links`](Self::links) the output.
    ///
    /// # Panics
    /// For a boundary beyond the last.
    pub fn alive(&self, boundary: usize) -> impl Iterator<Item = &Value> {
        self.boundaries[boundary].iter().map(|&value| &self.values[value])
    }

    /// The first boundary at which a value is alive: right after the node that computes it, if it was asked for.
    #[must_use]
    pub fn boundary_of(&self, value: &str) -> Option<usize> {
        let id = self.values.iter().position(|known| known.name == value)?;
        self.boundaries.iter().position(|alive| alive.contains(&id))
    }

    /// The links that read a stored tensor, ascending.
    pub fn links_of<'a>(&'a self, tensor: &'a str) -> impl Iterator<Item = usize> + 'a {
        let reads = move |link: &Link| {
            link.segment.as_ref().is_none_or(|segment| segment.tensors.iter().any(|name| name == tensor))
        };
        self.links.iter().enumerate().filter(move |(_, link)| reads(link)).map(|(place, _)| place)
    }

    /// The node of the main graph, by its place in the file, if a link is a single node.
    #[must_use]
    pub fn single_node(&self, link: usize) -> Option<usize> {
        self.links.get(link)?.node
    }
}
