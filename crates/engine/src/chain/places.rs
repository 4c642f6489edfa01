//! Choosing where to cut.

use std::collections::{BTreeMap, BTreeSet};

use bitquake_graph::cut::{Boundary, Cuts, ValueKind};

use crate::chain::cost::Costs;
use crate::chain::plan::{CutRequest, Exposure};
use crate::model::Model;

/// The places where a graph can be cut: where every value alive has a float32 row for each image.
pub(crate) struct Places<'c, 'm> {
    cuts: &'c Cuts<'m>,
    kinds: &'c BTreeMap<String, ValueKind>,
    valid: BTreeMap<usize, Boundary>,
}

impl<'c, 'm> Places<'c, 'm> {
    pub(crate) fn new(cuts: &'c Cuts<'m>, kinds: &'c BTreeMap<String, ValueKind>) -> Self {
        let nodes = cuts.nodes();
        // Behind a constant node nothing has changed for images: only places right after working nodes count.
        let last = nodes.iter().rposition(|node| !node.is_constant).unwrap_or(0);
        let after_work = (1..nodes.len()).filter(|&after| !nodes[after - 1].is_constant && after <= last);
        let valid = after_work
            .map(|after| (after, cuts.boundary(after)))
            .filter(|(_, boundary)| boundary.live.iter().all(|name| kinds.contains_key(name)))
            .collect();
        Self { cuts, kinds, valid }
    }

    pub(crate) fn choose(&self, model: &Model, request: &CutRequest) -> Result<BTreeSet<usize>, String> {
        let mut chosen = BTreeSet::new();
        for value in &request.values {
            chosen.extend(self.after_value(value, model)?);
        }
        let readers = request.around.iter().flat_map(|tensor| self.cuts.consumers(tensor));
        for node in readers {
            let around = [self.at_or_before(node), Some(node + 1)];
            if around.iter().flatten().all(|&place| self.is_valid_or_end(place)) {
                chosen.extend(around.into_iter().flatten().filter(|place| self.valid.contains_key(place)));
            }
        }
        let costs = Costs::new(model, self.cuts, self.kinds);
        chosen.extend(self.balanced(&costs, request.links));
        if !request.exposure.faults.is_empty() {
            chosen.extend(self.worth_it(&costs, &request.exposure));
        }
        Ok(chosen)
    }

    /// Whether a value can be reached by faults.
    pub(crate) fn reaches(&self, value: &str, model: &Model) -> bool {
        self.after_value(value, model).is_ok()
    }

    /// The place right after the node that computes a value; none for the input and the output, which are boundaries anyway.
    fn after_value(&self, value: &str, model: &Model) -> Result<Option<usize>, String> {
        if value == model.input || value == model.output {
            return Ok(None);
        }
        let node = self.cuts.producer(value).ok_or_else(|| format!("no node computes `{value}`"))?;
        if self.valid.contains_key(&(node + 1)) {
            return Ok(Some(node + 1));
        }
        let boundary = self.cuts.boundary(node + 1);
        let odd = boundary.live.iter().find(|name| !self.kinds.contains_key(*name));
        Err(match odd {
            Some(name) if name == value => {
                format!("value `{value}` has no float32 row for each image, which faults in activations need")
            }
            Some(name) => format!(
                "value `{value}` cannot be reached: `{name}`, needed after it, has no float32 row for each image"
            ),
            None => format!("value `{value}` cannot be reached: nothing after it computes with images"),
        })
    }

    /// The place before a node, behind the last working node before it.
    fn at_or_before(&self, node: usize) -> Option<usize> {
        (1..=node).rev().find(|&place| !self.cuts.nodes()[place - 1].is_constant)
    }

    fn is_valid_or_end(&self, place: usize) -> bool {
        let is_end = || self.cuts.nodes()[place..].iter().all(|node| node.is_constant);
        self.valid.contains_key(&place) || is_end()
    }

    /// Places that part the cost into about `links` equal shares; among those near, the one where least is alive.
    fn balanced(&self, costs: &Costs, links: usize) -> Vec<usize> {
        let share = costs.total() / links.max(1) as f64;
        let near = |target: f64| {
            let distance = |after: usize| (costs.before(after) - target).abs();
            let nearest = self.valid.keys().map(|&after| distance(after)).fold(f64::INFINITY, f64::min);
            let far = nearest.max(0.4 * share);
            let places = self.valid.iter().filter(|(after, _)| distance(**after) <= far);
            places.map(|(&after, boundary)| (self.elements(boundary), after)).min().map(|(_, after)| after)
        };
        (1..links).filter_map(|place| near(place as f64 * share)).collect()
    }

    /// Elements of one image that are alive.
    fn elements(&self, boundary: &Boundary) -> u64 {
        boundary.live.iter().map(|name| self.kinds[name].dims.iter().product::<u64>()).sum()
    }

    /// The places that make the expected cost of a trial least. A link runs if a fault hits it or anything before it, and each
    /// boundary that is passed has its price; the best way to every place follows from the best ways to those before.
    fn worth_it(&self, costs: &Costs, exposure: &Exposure) -> Vec<usize> {
        let end = self.cuts.nodes().len();
        let mut places: Vec<usize> = self.valid.keys().copied().collect();
        thin(&mut places);
        places.push(end);
        let runs = self.chances_to_run(&places, exposure);
        // Of each place, the least cost of getting there and the place before on that way.
        let mut best: Vec<(f64, Option<usize>)> = Vec::with_capacity(places.len());
        for (at, &place) in places.iter().enumerate() {
            let pass = self.valid.get(&place).map_or(0.0, |boundary| PASS * self.elements(boundary) as f64);
            let from_start = (runs[at] * (costs.before(place) + pass), None);
            let over = |(before, &(cost, _)): (usize, &(f64, Option<usize>))| {
                (cost + runs[at] * (costs.before(place) - costs.before(places[before]) + pass), Some(before))
            };
            let ways = best.iter().enumerate().map(over).chain([from_start]);
            best.push(ways.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or(from_start));
        }
        let mut way = Vec::new();
        let mut at = best.last().and_then(|(_, before)| *before);
        while let Some(place) = at {
            way.push(places[place]);
            at = best[place].1;
        }
        way
    }

    /// The probability that the link which ends at each place runs: that there is a fault before the place, on average over
    /// the kinds of trials, hits being independent.
    fn chances_to_run(&self, places: &[usize], exposure: &Exposure) -> Vec<f64> {
        let mut shares = vec![0.0; self.cuts.nodes().len() + 1];
        for (tensor, share) in &exposure.tensors {
            if let Some(&first) = self.cuts.consumers(tensor).first() {
                shares[first + 1] += share;
            }
        }
        for at in 1..shares.len() {
            shares[at] += shares[at - 1];
        }
        let runs = |share: f64| {
            let hit = exposure.faults.iter().map(|faults| -(-faults * share).exp_m1());
            hit.sum::<f64>() / exposure.faults.len() as f64
        };
        places.iter().map(|&place| runs(shares[place])).collect()
    }
}

/// Multiplications in the time in which one element passes a boundary: it is written, laid out anew and read.
const PASS: f64 = 120.0;

/// Places that are weighed against each other; beyond, every second is dropped.
const MOST_PLACES: usize = 400;

fn thin(places: &mut Vec<usize>) {
    while places.len() > MOST_PLACES {
        let mut at = 0;
        places.retain(|_| {
            at += 1;
            at % 2 == 0
        });
    }
}
