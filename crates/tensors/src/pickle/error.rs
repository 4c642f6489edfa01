//! What can be wrong with a pickle.

use thiserror::Error;

/// Why a pickle cannot be read. Offsets count bytes from the start of what holds the pickle.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum PickleError {
    #[error("the pickle is cut short at byte {at}, within {opcode}")]
    Truncated { opcode: &'static str, at: usize },
    #[error("the pickle does not start with PROTO and a protocol from 2 to 5 at byte {at}")]
    Protocol { at: usize },
    #[error("opcode {code:#04x} ({opcode}) at byte {at} of the pickle is not taken")]
    Opcode { opcode: &'static str, code: u8, at: usize },
    #[error("{opcode} at byte {at} of the pickle takes more from the stack than is there")]
    Underflow { opcode: &'static str, at: usize },
    #[error("{opcode} at byte {at} of the pickle needs {wanted}")]
    Operand { opcode: &'static str, at: usize, wanted: &'static str },
    #[error("{opcode} at byte {at} of the pickle asks for memo {index}, which was never set")]
    Memo { opcode: &'static str, at: usize, index: u64 },
    #[error("{opcode} at byte {at} names {global}: a hostile pickle, which runs code where it is loaded")]
    Hostile { opcode: &'static str, at: usize, global: String },
    #[error("the pickle has more than {limit} opcodes")]
    TooLong { limit: usize },
}
