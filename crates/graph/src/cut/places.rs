//! Where the parts of a model stand in its bytes.

use std::ops::Range;

use bitquake_tensors::wire::{Fields, WireError};

/// The field of a `ModelProto` that holds the main graph.
pub(crate) const GRAPH: u32 = 7;
/// The field of a `ModelProto` that holds information about training.
pub(crate) const TRAINING: u32 = 20;
/// The field of a `ModelProto` that holds a function.
const FUNCTION: u32 = 25;

/// Byte ranges of whole fields, tags included; in the order of the lists in
/// [`OnnxModel`](bitquake_tensors::onnx::OnnxModel).
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Number and place of every field of the model.
    pub(crate) model: Vec<(u32, Range<usize>)>,
    /// The body of the main graph.
    pub(crate) graph: Range<usize>,
    /// The graph's name.
    pub(crate) name: Option<Range<usize>>,
    pub(crate) nodes: Vec<Range<usize>>,
    /// Dense and sparse.
    pub(crate) initializers: Vec<Range<usize>>,
    pub(crate) inputs: Vec<Range<usize>>,
    pub(crate) functions: Vec<Range<usize>>,
}

impl Places {
    /// The places of the model that `bytes` are.
    pub(crate) fn of(bytes: &[u8]) -> Result<Places, WireError> {
        let mut places = Places::default();
        for field in Fields::new(bytes, 0..bytes.len()) {
            let field = field?;
            match field.number {
                GRAPH => places.graph = field.message()?.body,
                FUNCTION => places.functions.push(field.span.clone()),
                _ => {}
            }
            places.model.push((field.number, field.span));
        }
        for field in Fields::new(bytes, places.graph.clone()) {
            let field = field?;
            match field.number {
                1 => places.nodes.push(field.span),
                2 => places.name = Some(field.span),
                5 | 15 => places.initializers.push(field.span),
                11 => places.inputs.push(field.span),
                _ => {}
            }
        }
        Ok(places)
    }
}
