//! What can be wrong with an archive.

use thiserror::Error;

/// Why an archive cannot be read or rewritten. Offsets count bytes from its start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ZipError {
    #[error("it is cut short or is no zip archive: the record that ends one is missing")]
    NoEnd,
    #[error("the zip archive is one of several volumes")]
    Volumes,
    #[error(
        "the zip directory at bytes {start} to {end} leaves the archive, whose end record is at byte {limit}"
    )]
    Directory { start: u64, end: u64, limit: usize },
    #[error("the zip directory declares {declared} members and ends at byte {at} otherwise")]
    Entries { declared: u64, at: usize },
    #[error("at byte {at}: no {what} is there")]
    Missing { what: &'static str, at: u64 },
    #[error("member {member:?} is encrypted")]
    Encrypted { member: String },
    #[error("member {member:?} is compressed by method {method}: only 0 (stored) and 8 (deflated) are read")]
    Method { member: String, method: u16 },
    #[error("member {member:?}: its local header at byte {at} gives another {what} than the directory")]
    Disagreement { member: String, what: &'static str, at: usize },
    #[error(
        "member {member:?}: its {size} bytes at {start} leave the archive's data, which end at byte {limit}"
    )]
    Range { member: String, start: usize, size: u64, limit: usize },
    #[error("member {member:?} is stored as it is in {coded} bytes, but declared to have {size}")]
    StoredSize { member: String, coded: u64, size: u64 },
    #[error("two members are named {member:?}")]
    DuplicateName { member: String },
    #[error("members {first:?} and {second:?} overlap at byte {at}")]
    Overlap { first: String, second: String, at: usize },
    #[error(
        "member {member:?} declares {size} bytes for {coded} bytes of deflated data, which can be {most} at most"
    )]
    Ratio { member: String, size: u64, coded: u64, most: u64 },
    #[error(
        "member {member:?} of {size} bytes exceeds the {left} bytes left for deflated members of such an archive"
    )]
    Bomb { member: String, size: u64, left: u64 },
    #[error("member {member:?} declares {size} bytes, its deflated data have {found}")]
    InflatedSize { member: String, size: u64, found: String },
    #[error("member {member:?}: its deflated data are damaged after {after} bytes")]
    Deflate { member: String, after: u64 },
    #[error("member {member:?} has the CRC-32 {actual:08x}, recorded is {recorded:08x}")]
    Checksum { member: String, actual: u32, recorded: u32 },
    #[error("the new value {value} of a field at byte {at} does not fit its {width} bytes")]
    TooLarge { value: u64, at: usize, width: usize },
}
