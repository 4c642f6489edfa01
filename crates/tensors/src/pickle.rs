//! Python pickles as plain values. Nothing is executed, imported or looked up.
//!
//! The opcodes are those that picklers of protocol 2 to 5 write (Python's `pickletools` names and defines them); the text
//! opcodes of protocols 0 and 1, extension codes and out-of-band buffers are errors. What a pickle would call
//! becomes an inert [`Object`]: the name of the function or class, the arguments, the state. So a checkpoint that holds
//! objects of any program can be looked through, and a hostile pickle is only data. One that names functions which no
//! checkpoint has a use for, such as `os.system`, is refused all the same, since whoever loads it elsewhere runs it.
//!
//! Memory: a value takes no more than some 50 bytes for each byte of the pickle, and a pickle has at most
//! [`MOST_STEPS`] opcodes. Values refer to others by index, so that depth, sharing and cycles need no recursion here.

mod error;
mod machine;
mod opcodes;

use std::borrow::Cow;
use std::ops::Range;

pub(crate) use error::PickleError;

/// The most opcodes of a pickle: some 200,000 tensors' worth.
pub(crate) const MOST_STEPS: usize = 1 << 23;

/// The longest text that is looked at, in bytes. Names and keys are shorter; a pickle can ask for one text a million
/// times, so that longer ones would take time and memory without end.
pub(crate) const LONGEST_TEXT: usize = 1024;

/// The index of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id(u32);

/// A value. Text and bytes are ranges of the pickle.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number of more than 64 bits: little-endian two's complement.
    Large(Range<usize>),
    Float(f64),
    Text(Range<usize>),
    Bytes(Range<usize>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A function or a class, by module and name.
    Global(Range<usize>, Range<usize>),
    /// Something outside the pickle, by the id that its program gave it.
    Persistent(Id),
    Object(Box<Object>),
}

/// What a call would have made, and what would have been done to it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    /// What would be called, mostly a global.
    pub(crate) function: Id,
    /// The arguments: a tuple.
    pub(crate) arguments: Id,
    /// The state to be restored.
    pub(crate) state: Option<Id>,
    /// Entries to be set, of a dictionary of some kind.
    pub(crate) items: Vec<(Id, Id)>,
    /// Values to be appended, of a list of some kind.
    pub(crate) members: Vec<Id>,
}

/// A pickle that was read.
#[derive(Clone, Debug)]
pub(crate) struct Pickle<'a> {
    bytes: &'a [u8],
    values: Vec<Value>,
    root: Id,
    end: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle that starts at byte `start`; others may follow it.
    pub(crate) fn read(bytes: &'a [u8], start: usize) -> Result<Pickle<'a>, PickleError> {
        machine::Machine::run(bytes, start)
    }

    /// What was pickled.
    pub(crate) fn root(&self) -> Id {
        self.root
    }

    /// Where the pickle ends.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// All values, those that the root does not reach too.
    pub(crate) fn values(&self) -> &[Value] {
        &self.values
    }

    pub(crate) fn value(&self, id: Id) -> &Value {
        self.values.get(id.0 as usize).unwrap_or(&Value::None) // ids are made with their values
    }

    /// The bytes of a range; what is not UTF-8 is replaced.
    pub(crate) fn decode(&self, range: &Range<usize>) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes.get(range.clone()).unwrap_or_default())
    }

    pub(crate) fn raw(&self, range: &Range<usize>) -> &'a [u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// A text of at most [`LONGEST_TEXT`] bytes.
    pub(crate) fn text(&self, id: Id) -> Option<Cow<'a, str>> {
        match self.value(id) {
            Value::Text(range) if range.len() <= LONGEST_TEXT => Some(self.decode(range)),
            _ => None,
        }
    }

    pub(crate) fn int(&self, id: Id) -> Option<i64> {
        match self.value(id) {
            Value::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// The members of a tuple or a list.
    pub(crate) fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Tuple(members) | Value::List(members) => Some(members),
            _ => None,
        }
    }

    /// The module and the name of a global.
    pub(crate) fn global(&self, id: Id) -> Option<(Cow<'a, str>, Cow<'a, str>)> {
        match self.value(id) {
            Value::Global(module, name) => Some((self.decode(module), self.decode(name))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
