//! Operations on single values, joined with the normalization before them.

use super::operation::{Arithmetic, Bound, Operation, Vector};
use super::pool::Pool;

/// What is computed at once.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Convolution {
        x: usize,
        layer: usize,
    },
    Linear {
        x: usize,
        layer: usize,
    },
    /// A pool; with `is_positive` of maxima of which those below 0 become 0.
    Pool {
        x: usize,
        pool: usize,
        is_positive: bool,
    },
    Flatten {
        x: usize,
    },
    Same {
        x: usize,
    },
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

impl Norm {
    /// The parameters that its numbers are made of.
    pub(super) fn parameters(&self) -> Vec<usize> {
        let (vectors, running) = match *self {
            Norm::Batch { scale, shift, running, .. } => (vec![scale, shift], running.to_vec()),
            Norm::Group { scale, shift, times, plus, .. } => {
                (vec![scale, shift].into_iter().chain(times).chain(plus).collect(), Vec::new())
            }
            Norm::Channelwise { by, .. } => (vec![by], Vec::new()),
        };
        let of_vectors =
            vectors.iter().flat_map(|vector| std::iter::once(vector.parameter).chain(vector.plus));
        of_vectors.chain(running).collect()
    }
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
pub(super) fn fused(operations: &[Operation], pools: &[Pool], is_kept: &[bool]) -> Vec<(usize, Node)> {
    let mut uses = vec![0_usize; operations.len() + 1];
    operations.iter().flat_map(Operation::inputs).for_each(|value| uses[value] += 1);
    let may_vanish = |value: usize| uses[value] == 1 && !is_kept[value];
    let mut nodes: Vec<Option<Node>> = vec![None; operations.len() + 1];
    for (index, operation) in operations.iter().enumerate() {
        let node = joined(operation, index + 1, &mut nodes, pools, &may_vanish);
        nodes[index + 1] = Some(node);
    }
    nodes.into_iter().enumerate().filter_map(|(value, node)| node.map(|node| (value, node))).collect()
}

/// The node of an operation, with the node of its input taken into it where that is possible.
fn joined(
    operation: &Operation,
    value: usize,
    nodes: &mut [Option<Node>],
    pools: &[Pool],
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
        Operation::Pool { x, pool } => {
            // Maxima of what a ReLU gives are what the ReLU gives of maxima.
            let relu = take(x, &|map| pools[pool].is_max() && map.limit == Limit::Positive);
            let Some(map) = relu else { return Node::Pool { x, pool, is_positive: false } };
            if map.norm.is_none() && map.other.is_none() {
                return Node::Pool { x: map.x, pool, is_positive: true };
            }
            nodes[x] = Some(Node::Map(MapNode { limit: Limit::None, ..map }));
            Node::Pool { x, pool, is_positive: true }
        }
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
    use crate::program::pool::Rule;

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
        let nodes = fused(&composed(), &[], &[false; 9]);
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
        let nodes = fused(&composed(), &[], &[true; 9]);
        assert_eq!(nodes.iter().map(|(value, _)| *value).collect::<Vec<_>>(), (1..9).collect::<Vec<_>>());
    }

    #[test]
    fn a_relu_goes_into_the_pool_of_maxima_after_it_but_not_into_one_of_averages() {
        let norm = Operation::Channelwise { x: 0, arithmetic: Arithmetic::Add, by: BY };
        let after = |x: usize| [Operation::Relu { x }, Operation::Pool { x: x + 1, pool: 0 }];
        let operations = [vec![norm], after(1).to_vec()].concat();
        let pool = |rule| Pool::new([2; 2], [1; 2], crate::Window::new([2; 2]), rule);
        let nodes = |operations: &[Operation], rule, is_kept: bool| {
            fused(operations, &[pool(rule)], &vec![is_kept; operations.len() + 1])
        };
        let found = nodes(&operations, Rule::Max, false);
        assert!(
            matches!(found[0], (2, Node::Map(MapNode { norm: Some(_), limit: Limit::None, .. }))),
            "{found:?}"
        );
        assert_eq!(found[1], (3, Node::Pool { x: 2, pool: 0, is_positive: true }));
        assert_eq!(
            nodes(&after(0), Rule::Max, false),
            [(2, Node::Pool { x: 0, pool: 0, is_positive: true })]
        );
        let apart = (2, Node::Pool { x: 1, pool: 0, is_positive: false });
        assert_eq!(nodes(&after(0), Rule::Max, true)[1], apart);
        assert_eq!(nodes(&after(0), Rule::Average(vec![4.0]), false)[1], apart);
    }
}
