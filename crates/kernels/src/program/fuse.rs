//! Operations on single values, joined with the normalization before them.

use super::operation::{Arithmetic, Bound, Operation, Vector};

/// What is computed at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Convolution { x: usize, layer: usize },
    Linear { x: usize, layer: usize },
    Pool { x: usize, pool: usize },
    Flatten { x: usize },
    Same { x: usize },
    Map(MapNode),
}

/// `limit(norm(x) + other)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MapNode {
    pub(super) x: usize,
    pub(super) norm: Option<Norm>,
    pub(super) other: Option<usize>,
    pub(super) limit: Limit,
}

/// A change that is the same for all pixels of a channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Norm {
    /// `value` is the number of the value that the operation gives.
    Batch {
        scale: Vector,
        shift: Vector,
        running: [usize; 2],
        epsilon: f32,
        value: usize,
    },
    /// Standardized by groups, times a scale, plus a shift; then times a second scale, plus a second shift, if there are.
    Group {
        groups: usize,
        scale: Vector,
        shift: Vector,
        epsilon: f32,
        times: Option<Vector>,
        plus: Option<Vector>,
    },
    Channelwise {
        arithmetic: Arithmetic,
        by: Vector,
    },
}

/// What values are kept within.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    None,
    Positive,
    Within([Bound; 2]),
}

impl Node {
    /// The values that it takes.
    pub(super) fn inputs(&self) -> impl Iterator<Item = usize> {
        let (first, second) = match *self {
            Node::Map(MapNode { x, other, .. }) => (x, other),
            Node::Convolution { x, .. }
            | Node::Linear { x, .. }
            | Node::Pool { x, .. }
            | Node::Flatten { x }
            | Node::Same { x } => (x, None),
        };
        std::iter::once(first).chain(second)
    }
}

/// Operations as nodes, each with the value that it gives, in order. A value that `is_kept`, or that several operations take, is the
/// result of a node; others may vanish within one.
pub(super) fn fused(operations: &[Operation], is_kept: &[bool]) -> Vec<(usize, Node)> {
    let mut uses = vec![0_usize; operations.len() + 1];
    operations.iter().flat_map(Operation::inputs).for_each(|value| uses[value] += 1);
    let may_vanish = |value: usize| uses[value] == 1 && !is_kept[value];
    let mut nodes: Vec<Option<Node>> = vec![None; operations.len() + 1];
    for (index, operation) in operations.iter().enumerate() {
        let node = joined(operation, index + 1, &mut nodes, &may_vanish);
        nodes[index + 1] = Some(node);
    }
    nodes.into_iter().enumerate().filter_map(|(value, node)| node.map(|node| (value, node))).collect()
}

/// The node of an operation, with the node of its input taken into it where that is possible.
fn joined(
    operation: &Operation,
    value: usize,
    nodes: &mut [Option<Node>],
    may_vanish: &impl Fn(usize) -> bool,
) -> Node {
    // The map that gives a value, if the value may vanish and `fits` the map.
    let mut take = |value: usize, fits: &dyn Fn(&MapNode) -> bool| match nodes[value] {
        Some(Node::Map(map)) if may_vanish(value) && fits(&map) => {
            nodes[value] = None;
            Some(map)
        }
        _ => None,
    };
    let alone = |x: usize| MapNode { x, norm: None, other: None, limit: Limit::None };
    let is_norm = |map: &MapNode| map.other.is_none() && map.limit == Limit::None && map.norm.is_some();
    match *operation {
        Operation::Convolution { x, layer } => Node::Convolution { x, layer },
        Operation::Linear { x, layer } => Node::Linear { x, layer },
        Operation::Pool { x, pool } => Node::Pool { x, pool },
        Operation::Flatten { x } => Node::Flatten { x },
        Operation::BatchNorm { x, scale, shift, running, epsilon } => {
            let norm = Norm::Batch { scale, shift, running, epsilon, value };
            Node::Map(MapNode { norm: Some(norm), ..alone(x) })
        }
        Operation::GroupNorm { x, groups, scale, shift, epsilon } => {
            let norm = Norm::Group { groups, scale, shift, epsilon, times: None, plus: None };
            Node::Map(MapNode { norm: Some(norm), ..alone(x) })
        }
        Operation::Channelwise { x, arithmetic, by } => {
            let is_group = |map: &MapNode| is_norm(map) && after_group(map, arithmetic, by).is_some();
            let map = take(x, &is_group).and_then(|map| after_group(&map, arithmetic, by));
            let own = MapNode { norm: Some(Norm::Channelwise { arithmetic, by }), ..alone(x) };
            Node::Map(map.unwrap_or(own))
        }
        Operation::Relu { x } => {
            let map = take(x, &|map| map.limit == Limit::None).unwrap_or(alone(x));
            Node::Map(MapNode { limit: Limit::Positive, ..map })
        }
        Operation::Clip { x, bounds } => Node::Map(MapNode { limit: Limit::Within(bounds), ..alone(x) }),
        Operation::Sum { left, right } => {
            let first = take(left, &is_norm).map(|map| (map, right));
            let (map, other) = first
                .or_else(|| take(right, &is_norm).map(|map| (map, left)))
                .unwrap_or((alone(left), right));
            Node::Map(MapNode { other: Some(other), ..map })
        }
        Operation::Same { x } if may_vanish(x) && nodes[x].is_some() => {
            nodes[x].take().unwrap_or(Node::Same { x })
        }
        Operation::Same { x } => Node::Same { x },
    }
}

/// A group normalization with arithmetic after it, if it has room for that.
fn after_group(map: &MapNode, arithmetic: Arithmetic, by: Vector) -> Option<MapNode> {
    let Some(Norm::Group { groups, scale, shift, epsilon, times, plus }) = map.norm else { return None };
    let (times, plus) = match arithmetic {
        Arithmetic::Multiply if times.is_none() && plus.is_none() => (Some(by), None),
        Arithmetic::Add if plus.is_none() => (times, Some(by)),
        _ => return None,
    };
    Some(MapNode { norm: Some(Norm::Group { groups, scale, shift, epsilon, times, plus }), ..*map })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BY: Vector = Vector::new(0);

    fn composed() -> Vec<Operation> {
        let arithmetic = |x, arithmetic| Operation::Channelwise { x, arithmetic, by: BY };
        vec![
            Operation::Convolution { x: 0, layer: 0 },
            Operation::Same { x: 1 },
            Operation::GroupNorm { x: 2, groups: 2, scale: BY, shift: BY, epsilon: 0.0 },
            Operation::Same { x: 3 },
            arithmetic(4, Arithmetic::Multiply),
            arithmetic(5, Arithmetic::Add),
            Operation::Sum { left: 0, right: 6 },
            Operation::Relu { x: 7 },
        ]
    }

    #[test]
    fn a_composed_group_norm_with_its_sum_and_activation_is_one_map() {
        let nodes = fused(&composed(), &[false; 9]);
        assert_eq!(nodes[0], (2, Node::Convolution { x: 0, layer: 0 }));
        let Node::Map(map) = &nodes[1].1 else { panic!("{nodes:?}") };
        assert_eq!(
            (nodes.len(), nodes[1].0, map.x, map.other, map.limit),
            (2, 8, 2, Some(0), Limit::Positive)
        );
        assert!(matches!(map.norm, Some(Norm::Group { times: Some(_), plus: Some(_), .. })));
    }

    #[test]
    fn kept_values_stay() {
        let nodes = fused(&composed(), &[true; 9]);
        assert_eq!(nodes.iter().map(|(value, _)| *value).collect::<Vec<_>>(), (1..9).collect::<Vec<_>>());
    }
}
