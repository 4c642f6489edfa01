//! A model that classifies images.

use std::sync::Arc;

use bitquake_bits::Format;
use bitquake_graph::Graph;
use bitquake_tensors::onnx::{Dim, OnnxGraph, ValueInfo};
use bitquake_tensors::{Dtype, EngineImage, LENT_FROM, TensorFile, TensorInfo, TensorsError};

use crate::error::EngineError;
use crate::outcome::OutputKind;

/// A model file, its input and its output, ready to be copied into evaluators.
#[derive(Clone, Debug)]
pub struct Model {
    /// The file, for messages.
    pub(crate) file: String,
    /// The bytes that hold the weights.
    pub(crate) image: EngineImage,
    /// The input that takes the images.
    pub(crate) input: String,
    /// Its dimensions after the batch; none where they may vary.
    dims: Vec<Option<u64>>,
    /// The batch size, when the model fixes it.
    pub(crate) fixed_batch: Option<u64>,
    /// The output that gives the classes.
    pub(crate) output: String,
    pub(crate) kind: OutputKind,
    pub(crate) tensors: Vec<TensorInfo>,
    /// The main graph.
    pub(crate) graph: Arc<OnnxGraph>,
}

/// The batch size that the input fixes, if it does, and the dimensions of one image.
fn image_dims(input: &ValueInfo) -> Result<(Option<u64>, Vec<Option<u64>>), String> {
    let name = &input.name;
    if input.elem_type != Some(Dtype::Known(Format::F32)) {
        let found = input.elem_type.as_ref().map_or("no tensor".into(), ToString::to_string);
        return Err(format!("input `{name}` takes {found}; models that take f32 images are supported"));
    }
    let dims: Vec<Option<u64>> = match &input.shape {
        Some(dims) => {
            dims.iter().map(|dim| if let Dim::Fixed(size) = dim { Some(*size) } else { None }).collect()
        }
        None => return Err(format!("input `{name}` has no shape; export the model with one")),
    };
    match dims.split_first() {
        Some((batch, image)) if !image.is_empty() => Ok((*batch, image.to_vec())),
        _ => Err(format!("input `{name}` has {} dimensions; a batch of images has at least 2", dims.len())),
    }
}

impl Model {
    /// Looks at a model.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] when it is not ONNX, has not exactly one float32 input, or no output.
    pub fn new(file: TensorFile) -> Result<Self, EngineError> {
        Self::lending(file, LENT_FROM)
    }

    /// Looks at a model of which the engine shall read weights from `from` bytes on in place, see [`LENT_FROM`]. This
    /// changes how much memory is used, and no output.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn lending(file: TensorFile, from: usize) -> Result<Self, EngineError> {
        let name = file.path().display().to_string();
        let unsupported = |reason: String| EngineError::Unsupported { model: name.clone(), reason };
        let graph = Graph::from_file(&file).map_err(|error| unsupported(error.to_string()))?;
        let inputs = graph.inputs();
        let [input] = inputs.as_slice() else {
            let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(unsupported(format!(
                "has {} inputs ({}); models with one are supported",
                names.len(),
                names.join(", ")
            )));
        };
        let (fixed_batch, dims) = image_dims(input).map_err(unsupported)?;
        let output = graph.outputs().first().map(|output| output.name.clone());
        let output = output.ok_or_else(|| unsupported("has no output".into()))?;
        let kind =
            if graph.output_is_probabilities() { OutputKind::Probabilities } else { OutputKind::Logits };
        let (input, tensors) = (input.name.clone(), file.tensors().to_vec());
        let graph = Arc::new(graph.main().clone());
        let image = file.into_engine_image_lending(from);
        let image = image.map_err(|error: TensorsError| unsupported(error.to_string()))?;
        Ok(Self { file: name, image, input, dims, fixed_batch, output, kind, tensors, graph })
    }

    /// Everything the model stores, in file order.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The names of the outputs, in file order. Classes are read from the first.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.graph.outputs.iter().map(|output| output.name.as_str())
    }

    /// The stored bytes.
    #[must_use]
    pub fn image(&self) -> &EngineImage {
        &self.image
    }

    /// The stored bytes, to be changed for good: what every run takes as the model without faults.
    pub fn image_mut(&mut self) -> &mut EngineImage {
        &mut self.image
    }

    /// Whether the first output comes out of a softmax.
    #[must_use]
    pub fn output_kind(&self) -> OutputKind {
        self.kind
    }

    /// That images of this shape can be fed to the model.
    ///
    /// # Errors
    /// [`EngineError::Shape`].
    pub fn check_shape(&self, shape: &[usize]) -> Result<(), EngineError> {
        let fits = shape.len() == self.dims.len()
            && shape
                .iter()
                .zip(&self.dims)
                .all(|(&found, wanted)| wanted.is_none_or(|wanted| wanted == found as u64));
        if fits {
            return Ok(());
        }
        let wanted: Vec<String> =
            self.dims.iter().map(|dim| dim.map_or("?".into(), |dim| dim.to_string())).collect();
        let found: Vec<String> = shape.iter().map(usize::to_string).collect();
        Err(EngineError::Shape {
            model: self.file.clone(),
            input: self.input.clone(),
            wanted: wanted.join("x"),
            found: found.join("x"),
        })
    }

    /// How many images go into one call when `wanted` are asked for.
    #[must_use]
    pub fn batch(&self, wanted: u64) -> u64 {
        self.fixed_batch.unwrap_or(wanted).max(1)
    }
}
