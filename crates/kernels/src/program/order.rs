//! The order of the steps of a plan: what reads a parameter first, and what comes before it.

use super::fuse::Limit;
use super::instruction::{Instruction, Source, Task};
use super::operation::Bound;
use super::plan::{Plan, Stage};

/// The steps of a forward plan, numbered: of each stage the instructions, then the tasks.
#[derive(Debug)]
pub(super) struct Order {
    /// Of each stage the number of its first step; then the number of all steps.
    pub(super) stages: Vec<usize>,
    /// Of each item the step that writes it; 0 for what is there from the start.
    pub(super) writers: Vec<usize>,
    /// Of each parameter the first step that computes with it; the number of all steps if none does.
    pub(super) readers: Vec<usize>,
}

impl Order {
    /// The order of a plan without a backward pass; `parameters` is their number.
    pub(super) fn new(plan: &Plan, parameters: usize) -> Order {
        let steps = |stage: &Stage| stage.instructions.len() + stage.tasks.len();
        let count = plan.stages.iter().map(steps).sum();
        let mut order = Order {
            stages: Vec::with_capacity(plan.stages.len() + 1),
            writers: vec![0; plan.items.len()],
            readers: vec![count; parameters],
        };
        let mut number = 0;
        for stage in &plan.stages {
            order.stages.push(number);
            for instruction in &stage.instructions {
                instruction.items(|item, is_written| {
                    if is_written {
                        order.writers[item] = number;
                    }
                });
                order.reads(number, &parameters_of(instruction, plan));
                number += 1;
            }
            for task in &stage.tasks {
                if let Task::Linear { layer, y, .. } = *task {
                    let linear = &plan.linears[layer];
                    order.writers[y] = number;
                    order.reads(number, &[Some(linear.weight), linear.bias]);
                }
                number += 1;
            }
        }
        order.stages.push(number);
        order
    }

    fn reads(&mut self, number: usize, parameters: &[Option<usize>]) {
        for &parameter in parameters.iter().flatten() {
            self.readers[parameter] = self.readers[parameter].min(number);
        }
    }

    /// The number of all steps.
    pub(super) fn count(&self) -> usize {
        self.stages.last().copied().unwrap_or(0)
    }
}

/// The parameters that an instruction of a forward pass computes with.
pub(super) fn parameters_of(instruction: &Instruction, plan: &Plan) -> Vec<Option<usize>> {
    let of_layer = |layer: usize| [Some(plan.layers[layer].weight), plan.layers[layer].bias];
    let of_map = |norm: Option<Source>, limit: &Limit| {
        let of_norm = norm.map(|norm| plan.tables[norm.table].norm.parameters());
        let of_limit = match limit {
            Limit::Within(bounds) => bounds.map(|bound| match bound {
                Bound::Parameter(parameter) => Some(parameter),
                Bound::Number(_) => None,
            }),
            Limit::None | Limit::Positive => [None; 2],
        };
        of_norm.into_iter().flatten().map(Some).chain(of_limit).collect::<Vec<_>>()
    };
    match instruction {
        Instruction::Convolution { layer, .. } => of_layer(*layer).to_vec(),
        Instruction::Mapped { layer, norm, limit, .. } => {
            of_layer(*layer).into_iter().chain(of_map(*norm, limit)).collect()
        }
        Instruction::Map { norm, limit, .. } => of_map(*norm, limit),
        _ => Vec::new(),
    }
}
