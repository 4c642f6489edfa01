//! The header: metadata, and where each tensor is.

use std::collections::HashSet;
use std::ops::Range;

use super::GgufError;
use super::reader::Reader;
use super::types::{self, GgufType};
use crate::info::element_count;

/// The first four bytes.
pub(super) const MAGIC: &[u8; 4] = b"GGUF";

/// What the data of all tensors are aligned to if the file says nothing, in bytes.
const ALIGNMENT: u64 = 32;

/// The metadata key that says otherwise.
const ALIGNMENT_KEY: &str = "general.alignment";

/// More dimensions than the format's own four, to be generous.
const MOST_DIMENSIONS: u32 = 8;

/// Arrays of arrays are followed this deep.
const DEEPEST_ARRAY: usize = 4;

/// One tensor of the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Outermost first.
    pub(super) shape: Vec<u64>,
    type_id: u32,
    /// `None` if the number is not known.
    pub(super) kind: Option<&'static GgufType>,
    /// The place of its blocks; empty for a type that is not known.
    pub(super) range: Range<usize>,
}

impl Entry {
    pub(super) fn type_name(&self) -> String {
        self.kind.map_or_else(|| format!("type {}", self.type_id), |kind| kind.name.to_owned())
    }

    fn wrong(&self, why: String) -> GgufError {
        GgufError::Tensor { tensor: self.name.clone(), why }
    }
}

/// The tensors of a file, in the order of its header. They are within the file, and none overlap.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Entry>, GgufError> {
    let mut reader = Reader::new(bytes);
    reader.take(4, "the signature")?;
    check_version(reader.u32("the version")?)?;
    let tensors = reader.count(24, "tensors")?; // lengths, type and place of each
    let pairs = reader.count(13, "metadata")?;
    let alignment = read_metadata(&mut reader, pairs)?;
    let mut entries = Vec::new();
    let mut places = Vec::new();
    for _ in 0..tensors {
        let (entry, place) = read_entry(&mut reader)?;
        entries.push(entry);
        places.push(place);
    }
    let data = (reader.position() as u64).next_multiple_of(alignment);
    for (entry, place) in entries.iter_mut().zip(places) {
        locate(entry, place, (data, alignment), bytes.len() as u64)?;
    }
    check_overlaps(&entries)?;
    Ok(entries)
}

fn check_version(version: u32) -> Result<(), GgufError> {
    match version {
        2 | 3 => Ok(()),
        _ if matches!(version.swap_bytes(), 1..=3) => Err(GgufError::BigEndian),
        _ => Err(GgufError::Version { version }),
    }
}

/// Checks and skips the metadata; the alignment.
fn read_metadata(reader: &mut Reader<'_>, pairs: u64) -> Result<u64, GgufError> {
    let mut alignment = ALIGNMENT;
    let mut keys = HashSet::new();
    for _ in 0..pairs {
        let key = reader.name("a metadata key")?;
        if !keys.insert(key) {
            return Err(GgufError::Repeated { what: "metadata value", name: key.to_owned() });
        }
        let kind = reader.u32("a metadata type")?;
        if key == ALIGNMENT_KEY {
            alignment = read_alignment(reader, kind)?;
        } else {
            skip_value(reader, key, kind, 0)?;
        }
    }
    Ok(alignment)
}

fn wrong_value(key: &str, why: String) -> GgufError {
    GgufError::Metadata { key: key.to_owned(), why }
}

/// The number of the metadata type `uint32`.
const UINT32: u32 = 4;

fn read_alignment(reader: &mut Reader<'_>, kind: u32) -> Result<u64, GgufError> {
    if kind != UINT32 {
        return Err(wrong_value(ALIGNMENT_KEY, format!("its type is {kind}, not {UINT32}")));
    }
    match reader.u32("the alignment")? {
        alignment if alignment.is_power_of_two() => Ok(alignment.into()),
        other => Err(wrong_value(ALIGNMENT_KEY, format!("{other} is no power of two"))),
    }
}

/// The bytes of a value of fixed size, by the number of its type: u8 i8 u16 i16 u32 i32 f32 bool, then u64 i64 f64.
fn fixed_size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn skip_value(reader: &mut Reader<'_>, key: &str, kind: u32, depth: usize) -> Result<(), GgufError> {
    const STRING: u32 = 8;
    const ARRAY: u32 = 9;
    if let Some(size) = fixed_size(kind) {
        return reader.take(size, "a metadata value").map(|_| ());
    }
    match kind {
        STRING => reader.string("a metadata string").map(|_| ()),
        ARRAY if depth < DEEPEST_ARRAY => {
            let kind = reader.u32("the type of a metadata array")?;
            let count = reader.count(fixed_size(kind).unwrap_or(8), "array elements")?;
            if let Some(size) = fixed_size(kind) {
                return reader.take(count * size, "a metadata array").map(|_| ());
            }
            (0..count).try_for_each(|_| skip_value(reader, key, kind, depth + 1))
        }
        ARRAY => Err(wrong_value(key, format!("arrays are nested more than {DEEPEST_ARRAY} deep"))),
        other => Err(wrong_value(key, format!("there is no type {other}"))),
    }
}

/// A tensor's description, and its place in the data.
fn read_entry(reader: &mut Reader<'_>) -> Result<(Entry, u64), GgufError> {
    let name = reader.name("a tensor name")?.to_owned();
    let rank = reader.u32("the number of dimensions")?;
    if rank > MOST_DIMENSIONS {
        let why = format!("it has {rank} dimensions, {MOST_DIMENSIONS} are supported");
        return Err(GgufError::Tensor { tensor: name, why });
    }
    let mut shape = (0..rank).map(|_| reader.u64("a dimension")).collect::<Result<Vec<u64>, _>>()?;
    shape.reverse(); // the file starts with the innermost
    let type_id = reader.u32("the type of a tensor")?;
    let place = reader.u64("the place of a tensor")?;
    Ok((Entry { name, shape, type_id, kind: types::find(type_id), range: 0..0 }, place))
}

/// Finds the place of a tensor's blocks in the file.
fn locate(
    entry: &mut Entry,
    place: u64,
    (data, alignment): (u64, u64),
    file_size: u64,
) -> Result<(), GgufError> {
    let Some(elements) = element_count(&entry.shape) else {
        return Err(entry.wrong(format!("the shape {:?} has too many elements", entry.shape)));
    };
    if !place.is_multiple_of(alignment) {
        return Err(entry.wrong(format!("its data start at {place}, which is no multiple of {alignment}")));
    }
    let Some(kind) = entry.kind else { return Ok(()) };
    let row = entry.shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(kind.block_words) {
        let (words, name) = (kind.block_words, kind.name);
        return Err(entry.wrong(format!("rows of {row} elements are no whole blocks of {words} ({name})")));
    }
    let start = data.saturating_add(place);
    let needed = (elements / kind.block_words).saturating_mul(kind.block_bytes);
    if elements != 0 && start.saturating_add(needed) > file_size {
        let left = file_size.saturating_sub(start);
        return Err(entry.wrong(format!("its data at byte {start} take {needed} bytes, {left} left")));
    }
    entry.range = if elements == 0 { 0..0 } else { start as usize..(start + needed) as usize };
    Ok(())
}

fn check_overlaps(entries: &[Entry]) -> Result<(), GgufError> {
    let mut sorted: Vec<&Entry> = entries.iter().filter(|entry| !entry.range.is_empty()).collect();
    sorted.sort_unstable_by_key(|entry| entry.range.start);
    match sorted.windows(2).find(|pair| pair[0].range.end > pair[1].range.start) {
        Some(pair) => Err(GgufError::Overlap {
            first: pair[0].name.clone(),
            second: pair[1].name.clone(),
            at: pair[1].range.start as u64,
        }),
        None => Ok(()),
    }
}
