//! Local headers and data descriptors, checked against the directory.

use super::directory::Entry;
use super::fields::{Field, Zip64, number};
use super::{MARK, Member, Method, ZipError};

const HEADER_SIZE: usize = 30;
const DESCRIPTOR_MARK: u64 = 0x0807_4b50;

/// The member of a directory entry; all of it lies before `limit`.
pub(super) fn member(bytes: &[u8], entry: Entry, limit: usize) -> Result<Member, ZipError> {
    let value = |field: Field| field.read(bytes).unwrap_or(0);
    let (size, coded, offset) =
        (value(entry.size_field), value(entry.coded_field), value(entry.offset_field));
    let name = String::from_utf8_lossy(&entry.name).into_owned();
    if entry.method == Method::Stored && size != coded {
        return Err(ZipError::StoredSize { member: name, coded, size });
    }
    let Some(header) = Header::read(bytes, offset, limit) else {
        return Err(ZipError::Missing { what: "local header", at: offset });
    };
    header.check(bytes, &entry, (size, coded)).map_err(|what| {
        let member = name.clone();
        ZipError::Disagreement { member, what, at: header.at }
    })?;
    if coded > limit.saturating_sub(header.data) as u64 {
        return Err(ZipError::Range { member: name, start: header.data, size: coded, limit });
    }
    let data = header.data..header.data + coded as usize;
    let mut member = Member {
        name,
        method: entry.method,
        span: header.at..data.end,
        data,
        size,
        crc: entry.crc,
        crc_fields: vec![entry.crc_field],
        size_fields: vec![entry.size_field],
        coded_fields: vec![entry.coded_field],
        offset_field: entry.offset_field,
    };
    header.add_fields(bytes, &mut member);
    if entry.has_descriptor {
        add_descriptor(bytes, &mut member, limit);
    }
    Ok(member)
}

/// A local header.
struct Header {
    at: usize,
    name: (usize, usize),
    method: u64,
    crc: Field,
    size: Field,
    coded: Field,
    /// Where the data start.
    data: usize,
}

impl Header {
    fn read(bytes: &[u8], at: u64, limit: usize) -> Option<Header> {
        let bytes = bytes.get(..limit)?;
        let at = usize::try_from(at).ok()?;
        if !bytes.get(at..)?.starts_with(MARK) {
            return None;
        }
        let name = (at + HEADER_SIZE, number(bytes, at + 26, 2)? as usize);
        let extra_start = name.0 + name.1;
        let data = extra_start + number(bytes, at + 28, 2)? as usize;
        bytes.get(at..data)?;
        let mut extra = Zip64::find(bytes, extra_start, data);
        let mut resolve = |offset| Zip64::resolve(&mut extra, bytes, Field::of_4(at + offset));
        let (size, coded) = (resolve(22)?, resolve(18)?);
        Some(Header {
            at,
            name,
            method: number(bytes, at + 8, 2)?,
            crc: Field::of_4(at + 14),
            size,
            coded,
            data,
        })
    }

    /// Whether sizes were left to the descriptor.
    fn is_streamed(&self, bytes: &[u8]) -> bool {
        self.size.read(bytes) == Some(0) && self.coded.read(bytes) == Some(0)
    }

    /// What differs from the directory's entry.
    fn check(&self, bytes: &[u8], entry: &Entry, sizes: (u64, u64)) -> Result<(), &'static str> {
        let name = bytes.get(self.name.0..self.name.0 + self.name.1);
        if name != Some(&entry.name) {
            return Err("name");
        }
        let method = match entry.method {
            Method::Stored => 0,
            Method::Deflated => 8,
            Method::Other(other) => other.into(),
        };
        if self.method != method {
            return Err("compression method");
        }
        let is_left_out = entry.has_descriptor && self.is_streamed(bytes);
        if !is_left_out && (self.size.read(bytes), self.coded.read(bytes)) != (Some(sizes.0), Some(sizes.1)) {
            return Err("size");
        }
        Ok(())
    }

    /// Adds the fields that say what the directory says; others are left as they are, whatever changes.
    fn add_fields(&self, bytes: &[u8], member: &mut Member) {
        if self.crc.read(bytes) == Some(member.crc.into()) {
            member.crc_fields.push(self.crc);
        }
        if !self.is_streamed(bytes) {
            member.size_fields.push(self.size);
            member.coded_fields.push(self.coded);
        }
    }
}

/// Adds the fields of the descriptor behind the data: a mark, which some leave out, the CRC-32, the coded and the decoded
/// size in 4 or in 8 bytes each. Readers that have a directory never look at it, so one that is not there is no error.
fn add_descriptor(bytes: &[u8], member: &mut Member, limit: usize) {
    let bytes = bytes.get(..limit).unwrap_or_default();
    for (mark, width) in [(4, 4), (4, 8), (0, 4), (0, 8)] {
        let crc = Field::of_4(member.data.end + mark);
        let coded = Field { at: crc.at + 4, width };
        let size = Field { at: coded.at + width, width };
        let has_mark = mark == 0 || number(bytes, member.data.end, 4) == Some(DESCRIPTOR_MARK);
        let has_crc = crc.read(bytes) == Some(member.crc.into());
        let has_sizes =
            coded.read(bytes) == Some(member.data.len() as u64) && size.read(bytes) == Some(member.size);
        if has_mark && has_sizes && has_crc {
            member.crc_fields.push(crc);
            member.coded_fields.push(coded);
            member.size_fields.push(size);
            member.span.end = size.at + width;
            return;
        }
    }
}
