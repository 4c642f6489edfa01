//! Reading a GGUF file's numbers and strings in order.

use super::GgufError;

/// A place in the file.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn take(&mut self, size: u64, what: &'static str) -> Result<&'a [u8], GgufError> {
        let left = self.left();
        let Some(size) = usize::try_from(size).ok().filter(|&size| size <= left) else {
            return Err(GgufError::Truncated { what, at: self.at as u64, needed: size, left: left as u64 });
        };
        let start = self.at;
        self.at += size;
        Ok(&self.bytes[start..self.at])
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        Ok(self.number(4, what)? as u32)
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.number(8, what)
    }

    /// A little-endian number of up to eight bytes.
    fn number(&mut self, size: u64, what: &'static str) -> Result<u64, GgufError> {
        let bytes = self.take(size, what)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// A number of things of which each takes at least `smallest` bytes.
    pub(super) fn count(&mut self, smallest: u64, what: &'static str) -> Result<u64, GgufError> {
        let count = self.u64(what)?;
        let left = self.left() as u64;
        match count.checked_mul(smallest) {
            Some(bytes) if bytes <= left => Ok(count),
            _ => Err(GgufError::Count { what, count, left }),
        }
    }

    /// The bytes of a string; a value's need not be text.
    pub(super) fn string(&mut self, what: &'static str) -> Result<&'a [u8], GgufError> {
        let length = self.u64(what)?;
        self.take(length, what)
    }

    pub(super) fn name(&mut self, what: &'static str) -> Result<&'a str, GgufError> {
        let at = self.at as u64;
        std::str::from_utf8(self.string(what)?).map_err(|_| GgufError::NotUtf8 { what, at })
    }
}
