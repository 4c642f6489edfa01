//! Local heaps: the names of a group with a symbol table.

use std::ops::Range;

use super::Hdf5Error;
use super::file::File;

/// A heap of names, each with a zero byte at its end.
#[derive(Debug)]
pub(crate) struct LocalHeap<'a> {
    bytes: &'a [u8],
    data: Range<usize>,
}

impl<'a> LocalHeap<'a> {
    pub(crate) fn read(file: &File<'a>, address: u64) -> Result<LocalHeap<'a>, Hdf5Error> {
        const WHAT: &str = "a local heap";
        let sizes = file.sizes();
        let mut head = file.block(address, (8 + 2 * sizes.length + sizes.address) as u64, WHAT)?;
        let at = head.position() as u64;
        head.signature(b"HEAP")?;
        head.version(0, "the version of a local heap")?;
        head.skip(3)?;
        let size = head.length()?;
        head.length()?; // the first free place
        let Some(data) = head.address()? else {
            return Err(Hdf5Error::Malformed { what: WHAT, at, why: "it has no data".to_owned() });
        };
        let mut data = file.block(data, size, WHAT)?;
        Ok(LocalHeap { bytes: file.bytes, data: data.range(size)? })
    }

    /// The name at an offset. Its length is accounted for: a hostile heap could give a long name to every entry.
    pub(crate) fn name(&self, file: &File<'_>, offset: u64) -> Result<String, Hdf5Error> {
        let at = (self.data.start as u64).saturating_add(offset);
        let malformed = |why: &str| Hdf5Error::Malformed { what: "a name", at, why: why.to_owned() };
        let data = &self.bytes[self.data.clone()];
        let rest = usize::try_from(offset).ok().and_then(|offset| data.get(offset..));
        let rest = rest.ok_or_else(|| malformed("it is outside its heap"))?;
        let longest = &rest[..rest.len().min(LONGEST_NAME + 1)];
        let end = longest.iter().position(|&byte| byte == 0);
        let name = &rest[..end.ok_or_else(|| malformed("it has no end"))?];
        file.spend(name.len() as u64)?;
        check_name(name).map_err(malformed)
    }
}

/// Longer names are no names of tensors, in bytes.
const LONGEST_NAME: usize = 1 << 14;

/// The text of a name, which is part of a path.
pub(super) fn check_name(name: &[u8]) -> Result<String, &'static str> {
    match std::str::from_utf8(name) {
        Err(_) => Err("it is not UTF-8"),
        Ok("") => Err("it is empty"),
        Ok(name) if name.contains('/') => Err("it contains a slash"),
        Ok(name) if name.len() > LONGEST_NAME => Err("it is too long"),
        Ok(name) => Ok(name.to_owned()),
    }
}
