//! B-trees of version 2, as far as groups with many links need them.

use super::Hdf5Error;
use super::cursor::Cursor;
use super::file::File;

/// The type of records that list links by the hash of their name.
pub(crate) const LINKS_BY_NAME: u8 = 5;

const WHAT: &str = "a sorted tree";
const WHAT_NODE: &str = "a node of a sorted tree";

/// Deeper trees hold more than any file.
const DEEPEST: usize = 16;

/// The bytes of a node that are neither records nor pointers: signature, version, type, checksum.
const OVERHEAD: u64 = 10;

/// What the tree's header says, and what follows for the nodes of each depth.
struct Tree<'a, 'b> {
    file: &'b File<'a>,
    record_type: u8,
    node_size: u64,
    record_size: u64,
    /// Of each depth, from the leaves on: the bytes that hold a number of records in a whole subtree.
    total_widths: Vec<usize>,
    /// The bytes that hold a number of records in one node.
    count_width: usize,
}

/// A node still to be read.
#[derive(Clone, Copy)]
struct Pointer {
    address: u64,
    records: u64,
    depth: usize,
}

/// Calls `record` with every record, in any order.
pub(crate) fn walk<'a>(
    file: &File<'a>,
    address: u64,
    record_type: u8,
    mut record: impl FnMut(Cursor<'a>) -> Result<(), Hdf5Error>,
) -> Result<(), Hdf5Error> {
    let Some((tree, root)) = Tree::read(file, address, record_type)? else { return Ok(()) };
    let mut rest = vec![root];
    // The account ends a walk in circles: each node takes at least its overhead.
    while let Some(node) = rest.pop() {
        tree.node(node, &mut rest, &mut record)?;
    }
    Ok(())
}

impl<'a, 'b> Tree<'a, 'b> {
    /// The tree and its root, if it has one.
    fn read(file: &'b File<'a>, address: u64, record_type: u8) -> Result<Option<(Self, Pointer)>, Hdf5Error> {
        let sizes = file.sizes();
        let mut head = file.checked(address, (22 + sizes.address + sizes.length) as u64, WHAT)?;
        let at = head.position() as u64;
        head.signature(b"BTHD")?;
        head.version(0, "the version of a sorted tree")?;
        head.version(record_type, "the type of a sorted tree")?;
        let (node_size, record_size) = (u64::from(head.u32()?), u64::from(head.u16()?));
        let depth = usize::from(head.u16()?);
        head.skip(2)?; // when nodes are split and merged
        let (root, records) = (head.address()?, u64::from(head.u16()?));
        if depth > DEEPEST {
            return Err(Hdf5Error::TooDeep { what: "sorted trees", limit: DEEPEST });
        }
        if record_size == 0 || node_size < OVERHEAD + record_size {
            let why = format!("nodes of {node_size} bytes for records of {record_size}");
            return Err(Hdf5Error::Malformed { what: WHAT, at, why });
        }
        let mut tree =
            Tree { file, record_type, node_size, record_size, total_widths: vec![0], count_width: 0 };
        tree.measure(depth);
        Ok(root.map(|address| (tree, Pointer { address, records, depth })))
    }

    /// Finds the widths of the numbers in pointers, which follow from the most records that a node can hold.
    fn measure(&mut self, depth: usize) {
        let leaf = (self.node_size - OVERHEAD) / self.record_size;
        self.count_width = width_of(leaf);
        let mut total = leaf;
        for depth in 1..=depth {
            let pointer = self.pointer_size(depth);
            let own = (self.node_size - OVERHEAD).saturating_sub(pointer) / (self.record_size + pointer);
            total = own.saturating_add(1).saturating_mul(total).saturating_add(own);
            self.total_widths.push(width_of(total));
        }
    }

    /// The bytes of a pointer in a node of this depth.
    fn pointer_size(&self, depth: usize) -> u64 {
        (self.file.sizes().address + self.count_width + self.total_widths[depth - 1]) as u64
    }

    fn node(
        &self,
        node: Pointer,
        rest: &mut Vec<Pointer>,
        record: &mut impl FnMut(Cursor<'a>) -> Result<(), Hdf5Error>,
    ) -> Result<(), Hdf5Error> {
        let pointers = if node.depth == 0 { 0 } else { (node.records + 1) * self.pointer_size(node.depth) };
        let size = OVERHEAD + node.records * self.record_size + pointers;
        let mut block = self.file.checked(node.address, size, WHAT_NODE)?;
        block.signature(if node.depth == 0 { b"BTLF" } else { b"BTIN" })?;
        block.version(0, "the version of a node of a sorted tree")?;
        block.version(self.record_type, "the type of a node of a sorted tree")?;
        for _ in 0..node.records {
            record(self.file.cursor(block.range(self.record_size)?, "a record of a sorted tree"))?;
        }
        let Some(depth) = node.depth.checked_sub(1) else { return Ok(()) };
        for _ in 0..=node.records {
            let address = block.address()?;
            let records = block.number(self.count_width)?;
            block.skip(self.total_widths[depth])?;
            rest.extend(address.map(|address| Pointer { address, records, depth }));
        }
        Ok(())
    }
}

/// The bytes that hold numbers up to `most`.
pub(crate) fn width_of(most: u64) -> usize {
    (most.checked_ilog2().unwrap_or(0) / 8 + 1) as usize
}
