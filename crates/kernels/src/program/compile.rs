//! From operations to stages of instructions.

mod again;
mod backward;
mod forward;
mod tangents;

use std::collections::{BTreeMap, BTreeSet};

use super::Program;
use super::fuse::{MapNode, Node, Norm, fused};
use super::instruction::{Instruction, Item, Slope, Source, Task};
use super::operation::Linear;
use super::placement::{Home, Sharing, place};
use super::plan::{Plan, PlannedLayer, Stage, Table};
use crate::{Convolution, LANES};

/// What a plan is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Purpose {
    /// Whether batch normalizations use the statistics of the batch.
    pub(super) of_batch: bool,
    /// What gradients are asked for, if any.
    pub(super) gradients: Option<Wanted>,
    /// Whether values are looked at for such as are not finite.
    pub(super) checks: bool,
}

/// Gradients that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Of each parameter, whether.
    pub(super) parameters: Vec<bool>,
    /// The numbers of values.
    pub(super) values: Vec<usize>,
    /// Whether the tangents of the parameters' gradients are wanted too. The parameters of a call are then followed by as many directions.
    pub(super) products: bool,
}

/// Compiles a program for a purpose; `output` is the number of the value that calls give.
pub(super) fn compile(program: &Program, output: usize, purpose: &Purpose) -> Plan {
    Compiler::new(program, output, purpose).compile(&[], Sharing::Alike)
}

/// Plans for the same purpose that hold ever less of a batch, and compute ever more again. Empty if nothing can be spared.
///
/// The forward pass is cut into segments, of which only the values at the cuts are kept; all of the last segment is, since the backward pass
/// begins there. With no cut, everything is kept and only packed. Of `n` segments of about as many floats each, what is held at once is the
/// cuts and about one segment, which is least at about the root of the number of operations. Ever more segments are therefore tried, also
/// with the last ones joined to one, which computes less again; and a plan stays if all that hold no more than it compute more.
pub(super) fn compile_thriftily(program: &Program, output: usize, purpose: &Purpose) -> Vec<Plan> {
    // Products with the Hessian keep all.
    if purpose.gradients.as_ref().is_none_or(|wanted| wanted.products) {
        return Vec::new();
    }
    let compiled = |cuts: &[usize]| Compiler::new(program, output, purpose).compile(cuts, Sharing::Packed);
    let lists = Compiler::new(program, output, purpose).cuts();
    let joined = |cuts: &Vec<usize>| (0..=cuts.len()).map(|count| cuts[..count].to_vec()).collect::<Vec<_>>();
    let all: BTreeSet<Vec<usize>> = lists.iter().flat_map(joined).collect();
    let of_cuts = |cuts: Vec<usize>| {
        let plan = compiled(&cuts);
        (plan.kept_floats(), plan.total_cost(), cuts)
    };
    let mut tried: Vec<(usize, usize, Vec<usize>)> = all.into_iter().map(of_cuts).collect();
    tried.sort();
    let kept = compile(program, output, purpose).kept_floats();
    let mut least = usize::MAX;
    tried.retain(|&(floats, cost, _)| {
        let stays = floats < kept && cost < least;
        least = least.min(cost);
        stays
    });
    tried.iter().rev().map(|(.., cuts)| compiled(cuts)).collect()
}

/// The place of a value: what holds it, and the stage that computes it.
type Place = (Item, usize);

struct Compiler<'p> {
    program: &'p Program,
    purpose: &'p Purpose,
    output: usize,
    nodes: Vec<(usize, Node)>,
    /// Of each value the place in `nodes` of what gives it.
    givers: Vec<Option<usize>>,
    /// Of each value whether its gradient is needed.
    needs_gradient: Vec<bool>,
    /// Of each value whether it is plain: the images, and what is done with them before the first layer.
    is_plain: Vec<bool>,
    /// Of each value where it is, once it is computed.
    places: Vec<Option<Place>>,
    /// Values computed once more: by value and stage.
    again: BTreeMap<(usize, usize), Item>,
    /// The values at which the forward pass is cut, rising.
    cuts: Vec<usize>,
    /// Of each value whether the backward pass computes it once more.
    is_dropped: Vec<bool>,
    /// The stage in which the backward pass enters the segment that it goes through, if values of that were dropped.
    entered: Option<usize>,
    /// Of each value that maps give the table of its norm.
    tables: Vec<Table>,
    table_of: Vec<Option<usize>>,
    /// Of each table the item of an image's statistics, where norms have such.
    statistics: Vec<Option<Item>>,
    /// Of each value that a pool of maxima gives the item of the steps that its gradient goes to.
    winners: Vec<Option<Item>>,
    /// Of each value the item that holds the sums of its gradient over pixels, where such are there before they are needed.
    totals: Vec<Option<Item>>,
    /// Of each value the parts of its gradient.
    parts: Vec<Vec<Place>>,
    items: Vec<(usize, Home)>,
    stages: Vec<Stage>,
    forward_stages: usize,
    layers: Vec<PlannedLayer>,
    linears: Vec<Linear>,
    slopes: Vec<Slope>,
    /// Of each parameter whether its gradient is wanted; then, of a plan with tangents, of each direction.
    wanted: Vec<bool>,
}

impl<'p> Compiler<'p> {
    fn new(program: &'p Program, output: usize, purpose: &'p Purpose) -> Compiler<'p> {
        let count = program.shapes.len();
        let taps = purpose.gradients.as_ref().map_or(&[][..], |wanted| &wanted.values);
        let mut is_kept = vec![purpose.checks; count];
        taps.iter().chain([&output]).for_each(|&value| is_kept[value] = true);
        let nodes = fused(&program.operations, &program.pools, &is_kept);
        let mut givers = vec![None; count];
        nodes.iter().enumerate().for_each(|(place, (value, _))| givers[*value] = Some(place));
        let mut compiler = Compiler {
            program,
            purpose,
            output,
            nodes,
            givers,
            needs_gradient: vec![false; count],
            is_plain: vec![false; count],
            places: vec![None; count],
            again: BTreeMap::new(),
            cuts: Vec::new(),
            is_dropped: vec![false; count],
            entered: None,
            tables: Vec::new(),
            table_of: vec![None; count],
            statistics: Vec::new(),
            winners: vec![None; count],
            totals: vec![None; count],
            parts: vec![Vec::new(); count],
            items: Vec::new(),
            stages: Vec::new(),
            forward_stages: 0,
            layers: Vec::new(),
            linears: program.linears.clone(),
            slopes: Vec::new(),
            wanted: match &purpose.gradients {
                Some(wanted) => wanted.parameters.clone(),
                None => vec![false; program.parameters.len()],
            },
        };
        compiler.find_needs();
        compiler.find_plain();
        compiler.make_layers();
        compiler.make_tables();
        compiler
    }

    fn compile(mut self, cuts: &[usize], sharing: Sharing) -> Plan {
        self.forward();
        if self.purpose.gradients.is_some() {
            self.drop_before(cuts);
            self.backward();
        }
        if self.purpose.gradients.as_ref().is_some_and(|wanted| wanted.products) {
            self.add_tangents();
        }
        self.finish(sharing)
    }

    /// Which values' gradients are needed: those that are asked for, and those on the way to what is asked for.
    fn find_needs(&mut self) {
        let Some(Wanted { parameters, values, .. }) = &self.purpose.gradients else { return };
        values.iter().for_each(|&value| self.needs_gradient[value] = true);
        for (value, node) in &self.nodes {
            let own = match node {
                Node::Convolution { layer, .. } => {
                    let layer = &self.program.layers[*layer];
                    parameters[layer.weight] || layer.bias.is_some_and(|bias| parameters[bias])
                }
                Node::Linear { layer, .. } => {
                    let layer = &self.program.linears[*layer];
                    parameters[layer.weight] || layer.bias.is_some_and(|bias| parameters[bias])
                }
                Node::Map(MapNode { norm: Some(norm), .. }) => {
                    wanted_of(norm, parameters, self.purpose.of_batch).any()
                }
                _ => false,
            };
            if own || node.inputs().any(|input| self.needs_gradient[input]) {
                self.needs_gradient[*value] = true;
            }
        }
    }

    /// The images stay plain where that spares their padding to 16 channels: up to a first convolution or a flattening, through changes
    /// of single values, if no gradient goes back there.
    fn find_plain(&mut self) {
        let mut is_plain = vec![false; self.is_plain.len()];
        is_plain[0] = !self.needs_gradient[0] && self.program.shapes[0].pixels() > 1 && self.output != 0;
        for (value, node) in &self.nodes {
            is_plain[*value] = match node {
                Node::Map(MapNode { x, other: None, norm, .. }) => {
                    let is_simple = matches!(norm, None | Some(Norm::Channelwise { .. }));
                    is_plain[*x] && is_simple && !self.needs_gradient[*value] && *value != self.output
                }
                _ => false,
            };
        }
        let fits = |node: &Node, value: usize| match *node {
            Node::Convolution { layer, .. } => {
                let layer = &self.program.layers[layer];
                layer.groups == 1 && layer.ends[0] < LANES / 2
            }
            Node::Flatten { .. } => true,
            Node::Map(_) => is_plain[value],
            _ => false,
        };
        let all_fit = self
            .nodes
            .iter()
            .all(|(value, node)| node.inputs().all(|input| !is_plain[input]) || fits(node, *value));
        if all_fit {
            self.is_plain = is_plain;
        }
    }

    fn make_layers(&mut self) {
        let wanted = self.purpose.gradients.as_ref();
        self.layers = self
            .program
            .layers
            .iter()
            .map(|layer| PlannedLayer {
                convolution: layer.convolution.clone(),
                weight: layer.weight,
                bias: layer.bias,
                has_data_gradient: false,
                has_weight_gradient: wanted.is_some_and(|wanted| wanted.parameters[layer.weight]),
            })
            .collect();
        for (_, node) in &self.nodes {
            let &Node::Convolution { x, layer } = node else { continue };
            self.layers[layer].has_data_gradient = self.needs_gradient[x];
            if self.is_plain[x] {
                let from = &self.program.layers[layer];
                let first = Convolution::new_first(from.ends, from.image, from.window, self.program.isa);
                self.layers[layer].convolution = first.expect("checked when the layer was added");
            }
        }
    }

    fn make_tables(&mut self) {
        for (value, node) in &self.nodes {
            let Node::Map(MapNode { norm: Some(norm), .. }) = *node else { continue };
            self.table_of[*value] = Some(self.tables.len());
            let of_batch = self.purpose.of_batch && matches!(norm, Norm::Batch { .. });
            let shape = self.program.shapes[*value];
            self.tables.push(Table { norm, shape, of_batch, is_tangent: false });
        }
        self.statistics = vec![None; self.tables.len()];
    }

    fn item(&mut self, floats: usize) -> Item {
        self.item_at(floats, Home::Free)
    }

    fn item_at(&mut self, floats: usize, home: Home) -> Item {
        self.items.push((floats, home));
        self.items.len() - 1
    }

    /// An item for a blocked value, or the gradient of one.
    fn blocked(&mut self, value: usize) -> Item {
        self.item(self.program.shapes[value].blocked())
    }

    fn stage(&mut self, stage: usize) -> &mut Stage {
        if self.stages.len() <= stage {
            self.stages.resize_with(stage + 1, Stage::default);
        }
        &mut self.stages[stage]
    }

    fn emit(&mut self, stage: usize, instruction: Instruction) {
        self.stage(stage).instructions.push(instruction);
    }

    fn task(&mut self, stage: usize, task: Task) {
        self.stage(stage).tasks.push(task);
    }

    /// An item that holds the value in a stage: where it was computed, or, if it is of those that are not kept, computed once more.
    fn need(&mut self, value: usize, stage: usize) -> Item {
        let (item, at) = self.places[value].expect("values are computed in order");
        if at == stage {
            return item;
        }
        if let Some(&item) = self.again.get(&(value, stage)) {
            return item;
        }
        let Some(map) = self.cheap(value) else { return self.recalled(value, item) };
        let item = self.map(value, map, stage);
        self.again.insert((value, stage), item);
        item
    }

    /// The map that gives a value, if it is computed anew instead of kept: one that follows a norm with measured statistics, since that
    /// norm's own gradient needs what it is applied to.
    fn cheap(&self, value: usize) -> Option<MapNode> {
        let Node::Map(map) = self.nodes[self.givers[value]?].1 else { return None };
        let is_measured = match map.norm {
            Some(Norm::Batch { .. }) => self.purpose.of_batch,
            Some(Norm::Group { .. }) => true,
            _ => false,
        };
        (is_measured && map.other.is_none()).then_some(map)
    }

    /// Computes a map in a stage.
    fn map(&mut self, value: usize, map: MapNode, stage: usize) -> Item {
        let shape = self.program.shapes[value];
        let x = self.need(map.x, stage);
        let other = map.other.map(|other| self.need(other, stage));
        let norm = self.table_of[value].map(|table| self.source(table));
        let is_plain = self.is_plain[value];
        let y = self.item(if is_plain { shape.elements() } else { shape.blocked() });
        let pixels = shape.pixels();
        self.emit(stage, Instruction::Map { is_plain, pixels, x, norm, other, limit: map.limit, y });
        y
    }

    fn source(&self, table: usize) -> Source {
        Source { table, statistics: self.statistics[table] }
    }

    fn finish(self, sharing: Sharing) -> Plan {
        let placed = place(&self.items, &self.stages, &self.slopes, sharing);
        let shapes = &self.program.shapes;
        let taps = self.purpose.gradients.iter().flat_map(|wanted| &wanted.values);
        let taps = taps.map(|&value| shapes[value]).collect();
        let scratches = self.layers.iter().map(|layer| layer.convolution.scratch_len());
        let mut plan = Plan {
            items: placed.items,
            regions: placed.regions,
            scratch: placed.scratch,
            convolution_scratch: scratches.max().unwrap_or(0),
            stages: self.stages,
            forward: self.forward_stages,
            tables: self.tables,
            layers: self.layers,
            linears: self.linears,
            pools: self.program.pools.clone(),
            slopes: self.slopes,
            output: shapes[self.output],
            taps,
            wanted: self.wanted,
        };
        plan.estimate_costs();
        plan
    }
}

/// Which gradients of a norm's parameters are asked for.
pub(super) struct WantedOfNorm {
    /// Those that need the sums of the gradient times the standardized value.
    along: bool,
    /// Those that need the sums of the gradient alone.
    plain: bool,
}

impl WantedOfNorm {
    fn any(&self) -> bool {
        self.along || self.plain
    }
}

fn wanted_of(norm: &Norm, wanted: &[bool], of_batch: bool) -> WantedOfNorm {
    use super::operation::Arithmetic;
    let is = |vector: &super::Vector| vector.is_among(wanted);
    match norm {
        Norm::Batch { scale, shift, running: [mean, variance], .. } => WantedOfNorm {
            along: is(scale) || (!of_batch && wanted[*variance]),
            plain: is(shift) || (!of_batch && wanted[*mean]),
        },
        Norm::Group { scale, shift, times, plus, .. } => WantedOfNorm {
            along: is(scale) || times.as_ref().is_some_and(is),
            plain: is(shift) || plus.as_ref().is_some_and(is),
        },
        Norm::Channelwise { arithmetic: Arithmetic::Add | Arithmetic::Subtract, by } => {
            WantedOfNorm { along: false, plain: is(by) }
        }
        Norm::Channelwise { by, .. } => WantedOfNorm { along: is(by), plain: false },
    }
}
