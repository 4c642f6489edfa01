//! B-trees of version 1: the symbol tables of groups, and the chunks of datasets.

use std::collections::HashSet;

use super::Hdf5Error;
use super::cursor::Cursor;
use super::file::File;

/// What a tree lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contents {
    /// The symbol tables of a group.
    Symbols,
    /// The chunks of a dataset of this many dimensions.
    Chunks { rank: usize },
}

impl Contents {
    fn node_type(self) -> u8 {
        match self {
            Contents::Symbols => 0,
            Contents::Chunks { .. } => 1,
        }
    }

    /// The bytes of a key.
    fn key(self, length: usize) -> usize {
        match self {
            Contents::Symbols => length,
            Contents::Chunks { rank } => 4 + 4 + 8 * (rank + 1),
        }
    }
}

const WHAT: &str = "a B-tree node";

/// Deeper trees hold more than any file.
const DEEPEST: usize = 32;

/// Calls `leaf` with every entry of the leaves, in order: a cursor at its key, and the address of what it names.
pub(crate) fn walk<'a>(
    file: &File<'a>,
    root: u64,
    contents: Contents,
    mut leaf: impl FnMut(Cursor<'a>, u64) -> Result<(), Hdf5Error>,
) -> Result<(), Hdf5Error> {
    let mut seen = HashSet::new();
    let mut rest = vec![(root, None)];
    while let Some((address, level)) = rest.pop() {
        if !seen.insert(address) {
            return Err(Hdf5Error::Cycle { what: WHAT, at: file.at(address) });
        }
        let node = Node::read(file, address, contents)?;
        node.check_level(level)?;
        let first_child = rest.len();
        node.entries(|key, child| match node.level.checked_sub(1) {
            None => leaf(key, child),
            Some(below) => {
                rest.push((child, Some(below)));
                Ok(())
            }
        })?;
        rest[first_child..].reverse(); // the first child is to be the next
    }
    Ok(())
}

struct Node<'a, 'b> {
    file: &'b File<'a>,
    at: u64,
    level: usize,
    count: usize,
    key: usize,
    content: Cursor<'a>,
}

impl<'a> Node<'a, '_> {
    fn read<'b>(file: &'b File<'a>, address: u64, contents: Contents) -> Result<Node<'a, 'b>, Hdf5Error> {
        let sizes = file.sizes();
        let mut head = file.block(address, 8 + 2 * sizes.address as u64, WHAT)?;
        let at = head.position() as u64;
        head.signature(b"TREE")?;
        head.version(contents.node_type(), "the type of a B-tree node")?;
        let (level, count) = (usize::from(head.u8()?), usize::from(head.u16()?));
        let key = contents.key(sizes.length);
        let size = count * (key + sizes.address);
        let head = 8 + 2 * sizes.address as u64;
        let content = file.block(address.saturating_add(head), size as u64, WHAT)?;
        Ok(Node { file, at, level, count, key, content })
    }

    /// Levels fall by one from node to node, so that no walk is endless.
    fn check_level(&self, expected: Option<usize>) -> Result<(), Hdf5Error> {
        if self.level > DEEPEST {
            return Err(Hdf5Error::TooDeep { what: "B-tree nodes", limit: DEEPEST });
        }
        match expected {
            Some(expected) if expected != self.level => {
                let why = format!("its level is {}, not {expected}", self.level);
                Err(Hdf5Error::Malformed { what: WHAT, at: self.at, why })
            }
            _ => Ok(()),
        }
    }

    fn entries(
        &self,
        mut entry: impl FnMut(Cursor<'a>, u64) -> Result<(), Hdf5Error>,
    ) -> Result<(), Hdf5Error> {
        let mut content = self.content.clone();
        for _ in 0..self.count {
            let key = self.file.cursor(content.range(self.key as u64)?, WHAT);
            match content.address()? {
                Some(child) => entry(key, child)?,
                None => {
                    let why = "a child without an address".to_owned();
                    return Err(Hdf5Error::Malformed { what: WHAT, at: self.at, why });
                }
            }
        }
        Ok(())
    }
}
