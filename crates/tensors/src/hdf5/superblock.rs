//! The superblock: where everything starts, and how wide addresses are.

use std::ops::Range;

use super::Hdf5Error;
use super::checksum::checksum;
use super::cursor::{Cursor, Sizes};

/// The eight bytes that every HDF5 file has.
pub(crate) const SIGNATURE: &[u8; 8] = b"\x89HDF\r\n\x1a\n";

/// The first place after the start at which a superblock may stand; later ones are at its doubles.
const FIRST_USER_BLOCK: usize = 512;

/// What the superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) sizes: Sizes,
    /// What is added to every address.
    pub(crate) base: u64,
    /// The address of the root group's object header.
    pub(crate) root: u64,
}

/// Where the superblock stands, behind bytes that are the user's own.
pub(crate) fn find(bytes: &[u8]) -> Option<usize> {
    let doubles = std::iter::successors(Some(FIRST_USER_BLOCK), |place| place.checked_mul(2));
    std::iter::once(0)
        .chain(doubles)
        .take_while(|&place| place < bytes.len())
        .find(|&place| bytes[place..].starts_with(SIGNATURE))
}

/// The superblock and its place.
pub(crate) fn read(bytes: &[u8]) -> Result<(Superblock, Range<usize>), Hdf5Error> {
    let start = find(bytes).ok_or(Hdf5Error::NoSuperblock)?;
    let narrow = Sizes { address: 8, length: 8 }; // nothing that is read before the sizes depends on them
    let mut cursor = Cursor::new(bytes, start..bytes.len(), "the superblock", narrow);
    cursor.skip(SIGNATURE.len())?;
    let superblock = match cursor.u8()? {
        version @ (0 | 1) => read_old(bytes, cursor, version)?,
        2 | 3 => read_new(bytes, start, cursor)?,
        version => {
            let (what, at) = ("the version of the superblock", start as u64);
            return Err(Hdf5Error::Unsupported { what, at, value: version.into() });
        }
    };
    Ok(superblock)
}

/// Versions 0 and 1: the root is an entry of a symbol table.
fn read_old(
    bytes: &[u8],
    mut cursor: Cursor<'_>,
    version: u8,
) -> Result<(Superblock, Range<usize>), Hdf5Error> {
    let start = cursor.position() - SIGNATURE.len() - 1;
    cursor.skip(4)?; // versions of the parts, and a reserved byte
    let sizes = sizes(&mut cursor)?;
    cursor.skip(1 + 2 + 2 + 4)?; // reserved, group leaf and internal node K, flags
    if version == 1 {
        cursor.skip(4)?; // chunk node K, reserved
    }
    let mut cursor = Cursor::new(bytes, cursor.position()..bytes.len(), "the superblock", sizes);
    let base = defined(cursor.address()?, "the base address", start)?;
    cursor.address()?; // free space
    cursor.address()?; // end of file
    cursor.address()?; // driver information
    cursor.address()?; // the root's name
    let root = defined(cursor.address()?, "the address of the root group", start)?;
    cursor.skip(4 + 4 + 16)?; // what the entry caches
    Ok((Superblock { sizes, base, root }, start..cursor.position()))
}

fn read_new(
    bytes: &[u8],
    start: usize,
    mut cursor: Cursor<'_>,
) -> Result<(Superblock, Range<usize>), Hdf5Error> {
    let sizes = sizes(&mut cursor)?;
    cursor.skip(1)?; // flags
    let mut cursor = Cursor::new(bytes, cursor.position()..bytes.len(), "the superblock", sizes);
    let base = defined(cursor.address()?, "the base address", start)?;
    cursor.address()?; // extension
    cursor.address()?; // end of file
    let root = defined(cursor.address()?, "the address of the root group", start)?;
    let computed = checksum(&bytes[start..cursor.position()]);
    let stored = cursor.u32()?;
    if stored != computed {
        return Err(Hdf5Error::Checksum { what: "the superblock", at: start as u64, stored, computed });
    }
    Ok((Superblock { sizes, base, root }, start..cursor.position()))
}

fn sizes(cursor: &mut Cursor<'_>) -> Result<Sizes, Hdf5Error> {
    let mut size = |what| {
        let at = cursor.position() as u64;
        match cursor.u8()? {
            size @ (2 | 4 | 8) => Ok(usize::from(size)),
            size => Err(Hdf5Error::Unsupported { what, at, value: size.into() }),
        }
    };
    Ok(Sizes { address: size("the size of addresses")?, length: size("the size of lengths")? })
}

fn defined(address: Option<u64>, what: &'static str, start: usize) -> Result<u64, Hdf5Error> {
    let missing = || Hdf5Error::Malformed { what, at: start as u64, why: "is undefined".to_owned() };
    address.ok_or_else(missing)
}
