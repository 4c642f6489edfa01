//! The links of a group: in a symbol table, in messages of its header, or in a fractal heap.

use super::Hdf5Error;
use super::cursor::Cursor;
use super::file::File;
use super::header::{Header, Message, kind};
use super::heap::{LocalHeap, check_name};
use super::tree::{self, Contents};
use super::{fractal, sorted};

/// A name in a group, and the address of the object header that it stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) address: u64,
}

/// The hard links of a group, by name; `None` if the object is no group. Soft links and links to other files only
/// repeat what has a name already.
pub(crate) fn links(file: &File<'_>, header: &Header) -> Result<Option<Vec<Link>>, Hdf5Error> {
    let table = header.one(kind::SYMBOL_TABLE)?;
    let info = header.one(kind::LINK_INFO)?;
    let mut links = Vec::new();
    if let Some(table) = table {
        read_table(file, table, &mut links)?;
    }
    for message in header.all(kind::LINK) {
        links.extend(read_link(file.cursor(message.body.clone(), "a link"))?);
    }
    if let Some(info) = info {
        read_dense(file, info, &mut links)?;
    }
    let is_group = table.is_some() || info.is_some() || !links.is_empty();
    links.sort();
    Ok(is_group.then_some(links))
}

/// A symbol table: a B-tree of tables, whose names are in a local heap.
fn read_table(file: &File<'_>, message: &Message, links: &mut Vec<Link>) -> Result<(), Hdf5Error> {
    const WHAT: &str = "the symbol table message";
    let mut cursor = file.cursor(message.body.clone(), WHAT);
    let (Some(root), Some(heap)) = (cursor.address()?, cursor.address()?) else {
        let (at, why) = (message.body.start as u64, "an undefined address".to_owned());
        return Err(Hdf5Error::Malformed { what: WHAT, at, why });
    };
    let heap = LocalHeap::read(file, heap)?;
    tree::walk(file, root, Contents::Symbols, |_, node| read_symbols(file, node, &heap, links))
}

/// What a symbol's entry caches if it is a soft link.
const SOFT: u32 = 2;

fn read_symbols(
    file: &File<'_>,
    address: u64,
    heap: &LocalHeap<'_>,
    links: &mut Vec<Link>,
) -> Result<(), Hdf5Error> {
    const WHAT: &str = "a symbol table node";
    let mut head = file.block(address, 8, WHAT)?;
    head.signature(b"SNOD")?;
    head.version(1, "the version of a symbol table node")?;
    head.skip(1)?;
    let count = u64::from(head.u16()?);
    let entry = 2 * file.sizes().address as u64 + 24;
    let mut entries = file.block(address.saturating_add(8), count * entry, WHAT)?;
    for _ in 0..count {
        let name = entries.number(file.sizes().address)?; // an offset, as wide as an address
        let header = entries.address()?;
        let cached = entries.u32()?;
        entries.skip(4 + 16)?;
        if let Some(address) = header.filter(|_| cached != SOFT) {
            links.push(Link { name: heap.name(file, name)?, address });
        }
    }
    Ok(())
}

/// The link of a message; `None` for soft links and links to other files.
pub(crate) fn read_link(mut cursor: Cursor<'_>) -> Result<Option<Link>, Hdf5Error> {
    let at = cursor.position() as u64;
    cursor.version(1, "the version of a link")?;
    let flags = cursor.u8()?;
    let link_type = if flags & 0x8 == 0 { 0 } else { cursor.u8()? };
    if flags & 0x4 != 0 {
        cursor.skip(8)?; // the order of its making
    }
    if flags & 0x10 != 0 {
        cursor.skip(1)?; // the name's character set
    }
    let length = cursor.number(1 << (flags & 0x3))?;
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    let malformed = |why: &str| Hdf5Error::Malformed { what: "a name", at, why: why.to_owned() };
    let name = check_name(cursor.take(size)?).map_err(malformed)?;
    if link_type != 0 {
        return Ok(None);
    }
    Ok(cursor.address()?.map(|address| Link { name, address }))
}

/// The links that a fractal heap holds, if there is one.
fn read_dense(file: &File<'_>, message: &Message, links: &mut Vec<Link>) -> Result<(), Hdf5Error> {
    let mut cursor = file.cursor(message.body.clone(), "the link info");
    cursor.version(0, "the version of the link info")?;
    if cursor.u8()? & 0x1 != 0 {
        cursor.skip(8)?; // the greatest creation order
    }
    let (Some(heap), Some(names)) = (cursor.address()?, cursor.address()?) else { return Ok(()) };
    let heap = fractal::Heap::read(file, heap)?;
    sorted::walk(file, names, sorted::LINKS_BY_NAME, |mut record| {
        record.skip(4)?; // the name's hash
        links.extend(read_link(heap.object(record)?)?);
        Ok(())
    })
}
