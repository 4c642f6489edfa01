//! What an inference does, and which of it a parameter concerns: the same whatever the parameters are.

use std::sync::OnceLock;

use super::cut::cut;
use super::linear::Together;
use crate::program::Program;
use crate::program::compile::{Purpose, compile};
use crate::program::fuse::Limit;
use crate::program::instruction::Instruction;
use crate::program::operation::{Bound, Shape, Value};
use crate::program::plan::Plan;
use crate::{AlignedBuffer, Isa};

/// What reads a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum User {
    /// The weights of a convolution.
    Layer(usize),
    /// The weights of a fully connected layer.
    Linear(usize),
    /// The numbers of a norm.
    Table(usize),
}

#[derive(Debug)]
pub(super) struct Code {
    pub(super) isa: Isa,
    pub(super) plan: Plan,
    pub(super) linears: Vec<Together>,
    /// The shape of an image.
    pub(super) input: Shape,
    /// Of each parameter the number of floats.
    pub(super) lengths: Vec<usize>,
    /// Of each parameter what makes something of it.
    pub(super) users: Vec<Vec<User>>,
    /// Of each parameter whether it is read where it is, not only as the packed weights of layers.
    pub(super) is_read: Vec<bool>,
    /// The most images that go through a stage on a thread before the next stage.
    pub(super) together: usize,
    /// Of each convolution, and of each fully connected layer, where its weights are when they are packed, once that was asked for.
    places: [Vec<OnceLock<Vec<u32>>>; 2],
}

impl Code {
    pub(super) fn new(program: &Program, output: Value) -> Code {
        assert!(output.0 < program.shapes.len(), "a value of another program");
        let purpose = Purpose { of_batch: false, gradients: None, checks: false };
        let plan = cut(compile(program, output.0, &purpose), program);
        let linears: Vec<Together> =
            plan.linears.iter().map(|linear| Together::new(linear, program.isa)).collect();
        let (users, is_read) = users(program, &plan);
        let places = [plan.layers.len(), linears.len()]
            .map(|count| std::iter::repeat_with(OnceLock::new).take(count).collect());
        let together = together(&plan);
        Code {
            isa: program.isa,
            plan,
            linears,
            input: program.shapes[0],
            lengths: program.parameters.clone(),
            users,
            is_read,
            together,
            places,
        }
    }

    /// Where an element of the weights of a convolution is when they are packed.
    pub(super) fn place_in_layer(&self, layer: usize, element: usize) -> usize {
        let places = self.places[0][layer].get_or_init(|| {
            let convolution = &self.plan.layers[layer].convolution;
            places(convolution.weights_len(), |numbers| {
                let mut packed = AlignedBuffer::zeroed(convolution.forward_weights_len());
                convolution.pack_forward_once(numbers, &mut packed);
                packed
            })
        });
        places[element] as usize
    }

    /// Where an element of the weights of a fully connected layer is when they are packed.
    pub(super) fn place_in_linear(&self, layer: usize, element: usize) -> usize {
        let linear = &self.linears[layer];
        let places = self.places[1][layer].get_or_init(|| {
            let [inputs, outputs] = linear.ends;
            places(inputs * outputs, |numbers| linear.pack(numbers))
        });
        places[element] as usize
    }
}

/// The place of each of `count` weights among the packed ones: found by packing their numbers, as the bits of floats, instead of them.
fn places(count: usize, pack: impl FnOnce(&[f32]) -> AlignedBuffer) -> Vec<u32> {
    // From 1 on, as packing fills up with zeros; no such bits are those of a NaN.
    let bits = u32::try_from(count).ok().filter(|&bits| bits < f32::INFINITY.to_bits());
    let bits = bits.expect("weights of a layer that memory can hold");
    let numbers: Vec<f32> = (1..=bits).map(f32::from_bits).collect();
    let mut places = vec![0; count];
    for (place, number) in pack(&numbers).iter().enumerate() {
        if let Some(element) = number.to_bits().checked_sub(1) {
            places[element as usize] = place as u32;
        }
    }
    places
}

/// Of each parameter what makes something of it, and whether it is read where it is.
fn users(program: &Program, plan: &Plan) -> (Vec<Vec<User>>, Vec<bool>) {
    let mut users = vec![Vec::new(); program.parameters.len()];
    let mut is_read = vec![false; program.parameters.len()];
    for (number, layer) in plan.layers.iter().enumerate() {
        users[layer.weight].push(User::Layer(number));
        layer.bias.into_iter().for_each(|bias| is_read[bias] = true);
    }
    for (number, linear) in plan.linears.iter().enumerate() {
        users[linear.weight].push(User::Linear(number));
        linear.bias.into_iter().for_each(|bias| is_read[bias] = true);
    }
    for (number, table) in plan.tables.iter().enumerate() {
        for parameter in table.norm.parameters() {
            users[parameter].push(User::Table(number));
            is_read[parameter] = true;
        }
    }
    for instruction in plan.stages.iter().flat_map(|stage| &stage.instructions) {
        if let Instruction::Map { limit: Limit::Within(bounds), .. }
        | Instruction::Mapped { limit: Limit::Within(bounds), .. } = instruction
        {
            for bound in bounds {
                if let Bound::Parameter(parameter) = bound {
                    is_read[*parameter] = true;
                }
            }
        }
    }
    (users, is_read)
}

/// As many images as have room beside each other, so that the weights of a stage are fetched for all of them at once.
fn together(plan: &Plan) -> usize {
    const MOST: usize = 8;
    /// What a thread keeps between stages: 4 MiB.
    const FLOATS: usize = 1 << 20;
    let floats: usize = plan.regions.iter().sum();
    (FLOATS / floats.max(1)).clamp(1, MOST)
}
