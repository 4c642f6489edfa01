//! The end record and the central directory.

use std::ops::Range;

use super::fields::{Field, Zip64, number};
use super::{Method, ZipError};

const END_MARK: &[u8] = b"PK\x05\x06";
const END_SIZE: usize = 22;
const LONGEST_COMMENT: usize = u16::MAX as usize;
const LOCATOR_MARK: &[u8] = b"PK\x06\x07";
const LOCATOR_SIZE: usize = 20;
const END64_MARK: &[u8] = b"PK\x06\x06";
const END64_SIZE: usize = 56;
const ENTRY_MARK: &[u8] = b"PK\x01\x02";
const ENTRY_SIZE: usize = 46;

/// What the end of the archive says.
pub(super) struct End {
    /// Where the central directory is.
    pub(super) directory: Range<usize>,
    /// How many entries it has.
    pub(super) entries: u64,
    /// The fields that hold offsets of what comes after the members.
    pub(super) offsets: Vec<Field>,
}

impl End {
    /// The end record is the last one whose comment reaches exactly to the end.
    pub(super) fn find(bytes: &[u8]) -> Result<End, ZipError> {
        let last = bytes.len().checked_sub(END_SIZE).ok_or(ZipError::NoEnd)?;
        let first = last.saturating_sub(LONGEST_COMMENT);
        let ends_here = |&at: &usize| {
            bytes[at..].starts_with(END_MARK)
                && number(bytes, at + 20, 2) == Some((bytes.len() - at - END_SIZE) as u64)
        };
        let at = (first..=last).rev().find(ends_here).ok_or(ZipError::NoEnd)?;
        let mut offsets = vec![Field::of_4(at + 16)];
        match end64(bytes, at, &mut offsets)? {
            Some(end64) => {
                let widths = [(16, 4), (20, 4), (24, 8), (32, 8), (40, 8), (48, 8)];
                End::check(bytes, end64, widths, offsets)
            }
            None => End::check(bytes, at, [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4)], offsets),
        }
    }

    /// The fields: this volume, the directory's volume, entries here, entries, the directory's size, its offset.
    fn check(
        bytes: &[u8],
        at: usize,
        fields: [(usize, usize); 6],
        offsets: Vec<Field>,
    ) -> Result<End, ZipError> {
        let missing = || ZipError::Missing { what: "end record", at: at as u64 };
        let mut values = [0; 6];
        for (value, (offset, width)) in values.iter_mut().zip(fields) {
            *value = number(bytes, at + offset, width).ok_or_else(missing)?;
        }
        let [volume, directory_volume, entries_here, entries, size, start] = values;
        if volume != 0 || directory_volume != 0 || entries_here != entries {
            return Err(ZipError::Volumes);
        }
        let end = start.saturating_add(size);
        if end > at as u64 {
            return Err(ZipError::Directory { start, end, limit: at });
        }
        Ok(End { directory: start as usize..end as usize, entries, offsets })
    }
}

/// Where the zip64 end record is, if there is a locator for one before the end record at `end`.
fn end64(bytes: &[u8], end: usize, offsets: &mut Vec<Field>) -> Result<Option<usize>, ZipError> {
    let Some(locator) = end.checked_sub(LOCATOR_SIZE) else { return Ok(None) };
    if !bytes[locator..].starts_with(LOCATOR_MARK) {
        return Ok(None);
    }
    let offset = Field::of_8(locator + 8);
    let at = offset.read(bytes).unwrap_or(0);
    let missing = ZipError::Missing { what: "zip64 end record", at };
    if at.saturating_add(END64_SIZE as u64) > locator as u64 {
        return Err(missing);
    }
    let at = at as usize;
    if !bytes[at..].starts_with(END64_MARK) {
        return Err(missing);
    }
    offsets.extend([offset, Field::of_8(at + 48)]);
    Ok(Some(at))
}

/// An entry of the central directory.
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) method: Method,
    pub(super) has_descriptor: bool,
    pub(super) crc: u32,
    pub(super) crc_field: Field,
    pub(super) size_field: Field,
    pub(super) coded_field: Field,
    pub(super) offset_field: Field,
    /// Where the entry ends.
    pub(super) end: usize,
}

impl Entry {
    /// The entry at `at` of a directory that ends at `limit`.
    pub(super) fn read(bytes: &[u8], at: usize, limit: usize) -> Result<Entry, ZipError> {
        let missing = || ZipError::Missing { what: "directory entry", at: at as u64 };
        let bytes = bytes.get(..limit).ok_or_else(missing)?;
        Entry::fields(bytes, at).ok_or_else(missing)?.ok_or_else(|| ZipError::Encrypted {
            member: String::from_utf8_lossy(name_of(bytes, at).unwrap_or_default()).into_owned(),
        })
    }

    /// `None` if something does not fit, `Some(None)` if the member is encrypted.
    fn fields(bytes: &[u8], at: usize) -> Option<Option<Entry>> {
        if !bytes.get(at..)?.starts_with(ENTRY_MARK) {
            return None;
        }
        let short = |offset| number(bytes, at + offset, 2);
        let flags = short(8)?;
        if flags & 1 != 0 {
            return Some(None);
        }
        let name = name_of(bytes, at)?.to_vec();
        let extra_start = at + ENTRY_SIZE + name.len();
        let extra_end = extra_start + short(30)? as usize;
        let end = extra_end + short(32)? as usize;
        bytes.get(at..end)?;
        let mut extra = Zip64::find(bytes, extra_start, extra_end);
        let mut resolve = |offset| Zip64::resolve(&mut extra, bytes, Field::of_4(at + offset));
        let (size_field, coded_field, offset_field) = (resolve(24)?, resolve(20)?, resolve(42)?);
        let crc_field = Field::of_4(at + 16);
        Some(Some(Entry {
            name,
            method: Method::of(short(10)? as u16),
            has_descriptor: flags & 8 != 0,
            crc: crc_field.read(bytes)? as u32,
            crc_field,
            size_field,
            coded_field,
            offset_field,
            end,
        }))
    }
}

fn name_of(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = number(bytes, at + 28, 2)? as usize;
    bytes.get(at + ENTRY_SIZE..)?.get(..length)
}

impl Method {
    fn of(number: u16) -> Method {
        match number {
            0 => Method::Stored,
            8 => Method::Deflated,
            other => Method::Other(other),
        }
    }
}
