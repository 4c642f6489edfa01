//! Forward passes under several sets of parameters that differ in a few numbers.
//!
//! A variant is what the plain pass is up to the first step that computes with a number that differs. So each image goes through the plain pass
//! once, in memory where everything that a stage computes stays; then each variant does the steps from its first one on, for the same image,
//! and reads what comes before out of that memory, which lies in the cache.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::frame::ripple::{Planes, saves};
use super::frame::{self, Before, Frame};
use super::{LITTLE, Runner, Shared, Workspace, pack, rows_at, rows_of_items, skew, stride};
use crate::program::instruction::{Instruction, Task};
use crate::program::memory::Rows;
use crate::program::order::Order;
use crate::program::patched::Patched;
use crate::program::placement::unshared;
use crate::program::plan::{Layout, Place, Plan, Stage, Table};
use crate::program::ripple::Ripple;
use crate::program::tables::Numbers;
use crate::{AlignedBuffer, Isa};

/// What all variants of a call share.
#[derive(Clone, Copy)]
pub(in crate::program) struct Plain<'c> {
    pub(in crate::program) plan: &'c Plan,
    pub(in crate::program) order: &'c Order,
    pub(in crate::program) isa: Isa,
    pub(in crate::program) parameters: &'c [Vec<f32>],
    pub(in crate::program) images: &'c [f32],
    pub(in crate::program) batch: usize,
}

/// The parameters in which a variant differs: their numbers, and what is made of them.
#[derive(Debug, Default)]
pub(in crate::program) struct Changed {
    /// The first step that computes with one of them.
    start: usize,
    /// What need not be computed anew after it, of the weights of one convolution.
    ripple: Option<Ripple>,
    parameters: Vec<(usize, Vec<f32>)>,
    packed: Vec<(usize, [AlignedBuffer; 2])>,
    numbers: Vec<(usize, Numbers)>,
}

impl Changed {
    /// What changed parameters change.
    pub(in crate::program) fn new(plain: &Plain<'_>, parameters: Vec<(usize, Vec<f32>)>) -> Changed {
        let Plain { plan, order, .. } = *plain;
        let is_changed = |parameter: usize| parameters.iter().any(|(changed, _)| *changed == parameter);
        let start = parameters.iter().map(|(parameter, _)| order.readers[*parameter]).min();
        let all = Patched::new(plain.parameters, &parameters);
        let layers = plan.layers.iter().enumerate().filter(|(_, layer)| is_changed(layer.weight));
        let packed = layers.map(|(place, layer)| {
            let mut packed = AlignedBuffer::zeroed(layer.convolution.forward_weights_len());
            layer.convolution.pack_forward(&all[layer.weight], &mut packed);
            (place, [packed, AlignedBuffer::zeroed(0)])
        });
        let is_of_table = |table: &Table| table.norm.parameters().into_iter().any(is_changed);
        let tables = plan.tables.iter().enumerate().filter(|(_, table)| is_of_table(table));
        let numbers = tables.map(|(place, table)| {
            let mut numbers = Numbers::new(table);
            numbers.prepare(table, all);
            (place, numbers)
        });
        let (packed, numbers) = (packed.collect(), numbers.collect());
        let ripple = match &parameters[..] {
            [(parameter, becomes)] => Ripple::new(plan, order, plain.parameters, (*parameter, becomes)),
            _ => None,
        };
        Changed { start: start.unwrap_or(order.count()), ripple, parameters, packed, numbers }
    }

    /// The step up to which the plain pass is needed.
    fn end(&self) -> usize {
        self.ripple.as_ref().map_or(self.start, |ripple| ripple.end)
    }
}

/// The bytes that a variant takes, beside the plain pass: changed parameters twice, and what later stages need of the batch.
pub(in crate::program) fn bytes_of(plain: &Plain<'_>, parameters: impl Iterator<Item = usize>) -> usize {
    let changed: usize = parameters.map(|parameter| 2 * plain.parameters[parameter].len()).sum();
    let kept: usize = plain.plan.regions.iter().map(|&floats| stride(floats)).sum();
    let of_image = kept + plain.plan.output.elements();
    of_image.saturating_mul(plain.batch).saturating_add(changed).saturating_mul(size_of::<f32>())
}

/// The outputs of each variant.
pub(in crate::program) fn run(
    plain: &Plain<'_>,
    workspace: &mut Workspace,
    variants: &[Changed],
) -> Vec<Vec<f32>> {
    let Plain { plan, order, parameters, batch, .. } = *plain;
    workspace.prepare(plan, batch);
    let Workspace { regions, numbers, packed, scratches, traces, .. } = workspace;
    let tables = plan.tables.iter().zip(&mut *numbers);
    tables.for_each(|(table, numbers)| numbers.prepare(table, Patched::plain(parameters)));
    pack(plan, parameters, packed);
    let shared = Shared {
        plan,
        isa: plain.isa,
        parameters: Patched::plain(parameters),
        batch,
        parts: plan.parts(batch),
        packed: Patched::plain(packed),
        weight_sums: &[],
        scratches,
        flags: &[],
    };
    let zeros = || vec![0.0; batch * plan.output.elements()];
    let mut of_plain = zeros();
    let mut outputs: Vec<Vec<f32>> = variants.iter().map(|_| zeros()).collect();
    let mut memories: Vec<Vec<AlignedBuffer>> = variants.iter().map(|_| memory(plan, batch)).collect();
    let trunk = Runner { shared, rows: rows(plain, regions, &mut of_plain), measured: Vec::new() };
    let own = memories.iter_mut().zip(&mut outputs).map(|(memory, outputs)| rows(plain, memory, outputs));
    let branches = variants.iter().zip(own).map(|(changed, own)| {
        let is_there: Vec<bool> = match &changed.ripple {
            Some(ripple) => ripple.is_kept.clone(),
            None => order.writers.iter().map(|&writer| writer < changed.start).collect(),
        };
        let pairs = own.into_iter().zip(&trunk.rows).zip(&is_there);
        let rows = pairs.map(|((own, rows), is_there)| match is_there {
            true => rows.map(|rows| rows.frozen()),
            false => own,
        });
        let rows = rows.collect();
        let parameters = Patched::new(parameters, &changed.parameters);
        let shared = Shared { parameters, packed: Patched::new(packed, &changed.packed), ..shared };
        let runner = Runner { shared, rows, measured: Vec::new() };
        let numbers = Patched::new(numbers, &changed.numbers);
        Branch { start: changed.start, ripple: changed.ripple.as_ref(), is_there, runner, numbers }
    });
    let (items, scratch) = unshared(&plan.items, &plan.stages);
    let tree = Tree {
        branches: branches.collect(),
        end: variants.iter().map(Changed::end).max().unwrap_or(0),
        trunk,
        numbers: Patched::plain(numbers),
        kept: Layout { items: &items, scratch },
        traces,
    };
    plan.stages.iter().zip(&order.stages).for_each(|(stage, &first)| tree.stage(stage, first));
    drop(tree);
    let is_plain = variants.iter().map(|changed| changed.start == order.count());
    let unchanged = is_plain.zip(&mut outputs).filter_map(|(is_plain, outputs)| is_plain.then_some(outputs));
    unchanged.for_each(|outputs| outputs.clone_from(&of_plain));
    outputs
}

/// Memory for what later stages need of a batch.
fn memory(plan: &Plan, batch: usize) -> Vec<AlignedBuffer> {
    let regions = plan.regions.iter().enumerate();
    regions.map(|(region, floats)| AlignedBuffer::zeroed(skew(region) + stride(*floats) * batch)).collect()
}

/// Of each item that is not a thread's own its rows.
fn rows<'r>(
    plain: &Plain<'r>,
    regions: &'r mut [AlignedBuffer],
    outputs: &'r mut [f32],
) -> Vec<Option<Rows<'r>>> {
    let Plain { plan, images, batch, .. } = *plain;
    let elements = plan.output.elements();
    let regions = regions.iter_mut().enumerate().map(|(region, floats)| &mut floats[skew(region)..]);
    let rows = rows_of_items(plan, batch, regions.collect(), images, &mut []);
    rows_at(plan, &rows, Place::Output, Rows::new(outputs, batch, elements, elements))
}

/// A variant on its way.
struct Branch<'r> {
    /// Its first step.
    start: usize,
    ripple: Option<&'r Ripple>,
    /// Of each item whether it is the plain pass's.
    is_there: Vec<bool>,
    runner: Runner<'r>,
    numbers: Patched<'r, Numbers>,
}

impl Branch<'_> {
    /// Does a step without computing all of it anew, if that is possible.
    fn saves(
        &self,
        step: usize,
        instruction: &Instruction,
        frame: &mut Frame<'_>,
        planes: &mut Planes,
    ) -> bool {
        let ripple = self.ripple.map(|ripple| (ripple, ripple.at(step)));
        ripple.is_some_and(|ripple| saves(&self.runner, instruction, ripple, frame, self.numbers, planes))
    }
}

/// The plain pass with the variants that part from it.
struct Tree<'r> {
    trunk: Runner<'r>,
    numbers: Patched<'r, Numbers>,
    /// Where a thread keeps what a stage of the plain pass computes.
    kept: Layout<'r>,
    traces: &'r Mutex<Vec<AlignedBuffer>>,
    /// The plain pass is not needed from this step on.
    end: usize,
    branches: Vec<Branch<'r>>,
}

impl Tree<'_> {
    /// A stage, whose first step has a number.
    fn stage(&self, stage: &Stage, first: usize) {
        let parts = self.trunk.shared.parts;
        // Every branch costs about as much as the stage.
        let cost = stage.cost.saturating_mul(self.branches.len() + 1);
        if !stage.instructions.is_empty() {
            if cost.saturating_mul(self.trunk.shared.batch) < LITTLE || parts == 1 {
                (0..parts).for_each(|part| self.part(part, stage, first));
            } else {
                (0..parts).into_par_iter().with_max_len(1).for_each(|part| self.part(part, stage, first));
            }
        }
        for (number, task) in (first + stage.instructions.len()..).zip(&stage.tasks) {
            // Statistics are the running ones, so there are no tasks but those of fully connected layers.
            let &Task::Linear { layer, x, y } = task else { continue };
            if number < self.end {
                self.trunk.linear_with_bias(layer, x, y);
            }
            let branches = self.branches.iter().filter(|branch| branch.start <= number);
            branches.for_each(|branch| branch.runner.linear_with_bias(layer, x, y));
        }
    }

    /// The instructions of a stage for the images of a part of the batch.
    fn part(&self, part: usize, stage: &Stage, first: usize) {
        let Shared { plan, batch, parts, .. } = self.trunk.shared;
        let mut scratch = self.trunk.borrow_scratch();
        let kept = self.traces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut trace =
            kept.unwrap_or_else(|| AlignedBuffer::zeroed(self.kept.scratch + plan.convolution_scratch));
        let plain = &stage.instructions[..stage.instructions.len().min(self.end.saturating_sub(first))];
        let open = |branch: &&Branch<'_>| branch.start < first + stage.instructions.len();
        let mut planes = Planes::default();
        for image in part * batch / parts..(part + 1) * batch / parts {
            // SAFETY: parts do not overlap, so no other task has this image; the memory is this task's own.
            #[expect(unsafe_code, reason = "tasks work on the same buffers, each on its own images")]
            let mut frame = unsafe { Frame::new(self.kept, &self.trunk.rows, &mut trace, image) };
            for instruction in plain {
                frame::execute(&self.trunk, instruction, &mut frame, self.numbers, part);
            }
            for branch in self.branches.iter().filter(open) {
                let rows = &branch.runner.rows;
                // SAFETY: as above; rows of the plain pass are only read, and it is done with this image.
                #[expect(unsafe_code, reason = "tasks work on the same buffers, each on its own images")]
                let frame = unsafe { Frame::new(plan.layout(), rows, &mut scratch, image) };
                let rows = &self.trunk.rows;
                let before = Before { layout: self.kept, floats: &trace, rows, is_there: &branch.is_there };
                let mut frame = frame.after(before);
                let start = branch.start.saturating_sub(first);
                for (number, instruction) in stage.instructions.iter().enumerate().skip(start) {
                    if !branch.saves(first + number, instruction, &mut frame, &mut planes) {
                        frame::execute(&branch.runner, instruction, &mut frame, branch.numbers, part);
                    }
                }
            }
        }
        self.traces.lock().unwrap_or_else(PoisonError::into_inner).push(trace);
        self.trunk.shared.scratches.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }
}
