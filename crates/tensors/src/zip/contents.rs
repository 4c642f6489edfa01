//! The decoded data of members, as parts of a file.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::{Archive, Budget, Method, ZipError};
use crate::external::Part;
use crate::file_bytes::FileBytes;

/// The data of the members of an archive: part 0 is the archive itself, in which stored members lie; a deflated member
/// that was asked for is a part of its own, decoded.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    bytes: &'a [u8],
    archive: Archive,
    by_name: HashMap<String, usize>,
    budget: Budget,
    /// The deflated members that were asked for, in the order of the parts.
    inflated: Inflated,
    /// By member, its part.
    parts: HashMap<usize, usize>,
}

/// Names and decoded data of deflated members.
pub(crate) type Inflated = Vec<(String, Vec<u8>)>;

/// Bytes of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// 0 is the file itself.
    pub(crate) part: usize,
    pub(crate) range: Range<usize>,
}

impl<'a> Contents<'a> {
    /// Reads the archive's directory; nothing is decoded.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Contents<'a>, ZipError> {
        let archive = Archive::read(bytes)?;
        let names = archive.members().iter().enumerate();
        let by_name = names.map(|(index, member)| (member.name.clone(), index)).collect();
        let (budget, inflated, parts) = (Budget::of(bytes.len()), Vec::new(), HashMap::new());
        Ok(Contents { bytes, archive, by_name, budget, inflated, parts })
    }

    pub(crate) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// Where the data of a member are, which are decoded if need be; `None` if there is no member of that name.
    pub(crate) fn locate(&mut self, name: &str) -> Result<Option<Span>, ZipError> {
        let Some(&index) = self.by_name.get(name) else { return Ok(None) };
        let member = &self.archive.members()[index];
        if member.method == Method::Stored {
            return Ok(Some(Span { part: 0, range: member.data.clone() }));
        }
        if !self.parts.contains_key(&index) {
            let data = member.contents(self.bytes, &mut self.budget)?.into_owned();
            self.inflated.push((member.name.clone(), data));
            self.parts.insert(index, self.inflated.len());
        }
        let part = self.parts[&index];
        Ok(Some(Span { part, range: 0..self.bytes_of(part).len() }))
    }

    /// The data at a span.
    pub(crate) fn slice(&self, span: &Span) -> &[u8] {
        self.bytes_of(span.part).get(span.range.clone()).unwrap_or_default()
    }

    fn bytes_of(&self, part: usize) -> &[u8] {
        match part.checked_sub(1) {
            None => self.bytes,
            Some(inflated) => self.inflated.get(inflated).map_or(&[], |(_, data)| data),
        }
    }

    /// The parts from 1 on.
    pub(crate) fn into_inflated(self) -> Inflated {
        self.inflated
    }
}

/// The parts of a file that is an archive: the archive, and the deflated members by their names.
pub(crate) fn parts(path: &Path, bytes: FileBytes, inflated: Inflated) -> Vec<Part> {
    let member = |(name, data): (String, Vec<u8>)| Part { location: name, ..Part::main(path, data.into()) };
    [Part::main(path, bytes)].into_iter().chain(inflated.into_iter().map(member)).collect()
}
