//! The attributes of a node, typed on reading.

use bitquake_bits::WordStore;
use bitquake_tensors::onnx::{AttributeValue, Node};

use super::stored::Source;
use super::{PlanError, Stored};

/// The attributes of a node. Reading one of the wrong kind is an error, one that is missing gives the default.
#[derive(Debug)]
pub struct Attributes {
    values: Vec<(String, AttributeValue)>,
    /// Tensors in attributes, read.
    tensors: Vec<(String, Stored)>,
}

impl Attributes {
    pub(super) fn new(stored: Source<'_, impl WordStore>, node: &Node) -> Result<Attributes, PlanError> {
        let (mut values, mut tensors) = (Vec::new(), Vec::new());
        for attribute in &node.attributes {
            if let AttributeValue::Tensor(tensor) = &attribute.value {
                tensors.push((attribute.name.clone(), stored.read(tensor)?));
            } else {
                values.push((attribute.name.clone(), attribute.value.clone()));
            }
        }
        Ok(Attributes { values, tensors })
    }

    fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A whole number.
    ///
    /// # Errors
    /// An attribute of another kind.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        match self.get(name) {
            None => Ok(default),
            Some(AttributeValue::Int(value)) => Ok(*value),
            Some(other) => Err(wrong(name, "a whole number", other)),
        }
    }

    /// A float.
    ///
    /// # Errors
    /// An attribute of another kind.
    pub fn float(&self, name: &str, default: f32) -> Result<f32, String> {
        match self.get(name) {
            None => Ok(default),
            Some(AttributeValue::Float(value)) => Ok(*value),
            Some(other) => Err(wrong(name, "a float", other)),
        }
    }

    /// A text.
    ///
    /// # Errors
    /// An attribute of another kind.
    pub fn text(&self, name: &str, default: &str) -> Result<String, String> {
        match self.get(name) {
            None => Ok(default.to_owned()),
            Some(AttributeValue::String(value)) => Ok(value.clone()),
            Some(other) => Err(wrong(name, "a text", other)),
        }
    }

    /// A list of whole numbers; none if it is missing.
    ///
    /// # Errors
    /// An attribute of another kind.
    pub fn ints(&self, name: &str) -> Result<Option<&[i64]>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(AttributeValue::Ints(values)) => Ok(Some(values)),
            Some(other) => Err(wrong(name, "a list of whole numbers", other)),
        }
    }

    /// A tensor; none if it is missing, or no tensor.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Stored> {
        self.tensors.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Whether the node has the attribute.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some() || self.tensor(name).is_some()
    }
}

fn wrong(name: &str, wanted: &str, found: &AttributeValue) -> String {
    let kind = match found {
        AttributeValue::Int(_) => "a whole number",
        AttributeValue::Float(_) => "a float",
        AttributeValue::String(_) => "a text",
        AttributeValue::Ints(_) => "a list of whole numbers",
        AttributeValue::Floats(_) => "a list of floats",
        _ => "something else",
    };
    format!("attribute `{name}` is {kind}, not {wanted}")
}
