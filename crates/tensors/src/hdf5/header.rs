//! Object headers: the messages that describe a group or a dataset.

use std::ops::Range;

use super::Hdf5Error;
use super::cursor::Cursor;
use super::file::File;

/// The kinds of messages that are read; all others are skipped.
pub(crate) mod kind {
    pub(crate) const DATASPACE: u16 = 0x1;
    pub(crate) const LINK_INFO: u16 = 0x2;
    pub(crate) const DATATYPE: u16 = 0x3;
    pub(crate) const LINK: u16 = 0x6;
    pub(crate) const EXTERNAL_FILES: u16 = 0x7;
    pub(crate) const LAYOUT: u16 = 0x8;
    pub(crate) const FILTERS: u16 = 0xb;
    pub(super) const CONTINUATION: u16 = 0x10;
    pub(crate) const SYMBOL_TABLE: u16 = 0x11;
}

const KINDS: [u16; 9] = [
    kind::DATASPACE,
    kind::LINK_INFO,
    kind::DATATYPE,
    kind::LINK,
    kind::EXTERNAL_FILES,
    kind::LAYOUT,
    kind::FILTERS,
    kind::CONTINUATION,
    kind::SYMBOL_TABLE,
];

/// The flag of a message whose body says where the message is.
const SHARED: u8 = 0x2;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) is_shared: bool,
    pub(crate) body: Range<usize>,
    /// Whether a checksum covers the body.
    pub(crate) is_checked: bool,
}

/// The messages of one object.
#[derive(Debug)]
pub(crate) struct Header {
    at: u64,
    messages: Vec<Message>,
}

impl Header {
    /// All messages of a kind.
    pub(crate) fn all(&self, kind: u16) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(move |message| message.kind == kind)
    }

    /// The message of a kind, which may be there once.
    pub(crate) fn one(&self, kind: u16) -> Result<Option<&Message>, Hdf5Error> {
        let mut all = self.all(kind);
        let first = all.next();
        match all.next() {
            None => Ok(first),
            Some(_) => {
                let why = format!("there are two messages of type {kind}");
                Err(Hdf5Error::Malformed { what: "the object header", at: self.at, why })
            }
        }
    }

    /// Reads the header at an address.
    pub(crate) fn read(file: &File<'_>, address: u64) -> Result<Header, Hdf5Error> {
        let start = file.peek(address, WHAT)?;
        let version = start.clone().u8()?;
        let mut reader = Reader { file, messages: Vec::new(), continuations: Vec::new(), has_order: false };
        match version {
            1 => reader.read_old(address)?,
            b'O' => reader.read_new(address)?,
            version => {
                let (what, at) = ("the version of the object header", start.position() as u64);
                return Err(Hdf5Error::Unsupported { what, at, value: version.into() });
            }
        }
        let Reader { messages, .. } = reader;
        Ok(Header { at: start.position() as u64, messages })
    }
}

const WHAT: &str = "the object header";
const WHAT_CONTINUED: &str = "the continuation of an object header";

struct Reader<'a, 'b> {
    file: &'b File<'a>,
    messages: Vec<Message>,
    /// Address and size of the blocks that follow the first, in the order in which they are named.
    continuations: Vec<(u64, u64)>,
    /// Whether messages of version 2 carry the order of their making.
    has_order: bool,
}

impl<'a> Reader<'a, '_> {
    fn read_old(&mut self, address: u64) -> Result<(), Hdf5Error> {
        let mut prefix = self.file.block(address, 16, WHAT)?;
        prefix.skip(8)?; // version, reserved, number of messages, references
        let size = prefix.u32()?;
        let first = self.file.block(address.saturating_add(16), size.into(), WHAT)?;
        self.old_messages(first)?;
        self.follow(|reader, address, size| {
            let block = reader.file.block(address, size, WHAT_CONTINUED)?;
            reader.old_messages(block)
        })
    }

    fn old_messages(&mut self, mut block: Cursor<'a>) -> Result<(), Hdf5Error> {
        while block.left() >= 8 {
            let (kind, size, flags) = (block.u16()?, block.u16()?, block.u8()?);
            block.skip(3)?;
            let body = block.range(size.into())?;
            self.message(kind, flags, body, false)?;
        }
        Ok(())
    }

    fn read_new(&mut self, address: u64) -> Result<(), Hdf5Error> {
        let mut prefix = self.file.peek(address, WHAT)?;
        let start = prefix.position();
        prefix.signature(b"OHDR")?;
        prefix.version(2, "the version of the object header")?;
        let flags = prefix.u8()?;
        self.has_order = flags & 0x4 != 0;
        let times = if flags & 0x20 == 0 { 0 } else { 16 };
        let phases = if flags & 0x10 == 0 { 0 } else { 4 };
        prefix.skip(times + phases)?;
        let size = prefix.number(1 << (flags & 0x3))?;
        let head = prefix.position() - start;
        let mut block = self.file.checked(address, size.saturating_add(head as u64 + 4), WHAT)?;
        block.skip(head)?;
        self.new_messages(block)?;
        self.follow(|reader, address, size| {
            let mut block = reader.file.checked(address, size, WHAT_CONTINUED)?;
            block.signature(b"OCHK")?;
            reader.new_messages(block)
        })
    }

    fn new_messages(&mut self, mut block: Cursor<'a>) -> Result<(), Hdf5Error> {
        let head = if self.has_order { 6 } else { 4 };
        while block.left() >= head {
            let (kind, size, flags) = (block.u8()?, block.u16()?, block.u8()?);
            block.skip(head - 4)?;
            let body = block.range(size.into())?;
            self.message(kind.into(), flags, body, true)?;
        }
        Ok(())
    }

    fn message(
        &mut self,
        kind: u16,
        flags: u8,
        body: Range<usize>,
        is_checked: bool,
    ) -> Result<(), Hdf5Error> {
        if kind == kind::CONTINUATION {
            return self.continuation(body);
        }
        if KINDS.contains(&kind) {
            self.messages.push(Message { kind, is_shared: flags & SHARED != 0, body, is_checked });
        }
        Ok(())
    }

    fn continuation(&mut self, body: Range<usize>) -> Result<(), Hdf5Error> {
        let at = body.start as u64;
        let mut cursor = self.file.cursor(body, WHAT);
        let address = cursor.address()?;
        let size = cursor.length()?;
        let Some(address) = address else { return Ok(()) };
        if self.continuations.iter().any(|known| known.0 == address) {
            return Err(Hdf5Error::Cycle { what: WHAT_CONTINUED, at });
        }
        self.continuations.push((address, size));
        Ok(())
    }

    /// Reads the continuations, which may name more of them.
    fn follow(
        &mut self,
        mut read: impl FnMut(&mut Self, u64, u64) -> Result<(), Hdf5Error>,
    ) -> Result<(), Hdf5Error> {
        let mut next = 0;
        while let Some(&(address, size)) = self.continuations.get(next) {
            next += 1;
            if next > MOST_CONTINUATIONS {
                return Err(Hdf5Error::TooDeep { what: "continuations", limit: MOST_CONTINUATIONS });
            }
            read(self, address, size)?;
        }
        Ok(())
    }
}

/// The most blocks of one header that are read. Each is looked for in the list of the others.
const MOST_CONTINUATIONS: usize = 4096;
