//! Guards on the values of a model: nodes that keep a value within the range that good values have.
//!
//! [`insert`] writes guards into the bytes of a model. The node that computes a guarded value gives it under a new name
//! ([`unguarded_name`]), and the last node of the guard gives the guarded value under the old one. So everything that reads it,
//! subgraphs and the model's outputs included, reads what the guard lets through, and is copied byte for byte.
//!
//! A guard stores no float that a fault could hit by default: its bounds are read by `Clip` alone, which makes them settings, and its
//! zero is what `ConstantOfShape` gives when nothing else is asked for.
//!
//! | action | nodes |
//! |---|---|
//! | [`Clip`](GuardAction::Clip) | `Where(IsNaN(x), 0, Clip(x, low, high))` |
//! | [`Zero`](GuardAction::Zero) | `Where(Cast(x - Clip(x, low, high)), 0, x)`: what is not 0 becomes true, and NaN is not 0 |
//!
//! [`Scope`] says which values are worth a guard: those of activation functions, and what only passes them on.

mod nodes;
mod scope;

use std::collections::BTreeMap;
use std::ops::Range;

use bitquake_tensors::wire::{Fields, WireError, Writer};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use scope::{ACTIVATION_FUNCTIONS, Guardable, LeftOut, PASSING, Scope};

use crate::cut::places::Places;
use crate::cut::write::{Piece, field, write_model};
use nodes::{GuardNodes, shared_zero};

/// The first version of the standard operator set with `Where` and `IsNaN`.
pub const FIRST_OPSET: i64 = 9;

/// The field of a `GraphProto` that holds a node.
const NODE: u32 = 1;
/// The field of a `NodeProto` that names an output.
const NODE_OUTPUT: u32 = 2;
/// The field of a `ModelProto` that imports an operator set.
const OPSET_IMPORT: u32 = 8;

/// What a guard makes of elements that are not in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardAction {
    /// The end of the range that they are beyond; NaN becomes 0.
    Clip,
    /// 0, NaN too.
    Zero,
}

impl GuardAction {
    /// The name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Zero => "zero",
        }
    }
}

/// A guard on a float32 value of the main graph. Both ends belong to the range, and are finite.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeGuard {
    /// The value's name.
    pub value: String,
    /// The least value that stays.
    pub low: f32,
    /// The greatest value that stays.
    pub high: f32,
    /// What becomes of other elements.
    pub action: GuardAction,
}

/// Why guards cannot be put into a model.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The model is no protobuf message.
    #[error("the model is damaged: {0}")]
    Wire(#[from] WireError),
    /// The operators of the guard are younger than the model.
    #[error(
        "the model imports {}; guards need version {FIRST_OPSET} of the standard operator set, or a later one",
        .found.map_or("none".to_owned(), |version| format!("version {version} of it"))
    )]
    Opset {
        /// The version that the model imports; none if it imports no standard operators.
        found: Option<i64>,
    },
    /// No node of the main graph gives the value.
    #[error("no node of the main graph gives the value `{value}`")]
    NoValue {
        /// The value.
        value: String,
    },
    /// Two guards are for one value, or it has one.
    #[error("the value `{value}` is guarded already")]
    Guarded {
        /// The value.
        value: String,
    },
    /// The bounds are no range.
    #[error("the value `{value}` cannot be kept in [{low}, {high}], which is no finite range")]
    NoRange {
        /// The value.
        value: String,
        /// The lower bound, as text.
        low: String,
        /// The upper bound, as text.
        high: String,
    },
    /// A value of the guard would have the name of another value.
    #[error("a guard on `{value}` needs the name `{name}`, which the model uses already")]
    NameTaken {
        /// The value to guard.
        value: String,
        /// The name.
        name: String,
    },
}

/// What a guarded value is called before the guard.
///
/// ```
/// assert_eq!(bitquake_graph::guard::unguarded_name("relu1"), "relu1/unguarded");
/// ```
#[must_use]
pub fn unguarded_name(value: &str) -> String {
    format!("{value}/unguarded")
}

/// Writes guards into the bytes of an ONNX file, or of the main part of an [`EngineImage`](bitquake_tensors::EngineImage).
///
/// Everything but the nodes of guarded values is copied byte for byte; without guards, the model comes back as it was. Whether a
/// value is float32 is not looked at: a runtime refuses others.
///
/// # Errors
/// [`GuardError`] for a value that is none, is guarded, or is to be kept in what is no range, and for a model whose operator set is
/// too old.
///
/// ```
/// use bitquake_graph::guard::{GuardAction, RangeGuard, insert};
/// use bitquake_graph::{Graph, build::{BuildDim, ElemType, ModelBuilder}};
/// use bitquake_tensors::TensorFile;
///
/// let mut model = ModelBuilder::new("small");
/// model.graph().input("x", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(2)]);
/// model.graph().node("Relu", &["x"], &["y"], &[]);
/// model.graph().output("y", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(2)]);
///
/// let guard = RangeGuard { value: "y".into(), low: 0.0, high: 6.0, action: GuardAction::Zero };
/// let guarded = TensorFile::from_onnx_bytes(insert(&model.finish(), &[guard])?)?;
/// let counts = Graph::from_file(&guarded)?.op_counts();
/// assert_eq!((counts["Relu"], counts["Clip"], counts["Sub"], counts["Where"]), (1, 1, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn insert(model: &[u8], guards: &[RangeGuard]) -> Result<Vec<u8>, GuardError> {
    let Some(first) = guards.first() else { return Ok(model.to_vec()) };
    let places = Places::of(model)?;
    let found = standard_opset(model, &places)?;
    let opset = found.filter(|&version| version >= FIRST_OPSET).ok_or(GuardError::Opset { found })?;
    let names = Names::of(model, &places)?;
    let mut by_node: BTreeMap<usize, Vec<&RangeGuard>> = BTreeMap::new();
    for guard in guards {
        let node = names.producer_to_guard(guard)?;
        let others = by_node.entry(node).or_default();
        if others.iter().any(|other| other.value == guard.value) {
            return Err(GuardError::Guarded { value: guard.value.clone() });
        }
        others.push(guard);
    }
    let zero = names.free(&first.value, format!("{}/zero", first.value))?;
    let shape = names.free(&first.value, format!("{}/zero_shape", first.value))?;
    let mut graph = Vec::new();
    let mut copied = places.graph.start;
    for (at, (node, guards)) in by_node.into_iter().enumerate() {
        let span = places.nodes[node].clone();
        graph.push(Piece::Copy(copied..span.start));
        copied = span.end;
        if at == 0 {
            graph.extend(shared_zero(&shape, &zero).iter().map(node_piece));
        }
        graph.push(Piece::New(renamed(model, &span, &guards)?));
        for guard in guards {
            let written = GuardNodes::new(guard, &zero, opset);
            for name in &written.names {
                names.free(&guard.value, name.clone())?;
            }
            graph.extend(written.nodes.iter().map(node_piece));
        }
    }
    graph.push(Piece::Copy(copied..places.graph.end));
    Ok(write_model(model, places.model.iter(), graph).bytes)
}

fn node_piece(node: &Writer) -> Piece {
    let mut graph = Writer::new();
    graph.message(NODE, node);
    Piece::New(graph.into_bytes())
}

/// The node that occupies `span`, with the guarded ones among its outputs under their new names.
fn renamed(model: &[u8], span: &Range<usize>, guards: &[&RangeGuard]) -> Result<Vec<u8>, GuardError> {
    let mut body = Vec::with_capacity(span.len());
    for part in fields_of_node(model, span)? {
        let is_output = part.number == NODE_OUTPUT;
        let name = if is_output { part.text(model)? } else { "" };
        match guards.iter().find(|guard| is_output && guard.value == name) {
            Some(guard) => body.extend(field(NODE_OUTPUT, unguarded_name(&guard.value).as_bytes())),
            None => body.extend_from_slice(&model[part.span]),
        }
    }
    Ok(field(NODE, &body))
}

/// The fields of the node whose own field occupies `span`.
fn fields_of_node(
    model: &[u8],
    span: &Range<usize>,
) -> Result<Vec<bitquake_tensors::wire::Field>, WireError> {
    let mut fields = Vec::new();
    for node in Fields::new(model, span.clone()) {
        for part in Fields::new(model, node?.message()?.body) {
            fields.push(part?);
        }
    }
    Ok(fields)
}

/// The version of the standard operator set that the model imports.
fn standard_opset(model: &[u8], places: &Places) -> Result<Option<i64>, WireError> {
    for (_, span) in places.model.iter().filter(|(number, _)| *number == OPSET_IMPORT) {
        for import in Fields::new(model, span.clone()) {
            let (mut domain, mut version) = ("", 0);
            for part in Fields::new(model, import?.message()?.body) {
                let part = part?;
                match part.number {
                    1 => domain = part.text(model)?,
                    2 => version = part.varint()? as i64,
                    _ => {}
                }
            }
            if matches!(domain, "" | "ai.onnx") {
                return Ok(Some(version));
            }
        }
    }
    Ok(None)
}

/// The names of the values of the main graph.
struct Names<'m> {
    /// What computes each value: a node, or none for inputs and initializers.
    producers: BTreeMap<&'m str, Option<usize>>,
}

impl<'m> Names<'m> {
    fn of(model: &'m [u8], places: &Places) -> Result<Self, WireError> {
        let mut producers = BTreeMap::new();
        for (number, spans) in [(1, &places.inputs), (8, &places.initializers)] {
            for span in spans {
                // A name is field 1 of an input and field 8 of an initializer; the values of a sparse one are its own field 1.
                for part in fields_of_node(model, span)?.into_iter().filter(|part| part.number == number) {
                    producers.insert(part.text(model)?, None);
                }
            }
        }
        for (node, span) in places.nodes.iter().enumerate() {
            let fields = fields_of_node(model, span)?;
            for part in fields.iter().filter(|part| part.number == NODE_OUTPUT) {
                producers.insert(part.text(model)?, Some(node));
            }
        }
        Ok(Self { producers })
    }

    /// The node that computes what a guard is for, after checking that the guard can be put there.
    fn producer_to_guard(&self, guard: &RangeGuard) -> Result<usize, GuardError> {
        let RangeGuard { value, low, high, .. } = guard;
        if !(low.is_finite() && high.is_finite() && low <= high) {
            let (low, high) = (low.to_string(), high.to_string());
            return Err(GuardError::NoRange { value: value.clone(), low, high });
        }
        let no_value = || GuardError::NoValue { value: value.clone() };
        let node = self.producers.get(value.as_str()).copied().flatten();
        let node = node.filter(|_| !value.is_empty()).ok_or_else(no_value)?;
        if self.producers.contains_key(unguarded_name(value).as_str()) {
            return Err(GuardError::Guarded { value: value.clone() });
        }
        Ok(node)
    }

    /// The name, if no value has it.
    fn free(&self, value: &str, name: String) -> Result<String, GuardError> {
        if self.producers.contains_key(name.as_str()) {
            return Err(GuardError::NameTaken { value: value.to_owned(), name });
        }
        Ok(name)
    }
}
