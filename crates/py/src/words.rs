//! Arrays as tensors of words.

use std::collections::BTreeMap;

use bitquake::bits::{Format, Layout, WordStore, Words, WordsMut};
use numpy::{PyReadonlyArray1, PyReadwriteArray1};
use pyo3::prelude::*;

use crate::error::usage;

/// What Python says of a tensor: its name, its format, the bytes of one word (0: words are packed), how many there are, and the
/// bytes that hold them, which may be shared with another library.
type Described<A> = (String, String, u64, u64, A);
/// Tensors that are read.
pub type Reads<'py> = Vec<Described<PyReadonlyArray1<'py, u8>>>;
/// Tensors that are changed in place.
pub type Writes<'py> = Vec<Described<PyReadwriteArray1<'py, u8>>>;

/// Where the words of a tensor lie.
struct Place {
    format: Format,
    elements: u64,
    layout: Layout,
}

impl Place {
    fn new(py: Python<'_>, name: &str, format: &str, container: u64, elements: u64) -> PyResult<Self> {
        let format: Format = format.parse().map_err(|error| usage(py, error))?;
        let layout = match container {
            0 => Layout::packed(format),
            _ if container.saturating_mul(8) < u64::from(format.width()) => {
                return Err(usage(
                    py,
                    format!("tensor `{name}`: {container} bytes are too few for {format}"),
                ));
            }
            _ => Layout::padded(format, container),
        };
        Ok(Self { format, elements, layout })
    }

    fn words<'a>(&'a self, bytes: &'a [u8]) -> Option<Words<'a>> {
        Words::new(self.format, self.elements, &self.layout, bytes).ok()
    }

    /// That the bytes hold the words.
    fn check(&self, py: Python<'_>, name: &str, bytes: &[u8]) -> PyResult<()> {
        let Self { format, elements, layout } = self;
        let error = Words::new(*format, *elements, layout, bytes).err();
        error.map_or(Ok(()), |error| Err(usage(py, format!("tensor `{name}`: {error}"))))
    }
}

/// Words to be read, with or without the interpreter.
pub struct ReadStore<'a>(BTreeMap<&'a str, (Place, &'a [u8])>);

/// Words to be changed, with or without the interpreter.
pub struct WriteStore<'a>(BTreeMap<&'a str, (Place, &'a mut [u8])>);

impl<'a> ReadStore<'a> {
    pub fn new(py: Python<'_>, tensors: &'a Reads<'_>) -> PyResult<Self> {
        let one = |(name, format, container, elements, bytes): &'a Described<PyReadonlyArray1<'_, u8>>| {
            let place = Place::new(py, name, format, *container, *elements)?;
            let bytes = bytes.as_slice()?;
            place.check(py, name, bytes)?;
            Ok((name.as_str(), (place, bytes)))
        };
        Ok(Self(tensors.iter().map(one).collect::<PyResult<_>>()?))
    }
}

impl<'a> WriteStore<'a> {
    pub fn new(py: Python<'_>, tensors: &'a mut Writes<'_>) -> PyResult<Self> {
        let one =
            |(name, format, container, elements, bytes): &'a mut Described<PyReadwriteArray1<'_, u8>>| {
                let place = Place::new(py, name, format, *container, *elements)?;
                let bytes = bytes.as_slice_mut()?;
                place.check(py, name, bytes)?;
                Ok((name.as_str(), (place, bytes)))
            };
        Ok(Self(tensors.iter_mut().map(one).collect::<PyResult<_>>()?))
    }

    /// The bytes of a tensor of whole words, one after the other.
    pub fn plain_bytes(&mut self, tensor: &str) -> Option<&mut [u8]> {
        let (place, bytes) = self.0.get_mut(tensor)?;
        let used = place.layout.bytes_needed(place.elements)?;
        place.layout.is_packed().then(|| &mut bytes[..used as usize])
    }
}

impl WordStore for ReadStore<'_> {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        let (place, bytes) = self.0.get(tensor)?;
        place.words(bytes)
    }

    fn words_mut(&mut self, _: &str) -> Option<WordsMut<'_>> {
        None
    }
}

impl WordStore for WriteStore<'_> {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        let (place, bytes) = self.0.get(tensor)?;
        place.words(bytes)
    }

    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        let (place, bytes) = self.0.get_mut(tensor)?;
        WordsMut::new(place.format, place.elements, &place.layout, bytes).ok()
    }
}
