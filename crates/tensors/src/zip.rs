//! Zip archives over a slice of bytes: what is in them and at which bytes, for rewriting them in place.
//!
//! Written by hand because byte-exact rewriting needs the places of everything that must follow a change: checksums,
//! sizes, offsets, in the local headers, the data descriptors and the central directory (APPNOTE.TXT 6.3.10, sections
//! 4.3 to 4.5). Members are stored or deflated; the archive starts at byte 0, is one file, and is not encrypted. Members
//! that overlap, have one name, or whose two headers disagree are errors: readers would take different ones for the
//! truth.

mod contents;
mod directory;
mod error;
mod fields;
mod inflate;
mod local;
mod rewrite;

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

pub(crate) use contents::{Contents, Inflated, Span, parts};
pub(crate) use error::ZipError;
pub(crate) use inflate::Budget;
pub(crate) use rewrite::{Changes, checksum_is_right};

use fields::Field;

/// The first bytes of an archive: those of its first local header.
pub(crate) const MARK: &[u8] = b"PK\x03\x04";

/// The members of an archive, in the order of its directory.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    members: Vec<Member>,
    /// The fields that hold the offset of the central directory, or of the record that holds it, at the end.
    end_offsets: Vec<Field>,
}

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its path in the archive, with slashes. What is not UTF-8 is replaced.
    pub(crate) name: String,
    /// How its data are coded.
    pub(crate) method: Method,
    /// The bytes of the archive that hold its data, as coded.
    pub(crate) data: Range<usize>,
    /// How many bytes the data have when decoded. Checked when decoding.
    pub(crate) size: u64,
    /// The CRC-32 of the decoded data, as recorded. Writers that do not compute it leave 0.
    pub(crate) crc: u32,
    /// Everything of the member: local header, data, descriptor.
    span: Range<usize>,
    /// The fields of four bytes that hold the CRC-32.
    crc_fields: Vec<Field>,
    /// Those that hold the decoded size.
    size_fields: Vec<Field>,
    /// Those that hold the coded size.
    coded_fields: Vec<Field>,
    /// Where the directory says where the local header is.
    offset_field: Field,
}

/// How the data of a member are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// As they are.
    Stored,
    /// By DEFLATE.
    Deflated,
    /// By something else, of this number; the data cannot be had.
    Other(u16),
}

impl Archive {
    /// Reads the directory and the local headers of an archive that is all of `bytes`.
    ///
    /// Memory is proportional to the directory's size in `bytes`; no data are decoded.
    pub(crate) fn read(bytes: &[u8]) -> Result<Archive, ZipError> {
        let end = directory::End::find(bytes)?;
        let mut members = Vec::new();
        let mut at = end.directory.start;
        for _ in 0..end.entries {
            let entry = directory::Entry::read(bytes, at, end.directory.end)?;
            at = entry.end;
            members.push(local::member(bytes, entry, end.directory.start)?);
        }
        if at != end.directory.end {
            return Err(ZipError::Entries { declared: end.entries, at });
        }
        check_names(&members)?;
        check_overlaps(&members)?;
        Ok(Archive { members, end_offsets: end.offsets })
    }

    /// The members, in the order of the directory.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of a name.
    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

impl Member {
    /// The decoded data: of a stored member the archive's own bytes, of a deflated one a copy that `budget` pays for.
    pub(crate) fn contents<'a>(
        &self,
        bytes: &'a [u8],
        budget: &mut Budget,
    ) -> Result<Cow<'a, [u8]>, ZipError> {
        let data = bytes.get(self.data.clone()).unwrap_or_default();
        match self.method {
            Method::Stored => Ok(Cow::Borrowed(data)),
            Method::Deflated => inflate::inflate(self, data, budget).map(Cow::Owned),
            Method::Other(method) => Err(ZipError::Method { member: self.name.clone(), method }),
        }
    }
}

fn check_names(members: &[Member]) -> Result<(), ZipError> {
    let mut seen = HashSet::new();
    match members.iter().find(|member| !seen.insert(&member.name)) {
        Some(member) => Err(ZipError::DuplicateName { member: member.name.clone() }),
        None => Ok(()),
    }
}

fn check_overlaps(members: &[Member]) -> Result<(), ZipError> {
    let mut order: Vec<&Member> = members.iter().collect();
    order.sort_by_key(|member| member.span.start);
    for pair in order.windows(2) {
        if pair[1].span.start < pair[0].span.end {
            let (first, second) = (pair[0].name.clone(), pair[1].name.clone());
            return Err(ZipError::Overlap { first, second, at: pair[1].span.start });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
