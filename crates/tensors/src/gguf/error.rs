//! What can be wrong with a GGUF file.

use thiserror::Error;

/// Why the bytes are no GGUF file that can be read. Places are bytes from the start of the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GgufError {
    /// A version that is not read: 1, or one of the future.
    #[error("its version is {version}; 2 and 3 are supported")]
    Version {
        /// The version of the file.
        version: u32,
    },
    /// A file for a machine that puts the most significant byte first.
    #[error("it is big-endian, which is not supported")]
    BigEndian,
    /// Something reaches over the end of the file.
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
    /// More entries than the rest of the file has room for.
    #[error("the header counts {count} {what}, and {left} bytes are left for them")]
    Count {
        /// What is counted.
        what: &'static str,
        /// The number in the header.
        count: u64,
        /// The bytes behind it.
        left: u64,
    },
    /// A name that is no text.
    #[error("{what} at byte {at} is not UTF-8")]
    NotUtf8 {
        /// What is named.
        what: &'static str,
        /// Where the name starts.
        at: u64,
    },
    /// Two entries of one name.
    #[error("two {what}s are named {name:?}")]
    Repeated {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A metadata value of a type that does not exist, or that may not be there.
    #[error("metadata {key:?}: {why}")]
    Metadata {
        /// The key.
        key: String,
        /// What is wrong with the value.
        why: String,
    },
    /// A tensor whose description contradicts itself or the file.
    #[error("tensor {tensor}: {why}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two tensors that share bytes.
    #[error("tensors {first} and {second} overlap at byte {at}")]
    Overlap {
        /// The one that starts first.
        first: String,
        /// The one that starts before that ends.
        second: String,
        /// Where the second starts.
        at: u64,
    },
}
