//! Where a dataset's data are.

use std::ops::Range;

use super::Hdf5Error;
use super::cursor::Cursor;

/// What the layout message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// In the message itself.
    Compact(Range<usize>),
    /// In one piece; nowhere if nothing was ever written.
    Contiguous(Option<u64>),
    /// In chunks.
    Chunked(Chunked),
    /// In other datasets.
    Virtual,
}

/// How a dataset is cut into chunks, and where the list of them is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunked {
    /// The chunk's dimensions in elements; the last number of the file's list, the size of an element, is left out.
    pub(crate) shape: Vec<u64>,
    pub(crate) element_size: u64,
    pub(crate) index: Index,
    /// Whether chunks that reach over the end of the dataset are stored without filters.
    pub(crate) has_plain_edges: bool,
}

/// The list of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Index {
    /// Nothing was ever written.
    Nothing,
    /// A B-tree of version 1 at this address.
    Tree(u64),
    /// One chunk at this address; if filtered, its size and which filters were left out.
    Single { address: u64, filtered: Option<(u64, u32)> },
    /// All chunks one after the other from this address on.
    Implicit(u64),
    /// A fixed array at this address.
    FixedArray(u64),
    /// A list that is not read, by name.
    Unsupported(&'static str),
}

pub(crate) fn read(mut cursor: Cursor<'_>) -> Result<Stored, Hdf5Error> {
    let at = cursor.position() as u64;
    let version = cursor.u8()?;
    match version {
        1 | 2 => read_oldest(cursor),
        3 | 4 => {
            let class = cursor.u8()?;
            match class {
                0 => {
                    let size = cursor.u16()?;
                    cursor.range(size.into()).map(Stored::Compact)
                }
                1 => Ok(Stored::Contiguous(cursor.address()?)),
                2 if version == 3 => read_tree_of_chunks(cursor),
                2 => read_chunks(cursor),
                3 if version == 4 => Ok(Stored::Virtual),
                class => Err(unsupported("the class of the layout", at, class.into())),
            }
        }
        version => Err(unsupported("the version of the layout", at, version.into())),
    }
}

fn unsupported(what: &'static str, at: u64, value: u64) -> Hdf5Error {
    Hdf5Error::Unsupported { what, at, value }
}

/// Versions 1 and 2, behind the version.
fn read_oldest(mut cursor: Cursor<'_>) -> Result<Stored, Hdf5Error> {
    let at = cursor.position() as u64;
    let (rank, class) = (cursor.u8()?, cursor.u8()?);
    cursor.skip(5)?;
    let address = if class == 0 { None } else { cursor.address()? };
    let dims = (0..rank).map(|_| cursor.number(4)).collect::<Result<Vec<u64>, _>>()?;
    match class {
        0 => {
            let size = cursor.u32()?;
            cursor.range(size.into()).map(Stored::Compact)
        }
        1 => Ok(Stored::Contiguous(address)),
        2 => chunked(dims, address.map_or(Index::Nothing, Index::Tree), at),
        class => Err(unsupported("the class of the layout", at, class.into())),
    }
}

fn read_tree_of_chunks(mut cursor: Cursor<'_>) -> Result<Stored, Hdf5Error> {
    let at = cursor.position() as u64;
    let rank = cursor.u8()?;
    let index = cursor.address()?.map_or(Index::Nothing, Index::Tree);
    let dims = (0..rank).map(|_| cursor.number(4)).collect::<Result<Vec<u64>, _>>()?;
    chunked(dims, index, at)
}

fn read_chunks(mut cursor: Cursor<'_>) -> Result<Stored, Hdf5Error> {
    let at = cursor.position() as u64;
    let (flags, rank, width) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
    if !(1..=8).contains(&width) {
        return Err(unsupported("the width of chunk dimensions", at, width.into()));
    }
    let dims = (0..rank).map(|_| cursor.number(width.into())).collect::<Result<Vec<u64>, _>>()?;
    let index = read_index(&mut cursor, flags & 0x2 != 0)?;
    let mut stored = chunked(dims, index, at)?;
    if let Stored::Chunked(chunked) = &mut stored {
        chunked.has_plain_edges = flags & 0x1 != 0;
    }
    Ok(stored)
}

fn read_index(cursor: &mut Cursor<'_>, is_filtered: bool) -> Result<Index, Hdf5Error> {
    let at = cursor.position() as u64;
    Ok(match cursor.u8()? {
        1 => {
            let filtered = match is_filtered {
                true => Some((cursor.length()?, cursor.u32()?)),
                false => None,
            };
            cursor.address()?.map_or(Index::Nothing, |address| Index::Single { address, filtered })
        }
        2 => cursor.address()?.map_or(Index::Nothing, Index::Implicit),
        3 => {
            cursor.skip(1)?; // the array's own header has it too
            cursor.address()?.map_or(Index::Nothing, Index::FixedArray)
        }
        4 => Index::Unsupported("an extensible array"),
        5 => Index::Unsupported("a B-tree of version 2"),
        index => return Err(unsupported("the type of the chunk index", at, index.into())),
    })
}

fn chunked(mut dims: Vec<u64>, index: Index, at: u64) -> Result<Stored, Hdf5Error> {
    let malformed = |why: &str| Hdf5Error::Malformed { what: "the layout", at, why: why.to_owned() };
    let element_size = dims.pop().ok_or_else(|| malformed("chunks without dimensions"))?;
    if element_size == 0 || dims.contains(&0) {
        return Err(malformed("chunks of no elements"));
    }
    Ok(Stored::Chunked(Chunked { shape: dims, element_size, index, has_plain_edges: false }))
}
