//! Fractal heaps: the links of a group with many of them. Only objects within the heap's own blocks are read, not those
//! that are kept apart for their size, and no filtered heaps; no link needs either.

use super::Hdf5Error;
use super::cursor::Cursor;
use super::file::File;
use super::sorted::width_of;

const WHAT: &str = "a fractal heap";
const WHAT_BLOCK: &str = "a block of a fractal heap";

/// Indirect blocks point to indirect blocks; more nesting would hold more than any file.
const DEEPEST: usize = 16;

/// A heap whose space is a sequence of blocks: rows of `width` blocks, all of a row of one size, which doubles from row
/// to row after the second.
#[derive(Debug)]
pub(crate) struct Heap<'a, 'b> {
    file: &'b File<'a>,
    at: u64,
    width: u64,
    /// The bytes of a block of the first two rows.
    start: u64,
    /// The bytes of the largest block that holds objects itself.
    largest: u64,
    offset_width: usize,
    length_width: usize,
    root: Option<u64>,
    /// The rows of the root; 0 if it is itself a block with objects.
    rows: u64,
}

impl<'a, 'b> Heap<'a, 'b> {
    pub(crate) fn read(file: &'b File<'a>, address: u64) -> Result<Heap<'a, 'b>, Hdf5Error> {
        let sizes = file.sizes();
        let size = 26 + 12 * sizes.length + 3 * sizes.address;
        let mut head = file.checked(address, size as u64, WHAT)?;
        let at = head.position() as u64;
        head.signature(b"FRHP")?;
        head.version(0, "the version of a fractal heap")?;
        head.skip(2)?; // the size of ids, which the records that hold them have too
        let filters = head.u16()?;
        head.skip(1)?;
        let most = u64::from(head.u32()?);
        head.skip(2 * sizes.length + 2 * sizes.address + 8 * sizes.length)?; // accounts of space and of large objects
        let width = u64::from(head.u16()?);
        let (start, largest) = (head.length()?, head.length()?);
        let bits = head.u16()?;
        head.skip(2)?; // rows at the start
        let (root, rows) = (head.address()?, u64::from(head.u16()?));
        if filters != 0 {
            return Err(Hdf5Error::Unsupported {
                what: "the filter of a fractal heap",
                at,
                value: filters.into(),
            });
        }
        if !start.is_power_of_two()
            || !largest.is_power_of_two()
            || largest < start
            || !width.is_power_of_two()
            || bits > 64
        {
            let why = format!("blocks of {start} to {largest} bytes in rows of {width}");
            return Err(Hdf5Error::Malformed { what: WHAT, at, why });
        }
        let offset_width = usize::from(bits.div_ceil(8));
        let length_width = width_of(largest).min(width_of(most));
        Ok(Heap { file, at, width, start, largest, offset_width, length_width, root, rows })
    }

    /// The object of an id, which is the rest of `id`.
    pub(crate) fn object(&self, mut id: Cursor<'a>) -> Result<Cursor<'a>, Hdf5Error> {
        let at = id.position() as u64;
        let flags = id.u8()?;
        if flags & 0xf0 != 0 {
            return Err(Hdf5Error::Unsupported {
                what: "the type of a heap object",
                at,
                value: flags.into(),
            });
        }
        let (offset, length) = (id.number(self.offset_width)?, id.number(self.length_width)?);
        let (address, within, size) = self.block(offset)?;
        if within.saturating_add(length) > size {
            return Err(self.malformed(format!("an object at {offset} reaches over its block")));
        }
        self.file.block(address.saturating_add(within), length, "an object of a fractal heap")
    }

    /// The block that holds an offset: its address, where in it, and its size.
    fn block(&self, offset: u64) -> Result<(u64, u64, u64), Hdf5Error> {
        let root = self.root.ok_or_else(|| self.malformed("it is empty".to_owned()))?;
        if self.rows == 0 {
            return Ok((root, offset, self.start.max(self.largest)));
        }
        let (mut address, mut within, mut rows) = (root, offset, self.rows);
        for _ in 0..DEEPEST {
            let (row, column, size, rest) = self.cell(within);
            if row >= rows {
                return Err(self.malformed(format!("there is nothing at {offset}")));
            }
            address = self.child(address, row * self.width + column)?;
            within = rest;
            if size <= self.largest {
                return Ok((address, within, size));
            }
            rows = u64::from(size.ilog2().saturating_sub(self.start.saturating_mul(self.width).ilog2())) + 1;
        }
        Err(Hdf5Error::TooDeep { what: "blocks of a fractal heap", limit: DEEPEST })
    }

    /// Row, column and block size of an offset into an indirect block, and the offset within that block.
    fn cell(&self, offset: u64) -> (u64, u64, u64, u64) {
        let row_0 = self.start.saturating_mul(self.width);
        let row = (offset / row_0).checked_ilog2().map_or(0, |power| u64::from(power) + 1);
        let doublings = row.saturating_sub(1);
        let size = self.start.checked_shl(doublings as u32).unwrap_or(u64::MAX);
        let row_start = if row == 0 { 0 } else { row_0 << doublings };
        let within = offset - row_start;
        (row, within / size, size, within % size)
    }

    /// The address of an entry of an indirect block. Its checksum is not looked at: it covers rows that are not needed.
    fn child(&self, address: u64, entry: u64) -> Result<u64, Hdf5Error> {
        let width = self.file.sizes().address as u64;
        let head = 4 + 1 + width + self.offset_width as u64;
        let mut block = self.file.peek(address, WHAT_BLOCK)?;
        block.signature(b"FHIB")?;
        block.version(0, "the version of an indirect block")?;
        let place = address.saturating_add(head).saturating_add(entry.saturating_mul(width));
        let child = self.file.block(place, width, WHAT_BLOCK)?.address()?;
        child.ok_or_else(|| self.malformed(format!("entry {entry} of a block is undefined")))
    }

    fn malformed(&self, why: String) -> Hdf5Error {
        Hdf5Error::Malformed { what: WHAT, at: self.at, why }
    }
}
