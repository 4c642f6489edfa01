//! `AttributeProto`: values, and the tensors and subgraphs they hold.

use std::ops::Range;

use bitquake_bits::Format;

use super::parse::{Found, Naming, Owner, Problem, Walk, once};
use super::tensor::{Data, Rewrite};
use super::{Attribute, AttributeValue, OnnxGraph, StoredTensor};
use crate::Dtype;
use crate::info::Place;
use crate::wire::{Delimited, Element, Field, Fields, Numbers, WireError};

/// One row per kind of attribute: its number in `AttributeProto.type` and the field that holds its value.
const KINDS: &[(u64, u32, Kind)] = &[
    (1, 2, Kind::Float),
    (2, 3, Kind::Int),
    (3, 4, Kind::String),
    (4, 5, Kind::Tensor),
    (5, 6, Kind::Graph),
    (6, 7, Kind::Floats),
    (7, 8, Kind::Ints),
    (8, 9, Kind::Strings),
    (9, 10, Kind::Tensors),
    (10, 11, Kind::Graphs),
    (11, 22, Kind::Sparse),
    (12, 23, Kind::Sparses),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Int,
    String,
    Tensor,
    Graph,
    Floats,
    Ints,
    Strings,
    Tensors,
    Graphs,
    Sparse,
    Sparses,
}

/// The head of an attribute: what it is called and what it holds.
struct Head<'a> {
    name: &'a str,
    /// The kind and the number of its field; `None` for a reference, a type, or an unknown kind.
    kind: Option<(Kind, u32)>,
}

impl<'a> Walk<'a> {
    /// Reads an attribute of `owner`; the value of a `Constant` is added to `constants`.
    pub(super) fn attribute(
        &mut self,
        place: Delimited,
        owner: &Owner,
        constants: &mut Vec<StoredTensor>,
    ) -> Result<Attribute, Problem> {
        let body = place.body.clone();
        let message = self.nesting.enter(place, owner.message);
        let head = self.attribute_head(message)?;
        let name = head.name.to_owned();
        let Some((kind, number)) = head.kind else {
            return Ok(Attribute { name, value: AttributeValue::Other });
        };
        let value = self.attribute_value(kind, number, message, &name, owner, constants)?;
        if let Some((local, path)) = owner.constant.as_ref().filter(|_| name.starts_with("value_")) {
            let data = constant_data(
                self.bytes,
                kind,
                Numbers { message: body, number, element: Element::Fixed32 },
            )?;
            if let Some((dtype, shape, data)) = data {
                let tensor = self.names.unique(path, self.nesting.body(message, self.bytes.len()).start)?;
                constants.push(StoredTensor { name: local.clone(), tensor: tensor.clone() });
                let (place, is_setting) = (Place::Constant, false);
                self.tensors.push(Found { name: tensor, place, dtype, shape, data, message, is_setting });
            }
        }
        Ok(Attribute { name, value })
    }

    fn attribute_head(&self, message: usize) -> Result<Head<'a>, Problem> {
        let (mut name, mut is_reference, mut code, mut present) = ("", false, 0, None);
        for field in self.fields(message) {
            let field = field?;
            match field.number {
                1 => name = field.text(self.bytes)?,
                20 => code = field.varint()?,
                21 => is_reference = !field.text(self.bytes)?.is_empty(),
                number => present = KINDS.iter().find(|row| row.1 == number).or(present),
            }
        }
        // Files from before the field `type` existed leave it out: then the value's own field tells.
        let row = if code == 0 { present } else { KINDS.iter().find(|row| row.0 == code) };
        let kind = row.filter(|_| !is_reference).map(|&(_, number, kind)| (kind, number));
        Ok(Head { name, kind })
    }

    fn attribute_value(
        &mut self,
        kind: Kind,
        number: u32,
        message: usize,
        name: &str,
        owner: &Owner,
        constants: &mut Vec<StoredTensor>,
    ) -> Result<AttributeValue, Problem> {
        let values: Vec<Field> = match kind {
            Kind::Floats | Kind::Ints => Vec::new(),
            _ => self.fields(message).filter(|field| !is_other(field, number)).collect::<Result<_, _>>()?,
        };
        let path = || format!("{}/{name}", owner.path);
        Ok(match kind {
            Kind::Float => AttributeValue::Float(self.last_float(&values)?),
            Kind::Int => AttributeValue::Int(values.last().map_or(Ok(0), Field::varint)? as i64),
            Kind::String => AttributeValue::String(self.strings(&values)?.pop().unwrap_or_default()),
            Kind::Strings => AttributeValue::Strings(self.strings(&values)?),
            Kind::Floats => {
                AttributeValue::Floats(
                    self.numbers(message, number, Element::Fixed32, |word| f32::from_bits(word as u32))?,
                )
            }
            Kind::Ints => {
                AttributeValue::Ints(self.numbers(message, number, Element::Varint, |word| word as i64)?)
            }
            Kind::Graph => match single(&values)? {
                Some(place) => AttributeValue::Graph(self.subgraph(place, message, &path())?),
                None => AttributeValue::Other,
            },
            Kind::Graphs => AttributeValue::Graphs(
                self.indexed(&values, &path(), |walk, place, path| walk.subgraph(place, message, path))?,
            ),
            Kind::Tensor | Kind::Sparse => match single(&values)? {
                Some(place) => {
                    let tensor = self.attribute_tensor(kind, place, message, &path(), owner, constants)?;
                    AttributeValue::Tensor(tensor)
                }
                None => AttributeValue::Other,
            },
            Kind::Tensors | Kind::Sparses => {
                let one = if kind == Kind::Tensors { Kind::Tensor } else { Kind::Sparse };
                AttributeValue::Tensors(self.indexed(&values, &path(), |walk, place, path| {
                    walk.plain_tensor(
                        one,
                        place,
                        message,
                        Place::NodeAttribute,
                        Naming::Given { local: "", path },
                    )
                    .map(|stored| stored.tensor)
                })?)
            }
        })
    }

    fn subgraph(&mut self, place: Delimited, parent: usize, path: &str) -> Result<OnnxGraph, Problem> {
        let message = self.nesting.enter(place, parent);
        self.graph(message, &format!("{path}/"))
    }

    fn indexed<T>(
        &mut self,
        values: &[Field],
        path: &str,
        mut read: impl FnMut(&mut Self, Delimited, &str) -> Result<T, Problem>,
    ) -> Result<Vec<T>, Problem> {
        let places = values.iter().enumerate();
        places.map(|(index, field)| read(self, field.message()?, &format!("{path}/{index}"))).collect()
    }

    /// The one tensor of an attribute: the value of a `Constant`, or a setting of another node.
    fn attribute_tensor(
        &mut self,
        kind: Kind,
        place: Delimited,
        parent: usize,
        path: &str,
        owner: &Owner,
        constants: &mut Vec<StoredTensor>,
    ) -> Result<String, Problem> {
        let Some((local, path)) = &owner.constant else {
            let naming = Naming::Given { local: "", path };
            return Ok(self.plain_tensor(kind, place, parent, Place::NodeAttribute, naming)?.tensor);
        };
        let stored =
            self.plain_tensor(kind, place, parent, Place::Constant, Naming::Given { local, path })?;
        let tensor = stored.tensor.clone();
        constants.push(stored);
        Ok(tensor)
    }

    fn plain_tensor(
        &mut self,
        kind: Kind,
        place: Delimited,
        parent: usize,
        origin: Place,
        naming: Naming<'_>,
    ) -> Result<StoredTensor, Problem> {
        match kind {
            Kind::Sparse => self.sparse(place, parent, origin, naming),
            _ => self.tensor(place, parent, origin, naming),
        }
    }

    fn last_float(&self, values: &[Field]) -> Result<f32, Problem> {
        let Some(field) = values.last() else { return Ok(0.0) };
        let mut word = [0; 4];
        word.copy_from_slice(&self.bytes[field.fixed32()?]);
        Ok(f32::from_le_bytes(word))
    }

    fn strings(&self, values: &[Field]) -> Result<Vec<String>, Problem> {
        let text = |body: Range<usize>| String::from_utf8_lossy(&self.bytes[body]).into_owned();
        values.iter().map(|field| Ok(text(field.message()?.body))).collect()
    }

    fn numbers<T>(
        &self,
        message: usize,
        number: u32,
        element: Element,
        convert: impl Fn(u64) -> T,
    ) -> Result<Vec<T>, Problem> {
        let message = self.nesting.body(message, self.bytes.len());
        let numbers = Numbers { message, number, element };
        numbers.all(self.bytes).map(|value| Ok(convert(value?.0))).collect()
    }
}

/// Whether a field is there but is another one.
fn is_other(field: &Result<Field, WireError>, number: u32) -> bool {
    field.as_ref().is_ok_and(|field| field.number != number)
}

/// The place of the one message in a list of fields, if there is any.
fn single(values: &[Field]) -> Result<Option<Delimited>, Problem> {
    let mut place = None;
    values.iter().try_for_each(|field| once(&mut place, field))?;
    Ok(place)
}

/// Dtype, shape and place of the value of a `Constant` that is written as a plain attribute (`value_float`,
/// `value_ints` ...); `None` if nothing is stored, as when a writer leaves out a 0, or if it is a tensor.
fn constant_data(
    bytes: &[u8],
    kind: Kind,
    numbers: Numbers,
) -> Result<Option<(Dtype, Vec<u64>, Data)>, Problem> {
    let numbers = match kind {
        Kind::Int | Kind::Ints => Numbers { element: Element::Varint, ..numbers },
        _ => numbers,
    };
    let other = |name: &str, shape| (Dtype::Other(name.to_owned()), shape, Data::Opaque);
    Ok(match kind {
        Kind::Float => numbers
            .all(bytes)
            .last()
            .transpose()?
            .map(|(_, word)| (Dtype::Known(Format::F32), Vec::new(), Data::Words(word))),
        Kind::Floats => {
            let count = numbers.count(bytes)?;
            Some((Dtype::Known(Format::F32), vec![count], float_list(bytes, numbers)?))
        }
        Kind::Int => Some(other("i64", Vec::new())),
        Kind::Ints => Some(other("i64", vec![numbers.count(bytes)?])),
        Kind::String => Some(other("string", Vec::new())),
        Kind::Strings => {
            let fields = Fields::new(bytes, numbers.message.clone());
            let count = fields.flatten().filter(|field| field.number == numbers.number).count();
            Some(other("string", vec![count as u64]))
        }
        _ => None,
    })
}

/// A list of floats is in place when it is one packed run; by default ONNX writes each with its own tag.
fn float_list(bytes: &[u8], numbers: Numbers) -> Result<Data, Problem> {
    let chunks: Vec<_> = numbers.chunks(bytes).take(2).collect::<Result<_, _>>()?;
    Ok(match chunks.as_slice() {
        [] => Data::Words(numbers.message.end..numbers.message.end),
        [only] if only.packed.is_some() => Data::Words(only.body.clone()),
        _ => Data::Numbers(numbers, Rewrite::PackedFloats),
    })
}
