//! Rewriting an archive whose members have changed.

use std::io::{self, Write};
use std::ops::Range;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use super::fields::{Field, IN_EXTRA};
use super::{Archive, Member, ZipError};
use crate::edits::{Edits, Splice};

/// Changes of members, with what must follow them: the checksums, and for deflated members the sizes and every offset
/// of what lies behind.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// New numbers in fields.
    numbers: Vec<(Field, u64)>,
    /// New data of members in place of those of a range.
    data: Vec<(Range<usize>, Vec<u8>)>,
}

/// Whether the CRC-32 that `bytes` record for a stored member is that of its data there.
pub(crate) fn checksum_is_right(member: &Member, bytes: &[u8]) -> bool {
    bytes.get(member.data.clone()).is_some_and(|data| checksum(data) == member.crc)
}

fn checksum(data: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(data);
    crc.sum()
}

impl Changes {
    /// Records that the data of a stored member have changed where they stand, in `bytes`.
    pub(crate) fn stored(&mut self, member: &Member, bytes: &[u8]) {
        let crc = checksum(bytes.get(member.data.clone()).unwrap_or_default());
        self.set(&member.crc_fields, crc.into());
    }

    /// Replaces the data of a deflated member by `contents`, deflated.
    pub(crate) fn deflated(&mut self, member: &Member, contents: &[u8]) -> io::Result<()> {
        let coded = deflate(contents)?;
        self.set(&member.crc_fields, checksum(contents).into());
        self.set(&member.size_fields, contents.len() as u64);
        self.set(&member.coded_fields, coded.len() as u64);
        self.data.push((member.data.clone(), coded));
        Ok(())
    }

    fn set(&mut self, fields: &[Field], value: u64) {
        self.numbers.extend(fields.iter().map(|&field| (field, value)));
    }

    /// The edits that bring the archive `bytes` to its new state.
    pub(crate) fn finish(mut self, archive: &Archive, bytes: &[u8]) -> Result<Splice, ZipError> {
        let offsets = archive.members.iter().map(|member| &member.offset_field).chain(&archive.end_offsets);
        for &field in offsets {
            let old = field.read(bytes).unwrap_or(0);
            let is_elsewhere = field.width == 4 && old == IN_EXTRA; // in the zip64 end record
            if !is_elsewhere {
                self.numbers.push((field, self.moved(old)));
            }
        }
        let mut edits = Edits::new();
        for (field, value) in self.numbers {
            edits.replace(field.at..field.at + field.width, bytes_of(field, value)?);
        }
        for (range, data) in self.data {
            edits.replace(range, data);
        }
        Ok(edits.finish())
    }

    /// Where what is at `offset`, between members, goes.
    fn moved(&self, offset: u64) -> u64 {
        let before = self.data.iter().filter(|(range, _)| range.end as u64 <= offset);
        before.fold(offset, |offset, (range, data)| offset + data.len() as u64 - range.len() as u64)
    }
}

/// The bytes of a field with a new number.
fn bytes_of(field: Field, value: u64) -> Result<Vec<u8>, ZipError> {
    let all = value.to_le_bytes();
    let (low, high) = all.split_at(field.width);
    match high.iter().all(|&byte| byte == 0) {
        true => Ok(low.to_vec()),
        false => Err(ZipError::TooLarge { value, at: field.at, width: field.width }),
    }
}

fn deflate(contents: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(contents)?;
    encoder.finish()
}
