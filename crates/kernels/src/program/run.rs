//! Running a plan on a batch.

mod frame;
pub(super) mod inference;
mod mapped;
pub(super) mod variants;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::fuse::Norm;
use super::instruction::{Instruction, Item, Slope, Task};
use super::linear::{Matrix, Start, product};
use super::memory::Rows;
use super::patched::Patched;
use super::placement::PACKED_APART;
use super::plan::{Place, Plan, Stage};
use super::tables::{Moving, Numbers, sums};
use crate::{AlignedBuffer, Isa, LANES};
use frame::Frame;

/// Memory for one call at a time, kept from call to call.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// The images that the regions hold.
    capacity: usize,
    /// The floats of an image that each region holds, and those that a thread works in.
    made_for: (Vec<usize>, usize),
    /// The floats of the batch that it holds, as [`floats_of_batch`] counts them.
    held: usize,
    regions: Vec<AlignedBuffer>,
    numbers: Vec<Numbers>,
    packed: Vec<[AlignedBuffer; 2]>,
    /// Of each convolution the sums of weight gradients, one after the other.
    sums: Vec<AlignedBuffer>,
    scratches: Mutex<Vec<AlignedBuffer>>,
    /// What threads keep of an image for the variants of a pass.
    traces: Mutex<Vec<AlignedBuffer>>,
}

impl Workspace {
    /// The bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        let of_threads =
            [&self.scratches, &self.traces].map(|list| list.lock().unwrap_or_else(PoisonError::into_inner));
        let packed = self.packed.iter().flatten();
        let buffers = self.regions.iter().chain(packed).chain(&self.sums);
        let buffers = buffers.chain(of_threads.iter().flat_map(|list| list.iter()));
        buffers.map(|buffer| size_of_val(&buffer[..])).sum()
    }

    /// The floats that it lacks for a batch, as [`floats_of_batch`] counts them. What it holds for another plan it would give back first.
    pub(super) fn missing(&self, plan: &Plan, batch: usize) -> usize {
        if self.has_room(plan, batch) { 0 } else { floats_of_batch(plan, batch).saturating_sub(self.held) }
    }

    fn has_room(&self, plan: &Plan, batch: usize) -> bool {
        batch <= self.capacity && self.is_made_for(plan)
    }

    fn is_made_for(&self, plan: &Plan) -> bool {
        self.made_for.0 == plan.regions && self.made_for.1 == plan.scratch
    }

    /// Makes room for a batch.
    fn prepare(&mut self, plan: &Plan, batch: usize) {
        if !self.is_made_for(plan) {
            self.scratches.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        }
        if self.numbers.len() != plan.tables.len() {
            self.numbers = plan.tables.iter().map(Numbers::new).collect();
        }
        if self.packed.is_empty() {
            self.packed = plan
                .layers
                .iter()
                .map(|layer| {
                    let data = if layer.has_data_gradient { layer.convolution.data_weights_len() } else { 0 };
                    [layer.convolution.forward_weights_len(), data].map(AlignedBuffer::zeroed)
                })
                .collect();
        }
        if !self.has_room(plan, batch) {
            // What smaller batches and other plans had is given back first.
            self.regions.clear();
            self.sums.clear();
            let sizes = plan.regions.iter().enumerate();
            self.regions = sizes
                .map(|(region, floats)| AlignedBuffer::zeroed(skew(region) + stride(*floats) * batch))
                .collect();
            let parts = plan.parts(batch);
            self.sums = plan
                .layers
                .iter()
                .map(|layer| {
                    let floats = if layer.has_weight_gradient {
                        stride(layer.convolution.weight_gradient_len())
                    } else {
                        0
                    };
                    AlignedBuffer::zeroed(floats * parts)
                })
                .collect();
            self.capacity = batch;
            self.held = floats_of_batch(plan, batch);
            self.made_for = (plan.regions.clone(), plan.scratch);
        }
    }
}

/// Floats that a call needs for a batch, beside those of the caller: what later stages and the backward pass need of each image, and sums of
/// gradients. What threads work in does not grow with the batch and is not counted.
pub(super) fn floats_of_batch(plan: &Plan, batch: usize) -> usize {
    let kept = plan.kept_floats();
    let wanted = plan.layers.iter().filter(|layer| layer.has_weight_gradient);
    let sums: usize = wanted.map(|layer| stride(layer.convolution.weight_gradient_len())).sum();
    kept.saturating_mul(batch).saturating_add(sums * plan.parts(batch))
}

/// Rows start at whole blocks.
fn stride(floats: usize) -> usize {
    floats.next_multiple_of(LANES)
}

/// Rows that start a multiple of 4 KiB apart would get into each other's way in the cache.
fn skew(region: usize) -> usize {
    region % 8 * 9 * LANES
}

/// The floats that are gone through in about the time in which another thread wakes up. Under Miri, all is shared out.
const LITTLE: usize = if cfg!(miri) { 0 } else { 1 << 17 };

/// What the caller gives and gets.
pub(super) struct Call<'c> {
    pub(super) isa: Isa,
    pub(super) parameters: &'c [Vec<f32>],
    pub(super) images: &'c [f32],
    pub(super) batch: usize,
    /// The outputs and their tangents; these are empty where there are none.
    pub(super) outputs: [&'c mut [f32]; 2],
    /// The gradient of the outputs and its tangent; empty where there is no backward pass, or are no tangents.
    pub(super) seed: [&'c mut [f32]; 2],
    pub(super) taps: &'c mut [Vec<f32>],
    /// Of each value whether it was found not to be finite.
    pub(super) flags: &'c [AtomicBool],
}

/// What batch norms measured: the number of the value, mean and unbiased variance.
pub(super) type Measured = Vec<(usize, [Vec<f32>; 2])>;

/// Of each parameter its gradient, where it was asked for and the outputs depend on it.
pub(super) type Slopes = Vec<Option<Vec<f32>>>;

/// Runs the forward pass; then, if the plan has a backward pass, `objective`, which fills in the seed out of the outputs, and the
/// backward pass. Gives what was measured, and the gradients of the wanted parameters.
pub(super) fn run<E>(
    plan: &Plan,
    workspace: &mut Workspace,
    call: Call<'_>,
    objective: impl FnOnce([&[f32]; 2], [&mut [f32]; 2]) -> Result<(), E>,
) -> Result<(Measured, Slopes), E> {
    let Call { isa, parameters, images, batch, outputs, seed, taps, flags } = call;
    workspace.prepare(plan, batch);
    let Workspace { regions, numbers, packed, sums, scratches, .. } = workspace;
    plan.tables
        .iter()
        .zip(&mut *numbers)
        .for_each(|(table, numbers)| numbers.prepare(table, Patched::plain(parameters)));
    pack(plan, parameters, packed);
    let parts = plan.parts(batch);
    let weight_sums = plan.layers.iter().zip(sums).map(|(layer, sums)| {
        let floats = if layer.has_weight_gradient { layer.convolution.weight_gradient_len() } else { 0 };
        Rows::new(sums, parts, floats, stride(floats))
    });
    let regions = regions.iter_mut().enumerate().map(|(region, floats)| &mut floats[skew(region)..]);
    let rows = rows_of_items(plan, batch, regions.collect(), images, taps);
    let weight_sums: Vec<Rows<'_>> = weight_sums.collect();
    let shared = Shared {
        plan,
        isa,
        parameters: Patched::plain(parameters),
        batch,
        parts,
        packed: Patched::plain(packed),
        weight_sums: &weight_sums,
        scratches,
        flags,
    };
    let output = plan.output.elements();
    let [outputs, moved] = outputs;
    let forward = rows_at(plan, &rows, Place::Output, Rows::new(outputs, batch, output, output));
    let forward = if moved.is_empty() {
        forward
    } else {
        rows_at(plan, &forward, Place::OutputTangent, Rows::new(moved, batch, output, output))
    };
    let mut forward = Runner { shared, rows: forward, measured: Vec::new() };
    for stage in &plan.stages[..plan.forward] {
        forward.stage(stage, numbers);
    }
    let mut measured = forward.measured;
    measured.sort_by_key(|(value, _)| *value);
    if plan.stages.len() == plan.forward {
        return Ok((measured, Vec::new()));
    }
    let [seed, moved_seed] = seed;
    objective([outputs, moved], [seed, moved_seed])?;
    let backward = rows_at(plan, &rows, Place::Seed, Rows::read_only(seed, batch, output));
    let backward = if moved_seed.is_empty() {
        backward
    } else {
        rows_at(plan, &backward, Place::SeedTangent, Rows::read_only(moved_seed, batch, output))
    };
    let mut backward = Runner { shared, rows: backward, measured: Vec::new() };
    for stage in &plan.stages[plan.forward..] {
        backward.stage(stage, numbers);
    }
    Ok((measured, backward.gradients(numbers)))
}

fn pack(plan: &Plan, parameters: &[Vec<f32>], packed: &mut [[AlignedBuffer; 2]]) {
    /// Fewer weights are packed before another thread has woken up.
    const FEW: usize = 1 << 16;
    let floats: usize = packed.iter().flatten().map(|buffer| buffer.len()).sum();
    let one = |(layer, [forward, data]): (&super::plan::PlannedLayer, &mut [AlignedBuffer; 2])| {
        let weights = &parameters[layer.weight];
        layer.convolution.pack_forward(weights, forward);
        if layer.has_data_gradient {
            layer.convolution.pack_data(weights, data);
        }
    };
    if floats < FEW {
        plan.layers.iter().zip(packed).for_each(one);
    } else {
        plan.layers.par_iter().zip(packed).for_each(one);
    }
}

/// Of each item that is not a thread's own its rows; outputs and seed are put in when they are there.
fn rows_of_items<'r>(
    plan: &Plan,
    batch: usize,
    regions: Vec<&'r mut [f32]>,
    images: &'r [f32],
    taps: &'r mut [Vec<f32>],
) -> Vec<Option<Rows<'r>>> {
    let regions: Vec<Rows<'r>> = regions
        .into_iter()
        .zip(&plan.regions)
        .map(|(region, &floats)| Rows::new(region, batch, floats, stride(floats)))
        .collect();
    // Those of a packed item lie one after the other.
    let packed = |item: Item, floats: usize, start: usize| {
        let start = batch * start + skew(item).min(batch * PACKED_APART);
        regions[0].regrouped(start, batch, floats, stride(floats))
    };
    let taps: Vec<Rows<'r>> = taps
        .iter_mut()
        .zip(&plan.taps)
        .map(|(tap, shape)| Rows::new(tap, batch, shape.elements(), shape.elements()))
        .collect();
    let rows = |(number, item): (Item, &super::plan::Placed)| match item.place {
        Place::Region(region) => Some(regions[region].narrowed(item.floats)),
        Place::Packed(start) => Some(packed(number, item.floats, start)),
        Place::Images => Some(Rows::read_only(images, batch, item.floats)),
        Place::Tap(tap) => Some(taps[tap]),
        Place::Output | Place::OutputTangent | Place::Seed | Place::SeedTangent | Place::Scratch(_) => None,
    };
    plan.items.iter().enumerate().map(rows).collect()
}

/// The rows, with those of the items of a place filled in.
fn rows_at<'r>(
    plan: &Plan,
    rows: &[Option<Rows<'r>>],
    place: Place,
    there: Rows<'r>,
) -> Vec<Option<Rows<'r>>> {
    let one = |(rows, placed): (&Option<Rows<'r>>, &super::plan::Placed)| {
        if placed.place == place { Some(there) } else { *rows }
    };
    rows.iter().zip(&plan.items).map(one).collect()
}

/// What all stages of a call use.
#[derive(Clone, Copy)]
struct Shared<'r> {
    plan: &'r Plan,
    isa: Isa,
    parameters: Patched<'r, Vec<f32>>,
    batch: usize,
    /// The parts that the batch falls into.
    parts: usize,
    packed: Patched<'r, [AlignedBuffer; 2]>,
    /// Of each convolution a row for each part of the batch.
    weight_sums: &'r [Rows<'r>],
    scratches: &'r Mutex<Vec<AlignedBuffer>>,
    flags: &'r [AtomicBool],
}

/// The forward or the backward pass of a call.
struct Runner<'r> {
    shared: Shared<'r>,
    /// Of each item that is not a thread's own its rows.
    rows: Vec<Option<Rows<'r>>>,
    measured: Measured,
}

impl<'r> Runner<'r> {
    fn stage(&mut self, stage: &Stage, numbers: &mut [Numbers]) {
        self.images(stage, numbers);
        for task in &stage.tasks {
            self.task(task, numbers);
        }
    }

    /// Does a stage's instructions for all images.
    fn images(&self, stage: &Stage, numbers: &[Numbers]) {
        if stage.instructions.is_empty() {
            return;
        }
        if stage.cost * self.shared.batch < LITTLE || self.shared.parts == 1 {
            (0..self.shared.parts).for_each(|part| self.part(part, stage, numbers));
        } else {
            (0..self.shared.parts)
                .into_par_iter()
                .with_max_len(1)
                .for_each(|part| self.part(part, stage, numbers));
        }
    }

    /// Does a stage's instructions for the images of a part of the batch.
    fn part(&self, part: usize, stage: &Stage, numbers: &[Numbers]) {
        let mut scratch = self.borrow_scratch();
        for instruction in &stage.instructions {
            if let Instruction::WeightGradient { layer, .. } = instruction {
                self.weight_sum(*layer, part).fill(0.0);
            }
        }
        for image in
            part * self.shared.batch / self.shared.parts..(part + 1) * self.shared.batch / self.shared.parts
        {
            // SAFETY: parts do not overlap, so no other task has this image; the scratch is this task's own.
            #[expect(unsafe_code, reason = "tasks work on the same buffers, each on its own images")]
            let mut frame = unsafe { Frame::new(self.shared.plan.layout(), &self.rows, &mut scratch, image) };
            for instruction in &stage.instructions {
                self.instruction(instruction, &mut frame, Patched::plain(numbers), part);
            }
        }
        self.shared.scratches.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }

    /// The memory that was given back last is likely to be in this core's cache.
    fn borrow_scratch(&self) -> AlignedBuffer {
        let kept = self.shared.scratches.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| {
            AlignedBuffer::zeroed(self.shared.plan.scratch + self.shared.plan.convolution_scratch)
        })
    }

    /// The sum of weight gradients of a part of the batch.
    #[expect(clippy::mut_from_ref, reason = "each part's sum is its own task's")]
    fn weight_sum(&self, layer: usize, part: usize) -> &mut [f32] {
        let rows = &self.shared.weight_sums[layer];
        let floats = rows.place(part).1;
        // SAFETY: a part is one task's, which holds one sum at a time.
        #[expect(unsafe_code, reason = "tasks work on the same buffers, each on its own part")]
        unsafe {
            rows.part_mut(part, 0..floats)
        }
    }

    fn instruction(
        &self,
        instruction: &Instruction,
        frame: &mut Frame<'_>,
        numbers: Patched<'_, Numbers>,
        part: usize,
    ) {
        frame::execute(self, instruction, frame, numbers, part);
    }

    fn rows(&self, item: Item) -> &Rows<'r> {
        self.rows[item].as_ref().expect("what tasks use is kept for the batch")
    }

    /// The rows of an item, for reading between stages.
    fn read(&self, item: Item) -> Vec<&'r [f32]> {
        let rows = self.rows(item);
        // SAFETY: this is called between stages, when nothing writes rows but `Runner::task`, which writes others than it reads.
        #[expect(unsafe_code, reason = "rows are shared with the tasks of stages")]
        (0..self.shared.batch).map(|image| unsafe { rows.row(image) }).collect()
    }

    /// As a matrix with a row for each image.
    fn matrix(&self, item: Item) -> Matrix<'r> {
        let rows = self.rows(item);
        // SAFETY: as in `read`.
        #[expect(unsafe_code, reason = "rows are shared with the tasks of stages")]
        let floats = unsafe { rows.all() };
        Matrix { floats, row: rows.stride(), column: 1 }
    }

    fn task(&mut self, task: &Task, numbers: &mut [Numbers]) {
        match *task {
            Task::Statistics { table, moments } => {
                let planned = &self.shared.plan.tables[table];
                let Norm::Batch { epsilon, value, .. } = planned.norm else { return };
                let measured = numbers[table].measure(planned, &self.read(moments), epsilon);
                self.measured.push((value, measured));
            }
            Task::Slopes { table, totals } => {
                numbers[table].measure_slopes(&self.shared.plan.tables[table], &self.read(totals));
            }
            Task::Linear { layer, x, y } => self.linear_with_bias(layer, x, y),
            Task::LinearProduct { layer, x, y, is_added } => {
                self.linear(layer, x, y, if is_added { Start::Out } else { Start::Zero });
            }
            Task::LinearData { layer, dy, dx, is_added } => {
                let start = if is_added { Start::Out } else { Start::Zero };
                let [inputs, outputs] = self.shared.plan.linears[layer].ends;
                let size = [self.shared.batch, inputs, outputs];
                let weights = self.weights(layer, true);
                // SAFETY: as above.
                #[expect(unsafe_code, reason = "tiles are written by tasks")]
                unsafe {
                    product(self.matrix(dy), weights, start, size, self.rows(dx));
                }
            }
        }
    }

    /// A fully connected layer, between stages.
    fn linear_with_bias(&self, layer: usize, x: Item, y: Item) {
        let bias = self.shared.plan.linears[layer].bias;
        let start = bias.map_or(Start::Zero, |bias| Start::Bias(self.shared.parameters.get(bias)));
        self.linear(layer, x, y, start);
    }

    fn linear(&self, layer: usize, x: Item, y: Item, start: Start<'_>) {
        let [inputs, outputs] = self.shared.plan.linears[layer].ends;
        let size = [self.shared.batch, outputs, inputs];
        let weights = self.weights(layer, false);
        // SAFETY: between stages; `y` is another item than `x`, of a life that overlaps, so elsewhere.
        #[expect(unsafe_code, reason = "tiles are written by tasks")]
        unsafe {
            product(self.matrix(x), weights, start, size, self.rows(y));
        }
    }

    /// The weights of a fully connected layer with a row for each input, or for each output.
    fn weights(&self, layer: usize, by_output: bool) -> Matrix<'r> {
        let linear = &self.shared.plan.linears[layer];
        let [inputs, outputs] = linear.ends;
        let (row, column) = match (linear.is_transposed, by_output) {
            (true, false) => (1, inputs),
            (true, true) => (inputs, 1),
            (false, false) => (outputs, 1),
            (false, true) => (1, outputs),
        };
        Matrix { floats: self.shared.parameters.get(linear.weight), row, column }
    }

    /// The gradients of wanted parameters, of which the plan has told where they come from.
    fn gradients(&self, numbers: &[Numbers]) -> Slopes {
        let found: Vec<Vec<(usize, Vec<f32>)>> =
            self.shared.plan.slopes.par_iter().map(|slope| self.slope(slope, numbers)).collect();
        let mut gradients: Slopes = vec![None; self.shared.parameters.len()];
        for (parameter, gradient) in found.into_iter().flatten() {
            match &mut gradients[parameter] {
                Some(sum) => sum.iter_mut().zip(gradient).for_each(|(sum, slope)| *sum += slope),
                none => *none = Some(gradient),
            }
        }
        gradients
    }

    fn slope(&self, slope: &Slope, numbers: &[Numbers]) -> Vec<(usize, Vec<f32>)> {
        let mut found = Vec::new();
        let narrow = |sums: Vec<f64>, count: usize| sums[..count].iter().map(|&sum| sum as f32).collect();
        match *slope {
            Slope::Convolution { layer } => {
                let planned = &self.shared.plan.layers[layer];
                let total = self.weight_sum(layer, 0);
                for part in 1..self.shared.parts {
                    total
                        .iter_mut()
                        .zip(&*self.weight_sum(layer, part))
                        .for_each(|(total, sum)| *total += sum);
                }
                let mut gradient = vec![0.0; planned.convolution.weights_len()];
                planned.convolution.unpack_weight_gradient(total, &mut gradient);
                found.push((planned.weight, gradient));
            }
            Slope::Bias { parameter, channels, totals } => {
                found.push((parameter, narrow(sums(&self.read(totals)), channels)));
            }
            Slope::Norm { table, totals } => {
                let give = |parameter: usize, gradient: Vec<f32>| {
                    if self.shared.plan.wanted[parameter] {
                        found.push((parameter, gradient));
                    }
                };
                numbers[table].gradients(
                    &self.shared.plan.tables[table],
                    &self.read(totals),
                    self.shared.parameters,
                    give,
                );
            }
            Slope::NormTangent { table, tangent, totals, moved, crossed } => {
                let give = |parameter: usize, gradient: Vec<f32>| {
                    if self.shared.plan.wanted[parameter] {
                        found.push((parameter, gradient));
                    }
                };
                let sums = Moving {
                    totals: &self.read(totals),
                    moved: &self.read(moved),
                    crossed: &crossed.map_or(Vec::new(), |crossed| self.read(crossed)),
                };
                let [own, tangent] = [table, tangent].map(|table| &numbers[table]);
                let table = &self.shared.plan.tables[table];
                tangent.products(own, table, sums, self.shared.parameters, give);
            }
            Slope::Linear { layer, x, dy } => found.push(self.linear_slope(layer, x, dy)),
            Slope::LinearBias { layer, dy } => {
                let linear = &self.shared.plan.linears[layer];
                if let Some(bias) = linear.bias {
                    found.push((bias, narrow(sums(&self.read(dy)), linear.ends[1])));
                }
            }
        }
        found
    }

    fn linear_slope(&self, layer: usize, x: Item, dy: Item) -> (usize, Vec<f32>) {
        let linear = &self.shared.plan.linears[layer];
        let [inputs, outputs] = linear.ends;
        let (left, right, size) = if linear.is_transposed {
            (dy, x, [outputs, inputs, self.shared.batch])
        } else {
            (x, dy, [inputs, outputs, self.shared.batch])
        };
        let left = self.matrix(left);
        let left = Matrix { row: left.column, column: left.row, ..left };
        let mut gradient = vec![0.0; inputs * outputs];
        let rows = Rows::new(&mut gradient, size[0], size[1], size[1]);
        // SAFETY: the rows are those of a vector of this function.
        #[expect(unsafe_code, reason = "tiles are written by tasks")]
        unsafe {
            product(left, self.matrix(right), Start::Zero, size, &rows);
        }
        (linear.weight, gradient)
    }

    /// Notes that a value is not finite.
    fn flag(&self, value: usize) {
        self.shared.flags[value].store(true, Ordering::Relaxed);
    }
}
