//! Forward passes of a few images at a time, on one thread.

use std::sync::Mutex;

use super::frame::{self, Frame};
use super::{Runner, Shared, rows_at, rows_of_items, skew, stride};
use crate::program::inference::{TOGETHER, Together};
use crate::program::instruction::{Item, Task};
use crate::program::memory::Rows;
use crate::program::patched::Patched;
use crate::program::plan::{Place, Plan};
use crate::program::tables::Numbers;
use crate::{AlignedBuffer, Isa};

/// The memory of a thread, kept from call to call.
#[derive(Debug, Default)]
pub(in crate::program) struct Memory {
    /// Of each region the rows of as many images as run together.
    regions: Vec<AlignedBuffer>,
    scratch: Option<AlignedBuffer>,
    /// What fully connected layers work in.
    linear: Option<AlignedBuffer>,
}

/// What forward passes read.
pub(in crate::program) struct Pass<'p> {
    pub(in crate::program) plan: &'p Plan,
    pub(in crate::program) isa: Isa,
    pub(in crate::program) parameters: &'p [Vec<f32>],
    pub(in crate::program) numbers: &'p [Numbers],
    pub(in crate::program) packed: &'p [[AlignedBuffer; 2]],
    pub(in crate::program) linears: &'p [Together],
    pub(in crate::program) packed_linears: &'p [AlignedBuffer],
    /// The most images of a run.
    pub(in crate::program) together: usize,
}

impl Pass<'_> {
    /// Runs images through the stages: all of them through one, then all through the next.
    pub(in crate::program) fn run(&self, memory: &mut Memory, images: &[f32], outputs: &mut [f32]) {
        let plan = self.plan;
        let output = plan.output.elements();
        let batch = outputs.len() / output;
        let Memory { regions, scratch, linear } = memory;
        if regions.len() != plan.regions.len() {
            let of_region = |(region, &floats): (usize, &usize)| {
                AlignedBuffer::zeroed(skew(region) + stride(floats) * self.together)
            };
            *regions = plan.regions.iter().enumerate().map(of_region).collect();
        }
        let scratch =
            scratch.get_or_insert_with(|| AlignedBuffer::zeroed(plan.scratch + plan.convolution_scratch));
        let linear = linear.get_or_insert_with(|| {
            let floats = self.linears.iter().map(Together::memory_len).max();
            AlignedBuffer::zeroed(floats.unwrap_or(0))
        });
        let regions = regions.iter_mut().enumerate().map(|(region, floats)| &mut floats[skew(region)..]);
        let rows = rows_of_items(plan, batch, regions.collect(), images, &mut []);
        let rows = rows_at(plan, &rows, Place::Output, Rows::new(outputs, batch, output, output));
        let nobody = Mutex::new(Vec::new());
        let shared = Shared {
            plan,
            isa: self.isa,
            parameters: Patched::plain(self.parameters),
            batch,
            parts: 1,
            packed: Patched::plain(self.packed),
            weight_sums: &[],
            scratches: &nobody,
            flags: &[],
        };
        let runner = Runner { shared, rows, measured: Vec::new() };
        for stage in &plan.stages {
            for image in 0..batch {
                // SAFETY: regions, scratch and outputs are borrowed by this call, which does one image after the other; the caller's images
                // are only read.
                #[expect(unsafe_code, reason = "rows are made for tasks that share buffers")]
                let mut frame = unsafe { Frame::new(plan.layout(), &runner.rows, scratch, image) };
                for instruction in &stage.instructions {
                    frame::execute(&runner, instruction, &mut frame, Patched::plain(self.numbers), 0);
                }
            }
            for task in &stage.tasks {
                if let Task::Linear { layer, x, y } = *task {
                    self.linear(layer, &runner, [x, y], batch, linear);
                }
            }
        }
    }

    /// A fully connected layer.
    fn linear(&self, layer: usize, runner: &Runner<'_>, [x, y]: [Item; 2], batch: usize, memory: &mut [f32]) {
        let linear = &self.linears[layer];
        let bias = linear.bias.map(|bias| &self.parameters[bias][..]);
        let (from, to) = (runner.rows(x), runner.rows(y));
        for first in (0..batch).step_by(TOGETHER) {
            // SAFETY: nothing else runs in these buffers, and `y` is another item than `x`, of a life that overlaps, so elsewhere.
            #[expect(unsafe_code, reason = "rows are made for tasks that share buffers")]
            let read = |image: usize| unsafe { from.row(first + image) };
            // SAFETY: as above; each row is let go before the next is asked for.
            #[expect(unsafe_code, reason = "rows are made for tasks that share buffers")]
            let write = |image: usize| unsafe { to.part_mut(first + image, 0..to.place(first + image).1) };
            let weights = (&self.packed_linears[layer][..], bias);
            linear.run(TOGETHER.min(batch - first), weights, read, write, memory);
        }
    }
}
