//! A model in the project's own kernels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitquake_bits::WordStore;
use bitquake_fault::FaultPattern;
use bitquake_graph::Graph;
use bitquake_graph::plan::Plan;
use bitquake_graph::program::{lower, operators};
use bitquake_kernels::program::Inference;

use crate::error::EngineError;
use crate::model::Model;
use crate::softmax::softmax;

/// A model lowered to a program of [`bitquake_kernels`], with packed weights of its own that are edited in place.
///
/// Nothing is folded: the program computes what the graph says, node by node, so that a flipped bit in a batch normalization does what it
/// does there. NaN and infinities go through as IEEE 754 has it; a maximum over a window with a NaN is NaN, where ONNX Runtime may pass over
/// it. An image's outputs are the same bits whatever images are run with it and on any number of threads.
///
/// A copy shares all but the weights.
#[derive(Clone, Debug)]
pub struct Native {
    inference: Inference,
    names: Arc<Names>,
    /// Outputs of an image, and whether they are a row of classes.
    pub(crate) width: usize,
    pub(crate) is_row: bool,
    has_softmax: bool,
}

/// What the model stores, by name.
#[derive(Debug)]
struct Names {
    /// The parameters of the program.
    parameters: BTreeMap<String, usize>,
    /// Whole numbers that the program was made with.
    constants: BTreeSet<String>,
}

impl Native {
    /// The model with the weights that it has now, for images of a shape.
    ///
    /// # Errors
    /// [`EngineError::Native`] tells the first node that has no kernel, or the tensor that is not f32, and what is supported;
    /// [`EngineError::Shape`] when the images do not fit the model.
    pub fn new(model: &Model, image_shape: &[usize]) -> Result<Self, EngineError> {
        model.check_shape(image_shape)?;
        let refused = |reason: String| EngineError::Native { model: model.file.clone(), reason };
        let layout = model.image.model_layout().map_err(|error| refused(error.to_string()))?;
        let made = Plan::of(Graph::of(&layout.model), &model.tensors, &model.image);
        let (mut plan, values) = made.map_err(|error| refused(error.to_string()))?;
        // The data say what the file leaves open.
        plan.dims = std::iter::once(None).chain(image_shape.iter().copied().map(Some)).collect();
        let lowered = lower(&plan).map_err(|problem| {
            let known = operators().collect::<Vec<_>>().join(", ");
            refused(format!("{problem}; there are kernels for {known}, and for Softmax at the end"))
        })?;
        let names = plan.parameters.iter().map(|parameter| parameter.name.clone());
        let parameters: BTreeMap<String, usize> = names.zip(0..).collect();
        // All else that nodes read is whole numbers.
        let read = layout.model.graph.nodes.iter().flat_map(|node| &node.inputs);
        let stored: BTreeSet<&str> = model.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let constants = read.filter(|name| stored.contains(name.as_str()) && !parameters.contains_key(*name));
        let names = Names { constants: constants.cloned().collect(), parameters };
        let inference = Inference::new(&lowered.program, lowered.output, values);
        Ok(Self {
            width: lowered.sizes.iter().product(),
            is_row: lowered.sizes.iter().skip(1).all(|&size| size == 1),
            has_softmax: lowered.has_softmax,
            inference,
            names: Arc::new(names),
        })
    }

    /// That faults in a stored tensor can be followed: it is a float parameter, or nothing reads it.
    ///
    /// # Errors
    /// [`EngineError::Native`].
    pub fn check_tensor(&self, model: &Model, tensor: &str) -> Result<(), EngineError> {
        if !self.names.constants.contains(tensor) {
            return Ok(());
        }
        let reason = format!("tensor `{tensor}` is no f32 parameter but decides what is computed");
        Err(EngineError::Native { model: model.file.clone(), reason })
    }

    /// The instruction set that it computes with: part of what decides the last bits.
    #[must_use]
    pub fn instructions(&self) -> String {
        self.inference.isa().to_string()
    }

    /// Takes on the words that a pattern hit, as they are in the model now.
    pub(crate) fn take_on(&mut self, model: &Model, pattern: &FaultPattern) -> Result<(), EngineError> {
        for flips in pattern.tensors() {
            self.check_tensor(model, &flips.tensor)?;
            let parameter = self.names.parameters.get(&flips.tensor);
            let (Some(&parameter), Some(words)) = (parameter, model.image.words(&flips.tensor)) else {
                continue;
            };
            let width = u64::from(flips.format.width());
            for address in &flips.addresses {
                let element = address / width;
                if let Some(word) = words.get(element) {
                    self.inference.set(parameter, element as usize, f32::from_bits(word as u32));
                }
            }
        }
        Ok(())
    }

    /// The outputs of some images.
    pub(crate) fn outputs(&mut self, images: &[f32], outputs: &mut [f32], threads: usize) {
        self.inference.forward(images, outputs, threads);
        if self.has_softmax {
            outputs.chunks_exact_mut(self.width.max(1)).for_each(softmax);
        }
    }
}
