//! The file as blocks at addresses, and the account of what was read.

use std::cell::RefCell;
use std::ops::Range;

use super::checksum::checksum;
use super::cursor::{Cursor, Sizes};
use super::superblock::{self, Superblock};
use super::{Hdf5Error, Overlaps};

/// How many times its own size the structures of a file may take, and how much more in bytes.
///
/// No structure needs to be read twice, except for those that several datasets share; names count with their path.
const READ_AT_MOST: (u64, u64) = (8, 1 << 16);

/// An HDF5 file whose superblock was read.
#[derive(Debug)]
pub(crate) struct File<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) superblock: Superblock,
    account: RefCell<Account>,
}

#[derive(Debug)]
struct Account {
    limit: u64,
    spent: u64,
    /// The blocks that were read.
    blocks: Overlaps,
}

impl<'a> File<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<File<'a>, Hdf5Error> {
        let (superblock, range) = superblock::read(bytes)?;
        let limit = (bytes.len() as u64).saturating_mul(READ_AT_MOST.0).saturating_add(READ_AT_MOST.1);
        let account = RefCell::new(Account { limit, spent: 0, blocks: Overlaps::new() });
        let file = File { bytes, superblock, account };
        file.claim(range, "the superblock")?;
        Ok(file)
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.superblock.sizes
    }

    /// Accounts for `size` bytes that are kept or looked at.
    pub(crate) fn spend(&self, size: u64) -> Result<(), Hdf5Error> {
        let mut account = self.account.borrow_mut();
        account.spent = account.spent.saturating_add(size);
        match account.spent <= account.limit {
            true => Ok(()),
            false => Err(Hdf5Error::TooMuch { limit: account.limit }),
        }
    }

    fn claim(&self, range: Range<usize>, what: &'static str) -> Result<(), Hdf5Error> {
        self.spend(range.len() as u64)?;
        self.account.borrow_mut().blocks.add_block(range, what);
        Ok(())
    }

    /// The blocks that were read.
    pub(crate) fn into_blocks(self) -> Overlaps {
        self.account.into_inner().blocks
    }

    /// Where an address is, from the start of the file.
    pub(crate) fn at(&self, address: u64) -> u64 {
        address.saturating_add(self.superblock.base)
    }

    /// The place of `size` bytes at an address; they are within the file.
    pub(crate) fn place(
        &self,
        address: u64,
        size: u64,
        what: &'static str,
    ) -> Result<Range<usize>, Hdf5Error> {
        let at = self.at(address);
        let left = (self.bytes.len() as u64).saturating_sub(at);
        if size > left || at > self.bytes.len() as u64 {
            return Err(Hdf5Error::Truncated { what, at, needed: size, left });
        }
        Ok(at as usize..(at + size) as usize)
    }

    /// A block of `size` bytes at an address, which is accounted for.
    pub(crate) fn block(&self, address: u64, size: u64, what: &'static str) -> Result<Cursor<'a>, Hdf5Error> {
        let range = self.place(address, size, what)?;
        self.claim(range.clone(), what)?;
        Ok(self.cursor(range, what))
    }

    /// From an address to the end of the file, for blocks that tell their size themselves; not accounted for.
    pub(crate) fn peek(&self, address: u64, what: &'static str) -> Result<Cursor<'a>, Hdf5Error> {
        let start = self.place(address, 0, what)?.start;
        Ok(self.cursor(start..self.bytes.len(), what))
    }

    pub(crate) fn cursor(&self, range: Range<usize>, what: &'static str) -> Cursor<'a> {
        Cursor::new(self.bytes, range, what, self.sizes())
    }

    /// A block of `size` bytes of which the last four are the checksum of the others; those others.
    pub(crate) fn checked(
        &self,
        address: u64,
        size: u64,
        what: &'static str,
    ) -> Result<Cursor<'a>, Hdf5Error> {
        let mut block = self.block(address, size, what)?;
        let start = block.position();
        let content = block.range(size.saturating_sub(4))?;
        let stored = block.u32()?;
        let computed = checksum(&self.bytes[content.clone()]);
        if stored != computed {
            return Err(Hdf5Error::Checksum { what, at: start as u64, stored, computed });
        }
        Ok(self.cursor(content, what))
    }
}
