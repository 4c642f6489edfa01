//! `ValueInfoProto`: the types of a graph's inputs and outputs.

use std::ops::Range;

use super::Problem;
use super::dtype::dtype;
use super::{Dim, ValueInfo};
use crate::wire::Fields;

/// Reads the message that occupies `body`.
pub(super) fn read_value_info(bytes: &[u8], body: Range<usize>) -> Result<ValueInfo, Problem> {
    let mut info = ValueInfo { name: String::new(), elem_type: None, shape: None };
    for field in Fields::new(bytes, body) {
        let field = field?;
        match field.number {
            1 => info.name = field.text(bytes)?.to_owned(),
            2 => read_type(bytes, field.message()?.body, &mut info)?,
            _ => {}
        }
    }
    Ok(info)
}

/// `TypeProto`: only the tensor type is looked at.
fn read_type(bytes: &[u8], body: Range<usize>, info: &mut ValueInfo) -> Result<(), Problem> {
    for field in Fields::new(bytes, body) {
        let field = field?;
        if field.number == 1 {
            read_tensor_type(bytes, field.message()?.body, info)?;
        }
    }
    Ok(())
}

fn read_tensor_type(bytes: &[u8], body: Range<usize>, info: &mut ValueInfo) -> Result<(), Problem> {
    for field in Fields::new(bytes, body) {
        let field = field?;
        match field.number {
            1 => info.elem_type = Some(dtype(field.varint()?)),
            2 => info.shape = Some(read_shape(bytes, field.message()?.body)?),
            _ => {}
        }
    }
    Ok(())
}

fn read_shape(bytes: &[u8], body: Range<usize>) -> Result<Vec<Dim>, Problem> {
    let mut dims = Vec::new();
    for field in Fields::new(bytes, body) {
        let field = field?;
        if field.number == 1 {
            dims.push(read_dim(bytes, field.message()?.body)?);
        }
    }
    Ok(dims)
}

fn read_dim(bytes: &[u8], body: Range<usize>) -> Result<Dim, Problem> {
    let mut dim = Dim::Unknown;
    for field in Fields::new(bytes, body) {
        let field = field?;
        match field.number {
            1 => dim = u64::try_from(field.varint()? as i64).map_or(Dim::Unknown, Dim::Fixed),
            2 => match field.text(bytes)? {
                "" => dim = Dim::Unknown,
                name => dim = Dim::Named(name.to_owned()),
            },
            _ => {}
        }
    }
    Ok(dim)
}
