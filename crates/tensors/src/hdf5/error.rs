//! What can be wrong with an HDF5 file.

use thiserror::Error;

/// Why the bytes are no HDF5 file that can be read. Addresses are bytes from the start of the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Hdf5Error {
    /// No superblock where the format allows one.
    #[error("there is no superblock")]
    NoSuperblock,
    /// Something reaches over the end of the file or of the block that holds it.
    #[error("truncated: {what} at byte {at} needs {needed} bytes, {left} left")]
    Truncated {
        /// What was read.
        what: &'static str,
        /// Where it starts.
        at: u64,
        /// The bytes it takes.
        needed: u64,
        /// The bytes that are there.
        left: u64,
    },
    /// A block does not start with its four letters.
    #[error("there is no {what} at byte {at}")]
    Signature {
        /// The block looked for.
        what: &'static str,
        /// Where it was to start.
        at: u64,
    },
    /// A structure of a version, or with a setting, that is not read.
    #[error("{what} at byte {at} is {value}, which is not supported")]
    Unsupported {
        /// What the number is, for example `the version of the superblock`.
        what: &'static str,
        /// Where the structure starts.
        at: u64,
        /// The number found.
        value: u64,
    },
    /// A block whose checksum is not that of its content.
    #[error("{what} at byte {at} has the checksum {stored:08x}, its content {computed:08x}")]
    Checksum {
        /// The block.
        what: &'static str,
        /// Where it starts.
        at: u64,
        /// The checksum in the file.
        stored: u32,
        /// The checksum of the content.
        computed: u32,
    },
    /// A structure that contradicts itself or another one.
    #[error("{what} at byte {at}: {why}")]
    Malformed {
        /// The structure.
        what: &'static str,
        /// Where it starts.
        at: u64,
        /// The contradiction.
        why: String,
    },
    /// Blocks that lead back to themselves.
    #[error("{what} at byte {at} is reached twice")]
    Cycle {
        /// The block.
        what: &'static str,
        /// Where it starts.
        at: u64,
    },
    /// Groups or blocks nested deeper than the reader follows.
    #[error("{what} are nested more than {limit} deep")]
    TooDeep {
        /// What is nested.
        what: &'static str,
        /// The deepest nesting that is read.
        limit: usize,
    },
    /// Structures that share their bytes, so that there is more to read than the file is long.
    #[error("its structures take more than {limit} bytes together, so they overlap")]
    TooMuch {
        /// The most that a file of this size may ask to read.
        limit: u64,
    },
    /// The data of a dataset lie over something else.
    #[error("{dataset}: its data at bytes {start}..{end} overlap {other} at byte {at}")]
    Overlap {
        /// The dataset.
        dataset: String,
        /// Its first byte.
        start: u64,
        /// Behind its last byte.
        end: u64,
        /// The other dataset or block.
        other: String,
        /// Where that starts.
        at: u64,
    },
    /// A dataset whose description makes no sense.
    #[error("{dataset}: {why}")]
    Dataset {
        /// The dataset.
        dataset: String,
        /// What is wrong with it.
        why: String,
    },
}
