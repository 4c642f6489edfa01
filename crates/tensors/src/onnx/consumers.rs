//! Who takes each tensor, and the role that follows.

use std::collections::HashMap;

use bitquake_bits::{Class, Format};

use super::roles::rows;
use super::{Found, OnnxGraph, OnnxModel};
use crate::info::Place;
use crate::{Dtype, Role};

/// How a tensor is taken, over all its consumers.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    any: bool,
    /// Some consumer takes it otherwise than as a float setting.
    beyond_float_setting: bool,
    /// Some consumer takes it otherwise than as an integer setting.
    beyond_integer_setting: bool,
    /// Some consumer takes it as a 32-bit weight.
    weight32: bool,
    /// Some consumer takes it otherwise than as a statistic.
    beyond_statistic: bool,
}

impl Uses {
    fn add(&mut self, domain: &str, op: &str, position: usize) {
        let is_in = |column: &[usize]| column.contains(&position);
        self.any = true;
        self.beyond_float_setting |= !rows(domain, op).any(|row| is_in(row.floats));
        self.beyond_integer_setting |= !rows(domain, op).any(|row| is_in(row.integers));
        self.weight32 |= rows(domain, op).any(|row| is_in(row.words32));
        self.beyond_statistic |= !rows(domain, op).any(|row| is_in(row.statistics));
    }

    /// Used in a way that the table cannot know, such as a graph output.
    fn add_unknown(&mut self) {
        self.any = true;
        self.beyond_float_setting = true;
        self.beyond_integer_setting = true;
        self.beyond_statistic = true;
    }
}

/// The roles of `tensors`, in their order; the rule is in [`roles`](super::roles).
pub(crate) fn assign_roles(model: &OnnxModel, tensors: &[Found]) -> Vec<Role> {
    let index = tensors.iter().enumerate().map(|(index, found)| (found.name.as_str(), index)).collect();
    let mut census = Census { index, uses: vec![Uses::default(); tensors.len()], scopes: Vec::new() };
    census.graph(&model.graph);
    for function in &model.functions {
        census.graph(&function.body);
    }
    tensors.iter().zip(&census.uses).map(|(found, uses)| role(found, uses)).collect()
}

fn role(found: &Found, uses: &Uses) -> Role {
    let Dtype::Known(format) = found.dtype else { return Role::Attribute };
    let is_weight = if found.is_setting || found.place == Place::NodeAttribute {
        false
    } else if matches!(format.class(), Class::Float { .. } | Class::Exponent) {
        !uses.any || uses.beyond_float_setting
    } else if format.width() <= Format::I16.width() {
        !uses.any || uses.beyond_integer_setting
    } else {
        uses.weight32 && format.width() <= Format::I32.width()
    };
    match is_weight {
        true if uses.any && !uses.beyond_statistic => Role::Statistic,
        true => Role::Weight,
        false => Role::Attribute,
    }
}

/// The walk over all nodes. A name means what the innermost graph that defines it says.
struct Census<'m> {
    /// Tensor name in the file -> its number.
    index: HashMap<&'m str, usize>,
    uses: Vec<Uses>,
    /// The graphs around the present one, outermost first: name -> tensor, or `None` for a computed value.
    scopes: Vec<HashMap<&'m str, Option<usize>>>,
}

impl<'m> Census<'m> {
    fn graph(&mut self, graph: &'m OnnxGraph) {
        let scope = self.scope(graph);
        self.scopes.push(scope);
        for node in &graph.nodes {
            for (position, name) in node.inputs.iter().enumerate() {
                if let Some(tensor) = self.resolve(name) {
                    self.uses[tensor].add(&node.domain, &node.op_type, position);
                }
            }
            node.attributes
                .iter()
                .flat_map(|attribute| attribute.value.graphs())
                .for_each(|sub| self.graph(sub));
        }
        for output in &graph.outputs {
            if let Some(tensor) = self.resolve(&output.name) {
                self.uses[tensor].add_unknown();
            }
        }
        self.scopes.pop();
    }

    fn scope(&self, graph: &'m OnnxGraph) -> HashMap<&'m str, Option<usize>> {
        let inputs = graph.inputs.iter().map(|input| input.name.as_str());
        let outputs = graph.nodes.iter().flat_map(|node| &node.outputs).map(String::as_str);
        let mut scope: HashMap<_, _> = inputs.chain(outputs).map(|name| (name, None)).collect();
        // Last: an initializer may be an input too, and a constant is the output of its node.
        for stored in graph.constants.iter().chain(&graph.initializers) {
            scope.insert(&stored.name, self.index.get(stored.tensor.as_str()).copied());
        }
        scope
    }

    fn resolve(&self, name: &str) -> Option<usize> {
        if name.is_empty() {
            return None;
        }
        self.scopes.iter().rev().find_map(|scope| scope.get(name)).copied().flatten()
    }
}
