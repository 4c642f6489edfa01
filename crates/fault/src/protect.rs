//! Protections of stored bits: error-correcting codes, copies, range guards.
//!
//! For a linear code what a decoder does depends on the wrong bits alone, not on the data. So a protection needs no
//! data and costs what the flips cost: it turns the raw flips of a trial, in the data and in the check bits, into the
//! flips that the network sees.
//!
//! - [`Protection`]: plain fields, as in a campaign's file; [`Protection::layout`] tiles a tensor with code words.
//! - [`CheckSpace`]: the check bits that this costs, which belong to the fault space; [`CheckSpace::resolve`] decodes
//!   one trial.
//! - [`RangeGuard`]: replaces values outside a range. [`Protections`]: all of this for a whole network and a whole
//!   pattern.
//! - [`Code`] and [`Codec`]: the codes themselves. [`Secded64`]: SECDED over long runs of 64-bit words. [`Residual`]:
//!   how often a code fails, computed.
//!
//! ```
//! use bitquake_bits::Format;
//! use bitquake_fault::protect::{Kind, OnDetection, Protection, RawFlips};
//! // The top bits of each float three times; each bit is a code word.
//! let msb = Protection { bits: "23..31".parse()?, ..Protection::new(Kind::Replication) };
//! let space = msb.layout(Format::F32, 1000)?;
//! assert_eq!(space.check_bits(), 2 * 9 * 1000);
//! let raw = RawFlips { data: &[5, 30], parts: &[&[], &[]] };
//! assert_eq!(space.resolve(&raw, None)?.seen, [5]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod code;
mod codec;
mod elements;
mod galois;
mod guard;
mod protection;
mod protections;
mod residual;
mod resolve;
mod secded64;
mod space;
mod tiling;

pub use code::{Code, CodeError, Columns};
pub use codec::{Codec, Decoded, Positions, Verdict};
pub use guard::{OnOutside, RangeGuard};
pub use protection::{Kind, OnDetection, ProtectError, Protection};
pub use protections::{Protections, ResolvedPattern};
pub use residual::{Residual, WordOdds};
pub use resolve::{Outcomes, RawFlips, Resolution};
pub use secded64::{BadWord, Corrections, LengthError, Secded64};
pub use space::{CheckPart, CheckSpace};
