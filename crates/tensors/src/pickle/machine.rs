//! The stack machine that a pickle is a program of, with inert objects in place of calls.

use std::collections::HashMap;
use std::ops::Range;

use super::opcodes::{is_hostile, name};
use super::{Id, LONGEST_TEXT, MOST_STEPS, Object, Pickle, PickleError, Value};

type Done = Result<(), PickleError>;

/// The state while a pickle is read.
pub(super) struct Machine<'a> {
    bytes: &'a [u8],
    /// The next byte to be read.
    at: usize,
    /// The present opcode and where it is, for errors.
    code: u8,
    code_at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// For each mark, the height of the stack when it was set.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Machine<'a> {
    /// Runs the pickle at `start` to its end.
    pub(super) fn run(bytes: &'a [u8], start: usize) -> Result<Pickle<'a>, PickleError> {
        if !matches!(bytes.get(start..).unwrap_or_default(), [0x80, 2..=5, ..]) {
            return Err(PickleError::Protocol { at: start });
        }
        let (values, stack, marks) = (Vec::new(), Vec::new(), Vec::new());
        let mut machine =
            Machine { bytes, at: start, code: 0, code_at: start, values, stack, marks, memo: HashMap::new() };
        for _ in 0..MOST_STEPS {
            machine.code_at = machine.at;
            machine.code = machine.take(1)?[0];
            if machine.code == b'.' {
                return machine.stop();
            }
            machine.step()?;
        }
        Err(PickleError::TooLong { limit: MOST_STEPS })
    }

    fn stop(mut self) -> Result<Pickle<'a>, PickleError> {
        let root = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err(self.wants("a stack of one value"));
        }
        Ok(Pickle { bytes: self.bytes, values: self.values, root, end: self.at })
    }

    fn step(&mut self) -> Done {
        match self.code {
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            b'N' | 0x88 | 0x89 | b'J' | b'K' | b'M' | 0x8a | 0x8b | b'G' => self.push_plain(),
            b'T' | b'U' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => self.push_counted(),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memoize_or_get(),
            b']' | b'l' | b')' | b't' | 0x85..=0x87 | b'}' | b'd' | 0x8f | 0x91 => self.push_collection(),
            b'a' | b'e' | b's' | b'u' | 0x90 => self.extend(),
            b'c' | 0x93 => self.push_global(),
            b'R' | 0x81 | 0x92 | b'i' | b'o' => self.push_object(),
            b'b' => self.build(),
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
                Ok(())
            }
            code => Err(PickleError::Opcode { opcode: name(code), code, at: self.code_at }),
        }
    }

    fn opcode(&self) -> &'static str {
        name(self.code)
    }

    fn wants(&self, wanted: &'static str) -> PickleError {
        PickleError::Operand { opcode: self.opcode(), at: self.code_at, wanted }
    }
}

/// Reading.
impl<'a> Machine<'a> {
    fn take_range(&mut self, count: u64) -> Result<Range<usize>, PickleError> {
        let truncated = PickleError::Truncated { opcode: self.opcode(), at: self.code_at };
        if count > (self.bytes.len() - self.at) as u64 {
            return Err(truncated);
        }
        let range = self.at..self.at + count as usize;
        self.at = range.end;
        Ok(range)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], PickleError> {
        let range = self.take_range(count)?;
        Ok(&self.bytes[range])
    }

    /// An unsigned little-endian number of `count` bytes.
    fn number(&mut self, count: u64) -> Result<u64, PickleError> {
        Ok(self.take(count)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// A line, without its end.
    fn line(&mut self) -> Result<Range<usize>, PickleError> {
        let length = self.bytes[self.at..].iter().position(|&byte| byte == b'\n');
        let range = self.take_range(length.map_or(u64::MAX, |length| length as u64))?;
        self.at += 1;
        Ok(range)
    }
}

/// The stack.
impl Machine<'_> {
    fn push(&mut self, value: Value) {
        let id = self.add(value);
        self.stack.push(id);
    }

    /// A new value that is not on the stack. There are fewer of them than steps, so the index fits.
    fn add(&mut self, value: Value) -> Id {
        self.values.push(value);
        Id(self.values.len() as u32 - 1)
    }

    /// What was pushed since the last mark is all that can be had.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn underflow(&self) -> PickleError {
        PickleError::Underflow { opcode: self.opcode(), at: self.code_at }
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        let is_there = self.stack.len() > self.floor();
        is_there.then(|| self.stack.pop()).flatten().ok_or_else(|| self.underflow())
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, PickleError> {
        match self.stack.len().checked_sub(count).filter(|&start| start >= self.floor()) {
            Some(start) => Ok(self.stack.split_off(start)),
            None => Err(self.underflow()),
        }
    }

    fn top(&self) -> Result<Id, PickleError> {
        let is_there = self.stack.len() > self.floor();
        is_there.then(|| self.stack.last().copied()).flatten().ok_or_else(|| self.underflow())
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        match self.marks.pop() {
            Some(start) => Ok(self.stack.split_off(start)),
            None => Err(self.underflow()),
        }
    }

    fn value_mut(&mut self, id: Id) -> Option<&mut Value> {
        self.values.get_mut(id.0 as usize)
    }
}

/// Values.
impl Machine<'_> {
    fn push_plain(&mut self) -> Done {
        let value = match self.code {
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i64::from(self.number(4)? as u32 as i32)),
            b'K' => Value::Int(self.number(1)? as i64),
            b'M' => Value::Int(self.number(2)? as i64),
            b'G' => Value::Float(f64::from_bits(self.number(8)?.swap_bytes())),
            0x8a | 0x8b => {
                let count = self.number(if self.code == 0x8a { 1 } else { 4 })?;
                let range = self.take_range(count)?;
                long(&self.bytes[range.clone()]).map_or(Value::Large(range), Value::Int)
            }
            _ => Value::None,
        };
        self.push(value);
        Ok(())
    }

    /// Text and bytes. What Python 2 wrote as a string is text.
    fn push_counted(&mut self) -> Done {
        let width = match self.code {
            b'U' | b'C' | 0x8c => 1,
            b'T' | b'X' | b'B' => 4,
            _ => 8,
        };
        let count = self.number(width)?;
        let range = self.take_range(count)?;
        let is_bytes = matches!(self.code, b'B' | b'C' | 0x8e | 0x96);
        self.push(if is_bytes { Value::Bytes(range) } else { Value::Text(range) });
        Ok(())
    }

    fn memoize_or_get(&mut self) -> Done {
        let index = match self.code {
            0x94 => self.memo.len() as u64,
            b'q' | b'h' => self.number(1)?,
            _ => self.number(4)?,
        };
        if matches!(self.code, b'h' | b'j') {
            let missing = PickleError::Memo { opcode: self.opcode(), at: self.code_at, index };
            self.stack.push(*self.memo.get(&index).ok_or(missing)?);
        } else {
            let top = self.top()?;
            self.memo.insert(index, top);
        }
        Ok(())
    }

    fn push_collection(&mut self) -> Done {
        let value = match self.code {
            b']' => Value::List(Vec::new()),
            b')' => Value::Tuple(Vec::new()),
            b'}' => Value::Dict(Vec::new()),
            0x8f => Value::Set(Vec::new()),
            b'l' => Value::List(self.pop_mark()?),
            b't' => Value::Tuple(self.pop_mark()?),
            0x91 => Value::Set(self.pop_mark()?),
            b'd' => Value::Dict(self.pairs()?),
            code => Value::Tuple(self.pop_many(usize::from(code - 0x84))?),
        };
        self.push(value);
        Ok(())
    }

    /// Keys and values in turn, since the last mark.
    fn pairs(&mut self) -> Result<Vec<(Id, Id)>, PickleError> {
        let flat = self.pop_mark()?;
        match flat.as_chunks::<2>() {
            (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => Err(self.wants("as many values as keys")),
        }
    }

    /// Adds members to the collection that is then on top.
    fn extend(&mut self) -> Done {
        let (members, pairs) = match self.code {
            b'a' => (vec![self.pop()?], Vec::new()),
            b'e' | 0x90 => (self.pop_mark()?, Vec::new()),
            b's' => {
                let value = self.pop()?;
                (Vec::new(), vec![(self.pop()?, value)])
            }
            _ => (Vec::new(), self.pairs()?),
        };
        let (code, target) = (self.code, self.top()?);
        match (code, self.value_mut(target)) {
            (b'a' | b'e', Some(Value::List(list))) | (0x90, Some(Value::Set(list))) => list.extend(members),
            (b's' | b'u', Some(Value::Dict(dict))) => dict.extend(pairs),
            (_, Some(Value::Object(object))) => {
                object.members.extend(members);
                object.items.extend(pairs);
            }
            _ => return Err(self.wants("a collection to add to")),
        }
        Ok(())
    }
}

/// A whole number, little-endian two's complement; `None` if it has more than 64 bits.
fn long(bytes: &[u8]) -> Option<i64> {
    let is_negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut word = [if is_negative { 0xff } else { 0 }; 8];
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(word))
}

/// Globals and calls.
impl Machine<'_> {
    fn push_global(&mut self) -> Done {
        let (module, name) = match self.code {
            b'c' => (self.line()?, self.line()?),
            _ => self.pop_names()?,
        };
        self.check_global(&module, &name)?;
        self.push(Value::Global(module, name));
        Ok(())
    }

    fn pop_names(&mut self) -> Result<(Range<usize>, Range<usize>), PickleError> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (&self.values[module.0 as usize], &self.values[name.0 as usize]) {
            (Value::Text(module), Value::Text(name)) => Ok((module.clone(), name.clone())),
            _ => Err(self.wants("a module and a name as text")),
        }
    }

    fn check_global(&self, module: &Range<usize>, name: &Range<usize>) -> Done {
        if module.len().max(name.len()) > LONGEST_TEXT {
            return Err(self.wants("names of at most 1024 bytes"));
        }
        let text = |range: &Range<usize>| String::from_utf8_lossy(&self.bytes[range.clone()]);
        let (module, name) = (text(module), text(name));
        if !is_hostile(&module, &name) {
            return Ok(());
        }
        let global = format!("{module}.{name}").chars().take(80).collect();
        Err(PickleError::Hostile { opcode: self.opcode(), at: self.code_at, global })
    }

    /// Something that would be called becomes an object with its arguments.
    fn push_object(&mut self) -> Done {
        let (function, arguments) = match self.code {
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                self.check_global(&module, &name)?;
                (self.add(Value::Global(module, name)), self.pop_mark()?)
            }
            b'o' => {
                let mut arguments = self.pop_mark()?;
                if arguments.is_empty() {
                    return Err(self.underflow());
                }
                (arguments.remove(0), arguments)
            }
            _ => return self.push_call(),
        };
        let arguments = self.add(Value::Tuple(arguments));
        self.push_new(function, arguments, Vec::new());
        Ok(())
    }

    /// A function and a tuple of arguments from the stack, for NEWOBJ_EX with a dictionary of named ones.
    fn push_call(&mut self) -> Done {
        let named = if self.code == 0x92 { Some(self.pop()?) } else { None };
        let (arguments, function) = (self.pop()?, self.pop()?);
        if !matches!(self.values[arguments.0 as usize], Value::Tuple(_)) {
            return Err(self.wants("a tuple of arguments"));
        }
        self.push_new(function, arguments, named.into_iter().collect());
        Ok(())
    }

    fn push_new(&mut self, function: Id, arguments: Id, members: Vec<Id>) {
        let object = Object { function, arguments, state: None, items: Vec::new(), members };
        self.push(Value::Object(Box::new(object)));
    }

    fn build(&mut self) -> Done {
        let state = self.pop()?;
        let target = self.top()?;
        match self.value_mut(target) {
            Some(Value::Object(object)) if object.state.is_none() => object.state = Some(state),
            Some(Value::Object(_)) => return Err(self.wants("an object without state")),
            _ => return Err(self.wants("an object to give the state to")),
        }
        Ok(())
    }
}
