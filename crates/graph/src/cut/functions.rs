//! Which functions of the model nodes call, and whether numbers are drawn there.

use std::collections::{BTreeSet, HashMap};

use bitquake_tensors::onnx::{Node, OnnxFunction};

use crate::view::visit_node;

/// Standard operators that draw random numbers. `Dropout` does too, if an input tells it to.
const RANDOM: &[&str] =
    &["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"];

/// The functions of a model. Those of one domain and name, which differ in their overload, are taken as one.
#[derive(Debug, Default)]
pub(super) struct Functions {
    /// Of each function of the model, the group of its name.
    group_of: Vec<usize>,
    groups: Vec<Group>,
    by_name: HashMap<(String, String), usize>,
}

#[derive(Debug, Default)]
struct Group {
    calls: Vec<usize>,
    callers: Vec<usize>,
    is_random: bool,
}

/// What a node calls, subgraphs included.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Groups of functions, each once.
    pub(super) groups: Vec<usize>,
    /// Whether random numbers are drawn, here or in a function.
    pub(super) is_random: bool,
}

impl Functions {
    pub(super) fn of(functions: &[OnnxFunction]) -> Functions {
        let mut all = Functions::default();
        for function in functions {
            let next = all.by_name.len();
            let group = *all.by_name.entry(key(&function.domain, &function.body.name)).or_insert(next);
            all.group_of.push(group);
        }
        all.groups.resize_with(all.by_name.len(), Group::default);
        for (function, index) in functions.iter().zip(all.group_of.clone()) {
            for node in &function.body.nodes {
                let calls = all.calls(node);
                all.groups[index].is_random |= calls.is_random;
                all.groups[index].calls.extend(calls.groups);
            }
        }
        all.link();
        all
    }

    /// Turns calls around, and marks what calls a random function as random.
    fn link(&mut self) {
        for caller in 0..self.groups.len() {
            for called in self.groups[caller].calls.clone() {
                self.groups[called].callers.push(caller);
            }
        }
        let random = (0..self.groups.len()).filter(|&group| self.groups[group].is_random);
        for group in closure(random.collect::<Vec<_>>(), |group| &self.groups[group].callers) {
            self.groups[group].is_random = true;
        }
    }

    /// The group of a function of the model.
    pub(super) fn group(&self, function: usize) -> usize {
        self.group_of[function]
    }

    /// What a node calls directly, its subgraphs included.
    pub(super) fn calls(&self, node: &Node) -> Calls {
        let mut calls = Calls::default();
        visit_node(node, &mut |node| {
            let group = self.by_name.get(&key(&node.domain, &node.op_type)).copied();
            calls.is_random |= draws(node) || group.is_some_and(|group| self.groups[group].is_random);
            calls.groups.extend(group);
        });
        calls.groups.sort_unstable();
        calls.groups.dedup();
        calls
    }

    /// These groups and all that their functions call.
    pub(super) fn reached<'g>(&self, groups: impl IntoIterator<Item = &'g usize>) -> BTreeSet<usize> {
        closure(groups.into_iter().copied(), |group| &self.groups[group].calls)
    }

    /// This group and all whose functions call it, directly or not.
    pub(super) fn reaching(&self, group: usize) -> BTreeSet<usize> {
        closure([group], |group| &self.groups[group].callers)
    }
}

fn draws(node: &Node) -> bool {
    let training = node.inputs.get(2).is_some_and(|input| !input.is_empty());
    node.is_standard() && (RANDOM.contains(&node.op_type.as_str()) || node.op_type == "Dropout" && training)
}

fn key(domain: &str, name: &str) -> (String, String) {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    (domain.to_owned(), name.to_owned())
}

/// Everything that can be reached by going on.
fn closure<'n>(
    start: impl IntoIterator<Item = usize>,
    next: impl Fn(usize) -> &'n Vec<usize>,
) -> BTreeSet<usize> {
    let mut open: Vec<usize> = start.into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(one) = open.pop() {
        if seen.insert(one) {
            open.extend(next(one));
        }
    }
    seen
}
