//! Which part of the model holds each stored tensor.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::functions::Functions;
use super::places::Places;

/// The part of a model that holds a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// A node of the main graph, or a subgraph of it.
    Node(usize),
    /// An initializer of the main graph.
    Initializer(usize),
    /// A function, by the group of its name.
    Function(usize),
}

/// The stored tensors of a model.
#[derive(Debug, Default)]
pub(super) struct Tensors {
    /// In file order.
    names: Vec<String>,
    owners: HashMap<String, Owner>,
    /// The places in `names` of an owner's tensors.
    owned: BTreeMap<Owner, Vec<usize>>,
}

impl Tensors {
    /// Finds the owner of each of `tensors`, names and the places of their messages, by its place.
    pub(super) fn of(tensors: &[(String, Range<usize>)], places: &Places, functions: &Functions) -> Tensors {
        let nodes = places.nodes.iter().enumerate().map(|(index, span)| (span, Owner::Node(index)));
        let stored = places.initializers.iter().enumerate();
        let stored = stored.map(|(index, span)| (span, Owner::Initializer(index)));
        let bodies = places.functions.iter().enumerate();
        let bodies = bodies.map(|(index, span)| (span, Owner::Function(functions.group(index))));
        let mut spans: Vec<(&Range<usize>, Owner)> = nodes.chain(stored).chain(bodies).collect();
        spans.sort_unstable_by_key(|(span, _)| span.start);
        let mut all = Tensors::default();
        for (name, body) in tensors {
            let before = spans.partition_point(|(span, _)| span.start <= body.start);
            let around = before.checked_sub(1).map(|index| &spans[index]);
            let Some((_, owner)) = around.filter(|(span, _)| body.end <= span.end) else { continue };
            all.owned.entry(*owner).or_default().push(all.names.len());
            all.owners.insert(name.clone(), *owner);
            all.names.push(name.clone());
        }
        all
    }

    /// What holds a tensor.
    pub(super) fn owner(&self, tensor: &str) -> Option<Owner> {
        self.owners.get(tensor).copied()
    }

    /// The tensors that these hold, in file order.
    pub(super) fn of_owners(&self, owners: impl Iterator<Item = Owner>) -> Vec<String> {
        let mut indices: Vec<usize> =
            owners.filter_map(|owner| self.owned.get(&owner)).flatten().copied().collect();
        indices.sort_unstable();
        indices.into_iter().map(|index| self.names[index].clone()).collect()
    }
}
