//! The calls that make tensors, understood without being made.

use super::element::Element;
use super::view::View;
use crate::pickle::{Id, Object, Pickle, Value};

/// The most dimensions that are read; PyTorch itself stops at 64.
const MOST_DIMENSIONS: usize = 64;

/// A tensor and what is stored beside its elements.
#[derive(Debug, PartialEq)]
pub(super) struct Rebuilt {
    pub(super) view: View,
    /// Further tensors by the part's name: scales and zero points of each channel.
    pub(super) parts: Vec<(&'static str, Id)>,
}

/// What an object would be.
#[derive(Debug, PartialEq)]
pub(super) enum Made {
    Tensor(Rebuilt),
    /// The same as this value: a parameter made of a tensor.
    Same(Id),
    /// Anything else.
    Other,
}

/// What is wrong with a call.
type Problem = String;

/// Tells what an object would be; the functions are those of `torch._utils` and `torch._tensor`.
pub(super) fn made(pickle: &Pickle<'_>, object: &Object) -> Result<Made, Problem> {
    let arguments = pickle.sequence(object.arguments).unwrap_or_default();
    call(pickle, object.function, arguments)
}

fn call(pickle: &Pickle<'_>, function: Id, arguments: &[Id]) -> Result<Made, Problem> {
    let Some((module, name)) = pickle.global(function) else { return Ok(Made::Other) };
    if !matches!(&*module, "torch._utils" | "torch._tensor" | "torch.tensor") {
        return Ok(Made::Other);
    }
    let argument = |index: usize| {
        arguments
            .get(index)
            .copied()
            .ok_or_else(|| format!("{name} is called with {} arguments", arguments.len()))
    };
    let view = |dtype| view(pickle, [argument(0)?, argument(1)?, argument(2)?, argument(3)?], dtype);
    match &*name {
        "_rebuild_tensor" | "_rebuild_tensor_v2" => Ok(tensor(view(None)?, Vec::new())),
        "_rebuild_tensor_v3" => Ok(tensor(view(Some(argument(6)?))?, Vec::new())),
        "_rebuild_qtensor" => Ok(tensor(view(None)?, quantizer(pickle, argument(4)?))),
        "_rebuild_parameter" | "_rebuild_parameter_with_state" => Ok(Made::Same(argument(0)?)),
        "_rebuild_from_type" | "_rebuild_from_type_v2" => {
            let inner = argument(2)?;
            let inner = pickle.sequence(inner).ok_or("its arguments are no tuple")?;
            // A call within a call within a call is no checkpoint's; so this goes one step deep only.
            match pickle.global(argument(0)?) {
                Some((_, name)) if name.starts_with("_rebuild_from_type") => Ok(Made::Other),
                _ => call(pickle, argument(0)?, inner),
            }
        }
        _ => Ok(Made::Other),
    }
}

fn tensor(view: View, parts: Vec<(&'static str, Id)>) -> Made {
    Made::Tensor(Rebuilt { view, parts })
}

/// Scales and zero points that are tensors. Those of a whole tensor are numbers of the pickle and stay there.
fn quantizer(pickle: &Pickle<'_>, parameters: Id) -> Vec<(&'static str, Id)> {
    match pickle.sequence(parameters) {
        Some(&[_, scales, zero_points, ..]) => [("scale", scales), ("zero_point", zero_points)]
            .into_iter()
            .filter(|(_, id)| matches!(pickle.value(*id), Value::Object(_)))
            .collect(),
        _ => Vec::new(),
    }
}

/// Storage, offset, size, strides, and the dtype if the storage does not know it.
fn view(pickle: &Pickle<'_>, arguments: [Id; 4], dtype: Option<Id>) -> Result<View, Problem> {
    let [storage, offset, size, strides] = arguments;
    let storage = Storage::of(pickle, storage)?;
    let element = match dtype {
        Some(dtype) => element_of_dtype(pickle, dtype)?,
        None => storage.element,
    };
    let (shape, strides) = (dimensions(pickle, size, "size")?, dimensions(pickle, strides, "strides")?);
    if shape.len() != strides.len() {
        return Err(format!("{} dimensions have {} strides", shape.len(), strides.len()));
    }
    let offset = pickle.int(offset).and_then(|offset| offset.try_into().ok());
    let offset = offset.ok_or("its offset is no count of elements")?;
    let window = storage.window()?;
    Ok(View { key: storage.key, element, shape, strides, offset, window })
}

fn element_of_dtype(pickle: &Pickle<'_>, dtype: Id) -> Result<&'static Element, Problem> {
    let (module, name) = pickle.global(dtype).ok_or("its dtype is no global")?;
    Element::of_dtype(&name)
        .filter(|_| module == "torch")
        .ok_or_else(|| format!("its dtype {module}.{name} is unknown"))
}

fn dimensions(pickle: &Pickle<'_>, id: Id, what: &str) -> Result<Vec<u64>, Problem> {
    let members =
        pickle.sequence(size_members(pickle, id)).ok_or_else(|| format!("its {what} is no tuple"))?;
    if members.len() > MOST_DIMENSIONS {
        return Err(format!("its {what} has {} members, {MOST_DIMENSIONS} are read", members.len()));
    }
    let number = |&id: &Id| pickle.int(id).and_then(|int| u64::try_from(int).ok());
    members
        .iter()
        .map(number)
        .collect::<Option<_>>()
        .ok_or_else(|| format!("its {what} has a member that is no count"))
}

/// `torch.Size` is called with the tuple that it equals.
fn size_members(pickle: &Pickle<'_>, id: Id) -> Id {
    match pickle.value(id) {
        Value::Object(object) if pickle.global(object.function).is_some_and(|(_, name)| name == "Size") => {
            pickle.sequence(object.arguments).and_then(|members| members.first().copied()).unwrap_or(id)
        }
        _ => id,
    }
}

/// What the pickle says about a storage: the persistent id `("storage", class, key, location, elements, view)`.
#[derive(Debug, PartialEq)]
pub(super) struct Storage {
    pub(super) key: String,
    pub(super) element: &'static Element,
    /// How many elements it has.
    pub(super) elements: u64,
    /// For a storage that is a part of another: where it starts there, and its elements.
    part: Option<(u64, u64)>,
}

impl Storage {
    /// The storage that a persistent value stands for.
    pub(super) fn of(pickle: &Pickle<'_>, id: Id) -> Result<Storage, Problem> {
        let Value::Persistent(id) = pickle.value(id) else {
            return Err("its storage is not in the file".to_owned());
        };
        Storage::of_id(pickle, *id)
    }

    /// The storage of a persistent id.
    pub(super) fn of_id(pickle: &Pickle<'_>, id: Id) -> Result<Storage, Problem> {
        let parts = pickle.sequence(id).unwrap_or_default();
        let (Some(&class), Some(&key), Some(&elements)) = (parts.get(1), parts.get(2), parts.get(4)) else {
            return Err("its storage has no class, key and size".to_owned());
        };
        if pickle.text(parts[0]).as_deref() != Some("storage") {
            return Err("its storage is not called one".to_owned());
        }
        let (_, class) = pickle.global(class).ok_or("the class of its storage is no global")?;
        let element =
            Element::of_storage(&class).ok_or_else(|| format!("its storage is an unknown {class}"))?;
        let key = match pickle.int(key) {
            Some(key) => key.to_string(),
            None => pickle.text(key).ok_or("the key of its storage is no text")?.into_owned(),
        };
        let count = |id: Id| pickle.int(id).and_then(|int| u64::try_from(int).ok());
        let elements = count(elements).ok_or("the size of its storage is no count")?;
        let part = match parts.get(5).and_then(|&id| pickle.sequence(id)) {
            Some(&[_, offset, size]) => Some(
                count(offset).zip(count(size)).ok_or("the place of its storage in another is no count")?,
            ),
            _ => None,
        };
        Ok(Storage { key, element, elements, part })
    }

    fn window(&self) -> Result<Option<std::ops::Range<u64>>, Problem> {
        let bytes = self.element.bytes();
        let window = |(offset, elements): (u64, u64)| {
            let start = offset.checked_mul(bytes)?;
            Some(start..start.checked_add(elements.checked_mul(bytes)?)?)
        };
        match self.part {
            Some(part) => {
                window(part).map(Some).ok_or_else(|| "the place of its storage overflows".to_owned())
            }
            None => {
                // What the storage is declared to hold is all that its tensors can reach.
                let end = self.elements.checked_mul(bytes).ok_or("the size of its storage overflows")?;
                Ok(Some(0..end))
            }
        }
    }
}
