//! Reading a block's numbers in order.

use std::ops::Range;

use super::Hdf5Error;

/// How wide the file's addresses and lengths are, in bytes: 2, 4 or 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) address: usize,
    pub(crate) length: usize,
}

/// A place within a block of the file. Nothing is read behind the block's end.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    /// The whole file.
    bytes: &'a [u8],
    /// What is read, for errors.
    what: &'static str,
    at: usize,
    end: usize,
    sizes: Sizes,
}

impl<'a> Cursor<'a> {
    /// Stands at the start of `range`, which must be within `bytes`; what is behind their end counts as missing.
    pub(crate) fn new(bytes: &'a [u8], range: Range<usize>, what: &'static str, sizes: Sizes) -> Cursor<'a> {
        let end = range.end.min(bytes.len());
        Cursor { bytes, what, at: range.start.min(end), end, sizes }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.end - self.at
    }

    /// The place of the next `size` bytes, which are skipped.
    pub(crate) fn range(&mut self, size: u64) -> Result<Range<usize>, Hdf5Error> {
        let left = self.left();
        let Some(size) = usize::try_from(size).ok().filter(|&size| size <= left) else {
            let (what, at) = (self.what, self.at as u64);
            return Err(Hdf5Error::Truncated { what, at, needed: size, left: left as u64 });
        };
        let start = self.at;
        self.at += size;
        Ok(start..self.at)
    }

    pub(crate) fn take(&mut self, size: usize) -> Result<&'a [u8], Hdf5Error> {
        let range = self.range(size as u64)?;
        Ok(&self.bytes[range])
    }

    pub(crate) fn skip(&mut self, size: usize) -> Result<(), Hdf5Error> {
        self.take(size).map(|_| ())
    }

    /// A little-endian number of up to eight bytes.
    pub(crate) fn number(&mut self, size: usize) -> Result<u64, Hdf5Error> {
        let bytes = self.take(size)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Hdf5Error> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Hdf5Error> {
        Ok(self.number(2)? as u16)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Hdf5Error> {
        Ok(self.number(4)? as u32)
    }

    /// A length, which may be undefined: all ones.
    pub(crate) fn length(&mut self) -> Result<u64, Hdf5Error> {
        self.number(self.sizes.length)
    }

    /// An address relative to the file's base; `None` if it is undefined: all ones.
    pub(crate) fn address(&mut self) -> Result<Option<u64>, Hdf5Error> {
        let undefined = u64::MAX >> (64 - 8 * self.sizes.address);
        Ok(Some(self.number(self.sizes.address)?).filter(|&address| address != undefined))
    }

    /// Checks the signature of a block.
    pub(crate) fn signature(&mut self, letters: &[u8; 4]) -> Result<(), Hdf5Error> {
        let at = self.at as u64;
        match self.take(4)? == letters {
            true => Ok(()),
            false => Err(Hdf5Error::Signature { what: self.what, at }),
        }
    }

    /// Reads a version, which must be `expected`.
    pub(crate) fn version(&mut self, expected: u8, what: &'static str) -> Result<(), Hdf5Error> {
        let at = self.at as u64;
        match self.u8()? {
            version if version == expected => Ok(()),
            version => Err(Hdf5Error::Unsupported { what, at, value: version.into() }),
        }
    }
}
